"""The cluster's inhabitants: nodes with kubelets and exporters, services with their slices, pods by the hundred."""

import concurrent.futures
import time

import expositions
import objects
from processes import Process, http_get, start_on_free_port, wait_for
from stand_ins import Endpoint, Kubelets

MONITORING = "cedana-monitoring"
GPU_OPERATOR = "gpu-operator"
WORK = "work"
# As many as the endpoint slice controller puts into one slice.
SLICE_MAX = 100

NODE_EXPORTER = "prometheus-prometheus-node-exporter"
KUBE_STATE = "prometheus-kube-state-metrics"
EVENTS = "kubernetes-event-exporter"
DCGM = "nvidia-dcgm-exporter"


def node_address(index):
    """The address of a node."""
    return f"10.90.{10 + index // 200}.{1 + index % 200}"


class Service:
    """A service with its endpoints, which `publish` writes as slices."""

    def __init__(self, api, namespace, name, ports, **more):
        self.api, self.namespace, self.name, self.ports = api, namespace, name, ports
        self.endpoints = []
        self._slices = 0
        api.create(objects.service(namespace, name, ports, **more))

    def publish(self):
        """Writes the slices, and empties those that are no longer needed."""
        parts = [self.endpoints[i:i + SLICE_MAX] for i in range(0, len(self.endpoints), SLICE_MAX)]
        for index in range(max(len(parts), self._slices)):
            part = parts[index] if index < len(parts) else []
            self.api.apply(objects.slice_of(self.namespace, self.name, f"s{index}", part, self.ports))
        self._slices = max(len(parts), self._slices)


class Fleet:
    """Makes the objects and the endpoints behind them; changes them while the agent runs."""

    def __init__(self, cluster, stand_ins, work, options):
        self.api, self.stand_ins, self._work = cluster.api, stand_ins, work
        self._options = options
        self._next_pod = 0
        self.nodes, self.pods, self.exporters, self.parts = {}, {}, [], {}
        self.kubelets = Kubelets(cluster.api)
        addresses = [node_address(index) for index in range(options.nodes + 50)]
        self.tls = cluster.ca.issue("kubelets", [f"IP:{address}" for address in addresses])
        for namespace in (MONITORING, GPU_OPERATOR, WORK):
            cluster.namespace(namespace)
        self.node_exporter = Service(self.api, MONITORING, NODE_EXPORTER, {"metrics": 9100}, headless=True)
        self.kube_state = Service(self.api, MONITORING, KUBE_STATE, {"http": 8080})
        self.events = Service(self.api, MONITORING, EVENTS, {"metrics": 2112})
        # The same pods behind a second service, as some charts have it: each is scraped once all the same.
        self.events_too = Service(self.api, MONITORING, f"{EVENTS}-metrics", {"http": 2112})
        self.dcgm = Service(self.api, GPU_OPERATOR, DCGM, {"gpu-metrics": 9400})

    def populate(self):
        """Nodes, exporters and pods, all at once."""
        options = self._options
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda index: self.add_node(index, publish=False), range(options.nodes)))
            list(pool.map(lambda index: self.add_pod(index), range(options.pods)))
        for service in (self.node_exporter, self.dcgm):
            service.publish()
        first = node_name(0)
        self.move("kube-state-metrics", first)
        self.move("event-exporter", first)

    def add_node(self, index, publish=True, tls=None):
        """A node with its kubelet, node-exporter and, on some, GPUs."""
        name, address = node_name(index), node_address(index)
        gpu = index < self._options.gpu_nodes
        self.nodes[name] = address
        self.api.create(objects.node(name, address, gpu))
        real = index == 0
        body = self._cadvisor() if real else expositions.cadvisor(name)
        kubelet = Endpoint("cadvisor", address, 10250, name, body, self.kubelets, "/metrics/cadvisor")
        kubelet.real = real
        mine = [self.stand_ins.serve(kubelet, tls or self.tls)]
        made = self.api.create(objects.pod(
            MONITORING, f"node-exporter-{name}", name, address, address, owner=("DaemonSet", "node-exporter"),
            labels={"app.kubernetes.io/name": "prometheus-node-exporter"}, host_network=True,
            ports=[{"name": "metrics", "containerPort": 9100, "hostPort": 9100}],
        ))
        if index < self._options.real_exporters:
            self._start_exporter(name, address)
        else:
            mine.append(self.stand_ins.serve(Endpoint("node-exporter", address, 9100, name, expositions.node_exporter)))
        self.node_exporter.endpoints.append(objects.endpoint(address, made, name))
        if gpu:
            spelling = "Hostname" if index % 2 else "hostname"
            place = self._address()
            pod = self.api.create(objects.pod(
                GPU_OPERATOR, f"nvidia-dcgm-exporter-{name}", name, place, address, owner=("DaemonSet", DCGM),
                labels={"app": DCGM}, ports=[{"name": "metrics", "containerPort": 9400}],
            ))
            mine.append(self.stand_ins.serve(Endpoint("dcgm", place, 9400, name, expositions.dcgm(name, 2, spelling))))
            self.dcgm.endpoints.append(objects.endpoint(place, pod, name))
        self.parts[name] = mine
        if publish:
            self.node_exporter.publish()
            if gpu:
                self.dcgm.publish()

    def remove_node(self, index):
        """The node's endpoints vanish first, as its controllers make them, then what served them."""
        name = node_name(index)
        address = self.nodes.pop(name)
        for service in (self.node_exporter, self.dcgm):
            left = [one for one in service.endpoints if one.get("nodeName") != name]
            if len(left) != len(service.endpoints):
                service.endpoints = left
                service.publish()
        self.api.delete(objects.pod(MONITORING, f"node-exporter-{name}", name, address, address), grace=0)
        self.api.delete(objects.node(name, address))
        for endpoint in self.parts.pop(name):
            endpoint.gone = time.time()

    def add_pod(self, index):
        """A pod that nobody scrapes."""
        name = node_name(index % self._options.nodes)
        pod = objects.pod(
            WORK, f"web-{index}", name, f"10.92.{index // 250 % 250}.{index % 250 + 1}", node_address(index % self._options.nodes),
            owner=("ReplicaSet", f"web-{index % 7}"), labels={"app": f"web-{index % 7}"},
        )
        self.pods[index] = pod
        self.api.create(pod)

    def remove_pod(self, index):
        """One of these ends."""
        self.api.delete(self.pods.pop(index), grace=0)

    def move(self, job, node):
        """The only pod of a service is replaced by one on another node."""
        bodies = {
            "kube-state-metrics": (self.kube_state, 8080, expositions.kube_state_metrics(self.api)),
            "event-exporter": (self.events, 2112, expositions.event_exporter),
        }
        service, port, body = bodies[job]
        place = self._address()
        pod = self.api.create(objects.pod(
            MONITORING, f"{job}-{self._next_pod}", node, place, self.nodes[node], owner=("ReplicaSet", job),
            labels={"app.kubernetes.io/name": job}, ports=[{"name": "metrics", "containerPort": port}],
        ))
        old = self.stand_ins.by(job)
        endpoint = self.stand_ins.serve(Endpoint(job, place, port, node, body))
        for one in [service, self.events_too] if job == "event-exporter" else [service]:
            one.endpoints = [objects.endpoint(place, pod, node)]
            one.publish()
        for one in old:
            one.gone = time.time()
        return endpoint

    def bury(self):
        """Endpoints that are gone are forgotten."""
        gone = [endpoint for endpoint in self.stand_ins.endpoints if getattr(endpoint, "gone", None)]
        for endpoint in gone:
            self.stand_ins.end(endpoint)
            self.stand_ins.endpoints.remove(endpoint)

    def expected(self):
        """`{(job, instance): node}` of everything that must be scraped now."""
        found = {(e.job, e.instance): e.node for e in self.stand_ins.endpoints if not getattr(e, "gone", None)}
        found |= {("node-exporter", f"{address}:9100"): name for name, address in self.exporters if name in self.nodes}
        return found

    def _cadvisor(self):
        """The real cAdvisor behind the first node's kubelet: this machine's cgroups."""
        process, port = start_on_free_port(
            "cadvisor", lambda port: [self._options.bin / "cadvisor", f"127.0.0.1:{port}"], "/metrics/cadvisor", self._work,
            {"PATH": "/usr/bin:/bin"},
        )
        self.parts.setdefault("exporters", []).append(process)
        return lambda _number: http_get(f"http://127.0.0.1:{port}/metrics/cadvisor", 10)[1]

    def _start_exporter(self, name, address):
        process = Process(f"node-exporter-{name}", [
            "prometheus-node-exporter", f"--web.listen-address={address}:9100", "--log.level=warn",
        ], self._work, {"PATH": "/usr/bin:/bin:/usr/sbin"})
        wait_for("node-exporter", lambda: http_get(f"http://{address}:9100/")[0] == 200, 20)
        self.exporters.append((name, address))
        self.parts.setdefault("exporters", []).append(process)

    def _address(self):
        self._next_pod += 1
        return f"10.90.{100 + self._next_pod // 250}.{self._next_pod % 250 + 1}"

    def close(self):
        """Ends the real exporters."""
        for process in self.parts.get("exporters", []):
            process.stop()


def node_name(index):
    """The name of a node."""
    return f"node-{index:03}"
