//! Targets: what discovery finds, what is scraped, and how its last scrape went.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::labels::Labels;
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
}

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
    /// Labels before relabelling, for people who look for the reason.
    pub discovered: Labels,
    /// The whole URL with parameters; never holds credentials.
    pub url: String,
    /// How the last scrape went; written by the worker.
    last: Mutex<Option<LastScrape>>,
}

impl Target {
    /// A target that has not been scraped yet.
    #[must_use]
    pub fn new(job: Arc<Job>, labels: Labels, discovered: Labels, url: String) -> Self {
        Self { job, labels, discovered, url, last: Mutex::new(None) }
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
