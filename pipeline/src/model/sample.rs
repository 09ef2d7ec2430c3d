//! Samples as a target exposes them: which of its series, a value, now and then a timestamp.

use super::labels::LabelsBuilder;
use super::scrape::ScrapeError;

/// What kind of metric a series belongs to, as its exposition declared it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricType {
    /// Only ever goes up, or restarts from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// `_bucket`, `_sum` and `_count` of a histogram.
    Histogram,
    /// Quantiles, `_sum` and `_count` of a summary.
    Summary,
    /// Constant 1 with labels that say something (OpenMetrics).
    Info,
    /// One of a set of boolean states (OpenMetrics).
    Stateset,
    /// Not declared, or declared `untyped`.
    #[default]
    Unknown,
}

impl MetricType {
    /// The name as it stands in the `type` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::Stateset => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// Stands for the type in the journal; never given another meaning.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Counter => 1,
            Self::Gauge => 2,
            Self::Histogram => 3,
            Self::Summary => 4,
            Self::Info => 5,
            Self::Stateset => 6,
        }
    }

    /// The type with this code.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }

    /// The type with this name in the `type` column.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    const ALL: [Self; 7] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::Summary,
        Self::Info,
        Self::Stateset,
    ];
}

/// A series as its target exposes it, before relabelling.
#[derive(Debug)]
pub struct Exposed<'a> {
    /// Its labels, `__name__` included; free to change.
    pub labels: &'a mut LabelsBuilder,
    /// Names that it gives an empty value, which counts where `honor_labels` is set.
    pub empty: &'a [String],
    /// The type of its family.
    pub metric_type: MetricType,
}

/// Where a target keeps one of its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    /// Stands for a series that metric relabelling drops.
    pub const DROPPED: Self = Self(u32::MAX);
}

/// Why a series is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The line is bad; the others are not affected.
    Line(&'static str),
    /// A limit is exceeded; the whole scrape fails.
    Scrape(ScrapeError),
}

/// Stands for "no explicit timestamp" in [`Samples::timestamps`]; no exposition means the year -292 million.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// The samples of one scrape as columns, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Which series.
    pub slots: Vec<Slot>,
    /// Values, with every bit of a NaN kept.
    pub values: Vec<f64>,
    /// As written, milliseconds since the Unix epoch, or [`NO_TIMESTAMP`]; empty where no line has one.
    pub timestamps: Vec<i64>,
    /// Whether `slots` is what it was after the last whole reading with the same cache.
    pub is_as_before: bool,
}

impl Samples {
    /// Forgets all samples and keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.values.clear();
        self.timestamps.clear();
        self.is_as_before = false;
    }

    /// Adds one sample; `timestamp` is what stands in its line, or [`NO_TIMESTAMP`].
    #[inline]
    pub(crate) fn push(&mut self, slot: Slot, value: f64, timestamp: i64) {
        if timestamp != NO_TIMESTAMP {
            if self.timestamps.len() < self.slots.len() {
                self.fill_timestamps();
            }
            self.timestamps.push(timestamp);
        }
        self.slots.push(slot);
        self.values.push(value);
    }

    /// Says that there are no more: all have a timestamp now, or none has.
    pub(crate) fn finish(&mut self) {
        if !self.timestamps.is_empty() {
            self.fill_timestamps();
        }
    }

    /// Those that were added since the last one with a timestamp have none.
    #[cold]
    fn fill_timestamps(&mut self) {
        self.timestamps.resize(self.slots.len(), NO_TIMESTAMP);
    }

    /// All samples: series, timestamp as written, value.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, i64, f64)> {
        let times = self.timestamps.iter().copied().chain(std::iter::repeat(NO_TIMESTAMP));
        self.slots.iter().zip(times).zip(&self.values).map(|((slot, time), value)| (*slot, time, *value))
    }
}
