"""What the stand-ins expose: the lines of the real exporters, with the number of the scrape as a value.

The modules of kube-state-metrics, kubernetes-event-exporter and dcgm-exporter cannot be had from the module proxy, so
that these are written by their documentation. node-exporter is the real one on some nodes, and cAdvisor on one.
"""

import time


def probe(number):
    """The number of the scrape, for jobs that ship everything."""
    return f"# HELP probe_scrapes_total Scrapes of this endpoint so far.\n# TYPE probe_scrapes_total counter\nprobe_scrapes_total {number}\n"


def node_exporter(number):
    """A few lines of node-exporter."""
    return probe(number) + (
        "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 0.25\n"
        "# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n# TYPE node_cpu_seconds_total counter\n"
        f'node_cpu_seconds_total{{cpu="0",mode="idle"}} {1000 + number}\n'
        f'node_cpu_seconds_total{{cpu="0",mode="user"}} {10 + number}\n'
        '# TYPE node_uname_info gauge\nnode_uname_info{machine="x86_64",nodename="inner",sysname="Linux"} 1\n'
    )


def dcgm(node, gpus, spelling):
    """DCGM exporter 3.x: `Hostname` until 3.x, `hostname` in later ones."""

    def body(number):
        lines = []
        fields = [
            ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", number),
            ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", 1024),
            ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active.", 0.5),
            ("DCGM_EXPORTER_OWN_TOTAL", "counter", "A metric of another family.", 1),
        ]
        for name, kind, about, value in fields:
            lines.append(f"# HELP {name} {about}\n# TYPE {name} {kind}")
            for gpu in range(gpus):
                labels = (
                    f'gpu="{gpu}",UUID="GPU-{node}-{gpu}",pci_bus_id="00000000:0{gpu}:00.0",device="nvidia{gpu}",'
                    f'modelName="NVIDIA A100-SXM4-80GB",{spelling}="{node}",DCGM_FI_DRIVER_VERSION="550.54.15",'
                    f'container="train",namespace="work",pod="train-{node}"'
                )
                lines.append(f"{name}{{{labels}}} {value}")
        return "\n".join(lines) + "\n"

    return body


def cadvisor(node):
    """A kubelet's /metrics/cadvisor: explicit timestamps, and containers of pods on that node."""

    def body(number):
        stamp = int(time.time() * 1000) - 1500
        lines = []
        for name, kind, value in [
            ("container_cpu_usage_seconds_total", "counter", number),
            ("container_memory_working_set_bytes", "gauge", 5e7),
            ("container_fs_reads_total", "counter", 7),
        ]:
            lines.append(f"# TYPE {name} {kind}")
            for pod in ("train", "web"):
                labels = (
                    f'container="{pod}",id="/kubepods/burstable/pod{node}{pod}/abc",image="registry/{pod}:1",'
                    f'name="abc",namespace="work",pod="{pod}-{node}"'
                )
                lines.append(f"{name}{{{labels}}} {value} {stamp}")
        # The machine as a whole has no container, as cAdvisor writes it.
        lines.append(f'container_cpu_usage_seconds_total{{container="",id="/",image="",name="",namespace="",pod=""}} {number} {stamp}')
        return "\n".join(lines) + "\n"

    return body


def event_exporter(number):
    """kubernetes-event-exporter: counters without labels and without `_total`."""
    return (
        "# HELP build_info A metric with a constant '1' value labeled by version.\n# TYPE build_info gauge\n"
        'build_info{version="1.7"} 1\n'
        f"# TYPE events_sent counter\nevents_sent {number}\n# TYPE events_discarded counter\nevents_discarded 0\n"
        "# TYPE watch_errors counter\nwatch_errors 0\n# TYPE send_event_errors counter\nsend_event_errors 0\n"
        "# TYPE kube_api_read_cache_hits counter\nkube_api_read_cache_hits 5\n"
        "# TYPE kube_api_read_cache_misses counter\nkube_api_read_cache_misses 2\n"
    )


def kube_state_metrics(api):
    """kube-state-metrics, of the pods that the real API server has at that moment."""

    def body(_number):
        info, owner = ["# TYPE kube_pod_info gauge"], ["# TYPE kube_pod_owner gauge"]
        phase = ["# TYPE kube_pod_status_phase gauge"]
        for pod in api.get("/api/v1/pods", resourceVersion="0")["items"]:
            meta, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
            me = f'namespace="{meta["namespace"]}",pod="{meta["name"]}",uid="{meta["uid"]}"'
            made = (meta.get("ownerReferences") or [{}])[0]
            kind, name = made.get("kind", "<none>"), made.get("name", "<none>")
            info.append(
                f'kube_pod_info{{{me},host_ip="{status.get("hostIP", "")}",pod_ip="{status.get("podIP", "")}",'
                f'node="{spec.get("nodeName", "")}",created_by_kind="{kind}",created_by_name="{name}",priority_class="",'
                f'host_network="{str(spec.get("hostNetwork", False)).lower()}"}} 1'
            )
            owner.append(f'kube_pod_owner{{{me},owner_kind="{kind}",owner_name="{name}",owner_is_controller="true"}} 1')
            phase.append(f'kube_pod_status_phase{{{me},phase="Running"}} 1')
        return "\n".join(info + owner + phase) + "\n"

    return body
