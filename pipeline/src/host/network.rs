//! The network: devices, protocols, sockets, connection tracking.
//!
//! The files of `/proc/net` as proc_pid_net(5) describes them, of the first process, whose network is the host's.

use std::collections::BTreeMap;

use super::Host;
use super::page::Page;
use super::read::{Error, hex, number, value};

/// The columns of `/proc/net/dev` behind the device's name.
const DEVICE_COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

/// Collector `netdev`.
pub(super) fn netdev(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.net("dev")?;
    // A colon may be part of the name of an alias.
    for (device, columns) in text.lines().skip(2).filter_map(|line| line.rsplit_once(':')) {
        let device = device.trim();
        if host.patterns.netdev_exclude.as_ref().is_some_and(|exclude| exclude.is_match(device)) {
            continue;
        }
        for (column, value) in DEVICE_COLUMNS.iter().zip(columns.split_ascii_whitespace()) {
            let Some(value) = number(value) else { break };
            let (name, help) =
                (format!("node_network_{column}_total"), format!("Network device statistic {column}."));
            page.counter(&name, &help, &[("device", device)], value);
        }
        // Only netlink knows the packets that nobody took. node-exporter gets the other columns from there too, by default.
        let path = host.tree.sys(&format!("class/net/{device}/statistics/rx_nohandler"));
        if let Some(count) = value(&path) {
            let (name, help) =
                ("node_network_receive_nohandler_total", "Network device statistic receive_nohandler.");
            page.counter(name, help, &[("device", device)], count);
        }
    }
    Ok(())
}

/// Collector `netstat`: the fields that are asked for.
pub(super) fn netstat(host: &Host, page: &mut Page) -> Result<(), Error> {
    for file in ["netstat", "snmp"] {
        let text = host.tree.net(file)?;
        let mut lines = text.lines();
        // A line of names, and one of values.
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (Some((protocol, names)), Some((of, values))) =
                (names.split_once(':'), values.split_once(':'))
            else {
                continue;
            };
            if protocol != of {
                return Err(odd(host, file, format!("values of {of:?} below the names of {protocol:?}")));
            }
            for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
                field(host, page, protocol, name, value);
            }
        }
    }
    // Not there without IPv6.
    for line in host.tree.net("snmp6").unwrap_or_default().lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
        let Some((protocol, field_name)) = name.split_once('6') else { continue };
        field(host, page, &format!("{protocol}6"), field_name, value);
    }
    Ok(())
}

fn field(host: &Host, page: &mut Page, protocol: &str, name: &str, value: &str) {
    let key = format!("{protocol}_{name}");
    if let Some(value) = number(value).filter(|_| host.patterns.netstat_fields.is_match(&key)) {
        page.untyped(&format!("node_netstat_{key}"), &format!("Statistic {protocol}{name}."), &[], value);
    }
}

fn odd(host: &Host, file: &str, what: String) -> Error {
    Error::Odd { path: host.tree.procfs.join("net").join(file), what }
}

/// Collector `sockstat`: pairs of a state and a number behind each protocol.
pub(super) fn sockstat(host: &Host, page: &mut Page) -> Result<(), Error> {
    let (v4, v6) = (host.tree.net("sockstat"), host.tree.net("sockstat6"));
    let (v4, v6) = match (v4, v6) {
        (Err(error), Err(_)) => return Err(error),
        // One of the two may be switched off.
        (v4, v6) => (v4.unwrap_or_default(), v6.unwrap_or_default()),
    };
    for line in v4.lines().chain(v6.lines()) {
        let Some((protocol, pairs)) = line.split_once(':') else { continue };
        let mut words = pairs.split_ascii_whitespace();
        while let (Some(state), Some(count)) = (words.next(), words.next()) {
            let Some(count) = number(count) else { continue };
            let mut add = |state: &str, value: f64| {
                let help = match protocol {
                    "sockets" => "Number of IPv4 sockets in use.".to_owned(),
                    _ => format!("Number of {protocol} sockets in state {state}."),
                };
                page.gauge(&format!("node_sockstat_{protocol}_{state}"), &help, &[], value);
            };
            add(state, count);
            if state == "mem" {
                add("mem_bytes", count * page_bytes());
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a small power of two")]
fn page_bytes() -> f64 {
    rustix::param::page_size() as f64
}

/// Column, metric, help; the columns are hexadecimal.
const SOFTNET: [(usize, &str, &str); 6] = [
    (0, "processed_total", "Number of processed packets"),
    (1, "dropped_total", "Number of dropped packets"),
    (2, "times_squeezed_total", "Number of times processing packets ran out of quota"),
    (8, "cpu_collision_total", "Number of collision occur while obtaining device lock while transmitting"),
    (9, "received_rps_total", "Number of times cpu woken up received_rps"),
    (10, "flow_limit_count_total", "Number of times flow limit has been reached"),
];
/// The length of the backlog, since Linux 5.10.
const BACKLOG: usize = 11;
/// The processor's number, since then too.
const CPU: usize = 12;

/// Collector `softnet`: a line for each processor.
pub(super) fn softnet(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.net("softnet_stat")?;
    for (position, line) in text.lines().enumerate() {
        let columns: Vec<_> = line.split_ascii_whitespace().filter_map(hex).collect();
        // Older kernels do not say whose line it is.
        let cpu = columns.get(CPU).map_or_else(|| position.to_string(), |number| format!("{number}"));
        let labels = [("cpu", cpu.as_str())];
        for (column, name, help) in SOFTNET {
            if let Some(value) = columns.get(column) {
                page.counter(&format!("node_softnet_{name}"), help, &labels, *value);
            }
        }
        if let Some(value) = columns.get(BACKLOG) {
            page.gauge("node_softnet_backlog_len", "Softnet backlog status", &labels, *value);
        }
    }
    Ok(())
}

/// Collector `arp`: neighbours by device.
pub(super) fn arp(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.net("arp")?;
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for device in text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(5)) {
        *counts.entry(device).or_default() += 1;
    }
    for (device, count) in counts {
        page.gauge("node_arp_entries", "ARP entries by device", &[("device", device)], f64::from(count));
    }
    Ok(())
}

/// Collector `udp_queues`: bytes that wait in all sockets together.
pub(super) fn udp_queues(host: &Host, page: &mut Page) -> Result<(), Error> {
    let mut is_known = false;
    for (file, ip) in [("udp", "v4"), ("udp6", "v6")] {
        // One of the two may be switched off.
        let Ok(text) = host.tree.net(file) else { continue };
        is_known = true;
        let (mut sent, mut received) = (0.0, 0.0);
        for line in text.lines().skip(1) {
            let queues = line.split_ascii_whitespace().nth(4).and_then(|queues| queues.split_once(':'));
            let Some((Some(tx), Some(rx))) = queues.map(|(tx, rx)| (hex(tx), hex(rx))) else { continue };
            sent += tx;
            received += rx;
        }
        let help = "Number of allocated memory in the kernel for UDP datagrams in bytes.";
        page.gauge("node_udp_queues", help, &[("ip", ip), ("queue", "tx")], sent);
        page.gauge("node_udp_queues", help, &[("ip", ip), ("queue", "rx")], received);
    }
    if is_known { Ok(()) } else { Err(Error::NoData) }
}

/// Column and help of what is counted.
const CONNTRACK: [(&str, &str); 8] = [
    ("found", "Number of searched entries which were successful."),
    ("invalid", "Number of packets seen which can not be tracked."),
    ("ignore", "Number of packets seen which are already connected to a conntrack entry."),
    ("insert", "Number of entries inserted into the list."),
    ("insert_failed", "Number of entries for which list insertion was attempted but failed."),
    ("drop", "Number of packets dropped due to conntrack failure."),
    (
        "early_drop",
        "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
    ),
    (
        "search_restart",
        "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
    ),
];

/// Collector `conntrack`. The entries are those of the host's network, which its own file of one number would not show to
/// whoever is in another.
pub(super) fn conntrack(host: &Host, page: &mut Page) -> Result<(), Error> {
    let limit = host.tree.proc("sys/net/netfilter/nf_conntrack_max")?;
    let text = host.tree.net("stat/nf_conntrack")?;
    let mut lines = text.lines();
    let names: Vec<_> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    let mut entries = None;
    for line in lines {
        for (name, value) in names.iter().zip(line.split_ascii_whitespace()) {
            let Some(value) = hex(value) else { continue };
            // The same in the line of each processor.
            if *name == "entries" {
                entries = Some(value);
            }
            *sums.entry(name).or_default() += value;
        }
    }
    let count = || number(host.tree.proc("sys/net/netfilter/nf_conntrack_count").ok()?.trim());
    if let Some(entries) = entries.or_else(count) {
        let help = "Number of currently allocated flow entries for connection tracking.";
        page.gauge("node_nf_conntrack_entries", help, &[], entries);
    }
    if let Some(limit) = number(limit.trim()) {
        let help = "Maximum size of connection tracking table.";
        page.gauge("node_nf_conntrack_entries_limit", help, &[], limit);
    }
    for (column, help) in CONNTRACK {
        let sum = sums.get(column).copied().unwrap_or_default();
        page.gauge(&format!("node_nf_conntrack_stat_{column}"), help, &[], sum);
    }
    Ok(())
}
