"""Workloads: what namespaces, owners and pods take, what began again, and GPUs that are held and not used."""

from .panels import Board, Lines, Number, Row, Table, Variable

# A pod as a whole is there too, without a container's name.
CONTAINER = "{container!~'|POD',pod!=''}"
CPU = f"sum(rate(container_cpu_usage_seconds_total{CONTAINER}))"
MEMORY = f"sum(container_memory_working_set_bytes{CONTAINER})"
HELD = "{pod!=''}"
OWNED, POD = "{namespace}/{owner}", "{namespace}/{pod}"
OWNER = ("namespace", "owner_kind", "owner")
# Lines of one panel.
MOST = 40
FEW = f"The {MOST} highest."
BYTES = {"Memory": "bytes", "Highest memory": "bytes", "Memory used": "decmbytes"}

NOW = Row("Now", open=True, panels=[
    Number("Pods", "short", {"pods": "count(kube_pod_owner)"}, width=6),
    Number("Cores used", "short", {"cores": CPU}, width=6),
    Number("Memory used", "bytes", {"memory": MEMORY}, width=6),
    Number("GPUs held", "short", {"gpus": f"count(DCGM_FI_DEV_GPU_UTIL{HELD})"}, width=6),
])

USED = Row("CPU and memory", open=True, panels=[
    Lines("CPU, by namespace", "short", {"{namespace}": CPU}, stack="normal", min=0),
    Lines("Memory, by namespace", "bytes", {"{namespace}": MEMORY}, stack="normal", min=0),
    Lines("CPU, by owner", "short", {OWNED: CPU}, FEW, most=MOST, min=0),
    Lines("Memory, by owner", "bytes", {OWNED: MEMORY}, FEW, most=MOST, min=0),
    Lines("CPU, by pod", "short", {POD: CPU}, FEW, most=MOST, min=0),
    Lines("Memory, by pod", "bytes", {POD: MEMORY}, FEW, most=MOST, min=0),
    Table("Owners", "short", {
        "Cores": CPU, "Memory": MEMORY, "Highest memory": f"max(highest(container_memory_working_set_bytes{CONTAINER}))",
    }, by=OWNER, units=BYTES, about="Averages over the time shown, over all of an owner's containers."),
    Table("Pods", "short", {"Cores": CPU, "Memory": MEMORY}, by=("namespace", "pod", "owner", "node"), units=BYTES),
])

RESTARTS = Row("Restarts", open=True, panels=[
    Lines("Containers running", "short", {"{namespace}": f"count(container_memory_working_set_bytes{CONTAINER})"}, stack="normal", min=0),
    Table("Containers that began again", "short", {
        "Restarts": f"count(last(container_cpu_usage_seconds_total{CONTAINER})) - 1",
    }, by=("namespace", "pod", "container", "owner"), keep=("Restarts", ">", 0), width=12,
          about="A container that begins again is another one to cAdvisor, under another id: these were seen in the time shown. Needs the "
                "label id, which is kept unless the configuration drops it."),
])

GPUS = Row("GPUs", open=True, panels=[
    Lines("GPUs held, by owner", "short", {OWNED: f"count(DCGM_FI_DEV_GPU_UTIL{HELD})"}, FEW, stack="normal", most=MOST, min=0),
    Lines("Utilization of GPUs, by owner", "percent", {OWNED: f"avg(DCGM_FI_DEV_GPU_UTIL{HELD})"}, FEW, most=MOST, min=0, max=100),
    Table("GPUs, by owner", "short", {
        "GPUs": f"count(DCGM_FI_DEV_GPU_UTIL{HELD})", "Utilization": f"avg(DCGM_FI_DEV_GPU_UTIL{HELD})",
        "Memory used": f"sum(DCGM_FI_DEV_FB_USED{HELD})", "Power": f"sum(DCGM_FI_DEV_POWER_USAGE{HELD})",
    }, by=OWNER, units={"Utilization": "percent", "Memory used": "decmbytes", "Power": "watt"}),
    Table("Idle and held", "percent", {
        "Busiest": f"max(highest(DCGM_FI_DEV_GPU_UTIL{HELD}))", "Memory used": f"max(DCGM_FI_DEV_FB_USED{HELD})",
        "Seen for": f"sum(seconds(DCGM_FI_DEV_GPU_UTIL{HELD}))",
    }, by=("node", "gpu", "namespace", "pod", "owner_kind", "owner"), units={"Memory used": "decmbytes", "Seen for": "s"},
          keep=("Busiest", "<", 5), about="GPUs that a pod held and that were below 5 % at every sample of the time shown."),
])

BOARD = Board(
    "cedana-workloads", "Workloads", "What namespaces, owners and pods take of CPU, memory and GPUs.", [NOW, USED, RESTARTS, GPUS],
    [Variable("cluster", "cluster_id", ("kube_pod_owner", "container_memory_working_set_bytes")),
     Variable("namespace", "namespace", ("kube_pod_owner", "container_memory_working_set_bytes"), several=True)],
    # cAdvisor is asked once a minute.
    interval="2m",
)
