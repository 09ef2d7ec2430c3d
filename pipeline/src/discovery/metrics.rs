//! What discovery counts about itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// How many searches each job has.
    jobs: Arc<Mutex<HashMap<String, usize>>>,
}

/// A job is counted for as long as one of these lives: nothing is said of a job that is gone.
#[derive(Debug)]
pub(super) struct Counted {
    job: String,
    metrics: Arc<Metrics>,
}

impl Counted {
    pub(super) fn new(job: &str, metrics: &Arc<Metrics>) -> Self {
        *lock(&metrics.jobs).entry(job.to_owned()).or_default() += 1;
        Self { job: job.to_owned(), metrics: Arc::clone(metrics) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut jobs = lock(&self.metrics.jobs);
        let Some(count) = jobs.get_mut(&self.job) else { return };
        *count -= 1;
        if *count == 0 {
            jobs.remove(&self.job);
            // They are not there where nothing was ever published.
            let _ = self.metrics.updates.remove_label_values(&[self.job.as_str()]);
            let _ = self.metrics.problems.remove_label_values(&[self.job.as_str()]);
        }
    }
}

fn lock(jobs: &Mutex<HashMap<String, usize>>) -> MutexGuard<'_, HashMap<String, usize>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
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
            jobs: Arc::default(),
        };
        for kind in KINDS {
            metrics.failures.with_label_values(&[kind]);
            metrics.refused.with_label_values(&[kind]);
        }
        Ok(metrics)
    }
}
