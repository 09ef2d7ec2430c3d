//! `agent inspect`: what an object says of itself, its series and its samples.
//!
//! Takes files and objects of buckets, of the agent or of Vector; prints them one after another. What cannot be read is said, and
//! the others are shown all the same.

pub(crate) mod print;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use bytes::Bytes;
use pipeline::decode::{self, Counts, Description, Kind, Sample};
use pipeline::model::series::Series;
use pipeline::selector::Selector;
use sinks::s3::S3;

use crate::cli::Shape;
use crate::objects::{self, Objects, Place, Window};

/// What is to be shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Files, directories, s3://BUCKET/KEY or s3://BUCKET/PREFIX
    #[arg(value_name = "OBJECT", required = true)]
    pub objects: Vec<Place>,

    /// Show each series with its samples' number, times and range of values
    #[arg(long)]
    pub series: bool,

    /// Show each sample
    #[arg(long)]
    pub samples: bool,

    /// Only these series, in Prometheus' syntax, such as '{job="dcgm",__name__=~"DCGM_.*"}'
    #[arg(long, value_name = "SELECTOR")]
    pub select: Option<Selector>,

    /// Series, or samples, shown of each object at most; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub limit: usize,

    /// How it is printed; JSON is one object per line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Shape,

    /// How a bucket is reached
    #[command(flatten)]
    pub access: objects::Options,
}

/// Why nothing more can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bucket cannot be listed.
    #[error("{0}")]
    Place(String),
    /// Nobody reads what is printed.
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// What is known of an object after it was read.
#[derive(Debug)]
struct Summary {
    name: String,
    bytes: u64,
    kind: Kind,
    /// The writer and the number in its name, where it has them.
    writer: Option<(String, u64)>,
    /// Of Parquet.
    description: Option<Description>,
    counts: Counts,
    /// Of what was selected, like all below.
    selected: u64,
    series: u64,
    metrics: usize,
    times: Option<(i64, i64)>,
}

/// One series of one object.
#[derive(Debug)]
struct OfSeries {
    series: Series,
    samples: u64,
    times: (i64, i64),
    values: (f64, f64),
}

/// Shows them; whether all could be read.
///
/// # Errors
/// When a bucket cannot be listed, or nobody reads.
pub async fn run(
    arguments: &Arguments,
    s3: Option<&S3>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<bool, Error> {
    let mut all_read = true;
    for place in &arguments.objects {
        let mut objects = match Objects::look(place, Window::ALL, s3) {
            Ok(objects) => objects,
            Err(problem) => {
                all_read = false;
                writeln!(err, "error: {problem}")?;
                continue;
            }
        };
        let mut is_empty = true;
        while let Some(found) = objects.next().await.map_err(Error::Place)? {
            is_empty = false;
            let shown = match found.get(s3).await {
                Ok(bytes) => show(arguments, &found.name, &bytes, out)?,
                Err(problem) => Some(problem),
            };
            if let Some(problem) = shown {
                all_read = false;
                writeln!(err, "error: {}: {problem}", found.name)?;
            }
        }
        if is_empty {
            all_read = false;
            writeln!(err, "error: {place}: no objects, and {} other files", objects.passed_over)?;
        }
    }
    Ok(all_read)
}

/// Shows one object; why it, or the rest of it, could not be read.
fn show(
    arguments: &Arguments,
    name: &str,
    bytes: &Bytes,
    out: &mut impl Write,
) -> io::Result<Option<String>> {
    let problem = |error: &decode::Error| Some(crate::commands::with_causes(error));
    let kind = match decode::kind(bytes) {
        Ok(kind) => kind,
        Err(error) => return Ok(problem(&error)),
    };
    let description = match kind {
        Kind::Parquet => match decode::describe(bytes) {
            Ok(description) => Some(description),
            Err(error) => return Ok(problem(&error)),
        },
        Kind::Vector => None,
    };
    let limit = if arguments.limit == 0 { usize::MAX } else { arguments.limit };
    let mut collected = Collected { seen: Default::default(), all: Vec::new(), samples: 0, times: None };
    let (select, mut left, mut printed) = (arguments.select.clone().unwrap_or_default(), limit, Ok(()));
    let read = decode::read(bytes, &mut |series, samples| {
        if !select.takes(|label| series.labels.value(label)) {
            return;
        }
        collected.take(series, samples);
        if arguments.samples && printed.is_ok() {
            let shown = samples.get(..samples.len().min(left)).unwrap_or_default();
            left -= shown.len();
            printed = print::samples(out, series, shown, arguments.format);
        }
    });
    printed?;
    let (counts, failed) = match read {
        Ok(counts) => (counts, None),
        Err(error) => (Counts { samples: collected.samples, ..Counts::default() }, problem(&error)),
    };
    if arguments.series {
        print::series(out, collected.all.iter().take(limit), arguments.format)?;
    }
    if !arguments.series && !arguments.samples {
        let summary = collected.summary(name, bytes.len(), kind, description, counts);
        print::summary(out, &summary, arguments.format)?;
    }
    Ok(failed)
}

/// What is selected of an object.
struct Collected {
    /// Where a series stands in `all`.
    seen: std::collections::HashMap<pipeline::model::labels::Labels, usize>,
    all: Vec<OfSeries>,
    samples: u64,
    times: Option<(i64, i64)>,
}

impl Collected {
    fn take(&mut self, series: &Series, samples: &[Sample]) {
        self.samples += samples.len() as u64;
        let at = *self.seen.entry(series.labels.clone()).or_insert(self.all.len());
        if at == self.all.len() {
            let (times, values) = ((i64::MAX, i64::MIN), (f64::NAN, f64::NAN));
            self.all.push(OfSeries { series: series.clone(), samples: 0, times, values });
        }
        let Some(of) = self.all.get_mut(at) else { return };
        of.samples += samples.len() as u64;
        for (time, value) in samples {
            of.times = (of.times.0.min(*time), of.times.1.max(*time));
            // Whatever is no number stands behind every number.
            of.values = (of.values.0.min(*value), of.values.1.max(*value));
        }
        let (first, last) = self.times.unwrap_or(of.times);
        self.times = Some((first.min(of.times.0), last.max(of.times.1)));
    }

    fn summary(
        &self,
        name: &str,
        bytes: usize,
        kind: Kind,
        description: Option<Description>,
        counts: Counts,
    ) -> Summary {
        let name_of = |of: &OfSeries| of.series.labels.value("__name__").to_owned();
        let metrics: std::collections::BTreeSet<_> = self.all.iter().map(name_of).collect();
        Summary {
            name: name.to_owned(),
            bytes: bytes as u64,
            kind,
            writer: writer(name),
            description,
            counts,
            selected: self.samples,
            series: self.all.len() as u64,
            metrics: metrics.len(),
            times: self.times,
        }
    }
}

/// The writer and the sequence number in a name like `w0-1795303000.parquet`.
fn writer(name: &str) -> Option<(String, u64)> {
    let base = name.rsplit('/').next()?;
    let (writer, number) = base.strip_suffix(".parquet")?.rsplit_once('-')?;
    sinks::key::is_writer(writer).then_some((writer.to_owned(), number.parse().ok()?))
}
