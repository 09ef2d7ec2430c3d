//! Network devices as `/sys/class/net` shows them (Documentation/ABI/testing/sysfs-class-net).

use super::Host;
use super::page::Page;
use super::read::{Error, attribute, names, number};

/// Attribute and the rest of the metric's name. What cannot be read, such as the carrier of a device that is down, is left out.
const ATTRIBUTES: [(&str, &str); 16] = [
    ("addr_assign_type", "address_assign_type"),
    ("carrier", "carrier"),
    ("carrier_changes", "carrier_changes_total"),
    ("carrier_up_count", "carrier_up_changes_total"),
    ("carrier_down_count", "carrier_down_changes_total"),
    ("dev_id", "device_id"),
    ("dormant", "dormant"),
    ("flags", "flags"),
    ("ifindex", "iface_id"),
    ("iflink", "iface_link"),
    ("link_mode", "iface_link_mode"),
    ("mtu", "mtu_bytes"),
    ("name_assign_type", "name_assign_type"),
    ("netdev_group", "net_dev_group"),
    ("tx_queue_len", "transmit_queue_length"),
    ("type", "protocol_type"),
];

/// The bit of `flags` that an administrator sets (IFF_UP, netdevice(7)).
const UP: u64 = 1;

/// Collector `netclass`.
pub(super) fn netclass(host: &Host, page: &mut Page) -> Result<(), Error> {
    let class = host.tree.sys("class/net");
    for device in names(&class)? {
        let path = class.join(&device);
        // Beside devices there are files of drivers, such as `bonding_masters`.
        if !path.is_dir() || host.patterns.netclass_ignored.is_match(&device) {
            continue;
        }
        let of = |name: &str| attribute(&path.join(name)).unwrap_or_default();
        let labels = [("device", device.as_str())];
        for (file, name) in ATTRIBUTES {
            let Some(value) = number(&of(file)) else { continue };
            add(page, name, &labels, value);
        }
        // Megabits per second; -1 where nobody knows.
        if let Some(speed) = number(&of("speed")) {
            add(page, "speed_bytes", &labels, speed * 125_000.0);
        }
        let state = of("operstate");
        let is_up = if state == "up" { 1.0 } else { 0.0 };
        page.gauge("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise.", &labels, is_up);
        info(page, &device, &state, of);
    }
    Ok(())
}

fn add(page: &mut Page, name: &str, labels: &[(&str, &str)], value: f64) {
    let (metric, help) = (format!("node_network_{name}"), format!("Network device property: {name}"));
    match name.ends_with("_total") {
        true => page.counter(&metric, &help, labels, value),
        false => page.gauge(&metric, &help, labels, value),
    }
}

fn info(page: &mut Page, device: &str, state: &str, of: impl Fn(&str) -> String) {
    let flags = of("flags");
    let flags = flags.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let admin_state = match flags {
        Some(flags) if flags & UP != 0 => "up",
        Some(_) => "down",
        None => "unknown",
    };
    let (address, broadcast, duplex, alias) = (of("address"), of("broadcast"), of("duplex"), of("ifalias"));
    let labels = [
        ("address", address.as_str()),
        ("adminstate", admin_state),
        ("broadcast", &broadcast),
        ("device", device),
        ("duplex", &duplex),
        ("ifalias", &alias),
        ("operstate", state),
    ];
    let help = "Non-numeric data from /sys/class/net/<iface>, value is always 1.";
    page.gauge("node_network_info", help, &labels, 1.0);
}
