//! The samples that tell how a scrape went: `up` and its companions, for every scrape, failed ones too.
//!
//! Source: "Jobs and instances", Prometheus documentation, "Automatically generated labels and time series".

use crate::model::batch::{Batch, LineUp, Times};
use crate::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use crate::model::sample::MetricType;
use crate::model::series::{SeriesId, SeriesTable};
use crate::model::target::Target;

/// Names of the report series.
pub(crate) const NAMES: [&str; 6] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_body_size_bytes",
];

/// What is reported of one scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) up: bool,
    pub(crate) duration_seconds: f64,
    pub(crate) samples_scraped: u64,
    pub(crate) samples_post_metric_relabeling: u64,
    pub(crate) series_added: u64,
    /// Uncompressed; -1 where `body_size_limit` was exceeded, 0 for other failures.
    pub(crate) body_size_bytes: f64,
}

impl Report {
    /// In the order of [`NAMES`].
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn values(&self) -> [f64; 6] {
        [
            f64::from(u8::from(self.up)),
            self.duration_seconds,
            self.samples_scraped as f64,
            self.samples_post_metric_relabeling as f64,
            self.series_added as f64,
            self.body_size_bytes,
        ]
    }
}

/// The report series of one target. Those of a scrape that counts stand behind its own in the batch, see
/// [`Self::series`]; the others stand there alone.
#[derive(Debug)]
pub(crate) struct ReportSeries(LineUp);

impl ReportSeries {
    /// Interns the six series: the target's labels, and the external ones that it lacks.
    pub(crate) fn new(target: &Target, external: &Labels, table: &mut SeriesTable) -> Self {
        let mut labels = LabelsBuilder::from_labels(external);
        labels.extend(&target.labels);
        Self(LineUp::new(&NAMES.map(|name| {
            labels.set(METRIC_NAME, name);
            table.insert(labels.iter(), MetricType::Gauge)
        })))
    }

    /// The series, in the order of [`NAMES`].
    pub(crate) fn series(&self) -> &[SeriesId] {
        self.0.series()
    }

    /// Adds the report on a scrape that brought nothing to the batch.
    pub(crate) fn push(&mut self, report: &Report, time: i64, batch: &mut Batch) {
        batch.add(&mut self.0, Times::Same(time), &report.values());
    }

    /// Gives the series back.
    pub(crate) fn clear(&self, table: &mut SeriesTable) {
        self.0.series().iter().for_each(|series| table.retire(*series));
    }
}
