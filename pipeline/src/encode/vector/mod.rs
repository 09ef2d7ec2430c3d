//! From a batch to the objects that Vector 0.58 wrote: a JSON array on one line, as its source `prometheus_scrape`, codec
//! `json` and sink `aws_s3` made it (vectordotdev/vector: `src/sources/prometheus/parser.rs`, `lib/vector-core/src/event/metric`,
//! `src/sinks/aws_s3`).
//!
//! Rows come in their order, and are written one after the other; histograms and summaries are put together from theirs
//! where they begin. A batch that would be too large becomes several objects. `deploy/MIGRATION.md` lists what differs.

mod families;
mod json;

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use self::families::{Family, Members, Piece};
use self::json::{Template, Writer};
use super::layout::Layouts;
use super::order::{Order, Rows};
use super::{Encoded, Numbers};
use crate::model::batch::Batch;
use crate::model::object::{Format, Object};
use crate::model::sample::MetricType;
use crate::model::series::{SeriesId, SeriesRef, SeriesTable};
use crate::model::units::Size;
use crate::schema::Schema;

/// Section `vector_json`: how objects are written where `encoding` says so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Compression of an object; with gzip its name ends in `.log.gz`.
    pub compression: Compression,
    /// Bytes of JSON at which a batch is sealed, estimated from the bytes per sample of the last one; it stands in for
    /// `batch.max_bytes`. What turns out larger is cut into several objects of at most twice this: a scrape is sealed whole.
    pub max_bytes: Size,
}

/// Compression of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None, as the stack had it.
    #[default]
    None,
    /// gzip: a tenth of the bytes.
    Gzip,
}

impl Default for Config {
    fn default() -> Self {
        Self { compression: Compression::None, max_bytes: Size(10 << 20) }
    }
}

impl Config {
    /// Problems of the section: path below it, what is wrong and the remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        if (1 << 20..=1 << 30).contains(&self.max_bytes.0) {
            return Vec::new();
        }
        let text =
            format!("{} is not between 1MiB and 1GiB: 10MiB is what Vector's batches had", self.max_bytes);
        vec![("max_bytes".to_owned(), text)]
    }

    /// What the objects are.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.compression {
            Compression::None => Format::VectorJson,
            Compression::Gzip => Format::VectorJsonGzip,
        }
    }

    /// Bytes of JSON in an object at which another one begins.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.max_bytes.0.saturating_mul(2)
    }
}

/// Bytes of JSON for a sample, as long as nothing is known: measured on a mixed cluster.
pub(crate) const ROW_BYTES: usize = 420;

/// Objects that a batch may become. The rows of the largest batch fit in them; should they not, the last takes the rest.
pub(crate) const PARTS_MAX: u64 = 1024;

/// Turns batches into arrays.
#[derive(Debug)]
pub(super) struct VectorEncoder {
    config: Config,
    order: Order,
    schema: Schema,
}

impl VectorEncoder {
    pub(super) fn new(config: &Config) -> Self {
        Self { config: config.clone(), order: Order::default(), schema: Schema::default() }
    }

    /// Gives the objects of a batch, each as soon as it is whole.
    pub(super) fn encode(
        &mut self,
        batch: &Batch,
        table: &SeriesTable,
        numbers: Numbers,
        give: &mut dyn FnMut(Object),
    ) -> Encoded {
        let rows = self.order.place(batch, &mut Layouts::new(table, &self.schema));
        let mut values = vec![0.0; rows.len()];
        rows.values(batch, 0, &mut values, |value| value);
        let runs = Runs::new(&rows, values);
        let mut parts = Parts::new(&self.config, batch, numbers, give);
        let mut writer = Writer::default();
        for family in families::find(&rows.series, table) {
            match family {
                Family::Single(run) => {
                    let Some(series) = runs.series(run, table) else { continue };
                    let template = writer.template(series);
                    for (time, value) in runs.samples(run) {
                        parts.add(1, time, |out| template.number(time, kind(series), value, out));
                    }
                }
                Family::Together(members) => together(&members, &runs, table, &mut writer, &mut parts),
            }
        }
        Encoded { duplicates: rows.duplicates, bytes: parts.finish() }
    }

    pub(super) fn reset(&mut self) {
        self.order = Order::default();
    }

    pub(super) fn forget(&mut self, freed: &[SeriesId]) {
        self.order.forget(freed);
    }
}

/// What a sample that stands by itself is. Vector made gauges of what is not declared; parts of a histogram or a summary
/// that is not whole are what they are by themselves.
fn kind(series: SeriesRef<'_>) -> &'static str {
    let is_counter = match series.metric_type() {
        MetricType::Counter | MetricType::Histogram => true,
        MetricType::Summary => !families::is_quantile(series),
        MetricType::Gauge | MetricType::Info | MetricType::Stateset | MetricType::Unknown => false,
    };
    if is_counter { "counter" } else { "gauge" }
}

/// Writes the samples of a histogram or a summary: those of one timestamp together where they are whole, else each by itself.
fn together(
    members: &Members<'_>,
    runs: &Runs<'_>,
    table: &SeriesTable,
    writer: &mut Writer,
    parts: &mut Parts<'_>,
) {
    let Some(any) = members.pieces.first().and_then(|piece| runs.series(piece.run, table)) else { return };
    let template = writer.template_of(members.name, any);
    let mut alone: Vec<Option<Template>> = members.pieces.iter().map(|_| None).collect();
    let mut rests: Vec<_> = members.pieces.iter().map(|piece| runs.samples(piece.run).peekable()).collect();
    let mut of_now: Vec<(usize, Piece, f64)> = Vec::with_capacity(rests.len());
    while let Some(time) = rests.iter_mut().filter_map(|rest| rest.peek().map(|(time, _)| *time)).min() {
        of_now.clear();
        for (at, (rest, piece)) in rests.iter_mut().zip(&members.pieces).enumerate() {
            of_now.extend(rest.next_if(|(of, _)| *of == time).map(|(_, value)| (at, *piece, value)));
        }
        let found = of_now.iter().map(|(_, piece, value)| (piece.role, *value));
        if let Some(aggregate) = json::Aggregate::new(any.metric_type(), found) {
            parts.add(of_now.len() as u64, time, |out| template.aggregate(time, &aggregate, out));
            continue;
        }
        for (at, piece, value) in &of_now {
            let (Some(series), Some(own)) = (runs.series(piece.run, table), alone.get_mut(*at)) else {
                continue;
            };
            let own = own.get_or_insert_with(|| writer.template(series));
            parts.add(1, time, |out| own.number(time, kind(series), *value, out));
        }
    }
}

/// The runs of rows, by number.
struct Runs<'a> {
    rows: &'a Rows,
    times: Vec<&'a [i64]>,
    values: Vec<f64>,
}

impl<'a> Runs<'a> {
    fn new(rows: &'a Rows, values: Vec<f64>) -> Self {
        Self { rows, times: rows.timestamps().collect(), values }
    }

    fn series<'t>(&self, run: usize, table: &'t SeriesTable) -> Option<SeriesRef<'t>> {
        table.get(*self.rows.series.get(run)?)
    }

    /// Timestamps and values of a run, in order of time.
    fn samples(&self, run: usize) -> impl Iterator<Item = (i64, f64)> {
        let times = self.times.get(run).copied().unwrap_or_default();
        let end = self.rows.ends.get(run).map_or(0, |end| *end as usize);
        let values = self.values.get(end.saturating_sub(times.len())..end).unwrap_or_default();
        times.iter().copied().zip(values.iter().copied())
    }
}

/// The objects of a batch, one after the other.
struct Parts<'a> {
    config: &'a Config,
    batch: &'a Batch,
    numbers: Numbers,
    give: &'a mut dyn FnMut(Object),
    /// Of the object that is open.
    json: Vec<u8>,
    samples: u64,
    times: Option<(i64, i64)>,
    /// Bytes of JSON in those that were given.
    bytes: usize,
}

impl<'a> Parts<'a> {
    fn new(config: &'a Config, batch: &'a Batch, numbers: Numbers, give: &'a mut dyn FnMut(Object)) -> Self {
        Self { config, batch, numbers, give, json: Vec::new(), samples: 0, times: None, bytes: 0 }
    }

    /// Adds an element that stands for so many samples.
    fn add(&mut self, samples: u64, time: i64, write: impl FnOnce(&mut Vec<u8>)) {
        // Its number is known to be free only while it is not the last one's.
        if self.json.len() as u64 >= self.config.cut() && self.numbers.first < self.numbers.last {
            self.give(self.numbers.first);
            self.numbers.first += 1;
        }
        self.json.push(if self.json.is_empty() { b'[' } else { b',' });
        write(&mut self.json);
        self.samples += samples;
        self.times = Some(self.times.map_or((time, time), |(min, max)| (min.min(time), max.max(time))));
    }

    fn give(&mut self, sequence: u64) {
        self.json.push(b']');
        let json = std::mem::take(&mut self.json);
        self.bytes += json.len();
        let bytes = match self.config.compression {
            Compression::None => Bytes::from(json),
            Compression::Gzip => Bytes::from(gzip(&json)),
        };
        let (time_min, time_max) = self.times.take().unwrap_or_default();
        let Batch { last_scrape, tenure, .. } = *self.batch;
        let crc32 = crc32fast::hash(&bytes);
        let (format, samples) = (self.config.format(), std::mem::take(&mut self.samples));
        (self.give)(Object {
            sequence,
            format,
            bytes,
            samples,
            time_min,
            time_max,
            last_scrape,
            crc32,
            tenure,
        });
    }

    /// Gives the last one; the bytes of all.
    fn finish(mut self) -> usize {
        if self.samples > 0 {
            self.give(self.numbers.last);
        }
        self.bytes
    }
}

/// Vector's level, and no time of making in the header: the same bytes every time.
fn gzip(json: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Memory takes everything.
    let _ = encoder.write_all(json);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
