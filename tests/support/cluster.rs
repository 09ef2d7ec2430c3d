//! The *mixed cluster*: every exporter of twenty nodes, two thousand pods and 160 GPUs.
//!
//! 290,220 series of 440 metrics, of which 19.7 % change their value from one scrape to the next; see [`generate`]
//! for what the exporters say. Pods can be replaced, a ninth of them at a time, which is a tenth of all series.

use super::generate::{self, NODES, Pod};

/// Pods in the cluster, spread over the nodes in turn.
pub const PODS: u64 = 2_000;
/// GPUs of each node.
pub const GPUS: u64 = 8;
/// One of so many pods is replaced at a time.
const REPLACED: u64 = 9;

/// What an exporter reports on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// node-exporter.
    Node,
    /// kube-state-metrics.
    KubeState,
    /// DCGM exporter.
    Dcgm,
    /// The kubelet's cAdvisor.
    Cadvisor,
}

/// An exporter on a node.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Which exporter.
    pub exporter: Exporter,
    /// The number of its node.
    pub node: u64,
}

/// All exporters of the cluster.
#[must_use]
pub fn mixed() -> Vec<Member> {
    let of = |exporter| (0..NODES).map(move |node| Member { exporter, node });
    let each = [Exporter::Node, Exporter::Dcgm, Exporter::Cadvisor].into_iter().flat_map(of);
    each.chain([Member { exporter: Exporter::KubeState, node: 0 }]).collect()
}

impl Member {
    /// Its `job`.
    #[must_use]
    pub fn job(&self) -> &'static str {
        match self.exporter {
            Exporter::Node => "node-exporter",
            Exporter::KubeState => "kube-state-metrics",
            Exporter::Dcgm => "dcgm",
            Exporter::Cadvisor => "cadvisor",
        }
    }

    /// Its `instance`.
    #[must_use]
    pub fn instance(&self) -> String {
        let port = match self.exporter {
            Exporter::Node => 9100,
            Exporter::KubeState => 8080,
            Exporter::Dcgm => 9400,
            Exporter::Cadvisor => 10250,
        };
        format!("10.0.0.{}:{port}", self.node)
    }

    /// What it exposes at `now` (milliseconds since the Unix epoch) in its so manieth scrape, after so many replacements.
    #[must_use]
    pub fn body(&self, scrape: u64, now: i64, replacements: u64) -> String {
        let pod = |number: u64| {
            let times = (1..=replacements).filter(|time| time % REPLACED == number % REPLACED).count();
            Pod::new(number, times as u64)
        };
        let node = self.node;
        let here = |count: u64| (0..count).map(|place| pod(node + NODES * place)).collect::<Vec<_>>();
        match self.exporter {
            Exporter::Node => generate::node(node, scrape),
            Exporter::KubeState => generate::kube_state_of(&(0..PODS).map(pod).collect::<Vec<_>>(), scrape),
            Exporter::Dcgm => generate::dcgm_of(node, &here(GPUS), scrape),
            Exporter::Cadvisor => generate::cadvisor_of(node, &here(PODS / NODES), scrape, now),
        }
    }
}

/// What the cluster is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// Series.
    pub series: usize,
    /// Metrics, by name.
    pub metrics: usize,
    /// Bytes of text.
    pub bytes: usize,
    /// Series that have another value in the next scrape.
    pub changed: usize,
    /// Series that the next scrape does not have after one replacement.
    pub replaced: usize,
}

impl Shape {
    /// Looks at three scrapes of the whole cluster.
    #[must_use]
    pub fn of_mixed() -> Self {
        let mut shape = Self::default();
        let mut metrics = std::collections::HashSet::new();
        for member in mixed() {
            let body = |scrape, replacements| member.body(scrape, 1_700_000_000_000, replacements);
            let (first, second, third) = (body(1, 0), body(2, 0), body(2, 1));
            shape.bytes += first.len();
            for ((first, second), third) in lines(&first).zip(lines(&second)).zip(lines(&third)) {
                shape.series += 1;
                shape.changed += usize::from(first != second);
                shape.replaced += usize::from(series(second) != series(third));
                let name = first.split(['{', ' ']).next().unwrap_or_default();
                if !metrics.contains(name) {
                    metrics.insert(name.to_owned());
                }
            }
        }
        shape.metrics = metrics.len();
        shape
    }
}

fn lines(body: &str) -> impl Iterator<Item = &str> {
    body.lines().filter(|line| !line.starts_with('#'))
}

fn series(line: &str) -> &str {
    line.rsplit_once('}').map_or_else(|| line.split(' ').next().unwrap_or_default(), |(series, _)| series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_the_one_that_is_spoken_of() {
        let shape = Shape::of_mixed();
        assert_eq!((shape.series, shape.metrics), (290_220, 440));
        let share = |part: usize| part as f64 / shape.series as f64;
        assert!((0.192..0.202).contains(&share(shape.changed)), "{shape:?}");
        assert!((0.095..0.105).contains(&share(shape.replaced)), "{shape:?}");
    }
}
