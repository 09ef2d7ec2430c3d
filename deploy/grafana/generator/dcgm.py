"""GPUs, by DCGM exporter: a counterpart for each panel of NVIDIA's dashboard (grafana.com 12239), whose they are, and what else it says."""

from .panels import Board, Dial, Lines, Number, Row, Table, Variable

GPU = "{node} - GPU {gpu}"
# A slice of a GPU has its own numbers; a whole one has an empty text there.
SLICE = "{node} - GPU {gpu} {GPU_I_PROFILE} {GPU_I_ID}"
HELD = "{pod!=''}"
OWNED = "{namespace}/{owner}"
POD = "{namespace}/{pod} GPU {gpu}"
# Lines of one panel.
MOST = 40
FEW = f"The {MOST} highest."

NVIDIA = Row("NVIDIA DCGM Exporter Dashboard", open=True, panels=[
    Lines("GPU Temperature", "celsius", {GPU: "max(DCGM_FI_DEV_GPU_TEMP)"}, width=18),
    Dial("GPU Avg. Temp", "celsius", {"average": "avg(DCGM_FI_DEV_GPU_TEMP)"}, width=6, min=0, max=100, bounds=(83, 87)),
    Lines("GPU Power Usage", "watt", {GPU: "max(DCGM_FI_DEV_POWER_USAGE)"}, width=18),
    Dial("GPU Power Total", "watt", {"total": "sum(DCGM_FI_DEV_POWER_USAGE)"}, width=6, min=0, max=2400, bounds=(1800, 2200)),
    Lines("GPU SM Clocks", "hertz", {GPU: "max(DCGM_FI_DEV_SM_CLOCK) * 1000000"}),
    Lines("GPU Utilization", "percentunit", {SLICE: "max(DCGM_FI_PROF_GR_ENGINE_ACTIVE)"}, min=0, max=1),
    Lines("Tensor Core Utilization", "percentunit", {SLICE: "max(DCGM_FI_PROF_PIPE_TENSOR_ACTIVE)"}, min=0, max=1),
    Lines("GPU Framebuffer Mem Used", "decmbytes", {SLICE: "max(DCGM_FI_DEV_FB_USED)"}, min=0),
])

MORE = Row("Utilization, memory, links", open=True, panels=[
    Number("GPUs", "short", {"gpus": "count(DCGM_FI_DEV_GPU_TEMP)"}, width=6),
    Number("GPUs held by pods", "short", {"held": f"count(DCGM_FI_DEV_GPU_UTIL{HELD})"}, width=6),
    Number("Power by energy counted, now", "watt", {"power": "sum(rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION)) / 1000"}, width=6),
    Number("Memory used", "percent", {
        "used": "100 * sum(DCGM_FI_DEV_FB_USED) / (sum(DCGM_FI_DEV_FB_USED) + sum(DCGM_FI_DEV_FB_FREE))",
    }, width=6),
    Lines("Utilization (NVML)", "percent", {SLICE: "max(DCGM_FI_DEV_GPU_UTIL)"}, min=0, max=100),
    Lines("Memory bus utilization", "percent", {GPU: "max(DCGM_FI_DEV_MEM_COPY_UTIL)"}, min=0, max=100),
    Lines("Memory active", "percentunit", {SLICE: "max(DCGM_FI_PROF_DRAM_ACTIVE)"}, min=0, max=1),
    Lines("Memory used of total", "percent", {
        SLICE: "100 * max(DCGM_FI_DEV_FB_USED) / (max(DCGM_FI_DEV_FB_USED) + max(DCGM_FI_DEV_FB_FREE))",
    }, min=0, max=100),
    Lines("Encoder and decoder", "percent", {
        f"{GPU} encoder": "max(DCGM_FI_DEV_ENC_UTIL)", f"{GPU} decoder": "max(DCGM_FI_DEV_DEC_UTIL)",
    }, min=0, max=100),
    Lines("Memory temperature", "celsius", {GPU: "max(DCGM_FI_DEV_MEMORY_TEMP)"}),
    Lines("Memory clock", "hertz", {GPU: "max(DCGM_FI_DEV_MEM_CLOCK) * 1000000"}),
    Lines("Power by energy counted", "watt", {GPU: "max(rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION)) / 1000"}),
    Lines("PCIe", "Bps", {f"{GPU} received": "max(DCGM_FI_PROF_PCIE_RX_BYTES)", f"{GPU} sent": "max(DCGM_FI_PROF_PCIE_TX_BYTES)"},
          below=".*sent"),
    Lines("NVLink", "short", {GPU: "max(rate(DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL))"},
          "What one unit is depends on the generation of the GPU; see NVIDIA's field identifiers."),
])

TROUBLE = Row("Errors", [
    Lines("Last XID", "none", {GPU: "max(DCGM_FI_DEV_XID_ERRORS)"}, "The number of the last error; 0 where there was none."),
    Lines("PCIe replays", "ops", {GPU: "max(rate(DCGM_FI_DEV_PCIE_REPLAY_COUNTER))"}, min=0),
    Lines("Remapped rows", "short", {
        f"{GPU} uncorrectable": "max(DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS)",
        f"{GPU} correctable": "max(DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS)",
    }, min=0),
    Lines("Row remapping failed", "bool_yes_no", {GPU: "max(DCGM_FI_DEV_ROW_REMAP_FAILURE)"}, min=0, max=1),
])

OWNERS = Row("By pod and owner", open=True, panels=[
    Lines("GPUs held, by owner", "short", {OWNED: f"count(DCGM_FI_DEV_GPU_UTIL{HELD})"}, FEW, stack="normal", most=MOST, min=0),
    Lines("Utilization, by owner", "percent", {OWNED: f"avg(DCGM_FI_DEV_GPU_UTIL{HELD})"}, FEW, most=MOST, min=0, max=100),
    Lines("Memory used, by owner", "decmbytes", {OWNED: f"sum(DCGM_FI_DEV_FB_USED{HELD})"}, FEW, stack="normal", most=MOST, min=0),
    Lines("Power, by owner", "watt", {OWNED: f"sum(DCGM_FI_DEV_POWER_USAGE{HELD})"}, FEW, stack="normal", most=MOST, min=0),
    Lines("Utilization, by pod", "percent", {POD: f"avg(DCGM_FI_DEV_GPU_UTIL{HELD})"}, FEW, most=MOST, min=0, max=100),
    Lines("Memory used, by pod", "decmbytes", {POD: f"sum(DCGM_FI_DEV_FB_USED{HELD})"}, FEW, most=MOST, min=0),
    Table("GPUs and their pods", "percent", {
        "Utilization": f"avg(DCGM_FI_DEV_GPU_UTIL{HELD})", "Highest": f"max(highest(DCGM_FI_DEV_GPU_UTIL{HELD}))",
        "Memory used": f"avg(DCGM_FI_DEV_FB_USED{HELD})", "Power": f"avg(DCGM_FI_DEV_POWER_USAGE{HELD})",
        "Hottest": f"max(highest(DCGM_FI_DEV_GPU_TEMP{HELD}))",
    }, by=("node", "gpu", "modelName", "namespace", "pod", "owner_kind", "owner"),
          units={"Memory used": "decmbytes", "Power": "watt", "Hottest": "celsius"}),
])

KNOWN = ("DCGM_FI_DEV_GPU_TEMP",)
BOARD = Board(
    "cedana-gpus", "GPUs",
    "GPUs, by DCGM exporter: a counterpart for each panel of NVIDIA's dashboard (grafana.com 12239), and whose they are.",
    [NVIDIA, MORE, OWNERS, TROUBLE],
    [Variable("cluster", "cluster_id", KNOWN), Variable("node", "node", KNOWN, several=True),
     Variable("gpu", "gpu", KNOWN, several=True)],
)
