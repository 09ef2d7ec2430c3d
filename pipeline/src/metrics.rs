//! What the pipeline counts of itself. Every way to lose a sample is one value of `reason`.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The pipeline's own metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Sample lines read from expositions, those of failed scrapes included.
    pub samples_scraped: IntCounter,
    /// Report samples (`up` and its companions) added to what was scraped.
    pub samples_reported: IntCounter,
    /// Samples that were read and not shipped, by reason.
    pub samples_dropped: IntCounterVec,
    /// Scrapes that answered and were refused as a whole, by reason.
    pub scrapes_refused: IntCounterVec,
    /// Lines that could not be read.
    pub lines_bad: IntCounter,
    /// Series alive.
    pub series: IntGauge,
    /// Samples in the open batch.
    pub batch_samples: IntGauge,
    /// Sealed objects, their bytes and their samples.
    pub objects_sealed: IntCounter,
    /// Bytes of sealed objects.
    pub object_bytes: IntCounter,
    /// Samples in sealed objects.
    pub samples_sealed: IntCounter,
    /// Seconds from a batch to an object.
    pub encode_seconds: Histogram,
    /// Samples that were found in the journal of an earlier process and sealed.
    pub samples_replayed: IntCounter,
}

/// Reasons for which a sample is dropped between an exposition and an object.
pub(crate) mod reason {
    /// `metric_relabel_configs` dropped it.
    pub(crate) const RELABELLED: &str = "metric_relabel";
    /// Its scrape failed as a whole after it had been read.
    pub(crate) const SCRAPE_FAILED: &str = "scrape_failed";
    /// Its series stood in the same scrape before, or came from another target with the same timestamp.
    pub(crate) const DUPLICATE: &str = "duplicate";
    /// Its explicit timestamp was shipped before.
    pub(crate) const REPEATED: &str = "repeated_timestamp";
    /// Its explicit timestamp is further ahead than `limits.max_timestamp_ahead`.
    pub(crate) const AHEAD: &str = "timestamp_ahead";
    /// Its explicit timestamp is further behind than `limits.max_timestamp_behind`.
    pub(crate) const BEHIND: &str = "timestamp_behind";
    /// The Parquet writer failed, which is a defect.
    pub(crate) const ENCODE: &str = "encode_failed";
    /// It stood in the journal of an earlier process and cannot be read.
    pub(crate) const JOURNAL_CORRUPT: &str = "journal_corrupt";
    /// Its object found no place in the spool before the process had to end.
    pub(crate) const NOT_SPOOLED: &str = "not_spooled";
    /// All of them, so that each is visible before it happens.
    pub(crate) const ALL: [&str; 9] =
        [RELABELLED, SCRAPE_FAILED, DUPLICATE, REPEATED, AHEAD, BEHIND, ENCODE, JOURNAL_CORRUPT, NOT_SPOOLED];
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// A name that is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| counter(registry, name, help);
        let gauge = |name: &str, help: &str| gauge(registry, name, help);
        let help = "Samples that were read and not shipped.";
        let samples_dropped =
            IntCounterVec::new(Opts::new("agent_samples_dropped_total", help), &["reason"])?;
        registry.register(Box::new(samples_dropped.clone()))?;
        for reason in reason::ALL {
            samples_dropped.with_label_values(&[reason]);
        }
        let help = "Scrapes that answered and were refused as a whole.";
        let scrapes_refused =
            IntCounterVec::new(Opts::new("agent_scrapes_refused_total", help), &["reason"])?;
        registry.register(Box::new(scrapes_refused.clone()))?;
        for reason in ["limit", "unreadable"] {
            scrapes_refused.with_label_values(&[reason]);
        }
        let help = "Seconds from a batch to an object.";
        let encode_seconds = seconds(registry, "agent_encode_seconds", help)?;
        Ok(Self {
            samples_scraped: counter("agent_samples_scraped_total", "Sample lines read from expositions.")?,
            samples_reported: counter("agent_samples_reported_total", "Samples of up and its companions.")?,
            samples_dropped,
            scrapes_refused,
            lines_bad: counter("agent_lines_bad_total", "Lines of expositions that could not be read.")?,
            series: gauge("agent_series", "Series alive.")?,
            batch_samples: gauge("agent_batch_samples", "Samples in the open batch.")?,
            objects_sealed: counter("agent_objects_sealed_total", "Batches that became objects.")?,
            object_bytes: counter("agent_object_bytes_total", "Bytes of sealed objects.")?,
            samples_sealed: counter("agent_samples_sealed_total", "Samples in sealed objects.")?,
            encode_seconds,
            samples_replayed: counter(
                "agent_journal_replayed_samples_total",
                "Samples found in the journal of an earlier process and sealed.",
            )?,
        })
    }

    pub(crate) fn dropped(&self, reason: &str, samples: u64) {
        if samples > 0 {
            self.samples_dropped.with_label_values(&[reason]).inc_by(samples);
        }
    }
}

/// Makes and registers a counter.
pub(crate) fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

/// Makes and registers a gauge.
pub(crate) fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Durations of what mostly takes milliseconds.
pub(crate) fn seconds(registry: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0];
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}
