//! Samples: (series, timestamp, value), the series they belong to, and the batch that holds them as columns.
//!
//! A series is interned once, when its target first exposes it; after that a sample is 12 bytes without an
//! allocation. Identifiers are reused only after no open batch can name them.

use super::labels::{Labels, LabelsBuilder};
use super::object::Tenure;
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
        let all = [
            Self::Unknown,
            Self::Counter,
            Self::Gauge,
            Self::Histogram,
            Self::Summary,
            Self::Info,
            Self::Stateset,
        ];
        all.into_iter().find(|known| known.code() == code)
    }
}

/// A series: its complete label set, `__name__` included, as it will be shipped, and its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// All labels, `__name__` included.
    pub labels: Labels,
    /// The declared type.
    pub metric_type: MetricType,
}

/// A slot in the [`SeriesTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);

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

/// Bytes of labels that there is room for, per series of `limits.max_series`: long ones count for several. Few exporters have
/// more on average; cAdvisor's ids and images are the longest among the usual ones.
pub const LABEL_BYTES: u64 = 256;

/// All series that are alive, by id.
#[derive(Debug, Default)]
pub struct SeriesTable {
    slots: Vec<Option<Series>>,
    free: Vec<SeriesId>,
    /// Series whose target stopped exposing them; freed by `sweep` once no open batch names them.
    dead: Vec<SeriesId>,
    /// Bytes of the labels of all that are not freed.
    label_bytes: u64,
}

impl SeriesTable {
    /// Gives `series` an id. The caller holds that id once, and gives it back with [`Self::retire`].
    pub fn insert(&mut self, series: Series) -> SeriesId {
        self.label_bytes += series.labels.as_bytes().len() as u64;
        if let Some(id) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(id.0 as usize)
        {
            *slot = Some(series);
            return id;
        }
        // 2^32 series would need terabytes; the limits on series refuse long before.
        let id = SeriesId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        self.slots.push(Some(series));
        id
    }

    /// Whether there is no room for one more, where `series_max` may be held: those that are gone and wait for the open batch
    /// to be sealed take room too.
    #[must_use]
    pub fn is_full(&self, series_max: u64) -> bool {
        let held = self.slots.len() - self.free.len();
        held as u64 >= series_max || self.label_bytes >= series_max.saturating_mul(LABEL_BYTES)
    }

    /// Whether a quarter of the room is taken by series that are gone: sealing the open batch frees it.
    #[must_use]
    pub fn is_stale(&self, series_max: u64) -> bool {
        self.dead.len() as u64 > series_max / 4
    }

    /// Frees a series that no batch has named.
    pub fn discard(&mut self, id: SeriesId) {
        self.forget(id);
        self.free.push(id);
    }

    fn forget(&mut self, id: SeriesId) {
        if let Some(series) = self.slots.get_mut(id.0 as usize).and_then(Option::take) {
            self.label_bytes -= series.labels.as_bytes().len() as u64;
        }
    }

    /// The series with this id, while it is alive or an open batch names it.
    #[must_use]
    pub fn get(&self, id: SeriesId) -> Option<&Series> {
        self.slots.get(id.0 as usize).and_then(Option::as_ref)
    }

    /// Marks a series as no longer exposed.
    pub fn retire(&mut self, id: SeriesId) {
        self.dead.push(id);
    }

    /// Frees the retired series and returns their ids; call it when no batch is open.
    pub fn sweep(&mut self) -> Vec<SeriesId> {
        let dead = std::mem::take(&mut self.dead);
        dead.iter().for_each(|id| self.forget(*id));
        self.free.extend_from_slice(&dead);
        dead
    }

    /// Upper bound of all ids in use: the size of an array indexed by id.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Series alive, retired ones not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.dead.len()
    }

    /// Whether no series is alive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Stands for "no explicit timestamp" in [`Parsed::timestamp`]; no exposition means the year -292 million.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// One sample line, resolved to a series of the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parsed {
    /// Which series.
    pub slot: Slot,
    /// As written, milliseconds since the Unix epoch, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    /// With every bit of a NaN kept.
    pub value: f64,
}

/// Samples as columns, in order of arrival: 12 bytes each, since the samples of a scrape share their timestamp.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Which series.
    series: Vec<SeriesId>,
    /// Values, with every bit of a NaN kept.
    values: Vec<f64>,
    /// Runs of equal timestamps, milliseconds since the Unix epoch: where each run ends, and its timestamp.
    times: Vec<(usize, i64)>,
    /// Latest scrape in it, milliseconds since the Unix epoch.
    pub last_scrape: i64,
    /// The turn that it was scraped in; `None` for a single agent.
    pub tenure: Option<Tenure>,
}

impl Batch {
    /// Samples in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Adds one sample.
    pub fn push(&mut self, series: SeriesId, timestamp: i64, value: f64) {
        self.series.push(series);
        self.values.push(value);
        match self.times.last_mut() {
            Some((end, last)) if *last == timestamp => *end += 1,
            _ => self.times.push((self.series.len(), timestamp)),
        }
    }

    /// The series of every sample, in order of arrival.
    #[must_use]
    pub fn series(&self) -> &[SeriesId] {
        &self.series
    }

    /// The values of all samples, in order of arrival.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// From the sample `from` on: runs of equal timestamps, how many and which.
    pub fn times_since(&self, from: usize) -> impl Iterator<Item = (usize, i64)> {
        let first = self.times.partition_point(|(end, _)| *end <= from);
        let mut start = from;
        self.times.get(first..).unwrap_or_default().iter().map(move |(end, time)| {
            let length = end - start;
            start = *end;
            (length, *time)
        })
    }

    /// All samples, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, i64, f64)> {
        let mut start = 0;
        let times = self.times.iter().flat_map(move |(end, time)| {
            let length = end - start;
            start = *end;
            std::iter::repeat_n(*time, length)
        });
        self.series.iter().zip(&self.values).zip(times).map(|((s, v), t)| (*s, t, *v))
    }
}
