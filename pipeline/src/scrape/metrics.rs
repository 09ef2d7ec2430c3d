//! What the scraping side counts about itself.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Metrics of scraping. The label `job` has as many values as jobs were configured since the start; all others are fixed sets.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests answered (`ok`) or failed, by [`crate::model::scrape::ScrapeError::reason`].
    pub scrapes: IntCounterVec,
    /// Bytes of complete bodies, uncompressed.
    pub body_bytes: IntCounter,
    /// Scrapes that did not take place, because the one before took too long (`slow`) or because the worker did not
    /// keep up (`backpressure`).
    pub skipped: IntCounterVec,
    /// Times that a body had to wait for others to be read, because of `limits.max_body_bytes`.
    pub body_waits: IntCounter,
    /// Targets by job and state: `active`, or `dropped` by relabelling.
    pub targets: IntGaugeVec,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            scrapes: counters("agent_scrapes_total", "Scrapes by job and result.", &["job", "result"])?,
            body_bytes: IntCounter::new(
                "agent_scrape_body_bytes_total",
                "Bytes of complete bodies, uncompressed.",
            )?,
            skipped: counters(
                "agent_scrapes_skipped_total",
                "Scrapes that did not take place, by reason: slow (the one before took too long), backpressure, or stopped (given up at an end).",
                &["reason"],
            )?,
            body_waits: IntCounter::new(
                "agent_scrape_body_waits_total",
                "Times that a body had to wait for memory (limits.max_body_bytes).",
            )?,
            targets: IntGaugeVec::new(
                Opts::new("agent_targets", "Targets by job and state."),
                &["job", "state"],
            )?,
        };
        registry.register(Box::new(metrics.scrapes.clone()))?;
        registry.register(Box::new(metrics.body_bytes.clone()))?;
        registry.register(Box::new(metrics.skipped.clone()))?;
        registry.register(Box::new(metrics.body_waits.clone()))?;
        registry.register(Box::new(metrics.targets.clone()))?;
        Ok(metrics)
    }
}
