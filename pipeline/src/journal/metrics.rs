//! What the journal counts of itself.

use prometheus::{Histogram, IntCounter, IntGauge, Registry};

use crate::metrics::{counter, gauge, seconds};

/// The journal's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Bytes written.
    pub(crate) bytes: IntCounter,
    /// Times that everything written was synced.
    pub(crate) commits: IntCounter,
    /// Seconds of syncing.
    pub(crate) commit_seconds: Histogram,
    /// Writes, syncs and removals that the disk refused.
    pub(crate) errors: IntCounter,
    /// Bytes that wait for the disk.
    pub(crate) pending_bytes: IntGauge,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// A name that is registered already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| counter(registry, name, help);
        Ok(Self {
            bytes: counter("agent_journal_bytes_total", "Bytes written to the journal.")?,
            commits: counter("agent_journal_commits_total", "Times that the journal was synced.")?,
            commit_seconds: seconds(
                registry,
                "agent_journal_commit_seconds",
                "Seconds of syncing the journal.",
            )?,
            errors: counter("agent_journal_errors_total", "What the disk refused of the journal.")?,
            pending_bytes: gauge(registry, "agent_journal_pending_bytes", "Bytes that wait for the disk.")?,
        })
    }
}
