"""Kubernetes objects as their controllers and kubelets make them."""


def node(name, address, gpu=False):
    """A ready node."""
    labels = {
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": f"zone-{address.rsplit('.', 1)[1][-1]}",
    }
    if gpu:
        labels["nvidia.com/gpu.present"] = "true"
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"suite/ip.of-node": address}},
        "spec": {"providerID": f"suite://{name}"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.36.3", "machineID": "",
                "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "",
                "kubeProxyVersion": "",
            },
        },
    }


def pod(namespace, name, node_name, address, host_address, **more):
    """A running, ready pod. `more`: labels, annotations, owner (kind, name), ports, host_network, ready, containers."""
    ports = more.get("ports", [])
    containers = more.get("containers") or [{"name": "main", "image": "registry/main:1", "ports": ports}]
    owner = more.get("owner")
    meta = {"name": name, "namespace": namespace, "labels": more.get("labels", {}), "annotations": more.get("annotations", {})}
    if owner:
        meta["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": owner[0], "name": owner[1], "uid": f"uid-{owner[1]}", "controller": True}
        ]
    spec = {
        "nodeName": node_name, "containers": containers, "hostNetwork": more.get("host_network", False),
        "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 30,
    }
    if more.get("init_containers"):
        spec["initContainers"] = more["init_containers"]
    if more.get("service_account"):
        spec["serviceAccountName"] = more["service_account"]
    ready = "True" if more.get("ready", True) else "False"
    status = {
        "phase": more.get("phase", "Running"), "hostIP": host_address,
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [
            {
                "name": container["name"], "image": container["image"], "imageID": f"sha256:{container['name']}",
                "containerID": f"containerd://{namespace}-{name}-{container['name']}", "ready": ready == "True",
                "restartCount": 0, "state": {"running": {}},
            }
            for container in containers
        ],
    }
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def service(namespace, name, ports, **more):
    """A service. `ports`: name -> number; `more`: labels, headless, kind, external_name."""
    spec = {"ports": [{"name": port, "port": number, "targetPort": number} for port, number in ports.items()]}
    if more.get("headless"):
        spec["clusterIP"] = "None"
    if more.get("external_name"):
        spec = {"type": "ExternalName", "externalName": more["external_name"], "ports": spec["ports"]}
    meta = {"name": name, "namespace": namespace, "labels": more.get("labels", {}), "annotations": more.get("annotations", {})}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def endpoint(address, target=None, node_name=None, **conditions):
    """An endpoint of a slice; `target` is its pod. Conditions: ready, serving, terminating."""
    made = {"addresses": [address], "conditions": conditions or {"ready": True, "serving": True, "terminating": False}}
    if node_name:
        made["nodeName"] = node_name
    if target:
        meta = target["metadata"]
        made["targetRef"] = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta.get("uid", "")}
    return made


def slice_of(namespace, service_name, suffix, endpoints, ports, address_type="IPv4"):
    """An endpoint slice. `ports`: name -> number, or None for no ports at all."""
    made = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": address_type,
        "metadata": {
            "name": f"{service_name}-{suffix}", "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service_name, "endpointslice.kubernetes.io/managed-by": "suite"},
        },
        "endpoints": endpoints,
    }
    if ports is not None:
        made["ports"] = [{"name": name, "port": number, "protocol": "TCP"} for name, number in ports.items()]
    return made
