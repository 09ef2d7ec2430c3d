"""One node: a counterpart for each panel of Node Exporter Full (grafana.com 1860), row by row: CPU, memory, clocks, processes, hardware."""

from .panels import Bars, Board, Dial, Lines, Number, Row, Variable

from . import node_network

# One series of each CPU.
CORES = "count(node_cpu_seconds_total{mode='idle'})"
ROOT = "{mountpoint='/',fstype!='rootfs'}"
REAL = "{device!='rootfs'}"
DISKS = "{device=~'[a-z]+|nvme[0-9]+n[0-9]+|mmcblk[0-9]+'}"
READ, OUT = ".*Read.*", ".*out.*"


def memory(*names):
    """`{legend: metric}` of fields of /proc/meminfo."""
    return {name: f"node_memory_{name}_bytes" for name in names}


QUICK = Row("Quick CPU / Mem / Disk", open=True, panels=[
    Bars("Pressure", "percentunit", {
        "CPU": "rate(node_pressure_cpu_waiting_seconds_total)", "Mem": "rate(node_pressure_memory_waiting_seconds_total)",
        "I/O": "rate(node_pressure_io_waiting_seconds_total)", "Irq": "rate(node_pressure_irq_stalled_seconds_total)",
    }, width=3, min=0, max=1, bounds=(0.7, 0.9)),
    Dial("CPU Busy", "percent", {"busy": "100 * (1 - avg(rate(node_cpu_seconds_total{mode='idle'})))"}, width=3, min=0, max=100,
         bounds=(85, 95)),
    Dial("Sys Load", "percent", {"load": f"100 * node_load1 / {CORES}"}, width=3, min=0, max=100, bounds=(85, 95)),
    Dial("RAM Used", "percent", {"used": "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)"}, width=3, min=0,
         max=100, bounds=(80, 90)),
    Dial("SWAP Used", "percent",
         {"used": "100 * (node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes) / node_memory_SwapTotal_bytes"}, width=3, min=0,
         max=100, bounds=(10, 25)),
    Dial("Root FS Used", "percent",
         {"used": f"100 * (node_filesystem_size_bytes{ROOT} - node_filesystem_avail_bytes{ROOT}) / node_filesystem_size_bytes{ROOT}"},
         width=3, min=0, max=100, bounds=(80, 90)),
    Number("CPU Cores", "short", {"cores": CORES}, width=2),
    Number("RAM Total", "bytes", {"total": "node_memory_MemTotal_bytes"}, width=2),
    Number("SWAP Total", "bytes", {"total": "node_memory_SwapTotal_bytes"}, width=2),
    Number("RootFS Total", "bytes", {"total": f"node_filesystem_size_bytes{ROOT}"}, width=2),
    Number("Uptime", "s", {"uptime": "node_time_seconds - node_boot_time_seconds"}, width=4),
])

BASIC = Row("Basic CPU / Mem / Net / Disk", open=True, panels=[
    Lines("CPU Basic", "percentunit", {
        "Busy System": "avg(rate(node_cpu_seconds_total{mode='system'}))", "Busy User": "avg(rate(node_cpu_seconds_total{mode='user'}))",
        "Busy Iowait": "avg(rate(node_cpu_seconds_total{mode='iowait'}))",
        "Busy IRQs": f"sum(rate(node_cpu_seconds_total{{mode=~'.*irq'}})) / {CORES}",
        "Busy Other": f"sum(rate(node_cpu_seconds_total{{mode!~'idle|user|system|iowait|irq|softirq'}})) / {CORES}",
        "Idle": "avg(rate(node_cpu_seconds_total{mode='idle'}))",
    }, stack="percent", min=0),
    Lines("Memory Basic", "bytes", {
        "Total": "node_memory_MemTotal_bytes",
        "Used": "node_memory_MemTotal_bytes - node_memory_MemFree_bytes - (node_memory_Cached_bytes + node_memory_Buffers_bytes + "
                "node_memory_SReclaimable_bytes)",
        "Cache + Buffer": "node_memory_Cached_bytes + node_memory_Buffers_bytes + node_memory_SReclaimable_bytes",
        "Free": "node_memory_MemFree_bytes", "Swap used": "node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes",
    }, stack="normal", limit="^Total$", min=0),
    Lines("Network Traffic Basic", "bps", {
        "Rx {device}": "rate(node_network_receive_bytes_total) * 8", "Tx {device}": "rate(node_network_transmit_bytes_total) * 8",
    }, below="Tx.*"),
    Lines("Disk Space Used Basic", "percent", {
        "{mountpoint}": f"100 * (node_filesystem_size_bytes{REAL} - node_filesystem_avail_bytes{REAL}) / node_filesystem_size_bytes{REAL}",
    }, min=0, max=100),
])

MODES = {
    "System": "system", "User": "user", "Nice": "nice", "Iowait": "iowait", "Irq": "irq", "Softirq": "softirq", "Steal": "steal",
    "Idle": "idle",
}
USED = [f"node_memory_{name}_bytes" for name in ("MemFree", "Buffers", "Cached", "Slab", "PageTables", "SwapCached")]
DETAIL = Row("CPU / Memory / Net / Disk", [
    Lines("CPU", "percentunit", {
        legend: f"sum(rate(node_cpu_seconds_total{{mode='{mode}'}})) / {CORES}" for legend, mode in MODES.items()
    } | {"Guest CPU usage": "sum(rate(node_cpu_guest_seconds_total)) / sum(rate(node_cpu_seconds_total))"},
          stack="percent", limit="^Guest.*", min=0),
    Lines("Memory", "bytes", {"Apps": f"node_memory_MemTotal_bytes - {' - '.join(USED)}"}
          | {"PageTables": "node_memory_PageTables_bytes", "SwapCache": "node_memory_SwapCached_bytes",
             "Slab": "node_memory_Slab_bytes", "Cache": "node_memory_Cached_bytes", "Buffers": "node_memory_Buffers_bytes",
             "Unused": "node_memory_MemFree_bytes", "Swap": "node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes",
             "Hardware Corrupted": "node_memory_HardwareCorrupted_bytes"}, stack="normal", limit="^Hardware.*", min=0),
    Lines("Network Traffic", "bps", {
        "{device} - Rx in": "rate(node_network_receive_bytes_total) * 8",
        "{device} - Tx out": "rate(node_network_transmit_bytes_total) * 8",
    }, below=OUT),
    Lines("Network Saturation", "percentunit", {
        "{device} - Rx in": "rate(node_network_receive_bytes_total) / node_network_speed_bytes",
        "{device} - Tx out": "rate(node_network_transmit_bytes_total) / node_network_speed_bytes",
    }, below=OUT),
    Lines("Disk IOps", "iops", {
        "{device} - Read": f"rate(node_disk_reads_completed_total{DISKS})",
        "{device} - Write": f"rate(node_disk_writes_completed_total{DISKS})",
    }, below=READ),
    Lines("Disk Throughput", "Bps", {
        "{device} - Read": f"rate(node_disk_read_bytes_total{DISKS})", "{device} - Write": f"rate(node_disk_written_bytes_total{DISKS})",
    }, below=READ),
    Lines("Filesystem Space Available", "bytes", {"{mountpoint}": f"node_filesystem_avail_bytes{REAL}"}, min=0),
    Lines("Filesystem Used", "bytes", {
        "{mountpoint}": f"node_filesystem_size_bytes{REAL} - node_filesystem_avail_bytes{REAL}",
    }, min=0),
    Lines("Disk I/O Utilization", "percentunit", {"{device}": f"rate(node_disk_io_time_seconds_total{DISKS})"}, min=0),
    Lines("Pressure Stall Information", "percentunit", {
        "CPU - Some": "rate(node_pressure_cpu_waiting_seconds_total)", "Memory - Some": "rate(node_pressure_memory_waiting_seconds_total)",
        "Memory - Full": "rate(node_pressure_memory_stalled_seconds_total)", "I/O - Some": "rate(node_pressure_io_waiting_seconds_total)",
        "I/O - Full": "rate(node_pressure_io_stalled_seconds_total)", "IRQ - Full": "rate(node_pressure_irq_stalled_seconds_total)",
    }, below=".*Some.*"),
])

MEMINFO = Row("Memory Meminfo", [
    Lines("Memory Committed", "bytes", memory("Committed_AS", "CommitLimit"), limit="CommitLimit", min=0),
    Lines("Memory Writeback and Dirty", "bytes", memory("Writeback", "WritebackTmp", "Dirty", "NFS_Unstable"), min=0),
    Lines("Memory Slab", "bytes", memory("SUnreclaim", "SReclaimable"), stack="normal", min=0),
    Lines("Memory Shared and Mapped", "bytes", memory("Mapped", "Shmem", "ShmemHugePages", "ShmemPmdMapped"), min=0),
    Lines("Memory LRU Active / Inactive (%)", "percentunit", {
        "Inactive": "node_memory_Inactive_bytes / node_memory_MemTotal_bytes",
        "Active": "node_memory_Active_bytes / node_memory_MemTotal_bytes",
    }, stack="normal", min=0),
    Lines("Memory LRU Active / Inactive Detail", "bytes", memory("Inactive_file", "Inactive_anon", "Active_file", "Active_anon"),
          stack="normal", min=0),
    Lines("Memory Kernel / CPU / IO", "bytes", memory("KernelStack", "Percpu", "Bounce"), min=0),
    Lines("Memory Vmalloc", "bytes", memory("VmallocChunk", "VmallocTotal", "VmallocUsed"), limit="VmallocTotal", min=0),
    Lines("Memory Anonymous", "bytes", memory("AnonHugePages", "AnonPages"), min=0),
    Lines("Memory Unevictable and MLocked", "bytes", memory("Unevictable", "Mlocked"), min=0),
    Lines("Memory DirectMap", "bytes", memory("DirectMap1G", "DirectMap2M", "DirectMap4k"), min=0),
    Lines("Memory HugePages", "bytes", {
        "Used": "(node_memory_HugePages_Total - node_memory_HugePages_Free) * node_memory_Hugepagesize_bytes",
        "Reserved": "node_memory_HugePages_Rsvd * node_memory_Hugepagesize_bytes",
        "Surplus": "node_memory_HugePages_Surp * node_memory_Hugepagesize_bytes",
        "Total": "node_memory_HugePages_Total * node_memory_Hugepagesize_bytes",
    }, min=0),
])

VMSTAT = Row("Memory Vmstat", [
    Lines("Memory Pages In / Out", "ops", {"Pages in": "rate(node_vmstat_pgpgin)", "Pages out": "rate(node_vmstat_pgpgout)"}, below=OUT),
    Lines("Memory Pages Swap In / Out", "ops", {
        "Pages swapped in": "rate(node_vmstat_pswpin)", "Pages swapped out": "rate(node_vmstat_pswpout)",
    }, below=OUT),
    Lines("Memory Page Faults", "ops", {
        "All page faults": "rate(node_vmstat_pgfault)", "Major page faults": "rate(node_vmstat_pgmajfault)",
        "Minor page faults": "rate(node_vmstat_pgfault) - rate(node_vmstat_pgmajfault)",
    }, stack="normal", limit="^All.*", min=0),
    Lines("OOM Killer", "ops", {"OOM Kills": "rate(node_vmstat_oom_kill)"}, min=0),
])

TIMESYNC = Row("System Timesync", [
    Lines("Time Synchronized Drift", "s", {
        "Estimated error": "node_timex_estimated_error_seconds", "Offset local vs reference": "node_timex_offset_seconds",
        "Maximum error": "node_timex_maxerror_seconds",
    }),
    Lines("Time PLL Adjust", "short", {"PLL Time Constant": "node_timex_loop_time_constant"}),
    Lines("Time Synchronized Status", "short", {
        "Sync status (1 = ok)": "node_timex_sync_status", "Frequency Adjustment": "node_timex_frequency_adjustment_ratio",
    }),
    Lines("PPS Frequency / Stability", "hertz", {
        "PPS Frequency Offset": "node_timex_pps_frequency_hertz", "PPS Frequency Stability": "node_timex_pps_stability_hertz",
    }),
    Lines("PPS Time Accuracy", "s", {"PPS Jitter": "node_timex_pps_jitter_seconds", "PPS Shift": "node_timex_pps_shift_seconds"}),
    Lines("PPS Sync Events", "ops", {
        "PPS Calibrations": "rate(node_timex_pps_calibration_total)", "PPS Errors": "rate(node_timex_pps_error_total)",
        "PPS Stability Exceeded": "rate(node_timex_pps_stability_exceeded_total)", "PPS Jitter": "rate(node_timex_pps_jitter_total)",
    }),
])

PROCESSES = "Needs --collector.processes in node-exporter."
WAITING, RUNNING = "rate(node_schedstat_waiting_seconds_total)", "rate(node_schedstat_running_seconds_total)"
SYSTEM = Row("System Processes", [
    Lines("Processes Status", "short", {
        "Blocked (I/O Wait)": "node_procs_blocked", "Runnable (Ready for CPU)": "node_procs_running",
    }, min=0),
    Lines("Processes Detailed States", "short", {"{state}": "node_processes_state"}, PROCESSES, stack="normal", min=0),
    Lines("Processes Forks", "ops", {"Forks": "rate(node_forks_total)"}, min=0),
    Lines("CPU Saturation per Core", "percentunit", {"CPU {cpu}": f"{WAITING} / ({RUNNING} + {WAITING})"}),
    Lines("PIDs Number and Limit", "short", {
        "Number of PIDs": "node_processes_pids", "PIDs limit": "node_processes_max_processes",
    }, PROCESSES, limit=".*limit", min=0),
    Lines("Threads Number and Limit", "short", {
        "Allocated threads": "node_processes_threads", "Threads limit": "node_processes_max_threads",
    }, PROCESSES, limit=".*limit", min=0),
])

MISC = Row("System Misc", [
    Lines("Context Switches / Interrupts", "ops", {
        "Context switches": "rate(node_context_switches_total)", "Interrupts": "rate(node_intr_total)",
    }, min=0),
    Lines("System Load", "short", {
        "Load 1m": "node_load1", "Load 5m": "node_load5", "Load 15m": "node_load15", "CPU Core Count": CORES,
    }, limit="CPU Core.*", min=0),
    Lines("CPU Frequency Scaling", "hertz", {
        "CPU {cpu}": "node_cpu_scaling_frequency_hertz", "Max": "avg(node_cpu_scaling_frequency_max_hertz)",
        "Min": "avg(node_cpu_scaling_frequency_min_hertz)",
    }, limit="^M(ax|in)$"),
    Lines("CPU Schedule Timeslices", "ops", {"CPU {cpu}": "rate(node_schedstat_timeslices_total)"}),
    Lines("IRQ Detail", "ops", {"{type} - {info}": "sum(rate(node_interrupts_total))"}, "Needs --collector.interrupts in node-exporter."),
    Lines("Entropy", "decbits", {
        "Entropy available": "node_entropy_available_bits", "Entropy pool max": "node_entropy_pool_size_bits",
    }, limit=".*max", min=0),
])

HARDWARE = Row("Hardware Misc", [
    Lines("Hardware Temperature Monitor", "celsius", {
        "{chip_name} {sensor}": "node_hwmon_temp_celsius", "{chip_name} {sensor} Critical": "node_hwmon_temp_crit_celsius",
    }, limit=".*Critical", min=0),
    Lines("Cooling Device Utilization", "percent", {
        "{name} - {type}": "100 * node_cooling_device_cur_state / node_cooling_device_max_state",
    }),
    Lines("Power Supply", "bool_yes_no", {"{power_supply} online": "node_power_supply_online"}),
    Lines("Hardware Fan Speed", "rotrpm", {"{chip_name} {sensor}": "node_hwmon_fan_rpm"}, min=0),
])

UNITS = ("Activating", "Active", "Deactivating", "Failed", "Inactive")
SYSTEMD_NEEDED = "Needs --collector.systemd in node-exporter."
SYSTEMD = Row("Systemd", [
    Lines("Systemd Units State", "short", {state: f"node_systemd_units{{state='{state.lower()}'}}" for state in UNITS}, SYSTEMD_NEEDED,
          stack="normal"),
    Lines("Systemd Sockets Current", "short", {"{name}": "node_systemd_socket_current_connections"}, SYSTEMD_NEEDED, min=0),
    Lines("Systemd Sockets Accepted", "eps", {"{name}": "rate(node_systemd_socket_accepted_connections_total)"}, SYSTEMD_NEEDED, min=0),
    Lines("Systemd Sockets Refused", "eps", {"{name}": "rate(node_systemd_socket_refused_connections_total)"}, SYSTEMD_NEEDED, min=0),
])

BOARD = Board(
    "cedana-node", "Node", "One node, by node-exporter: a counterpart for each panel of Node Exporter Full (grafana.com 1860).",
    [QUICK, BASIC, DETAIL, MEMINFO, VMSTAT, TIMESYNC, SYSTEM, MISC, HARDWARE, SYSTEMD, *node_network.ROWS],
    [Variable("cluster", "cluster_id", ("node_uname_info",)), Variable("job", "job", ("node_uname_info",)),
     Variable("node", "node", ("node_uname_info",))],
)
