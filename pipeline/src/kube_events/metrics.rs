//! What the watch of Kubernetes events counts of itself.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::kubernetes::watch::Counts;

/// Why a row was not shipped.
pub(super) mod reason {
    /// Its time is further ahead than `limits.max_timestamp_ahead`.
    pub(in crate::kube_events) const AHEAD: &str = "timestamp_ahead";
    /// Its time is further behind than `limits.max_timestamp_behind`.
    pub(in crate::kube_events) const BEHIND: &str = "timestamp_behind";
    /// The Parquet writer failed, which is a defect.
    pub(in crate::kube_events) const ENCODE: &str = "encode_failed";
    pub(super) const ALL: [&str; 3] = [AHEAD, BEHIND, ENCODE];
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Rows that became part of an object.
    pub rows_sealed: IntCounter,
    /// Rows that were not shipped, by reason.
    pub rows_dropped: IntCounterVec,
    /// Rows in the open object and in the one on its way to the spool.
    pub rows_open: IntGauge,
    /// Rows counted by the series for all others, since `max_counter_series` was reached.
    pub beyond_series: IntCounter,
    /// Things remembered to be shipped.
    pub remembered: IntGauge,
    /// Things forgotten although they may come again, since `max_remembered` was reached.
    pub forgotten: IntCounter,
    /// Failures to write the position.
    pub position_errors: IntCounter,
    /// 1 while something keeps the watch from going on.
    pub problem: IntGauge,
    /// What the watches count.
    pub(crate) watch: Counts,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("agent_kubernetes_events_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("agent_kubernetes_events_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let options = Opts::new("agent_kubernetes_events_rows_dropped_total", "Rows not shipped.");
        let rows_dropped = IntCounterVec::new(options, &["reason"])?;
        registry.register(Box::new(rows_dropped.clone()))?;
        reason::ALL.iter().for_each(|reason| drop(rows_dropped.with_label_values(&[reason])));
        Ok(Self {
            rows_sealed: counter("rows_sealed_total", "Rows in sealed objects.")?,
            rows_dropped,
            rows_open: gauge("rows_open", "Rows on their way to the spool.")?,
            beyond_series: counter(
                "beyond_series_total",
                "Rows counted as `other`, beyond max_counter_series.",
            )?,
            remembered: gauge(
                "remembered",
                "Kubernetes events and ends of containers remembered as shipped.",
            )?,
            forgotten: counter("forgotten_total", "Things forgotten early, beyond max_remembered.")?,
            position_errors: counter("position_errors_total", "Failed writes of the position in the spool.")?,
            problem: gauge("problem", "1 while something keeps the watch from going on.")?,
            watch: Counts {
                lists: counter("lists_total", "Whole lists that were asked for, the first ones included.")?,
                failures: counter("failures_total", "Requests that failed.")?,
                refused: counter("refused_total", "Objects left out because they could not be understood.")?,
                changes: counter("changes_total", "Kubernetes events and pods that came or changed.")?,
                objects: gauge("pods", "Pods whose owner is known.")?,
            },
        })
    }
}
