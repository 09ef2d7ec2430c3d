//! The sinks' own metrics.

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// Why objects were dropped: the label `reason` of the `agent_spool_dropped_*` counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The spool was full and this was the oldest object.
    SpoolFull,
    /// The checksum of the file did not match; set aside as `*.corrupt`.
    Corrupt,
    /// The store refused this object alone; set aside as `*.rejected`.
    Rejected,
    /// The disk took no object until the process had to end.
    NotWritten,
    /// Somebody else had taken over the Lease and scraped the same.
    TakenOver,
}

impl DropReason {
    /// Every reason, so that each counter is there from the start.
    pub(crate) const ALL: [Self; 5] =
        [Self::SpoolFull, Self::Corrupt, Self::Rejected, Self::NotWritten, Self::TakenOver];

    /// The value of the label.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::SpoolFull => "spool_full",
            Self::Corrupt => "corrupt",
            Self::Rejected => "rejected",
            Self::NotWritten => "not_written",
            Self::TakenOver => "taken_over",
        }
    }
}

/// All metrics of this crate; counted whether or not anybody looks.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Objects delivered.
    pub objects_uploaded: IntCounter,
    /// Bytes delivered.
    pub bytes_uploaded: IntCounter,
    /// Samples delivered.
    pub samples_uploaded: IntCounter,
    /// Objects that arrived by an earlier attempt whose answer was lost.
    pub uploads_confirmed_late: IntCounter,
    /// Seconds of successful PUTs.
    pub upload_seconds: Histogram,
    /// Failed requests to the store by `class`.
    pub upload_errors: IntCounterVec,
    /// Unix time of the last delivery.
    pub last_upload: Gauge,
    /// How long the object that was delivered last had waited since it was sealed, seconds.
    pub upload_lag: Gauge,
    /// Unix time in the last key that was given.
    pub last_key: IntGauge,
    /// Whether uploading has stopped for good or until someone acts: 0 or 1.
    pub upload_stopped: IntGauge,
    /// Objects on disk.
    pub spool_objects: IntGauge,
    /// Bytes on disk.
    pub spool_bytes: IntGauge,
    /// The limit that `spool_bytes` stays below.
    pub spool_bytes_max: IntGauge,
    /// Age of the oldest object on disk, seconds; written every few seconds.
    pub spool_oldest_age: Gauge,
    /// Failures to write to the spool's directory.
    pub spool_write_errors: IntCounter,
    /// Failures to read an object back from the spool's directory.
    pub spool_read_errors: IntCounter,
    /// Dropped samples by `reason`.
    pub dropped_samples: IntCounterVec,
    /// Dropped objects by `reason`.
    pub dropped_objects: IntCounterVec,
    /// Unix time at which the credentials expire; 0 while there are none or they do not expire.
    pub credentials_expiry: Gauge,
    /// Attempts to refresh by `result`.
    pub credentials_refreshes: IntCounterVec,
    /// The servers' time less the local one, seconds.
    pub clock_offset: Gauge,
    /// Seconds spent waiting between attempts.
    pub retry_wait_seconds: Counter,
}

impl Metrics {
    /// Makes and registers all metrics.
    ///
    /// # Errors
    /// When one of the names is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let new = New { registry };
        let metrics = Self {
            objects_uploaded: new.count("agent_objects_uploaded_total", "Objects delivered.")?,
            bytes_uploaded: new.count("agent_bytes_uploaded_total", "Bytes of objects delivered.")?,
            samples_uploaded: new.count("agent_samples_uploaded_total", "Samples in objects delivered.")?,
            uploads_confirmed_late: new.count(
                "agent_uploads_confirmed_late_total",
                "Objects that an earlier attempt had delivered although its answer was lost.",
            )?,
            upload_seconds: new.upload_seconds()?,
            upload_errors: new.counts(
                "agent_upload_errors_total",
                "Failed requests to the store.",
                "class",
            )?,
            last_upload: new
                .gauge("agent_last_upload_timestamp_seconds", "Unix time of the last delivery.")?,
            upload_lag: new.gauge(
                "agent_upload_lag_seconds",
                "Time from the sealing to the delivery of the object that was delivered last.",
            )?,
            last_key: new.int("agent_last_key_timestamp_seconds", "Unix time in the last key given.")?,
            upload_stopped: new
                .int("agent_upload_stopped", "1 while uploading has stopped until someone acts.")?,
            spool_objects: new.int("agent_spool_objects", "Objects on disk.")?,
            spool_bytes: new.int("agent_spool_bytes", "Bytes of objects on disk.")?,
            spool_bytes_max: new.int("agent_spool_bytes_max", "Limit of agent_spool_bytes.")?,
            spool_oldest_age: new
                .gauge("agent_spool_oldest_age_seconds", "Age of the oldest object on disk.")?,
            spool_write_errors: new.count("agent_spool_write_errors_total", "Failed writes to the spool.")?,
            spool_read_errors: new.count("agent_spool_read_errors_total", "Failed reads of the spool.")?,
            dropped_samples: new.counts("agent_spool_dropped_samples_total", "Samples dropped.", "reason")?,
            dropped_objects: new.counts("agent_spool_dropped_objects_total", "Objects dropped.", "reason")?,
            credentials_expiry: new.gauge(
                "agent_credentials_expiry_timestamp_seconds",
                "Unix time at which the credentials expire; 0 when there are none or they do not expire.",
            )?,
            credentials_refreshes: new.counts(
                "agent_credentials_refreshes_total",
                "Attempts to get credentials.",
                "result",
            )?,
            clock_offset: new.gauge("agent_clock_offset_seconds", "The servers' time less the local one.")?,
            retry_wait_seconds: new
                .seconds("agent_retry_wait_seconds_total", "Time between upload attempts.")?,
        };
        for drop in DropReason::ALL {
            metrics.drop_objects(drop, 0, 0);
        }
        for result in ["success", "failure"] {
            metrics.credentials_refreshes.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    /// Counts dropped objects and the samples in them.
    pub fn drop_objects(&self, drop: DropReason, objects: u64, samples: u64) {
        self.dropped_objects.with_label_values(&[drop.reason()]).inc_by(objects);
        self.dropped_samples.with_label_values(&[drop.reason()]).inc_by(samples);
    }
}

/// Makes and registers one metric.
struct New<'a> {
    registry: &'a Registry,
}

impl New<'_> {
    fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: C,
    ) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn count(&self, name: &str, about: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::new(name, about)?)
    }

    fn seconds(&self, name: &str, about: &str) -> Result<Counter, prometheus::Error> {
        self.register(Counter::new(name, about)?)
    }

    fn counts(&self, name: &str, about: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, about), &[label])?)
    }

    fn int(&self, name: &str, about: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, about)?)
    }

    fn gauge(&self, name: &str, about: &str) -> Result<Gauge, prometheus::Error> {
        self.register(Gauge::new(name, about)?)
    }

    /// From a bucket on the same machine (10 ms) to one that is about to time out.
    fn upload_seconds(&self) -> Result<Histogram, prometheus::Error> {
        let buckets = vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        let options = HistogramOpts::new("agent_upload_duration_seconds", "Duration of successful uploads.");
        self.register(Histogram::with_opts(options.buckets(buckets))?)
    }
}
