//! Expositions of the size and shape of real ones, made up deterministically.
//!
//! Shapes are those of node-exporter 1.9 (1,311 samples of 76 bytes), kube-state-metrics 2 (55 samples per pod), DCGM
//! exporter 4 (25 per GPU) and cAdvisor (75 per pod, own timestamps, 64-hex ids). Of one pod they all say the same. What
//! kube-state-metrics says hardly ever changes; the others change so many values that it is a fifth in a mixed cluster, as
//! in recorded ones.

use std::fmt::Write;

use super::families::{CADVISOR, DCGM, DISK, FILESYSTEM, KUBE_STATE, NETWORK, NETWORK_GAUGES};

/// Samples in the body of [`node`].
pub const NODE_SAMPLES: usize = 1311;
/// Samples for each pod in the body of [`kube_state`].
pub const KUBE_STATE_SAMPLES_PER_POD: usize = 55;
/// Samples for each GPU in the body of [`dcgm`].
pub const DCGM_SAMPLES_PER_GPU: usize = 25;
/// Samples for each pod in the body of [`cadvisor`].
pub const CADVISOR_SAMPLES_PER_POD: usize = 75;

/// Nodes over which pods are spread.
pub const NODES: u64 = 20;

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
    /// Of every 1,000 series, how many change from one scrape to the next.
    changing: u64,
}

impl Writer {
    fn new(seed: u64, scrape: u64, changing: u64) -> Self {
        Self { text: String::new(), seed: mix(seed), scrape, series: 0, changing }
    }

    fn declare(&mut self, metric: &str, kind: &str) {
        let _ = writeln!(
            self.text,
            "# HELP {metric} Made up, in the shape of the real one, with a help text of about the usual length.\n# TYPE {metric} {kind}"
        );
    }

    /// The value of the next series.
    fn value(&mut self) -> f64 {
        self.series += 1;
        let hash = mix(self.seed ^ self.series);
        let steps = if hash % 1000 < self.changing { self.scrape } else { 0 };
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
    const CPUS: u64 = 32;
    let mut w = Writer::new(node, scrape, 197);
    w.declare("node_cpu_seconds_total", "counter");
    for cpu in 0..CPUS {
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
    let counters = NETWORK.map(|name| (format!("node_network_{name}_total"), "counter"));
    let gauges = NETWORK_GAUGES.map(|name| (format!("node_network_{name}"), "gauge"));
    for (name, kind) in counters.into_iter().chain(gauges) {
        w.declare(&name, kind);
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
    for name in ["dropped", "processed", "times_squeezed"] {
        let name = format!("node_softnet_{name}_total");
        w.declare(&name, "counter");
        (0..CPUS).for_each(|cpu| w.sample(&name, &format!("cpu=\"{cpu}\"")));
    }
    for name in ["duration_seconds", "success"] {
        let name = format!("node_scrape_collector_{name}");
        w.declare(&name, "gauge");
        (0..50).for_each(|n| w.sample(&name, &format!("collector=\"collector{n}\"")));
    }
    // The rest of the real body are names without labels.
    for n in 0..NODE_SAMPLES as u64 - w.series {
        let subsystem = ["memory", "netstat", "vmstat", "timex"][n as usize % 4];
        let name = format!("node_{subsystem}_{:05x}_information", mix(n) & 0xf_ffff);
        if n % 3 == 0 {
            w.declare(&name, "gauge");
        }
        w.sample(&name, "");
    }
    w.text
}

/// A body of so many samples in the shape of node-exporter's, for sizes that it does not have; quickly made.
#[must_use]
pub fn sized(target: u64, samples: usize, scrape: u64) -> String {
    let mut w = Writer::new(target, scrape, 197);
    let mut name = String::new();
    for sample in 0..samples {
        let (family, device) = (sample / 16, sample % 16);
        if device == 0 {
            name = format!("node_device_{family:05}_bytes_total");
            w.declare(&name, "counter");
        }
        w.sample(&name, &format!("device=\"nvme{device}n1\""));
    }
    w.text
}

/// A body of kube-state-metrics for `pods` pods, none of them replaced yet.
#[must_use]
pub fn kube_state(pods: u64, scrape: u64) -> String {
    kube_state_of(&(0..pods).map(|number| Pod::new(number, 0)).collect::<Vec<_>>(), scrape)
}

/// A body of kube-state-metrics for these pods: [`KUBE_STATE_SAMPLES_PER_POD`] samples each.
#[must_use]
pub fn kube_state_of(pods: &[Pod], scrape: u64) -> String {
    let mut w = Writer::new(1 << 40, scrape, 0);
    for (name, samples) in KUBE_STATE {
        let name = format!("kube_pod_{name}");
        w.declare(&name, if name.ends_with("_total") { "counter" } else { "gauge" });
        let is_time = name.ends_with("_time") || name.ends_with("_created");
        for pod in pods {
            for (place, labels) in samples.iter().enumerate() {
                let comma = if labels.is_empty() { "" } else { "," };
                let labels = format!("{}{comma}{}", pod.kube(), pod.fill(labels));
                // Flags of which one is up, mostly, and when the pod was made.
                let value = if is_time { pod.made() } else { f64::from(u8::from(place == 0)) };
                w.line(&name, &labels, value, "");
            }
        }
    }
    w.text
}

/// A body of the DCGM exporter on node number `node` with `gpus` GPUs, each used by one of the node's first pods.
#[must_use]
pub fn dcgm(node: u64, gpus: u64, scrape: u64) -> String {
    dcgm_of(node, &Pod::on(node, gpus), scrape)
}

/// A body of the DCGM exporter on node number `node` whose GPUs are used by these pods, one each.
#[must_use]
pub fn dcgm_of(node: u64, pods: &[Pod], scrape: u64) -> String {
    let mut w = Writer::new(2 << 40 | node, scrape, 500);
    for field in DCGM {
        let name = format!("DCGM_FI_{field}");
        w.declare(&name, "gauge");
        for (gpu, pod) in (0_u64..).zip(pods) {
            let uuid = mix(node << 8 | gpu);
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

/// A body of a kubelet's cAdvisor with `pods` pods, none of them replaced yet: see [`cadvisor_of`].
#[must_use]
pub fn cadvisor(node: u64, pods: u64, scrape: u64, now: i64) -> String {
    cadvisor_of(node, &Pod::on(node, pods), scrape, now)
}

/// A body of a kubelet's cAdvisor with these pods, [`CADVISOR_SAMPLES_PER_POD`] samples each; each line carries a timestamp
/// of its own, a little before `now` (milliseconds since the Unix epoch).
#[must_use]
pub fn cadvisor_of(node: u64, pods: &[Pod], scrape: u64, now: i64) -> String {
    let mut w = Writer::new(3 << 40 | node, scrape, 333);
    for (name, kind) in CADVISOR {
        let name = format!("container_{name}");
        w.declare(&name, if name.ends_with("_total") { "counter" } else { "gauge" });
        for pod in pods {
            // cAdvisor collects each container at its own time, every ten to fifteen seconds.
            let behind = i64::try_from(mix(pod.seed) % 10_000).unwrap_or_default();
            let tail = format!(" {}", now - behind);
            for cgroup in kind {
                let value = w.value();
                w.line(&name, &pod.fill(cgroup), value, &tail);
            }
        }
    }
    w.text
}

/// A pod: what its names and identifiers are.
pub struct Pod {
    seed: u64,
    number: u64,
    namespace: String,
    app: String,
    name: String,
    uid: String,
    /// The id of its container and of what holds its network, and the digest of the container's image.
    ids: [String; 3],
}

impl Pod {
    /// The pod with this number, in its so manieth life: one that replaces it has other names.
    #[must_use]
    pub fn new(number: u64, life: u64) -> Self {
        let seed = mix(number ^ life << 32);
        let (a, b) = (seed, mix(seed));
        let app = format!("app-{}-{:09x}", number / 10, mix(number / 10) & 0xf_ffff_ffff);
        let name = format!("{app}-{:05x}", seed & 0xf_ffff);
        let uid = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        );
        let hex = |seed: u64| (0..4).map(|n| format!("{:016x}", mix(seed ^ n << 40))).collect::<String>();
        let ids = [hex(seed ^ 1 << 50), hex(seed ^ 2 << 50), hex(number / 10)];
        Self { seed, number, namespace: format!("team-{}", number % 13), app, name, uid, ids }
    }

    /// The first pods on a node, none of them replaced yet.
    #[must_use]
    pub fn on(node: u64, count: u64) -> Vec<Self> {
        (0..count).map(|place| Self::new(node + NODES * place, 0)).collect()
    }

    fn kube(&self) -> String {
        format!("namespace=\"{}\",pod=\"{}\",uid=\"{}\"", self.namespace, self.name, self.uid)
    }

    /// Seconds since the Unix epoch.
    fn made(&self) -> f64 {
        f64::from(u32::try_from(self.seed >> 44).unwrap_or_default()) + 1_700_000_000.0
    }

    /// Writes what is asked for in `<>`.
    fn fill(&self, labels: &str) -> String {
        let mut filled = String::new();
        for part in labels.split('<') {
            let Some((name, rest)) = part.split_once('>') else {
                filled.push_str(part);
                continue;
            };
            let [container, sandbox, digest] = &self.ids;
            let (number, node) = (self.number, self.number % NODES);
            match name {
                "node" => filled.push_str(&format!("node-{node}")),
                "host" => filled.push_str(&format!("10.0.0.{node}")),
                "ip" => filled.push_str(&format!("10.1.{node}.{}", self.seed % 250)),
                "app" => filled.push_str(&self.app),
                "namespace" => filled.push_str(&self.namespace),
                "pod" => filled.push_str(&self.name),
                "slice" => filled.push_str(&self.uid.replace('-', "_")),
                "container" => filled.push_str(container),
                "sandbox" => filled.push_str(sandbox),
                "digest" => filled.push_str(digest),
                "version" => filled.push_str(&format!("v{}", number / 10 % 9)),
                name => unreachable!("nobody knows <{name}>"),
            }
            filled.push_str(rest);
        }
        filled
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
            let series: BTreeSet<_> = lines
                .iter()
                .map(|line| line.rsplit_once('}').map_or_else(|| line.split(' ').next().unwrap(), |s| s.0))
                .collect();
            assert_eq!(series.len(), count, "a series comes twice");
        };
        check(&node(0, 0), NODE_SAMPLES, 74..79);
        check(&sized(0, 1_000, 0), 1_000, 60..82);
        check(&kube_state(40, 0), 40 * KUBE_STATE_SAMPLES_PER_POD, 120..200);
        check(&dcgm(0, 8, 0), 8 * DCGM_SAMPLES_PER_GPU, 250..330);
        check(&cadvisor(0, 40, 0, 1_800_000_000_000), 40 * CADVISOR_SAMPLES_PER_POD, 350..500);
    }

    #[test]
    fn a_fifth_of_the_values_changes() {
        let (first, second) = (node(3, 10), node(3, 11));
        let changed = samples(&first).iter().zip(samples(&second)).filter(|(a, b)| **a != *b).count();
        assert!((200..320).contains(&changed), "{changed} of {NODE_SAMPLES} changed");
        assert_eq!(first, node(3, 10), "the same arguments give the same body");
    }
}
