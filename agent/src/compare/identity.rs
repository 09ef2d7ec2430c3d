//! What makes two series of two agents the same one: name and labels, after the differences that are known are taken away.
//!
//! Vector's `host` is read as `node` and its `collector` as `job`; `ts` says nothing of a series; its own `host_*` get
//! node-exporter's names. `job`, and `node` or else `instance`, stand beside the other labels: they have to be equal where both
//! sides have them. `cluster_id` is the agent's own. Numbers in `le` and `quantile` are written in one way.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use pipeline::decode::Kind;
use pipeline::model::labels::{CLUSTER_ID, METRIC_NAME};
use pipeline::model::sample::MetricType;
use pipeline::model::series::Series;

use super::host::{Counterpart, Names};

/// What a series is known by on both sides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    /// `name{a="b"}`, labels in order, those below left out.
    pub(super) key: String,
    /// The job, or nothing.
    pub(super) job: String,
    /// `node="a"`, or else `instance="b"`, or nothing.
    pub(super) place: String,
    /// Whether it only ever goes up, or restarts.
    pub(super) counts: bool,
    /// Values are divided by this.
    pub(super) factor: f64,
}

/// A series that cannot be compared, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Incomparable {
    pub(super) metric: String,
    pub(super) reason: String,
}

/// Finds identities.
#[derive(Debug, Default)]
pub(super) struct Identities {
    names: Names,
    ignored: BTreeSet<String>,
}

impl Identities {
    pub(super) fn new(ignored: &[String]) -> Self {
        Self { names: Names::new(), ignored: ignored.iter().cloned().collect() }
    }

    /// The identity of a series in an object of this kind.
    pub(super) fn of(&self, series: &Series, kind: Kind) -> Result<Identity, Incomparable> {
        let labels = &series.labels;
        let name = labels.value(METRIC_NAME);
        let host = match self.names.find(name).filter(|_| kind == Kind::Vector) {
            None => None,
            Some(Counterpart::One(renamed)) => Some(renamed),
            Some(Counterpart::Computed(terms)) => {
                let reason = format!("computed of {terms}: the view host_metrics_as_vector has it");
                return Err(Incomparable { metric: name.to_owned(), reason });
            }
            Some(Counterpart::None(reason)) => {
                let reason = format!("node-exporter has no counterpart: {reason}");
                return Err(Incomparable { metric: name.to_owned(), reason });
            }
        };
        let is_vector = kind == Kind::Vector;
        // Vector's own metrics call by this name what it looked at.
        let collector = if is_vector && host.is_none() { labels.value("collector") } else { "" };
        let job = if host.is_some() || !collector.is_empty() { collector } else { labels.value("job") };
        let node = match labels.value("node") {
            "" if is_vector => labels.value("host"),
            node => node,
        };
        let taken = |label: &str| matches!(label, METRIC_NAME | CLUSTER_ID | "job" | "node" | "instance");
        let of_vector = |label: &str| is_vector && matches!(label, "collector" | "host" | "ts");
        let mut rest: Vec<(&str, String)> = Vec::new();
        for (label, value) in labels.iter().filter(|(label, _)| !taken(label) && !of_vector(label)) {
            let (label, value) = host.map_or((label, value), |host| (host.label(label), host.value(value)));
            if !self.ignored.contains(label) {
                rest.push((label, number(label, value)));
            }
        }
        rest.sort();
        let name = host.map_or(name, |host| &host.name);
        let kept =
            |label: &str, value: &str| if self.ignored.contains(label) { "" } else { value }.to_owned();
        Ok(Identity {
            key: write(name, &rest),
            job: kept("job", job),
            place: place(&kept("node", node), &kept("instance", labels.value("instance"))),
            counts: counts(name, series.metric_type),
            factor: host.map_or(1.0, |host| host.factor),
        })
    }
}

fn place(node: &str, instance: &str) -> String {
    match (node, instance) {
        ("", "") => String::new(),
        ("", instance) => format!("instance={instance:?}"),
        (node, _) => format!("node={node:?}"),
    }
}

fn write(name: &str, labels: &[(&str, String)]) -> String {
    let mut key = format!("{name}{{");
    for (i, (label, value)) in labels.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(key, "{comma}{label}={value:?}");
    }
    key.push('}');
    key
}

/// The same number in the same letters: exporters write `1`, `1.0` and `1e+00`.
fn number(label: &str, value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if matches!(label, "le" | "quantile") => match number {
            f64::INFINITY => "+Inf".to_owned(),
            number => number.to_string(),
        },
        _ => value.to_owned(),
    }
}

fn counts(name: &str, kind: MetricType) -> bool {
    match kind {
        MetricType::Counter | MetricType::Histogram => true,
        MetricType::Summary => name.ends_with("_sum") || name.ends_with("_count"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::model::labels::Labels;

    fn identity(kind: Kind, metric_type: MetricType, pairs: &[(&str, &str)]) -> Identity {
        let series = Series { labels: Labels::from_pairs(pairs.iter().copied()), metric_type };
        Identities::new(&["zone".to_owned()]).of(&series, kind).unwrap()
    }

    #[test]
    fn known_differences_are_taken_away() {
        let check = |old: &[(&str, &str)], new: &[(&str, &str)], key: &str, place: &str| {
            let old = identity(Kind::Vector, MetricType::Counter, old);
            let new = identity(Kind::Parquet, MetricType::Counter, new);
            assert_eq!((old.key.as_str(), old.place.as_str()), (key, place));
            assert_eq!((old.key, old.job, old.place), (new.key, new.job, new.place));
        };
        check(
            &[
                ("__name__", "a"),
                ("collector", "dcgm"),
                ("host", "n1"),
                ("ts", "1"),
                ("gpu", "0"),
                ("zone", "x"),
            ],
            &[
                ("__name__", "a"),
                ("job", "dcgm"),
                ("instance", "i"),
                ("node", "n1"),
                ("cluster_id", "c"),
                ("gpu", "0"),
            ],
            r#"a{gpu="0"}"#,
            r#"node="n1""#,
        );
        check(
            &[("__name__", "h_bucket"), ("le", "1")],
            &[("__name__", "h_bucket"), ("le", "1.0")],
            r#"h_bucket{le="1"}"#,
            "",
        );
        check(
            &[("__name__", "h_bucket"), ("le", "+Inf"), ("instance", "i")],
            &[("__name__", "h_bucket"), ("le", "+Inf"), ("instance", "i")],
            r#"h_bucket{le="+Inf"}"#,
            r#"instance="i""#,
        );
    }

    #[test]
    fn vectors_own_metrics_get_the_names_of_node_exporter() {
        let tags = [
            ("__name__", "host_cpu_seconds_total"),
            ("collector", "cpu"),
            ("cpu", "0"),
            ("host", "n1"),
            ("mode", "io_wait"),
        ];
        let found = identity(Kind::Vector, MetricType::Counter, &tags);
        assert_eq!(found.key, r#"node_cpu_seconds_total{cpu="0",mode="iowait"}"#);
        assert_eq!((found.job.as_str(), found.place.as_str(), found.counts), ("", r#"node="n1""#, true));
        let ours = identity(Kind::Parquet, MetricType::Gauge, &[("__name__", "host_load1"), ("host", "x")]);
        assert_eq!(ours.key, r#"host_load1{host="x"}"#, "an exporter of ours may be called anything");
        let labels = Labels::from_pairs([("__name__", "host_uptime")]);
        let series = Series { labels, metric_type: MetricType::Gauge };
        let refused = Identities::new(&[]).of(&series, Kind::Vector).unwrap_err();
        assert!(refused.reason.contains("1 node_time_seconds, -1 node_boot_time_seconds"), "{refused:?}");
    }

    #[test]
    fn what_counts() {
        let check =
            |name: &str, kind: MetricType, expected: bool| assert_eq!(counts(name, kind), expected, "{name}");
        check("a", MetricType::Counter, true);
        check("a_bucket", MetricType::Histogram, true);
        check("a", MetricType::Summary, false);
        check("a_sum", MetricType::Summary, true);
        check("a_sum", MetricType::Gauge, false);
        check("a", MetricType::Unknown, false);
    }
}
