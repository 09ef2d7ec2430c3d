//! Where the sources of a job bring what they found: together they are the job's set of targets.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::metrics::Metrics;
use crate::model::target::{TargetGroup, TargetSet};

/// What all sources of a job found.
#[derive(Debug)]
struct Found {
    job: String,
    parts: Mutex<Vec<Part>>,
    set: watch::Sender<TargetSet>,
    metrics: Arc<Metrics>,
}

/// What one source found.
#[derive(Clone, Debug, Default)]
struct Part {
    groups: Vec<Arc<TargetGroup>>,
    is_complete: bool,
    problems: Vec<String>,
}

/// The place of one source in the job's set.
#[derive(Debug)]
pub(super) struct Outlet {
    found: Arc<Found>,
    position: usize,
}

/// The set of a job with `sources` sources, and the outlet of each.
pub(super) fn outlets(
    job: &str,
    sources: usize,
    metrics: &Arc<Metrics>,
) -> (Vec<Outlet>, watch::Receiver<TargetSet>) {
    let (set, receiver) = watch::channel(TargetSet { waiting: sources, ..TargetSet::default() });
    let parts = Mutex::new(vec![Part::default(); sources]);
    let found = Arc::new(Found { job: job.to_owned(), parts, set, metrics: Arc::clone(metrics) });
    let outlets = (0..sources).map(|position| Outlet { found: Arc::clone(&found), position }).collect();
    (outlets, receiver)
}

impl Outlet {
    /// Publishes groups in place of those before. `is_complete` is false while the source is still looking for the first
    /// time, somewhere; `problems` keep it from looking.
    pub(super) fn publish(
        &self,
        different: bool,
        groups: impl FnOnce() -> Vec<Arc<TargetGroup>>,
        is_complete: bool,
        problems: Vec<String>,
    ) {
        self.change(|part| {
            let news = different || part.is_complete != is_complete || part.problems != problems;
            if different {
                part.groups = groups();
            }
            (part.is_complete, part.problems) = (is_complete, problems);
            news
        });
    }

    /// Publishes the whole set of groups of a source that looks at everything at once.
    pub(super) fn replace(&self, groups: Vec<Arc<TargetGroup>>, problems: Vec<String>) {
        self.publish(true, || groups, true, problems);
    }

    /// Notes what keeps the source from looking; what it found before stays.
    pub(super) fn fail(&self, problem: String) {
        self.change(|part| {
            let problems = vec![problem];
            let news = part.problems != problems;
            part.problems = problems;
            news
        });
    }

    /// Changes the source's part, and publishes the whole if that is news.
    fn change(&self, change: impl FnOnce(&mut Part) -> bool) {
        let Found { job, parts, set, metrics } = &*self.found;
        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(part) = parts.get_mut(self.position) else { return };
        if !change(part) {
            return;
        }
        let failing = parts.iter().filter(|part| !part.problems.is_empty()).count();
        metrics.problems.with_label_values(&[job]).set(i64::try_from(failing).unwrap_or(i64::MAX));
        metrics.updates.with_label_values(&[job]).inc();
        let waiting = parts.iter().filter(|part| !part.is_complete && part.problems.is_empty()).count();
        let groups = parts.iter().flat_map(|part| &part.groups).map(Arc::clone).collect();
        let problems = parts.iter().flat_map(|part| &part.problems).cloned().collect();
        set.send_replace(TargetSet { groups, waiting, problems });
    }
}
