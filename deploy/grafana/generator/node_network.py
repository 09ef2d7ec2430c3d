"""One node, the rest of Node Exporter Full: disks, filesystems, network, and the exporter itself."""

from .panels import Bars, Lines, Row

READ, OUT = ".*Read.*", ".*out.*"
REAL = "{device!='rootfs'}"


def both(name):
    """`{legend: rate}` of what an interface receives and sends."""
    return received(name) | sent(name)


def received(name):
    return {"{device} - Rx in": f"rate(node_network_receive_{name}_total)"}


def sent(name):
    return {"{device} - Tx out": f"rate(node_network_transmit_{name}_total)"}


def netstat(**counters):
    """`{legend: rate}` of counters of /proc/net/netstat and /proc/net/snmp; _ in a legend is a blank."""
    return {legend.replace("_", " "): f"rate(node_netstat_{name})" for legend, name in counters.items()}


def states(*names):
    return {name.upper(): f"node_tcp_connection_states{{state='{name}'}}" for name in names}


DISK = Row("Storage Disk", [
    Lines("Disk Read/Write IOps", "iops", {
        "{device} - Read": "rate(node_disk_reads_completed_total)", "{device} - Write": "rate(node_disk_writes_completed_total)",
    }, below=READ),
    Lines("Disk Read/Write Data", "Bps", {
        "{device} - Read": "rate(node_disk_read_bytes_total)", "{device} - Write": "rate(node_disk_written_bytes_total)",
    }, below=READ),
    Lines("Disk Average Wait Time", "s", {
        "{device} - Read": "rate(node_disk_read_time_seconds_total) / rate(node_disk_reads_completed_total)",
        "{device} - Write": "rate(node_disk_write_time_seconds_total) / rate(node_disk_writes_completed_total)",
    }, below=READ),
    Lines("Average Queue Size", "none", {"{device}": "rate(node_disk_io_time_weighted_seconds_total)"}, min=0),
    Lines("Disk R/W Merged", "iops", {
        "{device} - Read": "rate(node_disk_reads_merged_total)", "{device} - Write": "rate(node_disk_writes_merged_total)",
    }, below=READ),
    Lines("Time Spent Doing I/Os", "percentunit", {
        "{device} - General IO": "rate(node_disk_io_time_seconds_total)",
        "{device} - Discard/TRIM": "rate(node_disk_discard_time_seconds_total)",
        "{device} - Flush (write cache)": "rate(node_disk_flush_requests_time_seconds_total)",
    }, min=0),
    Lines("Disk Ops Discards / Flush", "ops", {
        "{device} - Discards completed": "rate(node_disk_discards_completed_total)",
        "{device} - Discards merged": "rate(node_disk_discards_merged_total)", "{device} - Flush": "rate(node_disk_flush_requests_total)",
    }),
    Lines("Disk Sectors Discarded Successfully", "short", {"{device}": "rate(node_disk_discarded_sectors_total)"}),
    Lines("Instantaneous Queue Size", "none", {"{device}": "node_disk_io_now"}, min=0),
])

FILESYSTEM = Row("Storage Filesystem", [
    Lines("File Descriptor", "short", {"Max open files": "node_filefd_maximum", "Open files": "node_filefd_allocated"}, limit="^Max.*",
          min=0),
    Lines("File Nodes Free", "short", {"{mountpoint}": f"node_filesystem_files_free{REAL}"}, min=0),
    Lines("Filesystem in ReadOnly / Error", "bool_yes_no", {
        "{mountpoint} - ReadOnly": f"max(node_filesystem_readonly{REAL})",
        "{mountpoint} - Device error": "max(node_filesystem_device_error{device!='rootfs',fstype!='tmpfs'})",
    }, min=0, max=1),
    Lines("File Nodes Size", "short", {"{mountpoint}": f"node_filesystem_files{REAL}"}, min=0),
])

TRAFFIC = Row("Network Traffic", [
    Lines("Network Traffic by Packets", "pps", both("packets"), below=OUT),
    Lines("Network Traffic Errors", "pps", both("errs"), below=OUT),
    Lines("Network Traffic Drop", "pps", both("drop"), below=OUT),
    Lines("Network Traffic Compressed", "pps", both("compressed"), below=OUT),
    Lines("Network Traffic Multicast", "pps", received("multicast")),
    Lines("Network Traffic NoHandler", "pps", received("nohandler")),
    Lines("Network Traffic Frame", "pps", received("frame")),
    Lines("Network Traffic Fifo", "pps", both("fifo"), below=OUT),
    Lines("Network Traffic Collision", "pps", sent("colls"), below=OUT),
    Lines("Network Traffic Carrier Errors", "pps", sent("carrier")),
    Lines("ARP Entries", "short", {"{device} ARP Table": "node_arp_entries"}, min=0),
    Lines("NF Conntrack", "short", {
        "NF conntrack entries": "node_nf_conntrack_entries", "NF conntrack limit": "node_nf_conntrack_entries_limit",
    }, limit=".*limit", min=0),
    Lines("Network Operational Status", "bool_yes_no", {"{device} - Physical link": "node_network_carrier"}),
    Bars("Speed", "bps", {"{device}": "node_network_speed_bytes * 8"}, width=6, min=0),
    Bars("MTU", "none", {"{device}": "node_network_mtu_bytes"}, width=6, min=0),
])

SOCKSTAT = Row("Network Sockstat", [
    Lines("Sockstat TCP", "short", {
        "Allocated Sockets": "node_sockstat_TCP_alloc", "In-Use Sockets": "node_sockstat_TCP_inuse",
        "Orphaned Sockets": "node_sockstat_TCP_orphan", "TIME_WAIT Sockets": "node_sockstat_TCP_tw",
    }, min=0),
    Lines("Sockstat UDP", "short", {
        "UDPLite - In-Use Sockets": "node_sockstat_UDPLITE_inuse", "UDP - In-Use Sockets": "node_sockstat_UDP_inuse",
    }, min=0),
    Lines("Sockstat Used", "short", {"Total sockets": "node_sockstat_sockets_used"}, min=0),
    Lines("Sockstat FRAG / RAW", "short", {
        "FRAG - In-Use Sockets": "node_sockstat_FRAG_inuse", "RAW - In-Use Sockets": "node_sockstat_RAW_inuse",
    }, min=0),
    Lines("Sockstat Memory Size", "bytes", {
        "TCP": "node_sockstat_TCP_mem_bytes", "UDP": "node_sockstat_UDP_mem_bytes", "Fragmentation": "node_sockstat_FRAG_memory",
    }, min=0),
    Lines("Sockstat Average Socket Memory", "bytes", {
        "TCP": "node_sockstat_TCP_mem_bytes / node_sockstat_TCP_inuse", "UDP": "node_sockstat_UDP_mem_bytes / node_sockstat_UDP_inuse",
    }, min=0),
    Lines("TCP/UDP Kernel Buffer Memory Pages", "short", {"TCP": "node_sockstat_TCP_mem", "UDP": "node_sockstat_UDP_mem"}, min=0),
    Lines("Softnet Packets", "pps", {
        "CPU {cpu} - Processed": "rate(node_softnet_processed_total)", "CPU {cpu} - Dropped": "rate(node_softnet_dropped_total)",
    }, below=".*Dropped.*"),
    Lines("Softnet Out of Quota", "eps", {"CPU {cpu} - Times Squeezed": "rate(node_softnet_times_squeezed_total)"}),
    Lines("Softnet RPS", "pps", {
        "CPU {cpu} - Processed": "rate(node_softnet_received_rps_total)",
        "CPU {cpu} - Dropped": "rate(node_softnet_flow_limit_count_total)",
    }, below=".*Dropped.*"),
])

TCPSTAT = "Needs --collector.tcpstat in node-exporter."
NETSTAT = Row("Network Netstat", [
    Lines("Netstat IP In / Out Octets", "Bps", netstat(IP_Rx_in="IpExt_InOctets", IP_Tx_out="IpExt_OutOctets"), below=OUT),
    Lines("TCP In / Out", "pps", netstat(TCP_Rx_in="Tcp_InSegs", TCP_Tx_out="Tcp_OutSegs"), below=OUT),
    Lines("UDP In / Out", "pps", netstat(UDP_Rx_in="Udp_InDatagrams", UDP_Tx_out="Udp_OutDatagrams"), below=OUT),
    Lines("ICMP In / Out", "pps", netstat(ICMP_Rx_in="Icmp_InMsgs", ICMP_Tx_out="Icmp_OutMsgs"), below=OUT),
    Lines("TCP Errors", "pps", netstat(
        Listen_Overflows="TcpExt_ListenOverflows", Listen_Drops="TcpExt_ListenDrops", SYN_Retransmits="TcpExt_TCPSynRetrans",
        Segment_Retransmits="Tcp_RetransSegs", Receive_Errors="Tcp_InErrs", RST_Sent="Tcp_OutRsts",
        Receive_Queue_Drops="TcpExt_TCPRcvQDrop", Out_of_order_Queued="TcpExt_TCPOFOQueue", TCP_Timeouts="TcpExt_TCPTimeouts",
    ), min=0),
    Lines("UDP Errors", "pps", netstat(
        UDP_Rx_in_Errors="Udp_InErrors", UDP_No_Listener="Udp_NoPorts", UDPLite_Rx_in_Errors="UdpLite_InErrors",
        UDP_Rx_in_Buffer_Errors="Udp_RcvbufErrors", UDP_Tx_out_Buffer_Errors="Udp_SndbufErrors",
    )),
    Lines("ICMP Errors", "pps", netstat(ICMP_Rx_In="Icmp_InErrors")),
    Lines("TCP SynCookie", "eps", netstat(
        SYN_Cookies_Failed="TcpExt_SyncookiesFailed", SYN_Cookies_Validated="TcpExt_SyncookiesRecv",
        SYN_Cookies_Sent="TcpExt_SyncookiesSent",
    )),
    Lines("TCP Connections", "short", {
        "Current Connections": "node_netstat_Tcp_CurrEstab", "Max Connections": "node_netstat_Tcp_MaxConn",
    }, "Max Connections needs --collector.netstat.fields with Tcp_MaxConn.", limit="^Max.*", min=0),
    Lines("UDP Queue", "short", {
        "UDP Rx in Queue": "node_udp_queues{ip='v4',queue='rx'}", "UDP Tx out Queue": "node_udp_queues{ip='v4',queue='tx'}",
    }),
    Lines("TCP Direct Transition", "eps", netstat(Active_Opens="Tcp_ActiveOpens", Passive_Opens="Tcp_PassiveOpens"), min=0),
    Lines("TCP Stat Persistent", "short", states("established", "fin_wait2", "listen", "time_wait", "close_wait"), TCPSTAT, min=0),
    Lines("TCP Stat Transient", "short", states("syn_sent", "syn_recv", "fin_wait1", "close", "last_ack", "closing"), TCPSTAT, min=0),
    Lines("TCP Socket Queue", "bytes", {
        "RX Queued (waiting to be read)": "node_tcp_connection_states{state='rx_queued_bytes'}",
        "TX Queued (waiting to be sent)": "node_tcp_connection_states{state='tx_queued_bytes'}",
    }, TCPSTAT, min=0),
])

EXPORTER = Row("Node Exporter", [
    Lines("Node Exporter Scrape Time", "s", {"{collector}": "node_scrape_collector_duration_seconds"}, stack="normal"),
    Lines("Exporter Process CPU Usage", "percentunit", {"Process CPU Usage": "rate(process_cpu_seconds_total)"}),
    Lines("Exporter Processes Memory", "bytes", {
        "Virtual Memory": "process_virtual_memory_bytes", "Virtual Memory Limit": "process_virtual_memory_max_bytes",
    }, limit=".*Limit", min=0),
    Lines("Exporter File Descriptor Usage", "short", {
        "Maximum open file descriptors": "process_max_fds", "Open file descriptors": "process_open_fds",
    }, limit="^Max.*", min=0),
    Bars("Node Exporter Scrape", "bool", {
        "{collector}": "node_scrape_collector_success", "textfile": "1 - node_textfile_scrape_error",
    }, min=0, max=1),
])

ROWS = [DISK, FILESYSTEM, TRAFFIC, SOCKSTAT, NETSTAT, EXPORTER]
