//! Fuzz target: files of procfs and sysfs that say anything.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Config, Host};

/// Files that collectors read, below the root that stands for all three places.
const FILES: [&str; 24] = [
    "stat",
    "meminfo",
    "vmstat",
    "diskstats",
    "loadavg",
    "schedstat",
    "pressure/cpu",
    "1/mounts",
    "1/net/dev",
    "1/net/netstat",
    "1/net/snmp",
    "1/net/snmp6",
    "1/net/sockstat",
    "1/net/softnet_stat",
    "1/net/arp",
    "1/net/udp",
    "1/net/stat/nf_conntrack",
    "sys/net/netfilter/nf_conntrack_max",
    "sys/fs/file-nr",
    "sys/kernel/hostname",
    "etc/os-release",
    "class/net/a/flags",
    "class/hwmon/hwmon0/temp1_input",
    "devices/system/cpu/isolated",
];

/// A directory in memory where there is one, which goes with this.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(parent.join(format!("agent-fuzz-host-{}-{number}", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The same bytes as every file. Whatever they are, each line that comes of them is one of the text format, and the
/// second reading gives the same.
pub fn host(data: &[u8]) {
    let place = Place::new();
    for file in FILES {
        let path = place.0.join(file);
        let made = path.parent().map(fs::create_dir_all);
        if !matches!(made, Some(Ok(()))) || fs::write(path, data).is_err() {
            return;
        }
    }
    let [procfs, sysfs, rootfs] = std::array::from_fn(|_| place.0.clone());
    let mut config = Config { procfs, sysfs, rootfs, ..Config::default() };
    // Nothing of the machine at hand is asked: a mount point made up could be one of its own.
    config.filesystem.mount_points_exclude = String::new();
    config.netstat.fields = String::new();
    config.vmstat.fields = String::new();
    let Ok(host) = Host::new(&config, None, Duration::from_secs(60)) else { return };
    for (name, collect) in host.collectors.clone() {
        let text = || {
            let mut text = String::new();
            host.collect(collect).0.write(&mut text);
            text
        };
        let first = text();
        check(&first);
        assert!(name == "time" || text() == first, "{name} says something else the second time");
    }
}

fn check(text: &str) {
    for line in text.lines() {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        assert!(name.starts_with("node_"), "no line of the format: {line:?}");
        let value = line.rsplit_once(' ').map(|(_, value)| value).unwrap_or_default();
        assert!(
            line.starts_with('#') || value == "+Inf" || value.parse::<f64>().is_ok(),
            "no value: {line:?}"
        );
    }
}
