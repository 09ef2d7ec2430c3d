//! Targets: what discovery finds, what is scraped, and how its last scrape went.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::labels::{Labels, LabelsBuilder};
use crate::relabel::Rules;

/// Targets that one source of discovery publishes together; it always publishes the whole group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// What the group is called in logs and in `agent targets`, such as `static/0`.
    pub source: String,
    /// One label set per target, `__address__` among them.
    pub targets: Vec<Labels>,
    /// Labels that all targets of the group share.
    pub labels: Labels,
    /// More of them, which others hold as well; they lie below `labels`.
    pub shared: Option<Arc<Labels>>,
    /// Labels of single targets that others hold as well, by the position of the target; they lie below its own. Empty
    /// where no target has any.
    pub shared_by_target: Box<[Option<Arc<Labels>>]>,
}

impl TargetGroup {
    /// Sets in `labels` those of the target at `position`: the group's and its own.
    pub(crate) fn write(&self, position: usize, labels: &mut LabelsBuilder) {
        let shared_by_target = self.shared_by_target.get(position).and_then(Option::as_deref);
        let layers =
            [self.shared.as_deref(), Some(&self.labels), shared_by_target, self.targets.get(position)];
        layers.into_iter().flatten().for_each(|layer| labels.extend(layer));
    }
}

/// All targets of a job, as its sources of discovery see them now.
#[derive(Clone, Debug, Default)]
pub struct TargetSet {
    /// Every group; one that did not change is the same `Arc` as before.
    pub groups: Vec<Arc<TargetGroup>>,
    /// Sources that are still looking for the first time. Until this is 0, targets are missing.
    pub waiting: usize,
    /// What keeps sources from looking, in words; the targets that they found before stay.
    pub problems: Vec<String>,
}

impl TargetSet {
    /// A set that is complete.
    #[must_use]
    pub fn of(groups: Vec<TargetGroup>) -> Self {
        let groups = groups.into_iter().map(Arc::new).collect();
        Self { groups, waiting: 0, problems: Vec::new() }
    }
}

/// The labels of a target before relabelling. They are put together when someone looks, because there are many of them and
/// hardly anyone does.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// What the job gives where discovery gives nothing.
    defaults: Arc<Labels>,
    group: Arc<TargetGroup>,
    position: usize,
}

impl Discovered {
    /// The labels of the target at `position` in `group`.
    pub(crate) fn new(defaults: &Arc<Labels>, group: &Arc<TargetGroup>, position: usize) -> Self {
        Self { defaults: Arc::clone(defaults), group: Arc::clone(group), position }
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let mut builder = LabelsBuilder::default();
        self.write(&mut builder);
        builder.build()
    }

    /// Whether it is the very same place in the same group.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.group, &other.group)
            && Arc::ptr_eq(&self.defaults, &other.defaults)
            && self.position == other.position
    }

    /// Sets `labels` to them.
    pub(crate) fn write(&self, labels: &mut LabelsBuilder) {
        labels.clear();
        labels.extend(&self.defaults);
        self.group.write(self.position, labels);
    }
}

impl From<Labels> for Discovered {
    fn from(labels: Labels) -> Self {
        let group = TargetGroup { targets: vec![labels], ..TargetGroup::default() };
        Self { defaults: Arc::default(), group: Arc::new(group), position: 0 }
    }
}

impl PartialEq for Discovered {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.labels() == other.labels()
    }
}

impl Eq for Discovered {}

/// What the pure stages need to know of the job a target belongs to.
#[derive(Debug, Default)]
pub struct Job {
    /// `job_name`.
    pub name: String,
    /// Whether labels of the exposition win over the target's.
    pub honor_labels: bool,
    /// Whether explicit timestamps of the exposition are kept.
    pub honor_timestamps: bool,
    /// `metric_relabel_configs`, compiled.
    pub metric_relabel: Rules,
    /// Limits whose violation fails the whole scrape.
    pub limits: Limits,
    /// Whether a target that nothing listens on is merely "not running here" (built-in local configuration).
    pub optional: bool,
}

/// Prometheus' limits on one scrape. Zero means none, as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `sample_limit`: samples after metric relabelling.
    pub samples: u64,
    /// `label_limit`: labels per sample.
    pub labels: u64,
    /// `label_name_length_limit`, bytes.
    pub label_name_bytes: u64,
    /// `label_value_length_limit`, bytes.
    pub label_value_bytes: u64,
}

/// One endpoint that is scraped.
#[derive(Debug)]
pub struct Target {
    /// The job it belongs to.
    pub job: Arc<Job>,
    /// Labels after relabelling, the ones that every sample gets; `job` and `instance` among them.
    pub labels: Labels,
    /// The whole URL with parameters; never holds credentials.
    pub url: String,
    /// A hash of `labels` that is the same on every machine and in every release.
    pub labels_hash: u64,
    /// Labels before relabelling, which may change while the target stays the same.
    discovered: Mutex<Discovered>,
    /// How the last scrape went; written by the worker.
    last: Mutex<Option<LastScrape>>,
    /// When the next one is due, milliseconds since the Unix epoch, or [`NEVER`]; written by its loop.
    next: AtomicI64,
}

/// No loop scrapes the target.
const NEVER: i64 = i64::MIN;

impl Target {
    /// A target that has not been scraped yet.
    #[must_use]
    pub fn new(job: Arc<Job>, labels: Labels, discovered: Discovered, url: String) -> Self {
        let labels_hash = labels.stable_hash();
        let (discovered, last) = (Mutex::new(discovered), Mutex::new(None));
        Self { job, labels, url, labels_hash, discovered, last, next: AtomicI64::new(NEVER) }
    }

    /// Labels before relabelling, for people who look for the reason.
    #[must_use]
    pub fn discovered(&self) -> Discovered {
        self.discovered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that discovery found the target again, perhaps with other labels, and lets go of those before.
    pub(crate) fn rediscover(&self, discovered: &Discovered) {
        let mut known = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_same(discovered) {
            *known = discovered.clone();
        }
    }

    /// The `instance` label.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.labels.value("instance")
    }

    /// How the last scrape went, or `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<LastScrape> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the next scrape is due, milliseconds since the Unix epoch; a time that has passed while one is under way or waits.
    /// `None` while nobody scrapes the target.
    #[must_use]
    pub fn next_scrape(&self) -> Option<i64> {
        Some(self.next.load(Ordering::Relaxed)).filter(|next| *next != NEVER)
    }

    /// Notes when the next scrape is due.
    pub(crate) fn set_next_scrape(&self, time: Option<i64>) {
        self.next.store(time.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// Records how a scrape went and returns the one before it.
    pub(crate) fn record(&self, scrape: LastScrape) -> Option<LastScrape> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(scrape)
    }
}

/// The outcome of one scrape, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastScrape {
    /// When it began, milliseconds since the Unix epoch.
    pub time: i64,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// What came of it.
    pub health: Health,
    /// Samples in the exposition.
    pub samples_scraped: u64,
    /// Samples left after metric relabelling.
    pub samples_kept: u64,
    /// Lines that could not be read.
    pub lines_bad: u64,
    /// The first of them: its number, its text (shortened) and what is wrong with it.
    pub first_bad_line: Option<String>,
}

/// What came of a scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Answered and read.
    Up,
    /// Failed; the text says why, causes included.
    Down(String),
    /// Nothing listens there, and that is no error (see [`Job::optional`]).
    NotRunning,
}
