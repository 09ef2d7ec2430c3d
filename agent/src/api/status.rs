//! `/api/v1/status` and what is below it: the state of the whole agent in one object, the build, the configuration in force,
//! and what the log warned of last.
//!
//! Takes what the views say, gives JSON. Counters are given as they are: rates are for whoever reads twice, so that nothing is
//! kept here.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily};
use serde_json::{Map, Value, json};

use super::targets::{Condition, condition};
use crate::admin::Views;
use crate::targets::rfc3339;

/// The metrics that the page shows.
const METRICS: [&str; 33] = [
    "agent_batch_samples",
    "agent_bytes_uploaded_total",
    "agent_credentials_refreshes_total",
    "agent_discovery_failures_total",
    "agent_discovery_updates_total",
    "agent_encode_seconds",
    "agent_journal_bytes_total",
    "agent_journal_commit_seconds",
    "agent_journal_errors_total",
    "agent_journal_pending_bytes",
    "agent_lines_bad_total",
    "agent_object_bytes_total",
    "agent_objects_sealed_total",
    "agent_objects_uploaded_total",
    "agent_samples_dropped_total",
    "agent_samples_reported_total",
    "agent_samples_scraped_total",
    "agent_samples_sealed_total",
    "agent_samples_uploaded_total",
    "agent_scrape_body_bytes_total",
    "agent_scrape_body_waits_total",
    "agent_scrapes_refused_total",
    "agent_scrapes_skipped_total",
    "agent_scrapes_total",
    "agent_series",
    "agent_spool_bytes_max",
    "agent_spool_dropped_samples_total",
    "agent_upload_duration_seconds",
    "agent_upload_errors_total",
    "agent_upload_lag_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

/// Everything but the targets themselves.
pub(super) fn status(views: &Views, now: i64) -> Value {
    let not_ready = (views.not_ready)();
    let sinks = (views.sinks)();
    let second = |unix: i64| rfc3339(unix.saturating_mul(1000));
    let credentials = sinks.credentials.as_ref().map(|credentials| {
        json!({
            "source": credentials.source,
            "expires": credentials.expires.map(second),
            "refreshed": credentials.refreshed.map(second),
            "failure": credentials.failure,
        })
    });
    let place = sinks
        .place
        .as_ref()
        .map(|place| json!({"bucket": place.bucket, "prefix": place.prefix, "region": place.region}));
    let (total, last) = views.problems.total();
    json!({
        "now": rfc3339(now),
        "version": env!("CARGO_PKG_VERSION"),
        "revision": env!("AGENT_COMMIT"),
        "configuration": views.source,
        "ready": not_ready.is_empty(),
        "notReady": not_ready,
        "doing": (views.doing)(),
        "writer": sinks.writer,
        "place": place,
        "lastKey": sinks.last_key,
        "lastUpload": sinks.last_upload.map(second),
        "uploadTrouble": sinks.trouble,
        "clockOffset": sinks.clock_offset,
        "spool": {
            "objects": sinks.spool.objects,
            "bytes": sinks.spool.bytes,
            "samples": sinks.spool.samples,
            "oldestAge": sinks.spool.oldest_age,
        },
        "credentials": credentials,
        "problems": {"total": total, "last": last.map(rfc3339)},
        "jobs": jobs(views),
        "metrics": metrics(&views.registry.gather()),
    })
}

/// How the targets of each job are.
fn jobs(views: &Views) -> Value {
    let of_job = |job: &std::sync::Arc<pipeline::scrape::JobTargets>| {
        let mut counts = BTreeMap::from([
            (Condition::Up, 0_u64),
            (Condition::Down, 0),
            (Condition::Unknown, 0),
            (Condition::Absent, 0),
        ]);
        for active in &job.active {
            *counts.entry(condition(active.target.last().as_ref())).or_default() += 1;
        }
        let count = |condition: Condition| counts.get(&condition).copied().unwrap_or_default();
        json!({
            "scrapePool": job.job,
            "active": job.active.len(),
            "up": count(Condition::Up),
            "down": count(Condition::Down),
            "unknown": count(Condition::Unknown),
            "absent": count(Condition::Absent),
            "dropped": job.dropped.len(),
            "targetLimitExceeded": job.limit_exceeded,
            "problems": job.problems,
        })
    };
    (views.targets)().iter().map(of_job).collect()
}

/// Each metric of [`METRICS`]: a number; a mapping by its last label where it has labels, summed over the others; sum and count
/// of a histogram.
fn metrics(families: &[MetricFamily]) -> Value {
    let shown = families.iter().filter(|family| METRICS.contains(&family.name()));
    Value::Object(shown.map(|family| (family.name().to_owned(), values(family))).collect())
}

fn values(family: &MetricFamily) -> Value {
    let mut by_label: Map<String, Value> = Map::new();
    for metric in family.get_metric() {
        let value = value(family, metric);
        let Some(label) = metric.get_label().iter().find(|label| label.name() != "job") else {
            if metric.get_label().is_empty() {
                return value;
            }
            // By job alone: the sum says enough.
            add(&mut by_label, "all", &value);
            continue;
        };
        add(&mut by_label, label.value(), &value);
    }
    Value::Object(by_label)
}

fn add(sums: &mut Map<String, Value>, name: &str, value: &Value) {
    let before = sums.get(name).and_then(Value::as_f64).unwrap_or_default();
    sums.insert(name.to_owned(), (before + value.as_f64().unwrap_or_default()).into());
}

fn value(family: &MetricFamily, metric: &Metric) -> Value {
    use prometheus::proto::MetricType;
    match family.get_field_type() {
        MetricType::COUNTER => metric.get_counter().get_value().into(),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            json!({"sum": histogram.get_sample_sum(), "count": histogram.get_sample_count()})
        }
        _ => metric.get_gauge().get_value().into(),
    }
}

/// Prometheus' `buildinfo`; what has no meaning here is empty.
pub(super) fn build() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": env!("AGENT_COMMIT"),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "cedana-agent",
    })
}

/// Prometheus' `config`: the configuration in force, defaults filled in and secrets starred.
pub(super) fn config(views: &Views) -> Value {
    json!({"yaml": (views.config)(), "source": views.source})
}

/// What the log warned of last.
pub(super) fn problems(views: &Views) -> Value {
    let line = |line: crate::problems::RecentProblem| {
        json!({
            "level": line.level,
            "text": line.text,
            "fields": line.fields,
            "first": rfc3339(line.first),
            "last": rfc3339(line.last),
            "count": line.count,
        })
    };
    let lines: Vec<_> = views.problems.lines().into_iter().map(line).collect();
    json!({"problems": lines, "total": views.problems.total().0})
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

    #[test]
    fn metrics_are_summed_by_what_tells_them_apart() {
        let registry = Registry::new();
        let plain = IntCounter::new("agent_samples_scraped_total", "x").unwrap();
        let by = |name: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, "x"), labels).unwrap();
        let scrapes = by("agent_scrapes_total", &["job", "result"]);
        let updates = by("agent_discovery_updates_total", &["job"]);
        let other = IntCounter::new("other_total", "x").unwrap();
        let seconds = Histogram::with_opts(HistogramOpts::new("agent_upload_duration_seconds", "x")).unwrap();
        registry.register(Box::new(plain.clone())).unwrap();
        registry.register(Box::new(scrapes.clone())).unwrap();
        registry.register(Box::new(updates.clone())).unwrap();
        registry.register(Box::new(other.clone())).unwrap();
        registry.register(Box::new(seconds.clone())).unwrap();
        plain.inc_by(7);
        other.inc();
        for (job, result, count) in [("a", "ok", 2), ("b", "ok", 3), ("a", "refused", 4)] {
            scrapes.with_label_values(&[job, result]).inc_by(count);
        }
        updates.with_label_values(&["a"]).inc_by(5);
        updates.with_label_values(&["b"]).inc_by(6);
        seconds.observe(0.5);
        let expected = json!({
            "agent_discovery_updates_total": {"all": 11.0},
            "agent_samples_scraped_total": 7.0,
            "agent_scrapes_total": {"ok": 5.0, "refused": 4.0},
            "agent_upload_duration_seconds": {"sum": 0.5, "count": 1},
        });
        assert_eq!(metrics(&registry.gather()), expected);
    }

    #[test]
    fn the_metrics_shown_are_in_order_and_named_once() {
        assert!(METRICS.windows(2).all(|two| two[0] < two[1]));
    }
}
