//! What discovery counts about itself.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Metrics of discovery. `kind` is one of kubernetes, file, http and dns; `job` has as many values as the configuration has
/// jobs.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Sets of targets that were published.
    pub updates: IntCounterVec,
    /// Sources that cannot look right now.
    pub problems: IntGaugeVec,
    /// Requests, files and lookups that failed.
    pub failures: IntCounterVec,
    /// Objects and groups of targets that were left out because they could not be understood.
    pub refused: IntCounterVec,
    /// Objects of Kubernetes that came, went or became different in a way that matters.
    pub changes: IntCounterVec,
    /// Objects of Kubernetes that are held.
    pub objects: IntGaugeVec,
    /// Whole lists of objects that were asked for, the first ones included.
    pub lists: IntCounter,
}

/// The kinds of discovery that may fail.
const KINDS: [&str; 4] = ["kubernetes", "file", "http", "dns"];

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let lists = IntCounter::new(
            "agent_discovery_lists_total",
            "Whole lists of Kubernetes objects that were asked for, the first ones included.",
        )?;
        registry.register(Box::new(lists.clone()))?;
        let metrics = Self {
            updates: counters("agent_discovery_updates_total", "Sets of targets published, by job.", "job")?,
            problems: gauges(
                "agent_discovery_problems",
                "Sources of discovery that cannot look right now, by job; their last targets stay.",
                "job",
            )?,
            failures: counters(
                "agent_discovery_failures_total",
                "Requests, files and lookups of discovery that failed.",
                "kind",
            )?,
            refused: counters(
                "agent_discovery_refused_total",
                "Objects and groups of targets left out because they could not be understood.",
                "kind",
            )?,
            changes: counters(
                "agent_discovery_changes_total",
                "Kubernetes objects that came, went or changed in a way that matters.",
                "resource",
            )?,
            objects: gauges("agent_discovery_objects", "Kubernetes objects held.", "resource")?,
            lists,
        };
        for kind in KINDS {
            metrics.failures.with_label_values(&[kind]);
            metrics.refused.with_label_values(&[kind]);
        }
        Ok(metrics)
    }
}
