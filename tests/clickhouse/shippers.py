"""A GPU cluster with the old shipper and the new one: exporters that know who asked them, and two agents.

Vector itself does not run here. An agent that writes what Vector wrote stands for it: the translation of the same values with
`--keep-encoding`, and what Vector did otherwise put back.
"""

import signal
import subprocess

import yaml
from cedana_api import CLUSTER, CedanaApi
from exporters import Exporter
from processes import Failure, Process, free_port, http_get
from s3_server import PREFIX

# Seconds between scrapes, as tests/data/vector_values.yaml says.
INTERVAL = 2
NODES = ("node-a", "node-b")
# Where the pod of Vector ran whose series were taken: behind a federation each of them has all.
VECTORS_NODE = "node-of-vector"
# What the old shipper asks for besides, so that an answer is known to be its own.
MARK = "shipper=old"


def gauge(name, labels, number):
    return f"# TYPE {name} gauge\n{name}{{{labels}}} {number}\n"


def counter(name, labels, number):
    return gauge(name, labels, number).replace(" gauge", " counter")


def state(number, _):
    """kube-state-metrics: the last one is filtered out."""
    return (gauge("kube_pod_owner", 'namespace="ml",pod="train-0",owner_kind="Job",owner_name="train"', number)
            + gauge("kube_pod_info", 'namespace="ml",pod="train-0",node="node-a",uid="u-1"', number)
            + gauge("kube_job_owner", 'namespace="ml",job_name="train",owner_kind="CronJob",owner_name="nightly"', number)
            + gauge("kube_node_info", 'node="node-a"', number))


def gpus(number, node):
    """dcgm-exporter: the last one is filtered out."""
    gpu = f'gpu="0",UUID="GPU-{node}",Hostname="{node}"'
    return (gauge("DCGM_FI_DEV_GPU_UTIL", gpu, number) + counter("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", gpu, number)
            + gauge("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", gpu, number) + gauge("go_goroutines", "", number))


def nodes(number, _):
    """node-exporter, which Vector scraped and discarded; with a label that Vector's configuration overwrites."""
    return gauge("node_load1", "", number) + gauge("node_scrape_collector_success", 'collector="cpu"', number)


def kubelets(number, node):
    """cAdvisor: the last one is not asked for."""
    one = f'namespace="ml",pod="train-{NODES.index(node)}",container="main"'
    return (counter("container_cpu_usage_seconds_total", one, number) + gauge("container_memory_working_set_bytes", one, number)
            + gauge("container_fs_usage_bytes", one, number))


def happenings(number, _):
    """The event-exporter."""
    return counter("events_sent", "", number) + counter("events_discarded", "", number)


# By job: what is exposed, on which nodes, and which of it Vector shipped.
JOBS = {
    "kube-state-metrics": (state, NODES[:1], ("kube_pod_owner", "kube_pod_info", "kube_job_owner")),
    "dcgm": (gpus, NODES, ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")),
    "nodes": (nodes, NODES, ()),
    "cadvisor": (kubelets, NODES, ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes")),
    "event-exporter": (happenings, NODES[:1], ("events_sent", "events_discarded")),
}
SHIPPED = tuple(name for _, _, names in JOBS.values() for name in names)


class Cluster:
    """The exporters, the API that gives credentials for one prefix, and the shippers."""

    def __init__(self, suite, name, folder):
        self.prefix = f"{PREFIX}/{name}"
        self.folder, self._s3, self._program = folder, suite.s3, suite.options.agent
        self.cedana = CedanaApi(suite.s3, 3600, self.prefix)
        # job -> {node: exporter}
        self.exporters = {job: {node: Exporter(lambda number, text=text, node=node: text(number, node).encode()) for node in places}
                          for job, (text, places, _) in JOBS.items()}
        self.environment = {"CEDANA_URL": self.cedana.url, "CEDANA_AUTH_TOKEN": self.cedana.token, "CLUSTER_ID": CLUSTER}
        self.old = Shipper(self, "vector")
        self.new = Shipper(self, "cedana-agent")

    def old_config(self, values):
        """The old shipper, by Vector's values: its configuration."""
        done = subprocess.run([self._program, "migrate", "--keep-encoding", values], env={}, capture_output=True, text=True,
                              timeout=30, check=False)
        config = self.addressed(done.stdout, self.old)
        # node-exporter was scraped for nothing.
        config["scrape_configs"] = [job | {"params": {"shipper": ["old"]}} for job in config["scrape_configs"] if job["job_name"] != "nodes"]
        (kubelet,) = [job for job in config["scrape_configs"] if job["job_name"] == "cadvisor"]
        kubelet["metric_relabel_configs"].append({"target_label": "node", "replacement": VECTORS_NODE})
        config["internal_metrics"] = False
        self.old.config.write_text(yaml.safe_dump(config), "utf-8")

    def addressed(self, text, shipper):
        """A configuration with addresses of here: targets as discovery would give them, with all that the rules look at."""
        config = yaml.safe_load(text)
        for job in config["scrape_configs"]:
            (found,) = job.pop("kubernetes_sd_configs")
            job["static_configs"] = [
                {"targets": [exporter.address], "labels": discovered(found["role"], job["relabel_configs"], node)}
                for node, exporter in self.exporters[job["job_name"]].items()
            ]
            if job.pop("scheme", None):
                # A kubelet has a certificate and wants a token.
                del job["authorization"], job["tls_config"]
        config["spool"]["dir"] = str(self.folder / f"{shipper.name}-spool")
        config["sink"]["s3"] = (config["sink"]["s3"] or {}) | {"endpoint_url": self._s3.url, "force_path_style": True}
        config["server"]["listen"] = f"127.0.0.1:{shipper.port}"
        return config

    def by_address(self):
        """`{address: (job, exporter)}`."""
        return {exporter.address: (job, exporter) for job, places in self.exporters.items() for exporter in places.values()}

    def command(self, *arguments, **more):
        """Runs the agent's binary in the pod of the new shipper, so to say: exit code and output."""
        done = subprocess.run([self._program, *arguments], env=self.new.environment | more, cwd=self.folder, capture_output=True, text=True,
                              timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def start(self, shipper):
        """Starts it and waits until it is alive."""
        shipper.process = Process(shipper.name, [self._program, "--config", shipper.config], self.folder, shipper.environment)
        shipper.process.wait_ready(f"http://127.0.0.1:{shipper.port}/healthz")

    def close(self):
        """Ends everything of it."""
        for shipper in (self.old, self.new):
            if shipper.process:
                shipper.process.stop()
        self.cedana.close()
        for _, exporter in self.by_address().values():
            exporter.close()


class Shipper:
    """One of the two agents. `stops` are the moments at which it was told to end."""

    def __init__(self, cluster, name):
        self.name, self.port, self.process, self.stops = name, free_port(), None, []
        self.config = cluster.folder / ("agent.yaml" if name == "cedana-agent" else f"{name}.yaml")
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(cluster.folder), **cluster.environment}

    def ready(self):
        """Whether it says that all is well."""
        if not self.process.running():
            raise Failure(f"{self.name} ended by itself: {self.process.tail()}")
        return http_get(f"http://127.0.0.1:{self.port}/readyz")[0] == 200


def discovered(role, rules, node):
    """The labels that Kubernetes' discovery gives a target that these rules keep."""
    if role == "node":
        return {"__meta_kubernetes_node_name": node}
    service, port = next(rule["regex"].split(";") for rule in rules if rule.get("action") == "keep")
    return {"__meta_kubernetes_service_name": service, "__meta_kubernetes_endpointslice_port": port,
            "__meta_kubernetes_endpointslice_endpoint_node_name": node}


def stop(shipper, moment):
    """Ends a shipper as Kubernetes does: its exit code."""
    shipper.stops.append(moment)
    return shipper.process.signal_and_wait(signal.SIGTERM, 40)
