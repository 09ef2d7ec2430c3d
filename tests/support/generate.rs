//! Expositions of the size and shape of real ones, made up deterministically: the *mixed cluster*.
//!
//! Shapes are those of node-exporter 1.9 (1,311 samples of 76 bytes), kube-state-metrics 2 (55 samples per pod), DCGM
//! exporter 4 (25 per GPU) and cAdvisor (75 per pod, own timestamps, 64-hex ids). A fifth of the values changes from
//! one scrape to the next, as in recorded ones.

use std::fmt::Write;

/// Samples in the body of [`node`].
pub const NODE_SAMPLES: usize = 1311;
/// Samples for each pod in the body of [`kube_state`].
pub const KUBE_STATE_SAMPLES_PER_POD: usize = 55;
/// Samples for each GPU in the body of [`dcgm`].
pub const DCGM_SAMPLES_PER_GPU: usize = 25;
/// Samples for each pod in the body of [`cadvisor`].
pub const CADVISOR_SAMPLES_PER_POD: usize = 75;

/// Mixes bits (splitmix64), so that nearby numbers give unrelated ones.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Writes one exposition; knows who it is and which scrape it is.
struct Writer {
    text: String,
    seed: u64,
    scrape: u64,
    series: u64,
}

impl Writer {
    fn new(seed: u64, scrape: u64) -> Self {
        Self { text: String::new(), seed: mix(seed), scrape, series: 0 }
    }

    fn declare(&mut self, metric: &str, kind: &str) {
        let _ = writeln!(
            self.text,
            "# HELP {metric} Made up, in the shape of the real one, with a help text of about the usual length.\n# TYPE {metric} {kind}"
        );
    }

    /// The value of the next series: of every 1,000 series, 197 change.
    fn value(&mut self) -> f64 {
        self.series += 1;
        let hash = mix(self.seed ^ self.series);
        let steps = if hash % 1000 < 197 { self.scrape } else { 0 };
        // Halves are zero, small counts, large counts, or fractions, as they are in real bodies.
        let (base, step) = match hash >> 32 & 7 {
            0..=2 => (0.0, 1.0),
            3 | 4 => (f64::from((hash >> 16) as u16 % 64), 1.0),
            5 => (f64::from((hash >> 24) as u32), 4096.0),
            6 => (f64::from((hash >> 20) as u32) / 100.0, 0.25),
            _ => (f64::from((hash >> 20) as u32) * 4096.0, 65536.0),
        };
        base + step * steps as f64
    }

    fn sample(&mut self, metric: &str, labels: &str) {
        let value = self.value();
        self.line(metric, labels, value, "");
    }

    fn line(&mut self, metric: &str, labels: &str, value: f64, tail: &str) {
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        let exponent = value.abs() >= 1e6;
        // Go writes large values with an exponent: 1.234567e+06.
        let number = if exponent { format!("{value:e}").replace('e', "e+") } else { value.to_string() };
        let _ = writeln!(self.text, "{metric}{open}{labels}{close} {number}{tail}");
    }
}

/// A body of node-exporter on node number `node`: [`NODE_SAMPLES`] samples.
#[must_use]
pub fn node(node: u64, scrape: u64) -> String {
    const MODES: [&str; 8] = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
    const DISK: [&str; 17] = [
        "read_bytes",
        "read_time_seconds",
        "reads_completed",
        "reads_merged",
        "write_time_seconds",
        "writes_completed",
        "writes_merged",
        "written_bytes",
        "io_time_seconds",
        "io_time_weighted_seconds",
        "discards_completed",
        "discards_merged",
        "discarded_sectors",
        "discard_time_seconds",
        "flush_requests",
        "flush_requests_time_seconds",
        "io_errors",
    ];
    const NET: [&str; 16] = [
        "receive_bytes",
        "receive_compressed",
        "receive_drop",
        "receive_errs",
        "receive_fifo",
        "receive_frame",
        "receive_multicast",
        "receive_nohandler",
        "receive_packets",
        "transmit_bytes",
        "transmit_carrier",
        "transmit_colls",
        "transmit_compressed",
        "transmit_drop",
        "transmit_errs",
        "transmit_packets",
    ];
    const FILESYSTEM: [&str; 7] =
        ["avail_bytes", "device_error", "files", "files_free", "free_bytes", "readonly", "size_bytes"];
    let mut w = Writer::new(node, scrape);
    w.declare("node_cpu_seconds_total", "counter");
    for cpu in 0..32 {
        for mode in MODES {
            w.sample("node_cpu_seconds_total", &format!("cpu=\"{cpu}\",mode=\"{mode}\""));
        }
    }
    for name in DISK {
        let name = format!("node_disk_{name}_total");
        w.declare(&name, "counter");
        for disk in 0..6 {
            w.sample(&name, &format!("device=\"nvme{disk}n1\""));
        }
    }
    for name in NET {
        let name = format!("node_network_{name}_total");
        w.declare(&name, "counter");
        for port in 0..14 {
            w.sample(&name, &format!("device=\"veth{:07x}\"", mix(node * 100 + port) & 0xfff_ffff));
        }
    }
    for name in FILESYSTEM {
        let name = format!("node_filesystem_{name}");
        w.declare(&name, "gauge");
        for mount in 0..20 {
            let id = mix(node ^ mount) & 0xffff_ffff;
            let labels =
                format!("device=\"/dev/nvme{mount}n1p1\",fstype=\"ext4\",mountpoint=\"/var/lib/{id:x}\"");
            w.sample(&name, &labels);
        }
    }
    w.declare("node_scrape_collector_success", "gauge");
    for collector in 0..50 {
        w.sample("node_scrape_collector_success", &format!("collector=\"collector{collector}\""));
    }
    // The rest of the real body are some 550 names with a label or none.
    for n in 0..NODE_SAMPLES as u64 - w.series {
        let name = format!(
            "node_{}_{:05x}_information",
            ["memory", "netstat", "vmstat", "timex"][n as usize % 4],
            mix(n) & 0xf_ffff
        );
        if n % 4 == 0 {
            w.declare(&name, "gauge");
        }
        w.sample(&name, "");
    }
    w.text
}

/// A body of kube-state-metrics for `pods` pods.
#[must_use]
pub fn kube_state(pods: u64, scrape: u64) -> String {
    let mut w = Writer::new(1 << 40, scrape);
    w.declare("kube_pod_info", "gauge");
    for pod in 0..pods {
        let (name, node) = (Pod::new(pod), pod % 20);
        let more = format!("host_ip=\"10.0.0.{node}\",node=\"node-{node}\",created_by_kind=\"ReplicaSet\"");
        w.sample("kube_pod_info", &format!("{},{more}", name.kube()));
    }
    w.declare("kube_pod_owner", "gauge");
    for pod in 0..pods {
        let name = Pod::new(pod);
        w.sample(
            "kube_pod_owner",
            &format!("{},owner_kind=\"ReplicaSet\",owner_is_controller=\"true\"", name.kube()),
        );
    }
    for n in 2..KUBE_STATE_SAMPLES_PER_POD {
        let name = format!("kube_pod_container_status_{n:02}");
        w.declare(&name, "gauge");
        for pod in 0..pods {
            let container = format!("container=\"main\",reason=\"reason{}\"", n % 7);
            w.sample(&name, &format!("{},{container}", Pod::new(pod).kube()));
        }
    }
    w.text
}

/// A body of the DCGM exporter on node number `node` with `gpus` GPUs.
#[must_use]
pub fn dcgm(node: u64, gpus: u64, scrape: u64) -> String {
    const FIELDS: [&str; DCGM_SAMPLES_PER_GPU] = [
        "DEV_SM_CLOCK",
        "DEV_MEM_CLOCK",
        "DEV_MEMORY_TEMP",
        "DEV_GPU_TEMP",
        "DEV_POWER_USAGE",
        "DEV_PCIE_REPLAY_COUNTER",
        "DEV_TOTAL_ENERGY_CONSUMPTION",
        "DEV_GPU_UTIL",
        "DEV_MEM_COPY_UTIL",
        "DEV_ENC_UTIL",
        "DEV_DEC_UTIL",
        "DEV_XID_ERRORS",
        "DEV_FB_FREE",
        "DEV_FB_USED",
        "DEV_FB_RESERVED",
        "DEV_UNCORRECTABLE_REMAPPED_ROWS",
        "DEV_CORRECTABLE_REMAPPED_ROWS",
        "DEV_ROW_REMAP_FAILURE",
        "DEV_NVLINK_BANDWIDTH_TOTAL",
        "DEV_VGPU_LICENSE_STATUS",
        "PROF_GR_ENGINE_ACTIVE",
        "PROF_PIPE_TENSOR_ACTIVE",
        "PROF_DRAM_ACTIVE",
        "PROF_PCIE_TX_BYTES",
        "PROF_PCIE_RX_BYTES",
    ];
    let mut w = Writer::new(2 << 40 | node, scrape);
    for field in FIELDS {
        let name = format!("DCGM_FI_{field}");
        w.declare(&name, "gauge");
        for gpu in 0..gpus {
            let uuid = mix(node << 8 | gpu);
            let pod = Pod::new(node * 8 + gpu);
            w.sample(
                &name,
                &format!(
                    "gpu=\"{gpu}\",UUID=\"GPU-{:08x}-{:04x}-4bdf-9c2c-{:012x}\",pci_bus_id=\"00000000:{gpu:02X}:00.0\",\
                     device=\"nvidia{gpu}\",modelName=\"NVIDIA H100 80GB HBM3\",Hostname=\"node-{node}\",\
                     DCGM_FI_DRIVER_VERSION=\"550.90.07\",container=\"main\",namespace=\"{}\",pod=\"{}\"",
                    uuid >> 32, uuid >> 16 & 0xffff, uuid & 0xffff_ffff_ffff, pod.namespace, pod.name,
                ),
            );
        }
    }
    w.text
}

/// A body of a kubelet's cAdvisor with `pods` pods; each line carries a timestamp of its own, a little before
/// `now` (milliseconds since the Unix epoch).
#[must_use]
pub fn cadvisor(node: u64, pods: u64, scrape: u64, now: i64) -> String {
    let mut w = Writer::new(3 << 40 | node, scrape);
    for n in 0..CADVISOR_SAMPLES_PER_POD {
        let name = match n {
            0 => "container_cpu_usage_seconds_total".to_owned(),
            1 => "container_memory_working_set_bytes".to_owned(),
            _ => format!("container_resource_{n:02}_total"),
        };
        w.declare(&name, if n == 1 { "gauge" } else { "counter" });
        for pod in 0..pods {
            let pod = Pod::new(node * pods + pod);
            let value = w.value();
            // cAdvisor collects each container at its own time, every ten to fifteen seconds.
            let behind = i64::try_from(mix(pod.uid.0) % 10_000).unwrap_or_default();
            let id = (0..4).map(|part| format!("{:016x}", mix(pod.uid.1 ^ part))).collect::<String>();
            let labels = format!(
                "container=\"main\",id=\"/kubepods.slice/kubepods-pod{:016x}_{:016x}.slice/cri-containerd-{id}.scope\",\
                 image=\"registry.example/team/app:v{}\",name=\"{id}\",namespace=\"{}\",pod=\"{}\"",
                pod.uid.0,
                pod.uid.1,
                pod.uid.0 % 9,
                pod.namespace,
                pod.name
            );
            w.line(&name, &labels, value, &format!(" {}", now - behind));
        }
    }
    w.text
}

struct Pod {
    namespace: String,
    name: String,
    uid: (u64, u64),
}

impl Pod {
    fn new(number: u64) -> Self {
        let hash = mix(number);
        let name =
            format!("app-{}-{:09x}-{:05x}", number / 10, mix(number / 10) & 0xf_ffff_ffff, hash & 0xf_ffff);
        Self { namespace: format!("team-{}", number % 13), name, uid: (hash, mix(hash)) }
    }

    fn kube(&self) -> String {
        let (a, b) = self.uid;
        let uid = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        );
        format!("namespace=\"{}\",pod=\"{}\",uid=\"{uid}\"", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn samples(body: &str) -> Vec<&str> {
        body.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn bodies_have_the_shape_they_promise() {
        let check = |body: &str, count: usize, bytes: std::ops::Range<usize>| {
            let lines = samples(body);
            assert_eq!(lines.len(), count);
            let average = body.len() / count;
            assert!(bytes.contains(&average), "{average} bytes per sample");
            let series: BTreeSet<_> =
                lines.iter().map(|line| line.rsplit_once('}').map_or(*line, |s| s.0)).collect();
            assert_eq!(series.len(), count, "a series comes twice");
        };
        check(&node(0, 0), NODE_SAMPLES, 74..79);
        check(&kube_state(40, 0), 40 * KUBE_STATE_SAMPLES_PER_POD, 120..180);
        check(&dcgm(0, 8, 0), 8 * DCGM_SAMPLES_PER_GPU, 250..330);
        check(&cadvisor(0, 40, 0, 1_800_000_000_000), 40 * CADVISOR_SAMPLES_PER_POD, 250..420);
    }

    #[test]
    fn a_fifth_of_the_values_changes() {
        let (first, second) = (node(3, 10), node(3, 11));
        let changed = samples(&first).iter().zip(samples(&second)).filter(|(a, b)| **a != *b).count();
        assert!((200..320).contains(&changed), "{changed} of {NODE_SAMPLES} changed");
        assert_eq!(first, node(3, 10), "the same arguments give the same body");
    }
}
