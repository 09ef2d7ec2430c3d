//! `agent compare`: what an old shipper's objects hold and a new one's do not, and the other way round.
//!
//! Takes two places and a range of time, each place with objects of either kind; gives a table by metric. Streams the objects, two
//! at a time; of each series only a small state is kept (see `track`).

mod host;
mod identity;
mod print;
mod table;
#[cfg(test)]
mod tests;
mod track;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pipeline::decode::{self, Counts, Sample};
use pipeline::model::series::Series;
use pipeline::model::units::Duration;
use pipeline::selector::Selector;
use sinks::s3::S3;

use crate::objects::{self, Found, Moment, Objects, Place, Window};
use identity::Identities;
use table::{Judging, Row, Side, Table};

/// Unreadable objects that are named; all are counted.
const NAMED_MAX: usize = 20;
/// Progress is shown every so many objects.
const PROGRESS: u64 = 50;
/// Of a short range no more than this part at either end is nobody's.
const SLACK_PARTS: i64 = 10;

/// What is to be compared.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The old objects: a directory, a file, or s3://BUCKET/PREFIX
    #[arg(value_name = "OLD")]
    pub old: Place,

    /// The new objects: the same
    #[arg(value_name = "NEW")]
    pub new: Place,

    /// Samples from this time on: 2026-11-22T10:00:00Z, or 90m for so long ago
    #[arg(long, value_name = "TIME")]
    pub from: Moment,

    /// Samples before this time; `now` is one
    #[arg(long, value_name = "TIME")]
    pub to: Moment,

    /// Only these series, in Prometheus' syntax; labels are those of each side, metrics have their own names
    #[arg(long, value_name = "SELECTOR")]
    pub select: Option<Selector>,

    /// A label that one side has and the other has not; may be given several times
    #[arg(long, value_name = "NAME")]
    pub ignore_label: Vec<String>,

    /// Objects whose key is up to this long before or after the range are read too: what waited on a disk has a later key
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub margin: Duration,

    /// Series that are only seen so close to an end of the range are not missed
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub slack: Duration,

    /// Series held at most, of both sides together, each with some 300 bytes
    #[arg(long, value_name = "COUNT", default_value_t = 2_000_000)]
    pub max_series: usize,

    /// Examples of each finding for each metric
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub examples: usize,

    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: crate::cli::Shape,

    /// How a bucket is reached
    #[command(flatten)]
    pub access: objects::Options,
}

/// What was read of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reading {
    objects: u64,
    bytes: u64,
    /// All in the objects that were read.
    samples: u64,
    /// Those that were compared.
    in_range: u64,
    /// Files that are no objects by their names.
    passed_over: u64,
    unreadable: u64,
    /// The first unreadable ones, and why.
    named: Vec<(String, String)>,
    /// Elements of objects that are no samples, by the reason.
    left_out: BTreeMap<&'static str, u64>,
}

/// What came out.
#[derive(Debug)]
struct Outcome {
    range: (i64, i64),
    old: Reading,
    new: Reading,
    rows: BTreeMap<String, Row>,
    totals: Row,
    series: usize,
    series_max: usize,
    /// Samples of series beyond the limit.
    untold: u64,
    /// Metrics that cannot be compared: why, and the samples.
    incomparable: BTreeMap<String, (String, u64)>,
}

impl Outcome {
    /// Whether the new side has all that the old one has.
    fn is_well(&self) -> bool {
        !self.totals.is_bad() && self.untold == 0 && self.old.in_range > 0
    }
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments make no sense; the text says why.
    #[error("{0}")]
    Refused(String),
    /// A place cannot be listed, or a bucket not be reached.
    #[error("{0}")]
    Place(String),
    /// Nobody reads what is printed.
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// Compares and prints; whether the new side has all that the old one has. `progress` is told what is going on.
///
/// # Errors
/// When a place cannot be listed; objects that cannot be read are named in the result.
pub async fn run(
    arguments: &Arguments,
    s3: Option<&S3>,
    now: i64,
    out: &mut impl Write,
    progress: &mut (dyn Write + Send),
) -> Result<bool, Error> {
    let range = (arguments.from.resolve(now), arguments.to.resolve(now));
    if range.0 >= range.1 {
        return Err(Error::Refused("--from is not before --to".to_owned()));
    }
    let state = Arc::new(Mutex::new(State {
        identities: Identities::new(&arguments.ignore_label),
        select: arguments.select.clone().unwrap_or_default(),
        range,
        table: Table::new(arguments.max_series),
    }));
    let window = Window::around(range.0, range.1, arguments.margin.as_millis());
    let mut reader = Reader { s3, window, state, progress };
    let old = reader.side(Side::Old, &arguments.old, &arguments.new).await?;
    let new = reader.side(Side::New, &arguments.new, &arguments.old).await?;
    let state = reader.state;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let slack = arguments.slack.as_millis().min((range.1 - range.0) / SLACK_PARTS);
    let rows = state.table.rows(Judging { range, slack, examples: arguments.examples });
    let mut totals = Row::default();
    rows.values().for_each(|row| totals.add(row));
    let outcome = Outcome {
        range,
        old,
        new,
        rows,
        totals,
        series: state.table.len(),
        series_max: arguments.max_series,
        untold: state.table.untold,
        incomparable: std::mem::take(&mut state.table.incomparable),
    };
    match arguments.format {
        crate::cli::Shape::Text => print::text(out, &outcome)?,
        crate::cli::Shape::Json => print::json(out, &outcome)?,
    }
    Ok(outcome.is_well())
}

/// What the samples come to.
struct State {
    identities: Identities,
    select: Selector,
    range: (i64, i64),
    table: Table,
}

impl State {
    /// Takes all samples of an object: what it held, and how many of them were in the range.
    fn take(&mut self, side: Side, bytes: &Bytes) -> (Result<Counts, decode::Error>, u64) {
        let mut taken = 0;
        let (from, to) = self.range;
        let kind = match decode::kind(bytes) {
            Ok(kind) => kind,
            Err(error) => return (Err(error), 0),
        };
        let mut take = |series: &Series, samples: &[Sample]| {
            if !self.select.is_empty() && !self.select.takes(|label| series.labels.value(label)) {
                return;
            }
            let within = samples.iter().copied().filter(|(time, _)| (from..to).contains(time));
            let count = within.clone().count() as u64;
            if count == 0 {
                return;
            }
            taken += count;
            match self.identities.of(series, kind) {
                Ok(identity) => self.table.take(side, &identity, within),
                Err(incomparable) => self.table.leave_out(incomparable, count),
            }
        };
        let counts = decode::read(bytes, &mut take);
        (counts, taken)
    }
}

/// Reads the objects of a place.
struct Reader<'a> {
    s3: Option<&'a S3>,
    window: Window,
    state: Arc<Mutex<State>>,
    progress: &'a mut (dyn Write + Send),
}

impl Reader<'_> {
    /// What lies below the place of the `other` side is its own, also where that lies below this one.
    async fn side(&mut self, side: Side, place: &Place, other: &Place) -> Result<Reading, Error> {
        let inner = Some(other).filter(|other| place.is_above(other));
        let mut objects = Objects::look(place, self.window, self.s3).map_err(Error::Place)?;
        let mut reading = Reading::default();
        let mut next = self.fetch(&mut objects, inner).await?;
        while let Some((found, fetched)) = next {
            // The next one is on its way while this one is read.
            let (taken, after) = tokio::join!(self.take(side, fetched), self.fetch(&mut objects, inner));
            reading.note(&found, taken);
            if reading.objects % PROGRESS == 0 {
                self.say(place, &reading);
            }
            next = after?;
        }
        reading.passed_over = objects.passed_over;
        self.say(place, &reading);
        let _ = writeln!(self.progress);
        Ok(reading)
    }

    /// Over the line that it wrote before. Whoever does not see it misses nothing.
    fn say(&mut self, place: &Place, reading: &Reading) {
        let (objects, samples) = (reading.objects, reading.samples);
        let _ = write!(self.progress, "\r{place}: {objects} objects, {samples} samples");
        let _ = self.progress.flush();
    }

    async fn fetch(
        &self,
        objects: &mut Objects<'_>,
        inner: Option<&Place>,
    ) -> Result<Option<(Found, Result<Bytes, String>)>, Error> {
        while let Some(found) = objects.next().await.map_err(Error::Place)? {
            if inner.is_none_or(|inner| !inner.holds(&found)) {
                let bytes = found.get(self.s3).await;
                return Ok(Some((found, bytes)));
            }
        }
        Ok(None)
    }

    async fn take(&self, side: Side, fetched: Result<Bytes, String>) -> Taken {
        let bytes = match fetched {
            Ok(bytes) => bytes,
            Err(problem) => return Taken { problem: Some(problem), ..Taken::default() },
        };
        let size = bytes.len() as u64;
        let state = Arc::clone(&self.state);
        let take = move || state.lock().unwrap_or_else(PoisonError::into_inner).take(side, &bytes);
        match tokio::task::spawn_blocking(take).await {
            Ok((Ok(counts), in_range)) => Taken { size, counts, in_range, problem: None },
            Ok((Err(error), in_range)) => {
                let problem = Some(crate::commands::with_causes(&error));
                Taken { size, in_range, problem, ..Taken::default() }
            }
            // Damage that nobody thought of.
            Err(_) => Taken { size, problem: Some("its reader gave up".to_owned()), ..Taken::default() },
        }
    }
}

/// What became of one object.
#[derive(Debug, Default)]
struct Taken {
    size: u64,
    counts: Counts,
    in_range: u64,
    problem: Option<String>,
}

impl Reading {
    fn note(&mut self, found: &Found, taken: Taken) {
        self.objects += 1;
        self.bytes += taken.size;
        self.samples += taken.counts.samples;
        self.in_range += taken.in_range;
        for (reason, count) in taken.counts.left_out {
            *self.left_out.entry(reason).or_default() += count;
        }
        if let Some(problem) = taken.problem {
            self.unreadable += 1;
            if self.named.len() < NAMED_MAX {
                self.named.push((found.name.clone(), problem));
            }
        }
    }
}
