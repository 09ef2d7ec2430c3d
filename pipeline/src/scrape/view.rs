//! The targets of all jobs as they are now, for people: `/targets`, `agent targets`, and warnings said once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::metrics::Metrics;
use super::targets::{DropReason, DroppedTarget, JobTargets};
use crate::model::target::Target;

/// The targets of all jobs; a handle that can be cloned and always shows the present.
#[derive(Clone, Debug, Default)]
pub struct TargetsView {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By number; in the order of the configuration.
    jobs: Vec<(usize, Arc<JobTargets>)>,
    /// Hashes of label sets that several targets share, and that was said.
    shared_labels: HashSet<u64>,
}

impl TargetsView {
    /// The targets of every job, in the order of the configuration; how they are is in `Target::last`.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<JobTargets>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.jobs.iter().map(|(_, targets)| Arc::clone(targets)).collect()
    }

    /// From now on there are these jobs, by number, in this order; those that were there before keep their targets.
    pub(super) fn arrange(&self, order: impl Iterator<Item = usize>, metrics: &Metrics) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before: HashMap<_, _> = inner.jobs.drain(..).collect();
        inner.jobs = order.map(|job| (job, before.remove(&job).unwrap_or_default())).collect();
        let is_named = |name: &str| inner.jobs.iter().any(|(_, targets)| targets.job == name);
        for gone in before.values().filter(|gone| !is_named(&gone.job)) {
            for state in ["active", "dropped"] {
                // It was never counted where this fails.
                let _ = metrics.targets.remove_label_values(&[gone.job.as_str(), state]);
            }
        }
    }

    /// Replaces the targets of one job, counts them, and says what is new and wrong with them.
    pub(super) fn replace(&self, job: usize, targets: JobTargets, metrics: &Metrics) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, shown)) = inner.jobs.iter_mut().find(|(number, _)| *number == job) else { return };
        let count = |state: &str, count: usize| {
            let gauge = metrics.targets.with_label_values(&[targets.job.as_str(), state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        count("active", targets.active.len());
        count("dropped", targets.dropped.len());
        let targets = Arc::new(targets);
        let before = std::mem::replace(shown, Arc::clone(&targets));
        warn_of_dropped(&before, &targets);
        inner.warn_of_shared_labels();
    }
}

impl Inner {
    /// Targets that end with equal labels are all scraped, as in Prometheus, and their samples cannot be told apart.
    fn warn_of_shared_labels(&mut self) {
        let mut counts: HashMap<u64, (usize, &Target)> = HashMap::new();
        for active in self.jobs.iter().flat_map(|(_, job)| &job.active) {
            let target = &*active.target;
            counts.entry(target.labels_hash).or_insert((0, target)).0 += 1;
        }
        counts.retain(|_, (count, _)| *count > 1);
        for (hash, (count, target)) in &counts {
            if !self.shared_labels.contains(hash) {
                let (job, instance) = (target.job.name.as_str(), target.instance());
                tracing::warn!(
                    job,
                    instance,
                    count,
                    "several targets have equal labels: tell them apart by relabel_configs"
                );
            }
        }
        self.shared_labels = counts.into_keys().collect();
    }
}

/// Says of every target that cannot be scraped why, unless that was said before.
fn warn_of_dropped(before: &JobTargets, now: &JobTargets) {
    let invalid = |dropped: &&DroppedTarget| matches!(dropped.reason, DropReason::Invalid(_));
    let said = |dropped: &DroppedTarget| (dropped.discovered.labels(), dropped.reason.clone());
    let before_invalid: HashSet<_> = before.dropped.iter().filter(invalid).map(said).collect();
    for dropped in now.dropped.iter().filter(invalid) {
        let (labels, reason) = said(dropped);
        if before_invalid.contains(&(labels.clone(), reason)) {
            continue;
        }
        let address = labels.value("__address__");
        tracing::warn!(job = %now.job, address, error = %dropped.reason, "a target is not scraped");
    }
    if let Some(limit) = now.limit_exceeded.filter(|_| before.limit_exceeded.is_none()) {
        let targets = now.active.len();
        tracing::error!(job = %now.job, targets, limit, "more targets than target_limit: none of them is scraped");
    }
}
