"""The panels of the dashboards that ours are the counterparts of, by row and title, as they were read from their published JSON:

- Node Exporter Full, grafana.com 1860 (repository rfmoz/grafana-dashboards, prometheus/node-exporter-full.json), as made for Grafana 11.6;
- NVIDIA DCGM Exporter Dashboard, grafana.com 12239 (repository NVIDIA/dcgm-exporter, grafana/dcgm-exporter-dashboard.json).

A panel that is listed here and has no counterpart ends the generator.
"""

NODE = {
    "Quick CPU / Mem / Disk": [
        "Pressure", "CPU Busy", "Sys Load", "RAM Used", "SWAP Used", "Root FS Used", "CPU Cores", "RAM Total", "SWAP Total", "RootFS Total",
        "Uptime",
    ],
    "Basic CPU / Mem / Net / Disk": ["CPU Basic", "Memory Basic", "Network Traffic Basic", "Disk Space Used Basic"],
    "CPU / Memory / Net / Disk": [
        "CPU", "Memory", "Network Traffic", "Network Saturation", "Disk IOps", "Disk Throughput", "Filesystem Space Available",
        "Filesystem Used", "Disk I/O Utilization", "Pressure Stall Information",
    ],
    "Memory Meminfo": [
        "Memory Committed", "Memory Writeback and Dirty", "Memory Slab", "Memory Shared and Mapped", "Memory LRU Active / Inactive (%)",
        "Memory LRU Active / Inactive Detail", "Memory Kernel / CPU / IO", "Memory Vmalloc", "Memory Anonymous",
        "Memory Unevictable and MLocked", "Memory DirectMap", "Memory HugePages",
    ],
    "Memory Vmstat": ["Memory Pages In / Out", "Memory Pages Swap In / Out", "Memory Page Faults", "OOM Killer"],
    "System Timesync": [
        "Time Synchronized Drift", "Time PLL Adjust", "Time Synchronized Status", "PPS Frequency / Stability", "PPS Time Accuracy",
        "PPS Sync Events",
    ],
    "System Processes": [
        "Processes Status", "Processes Detailed States", "Processes Forks", "CPU Saturation per Core", "PIDs Number and Limit",
        "Threads Number and Limit",
    ],
    "System Misc": [
        "Context Switches / Interrupts", "System Load", "CPU Frequency Scaling", "CPU Schedule Timeslices", "IRQ Detail", "Entropy",
    ],
    "Hardware Misc": ["Hardware Temperature Monitor", "Cooling Device Utilization", "Power Supply", "Hardware Fan Speed"],
    "Systemd": ["Systemd Units State", "Systemd Sockets Current", "Systemd Sockets Accepted", "Systemd Sockets Refused"],
    "Storage Disk": [
        "Disk Read/Write IOps", "Disk Read/Write Data", "Disk Average Wait Time", "Average Queue Size", "Disk R/W Merged",
        "Time Spent Doing I/Os", "Disk Ops Discards / Flush", "Disk Sectors Discarded Successfully", "Instantaneous Queue Size",
    ],
    "Storage Filesystem": ["File Descriptor", "File Nodes Free", "Filesystem in ReadOnly / Error", "File Nodes Size"],
    "Network Traffic": [
        "Network Traffic by Packets", "Network Traffic Errors", "Network Traffic Drop", "Network Traffic Compressed",
        "Network Traffic Multicast", "Network Traffic NoHandler", "Network Traffic Frame", "Network Traffic Fifo",
        "Network Traffic Collision", "Network Traffic Carrier Errors", "ARP Entries", "NF Conntrack", "Network Operational Status", "Speed",
        "MTU",
    ],
    "Network Sockstat": [
        "Sockstat TCP", "Sockstat UDP", "Sockstat Used", "Sockstat FRAG / RAW", "Sockstat Memory Size", "Sockstat Average Socket Memory",
        "TCP/UDP Kernel Buffer Memory Pages", "Softnet Packets", "Softnet Out of Quota", "Softnet RPS",
    ],
    "Network Netstat": [
        "Netstat IP In / Out Octets", "TCP In / Out", "UDP In / Out", "ICMP In / Out", "TCP Errors", "UDP Errors", "ICMP Errors",
        "TCP SynCookie", "TCP Connections", "UDP Queue", "TCP Direct Transition", "TCP Stat Persistent", "TCP Stat Transient",
        "TCP Socket Queue",
    ],
    "Node Exporter": [
        "Node Exporter Scrape Time", "Exporter Process CPU Usage", "Exporter Processes Memory", "Exporter File Descriptor Usage",
        "Node Exporter Scrape",
    ],
}

# It has no rows.
DCGM = {
    "NVIDIA DCGM Exporter Dashboard": [
        "GPU Temperature", "GPU Avg. Temp", "GPU Power Usage", "GPU Power Total", "GPU SM Clocks", "GPU Utilization",
        "Tensor Core Utilization", "GPU Framebuffer Mem Used",
    ],
}
