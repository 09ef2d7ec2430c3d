//! From the bytes of an exposition to samples of the target's series.
//!
//! Takes a body in text format 0.0.4 and the target's [`Cache`]; gives samples and counted problems. A line where it is
//! expected costs one hash and its value; a line never seen is decoded by [`line`] and given to the caller's `resolve`,
//! which relabels and interns it once in its life. Never fails, never keeps a byte of the body.

mod cache;
pub(crate) mod line;
pub(crate) mod number;

use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::sample::{Exposed, MetricType, NO_TIMESTAMP, Parsed, Refusal, Slot};
use crate::model::scrape::ScrapeError;
use cache::{Family, Meaning, Place};
use line::Comment;

pub use cache::{Cache, Lines, Secret};

/// Shown of a bad line at most, bytes.
const BAD_LINE_BYTES_MAX: usize = 120;

/// What a body held besides the samples themselves.
#[derive(Debug, Default, PartialEq)]
pub struct Reading {
    /// Sample lines that could be read, relabelled away or not; after a failure those that were not looked at too.
    pub samples: u64,
    /// Of these, the ones that metric relabelling dropped.
    pub dropped: u64,
    /// Lines that could not be read.
    pub lines_bad: u64,
    /// The first of them, with its number, its text and what is wrong.
    pub first_bad: Option<String>,
    /// Why reading stopped before the end: the scrape fails as a whole.
    pub failed: Option<ScrapeError>,
}

/// Reads a whole body. `resolve` is called for every line that the cache does not know; more than `samples_max`
/// samples (0 = any number) end the reading.
pub fn read(
    body: &[u8],
    cache: &mut Cache,
    samples_max: u64,
    out: &mut Vec<Parsed>,
    resolve: impl FnMut(Exposed<'_>) -> Result<Slot, Refusal>,
) -> Reading {
    out.clear();
    cache.begin();
    let mut reader = Reader {
        cache,
        resolve,
        labels: LabelsBuilder::default(),
        empty: Vec::new(),
        family: Family::default(),
        family_line: &[],
        reading: Reading::default(),
    };
    let mut rest = body;
    while !rest.is_empty() {
        if let Some(after) = reader.expected(rest, out) {
            rest = after;
        } else {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            match reader.line(line, out) {
                Ok(()) => {}
                Err(Refusal::Line(problem)) => reader.reading.bad(body, rest, line, problem),
                Err(Refusal::Scrape(error)) => {
                    reader.reading.samples += 1;
                    reader.reading.failed = Some(error);
                }
            }
            rest = after.get(1..).unwrap_or_default();
        }
        if samples_max > 0 && out.len() as u64 > samples_max {
            let text = format!(
                "more than {samples_max} samples after metric relabelling (sample_limit, or twice batch.max_rows)"
            );
            reader.reading.failed = Some(ScrapeError::Limit(text));
        }
        if reader.reading.failed.is_some() {
            // What is dropped with the scrape is counted.
            reader.reading.samples += samples_in(rest);
            break;
        }
    }
    reader.reading
}

/// Lines that look like samples.
fn samples_in(body: &[u8]) -> u64 {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| line.first().is_some_and(|byte| *byte != b'#')).count() as u64
}

impl Reading {
    /// Notes a bad line; `rest` is what of the body it begins.
    fn bad(&mut self, body: &[u8], rest: &[u8], line: &[u8], problem: &str) {
        self.lines_bad += 1;
        if self.first_bad.is_none() {
            let before = body.get(..body.len() - rest.len()).unwrap_or_default();
            let number = memchr::memchr_iter(b'\n', before).count() + 1;
            let shown = line.get(..BAD_LINE_BYTES_MAX).unwrap_or(line);
            let dots = if shown.len() < line.len() { "..." } else { "" };
            let shown = String::from_utf8_lossy(shown);
            self.first_bad = Some(format!("line {number}: {problem}: {:?}{dots}", shown.trim_end()));
        }
    }
}

struct Reader<'a, 'b, R> {
    cache: &'a mut Cache,
    resolve: R,
    labels: LabelsBuilder,
    /// Names that the line gives an empty value.
    empty: Vec<String>,
    family: Family,
    /// The last `# TYPE` line that could be read; empty before the first.
    family_line: &'b [u8],
    reading: Reading,
}

impl<'b, R: FnMut(Exposed<'_>) -> Result<Slot, Refusal>> Reader<'_, 'b, R> {
    /// Reads the line that `text` begins with, if it is the one that is expected and plain; gives what follows it.
    #[inline]
    fn expected(&mut self, text: &'b [u8], out: &mut Vec<Parsed>) -> Option<&'b [u8]> {
        if text.starts_with(b"# HELP ") {
            let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
            return Some(text.get(end + 1..).unwrap_or_default());
        }
        let (place, length, meaning) = self.cache.expected(text, self.family)?;
        let (line, rest) = text.split_at_checked(length)?;
        match meaning {
            Meaning::Type(family) => {
                let rest = end_of_line(rest)?;
                (self.family, self.family_line) = (family, line);
                self.cache.held(place);
                Some(rest)
            }
            Meaning::Sample(slot) => {
                let (timestamp, value, rest) = tail(rest)?;
                self.add(place, Parsed { slot, timestamp, value }, out);
                Some(rest)
            }
        }
    }

    #[inline]
    fn add(&mut self, place: Place, sample: Parsed, out: &mut Vec<Parsed>) {
        self.cache.held(place);
        self.push(sample, out);
    }

    #[inline]
    fn push(&mut self, sample: Parsed, out: &mut Vec<Parsed>) {
        self.reading.samples += 1;
        if sample.slot == Slot::DROPPED {
            self.reading.dropped += 1;
        } else {
            out.push(sample);
        }
    }

    fn line(&mut self, line: &'b [u8], out: &mut Vec<Parsed>) -> Result<(), Refusal> {
        // Blanks at either end are allowed; the carriage return of CRLF is one of them.
        let line = line.trim_ascii();
        match line.first() {
            None => Ok(()),
            Some(b'#') => self.comment(line),
            Some(_) => self.sample(line, out),
        }
    }

    fn comment(&mut self, line: &'b [u8]) -> Result<(), Refusal> {
        match line::comment(line) {
            Comment::Other => Ok(()),
            Comment::Bad(problem) => Err(Refusal::Line(problem)),
            Comment::Type { .. } => {
                self.family = match self.cache.find_type(line) {
                    Some((place, family)) => {
                        self.cache.held(place);
                        family
                    }
                    None => self.cache.insert_type(line),
                };
                self.family_line = line;
                Ok(())
            }
        }
    }

    fn sample(&mut self, line: &[u8], out: &mut Vec<Parsed>) -> Result<(), Refusal> {
        let parts = line::split(line).map_err(Refusal::Line)?;
        let value = number::value(parts.value).ok_or(Refusal::Line("not a value"))?;
        let timestamp = match parts.timestamp {
            None => NO_TIMESTAMP,
            Some(text) => number::timestamp(text).ok_or(Refusal::Line("not a timestamp in milliseconds"))?,
        };
        if let Some((place, slot)) = self.cache.find(parts.series, self.family) {
            self.add(place, Parsed { slot, timestamp, value }, out);
        } else {
            let slot = self.decode(parts.series)?;
            self.cache.insert(parts.series, self.family, slot);
            self.push(Parsed { slot, timestamp, value }, out);
        }
        Ok(())
    }

    fn decode(&mut self, series: &[u8]) -> Result<Slot, Refusal> {
        let (labels, empty) = (&mut self.labels, &mut self.empty);
        labels.clear();
        empty.clear();
        let name = line::series(series, |name, value| {
            if name == METRIC_NAME || !labels.get(name).is_empty() || empty.iter().any(|n| n == name) {
                return Err("a label name given twice");
            }
            if value.is_empty() {
                empty.push(name.to_owned());
            }
            labels.set(name, &value);
            Ok(())
        });
        let name = name.map_err(Refusal::Line)?;
        labels.set(METRIC_NAME, name);
        let metric_type = match line::comment(self.family_line) {
            Comment::Type { family, metric_type } if line::belongs(name, family, metric_type) => metric_type,
            _ => MetricType::Unknown,
        };
        (self.resolve)(Exposed { labels, empty, metric_type })
    }
}

/// What stands behind the labels of a plain line: timestamp, value, and what follows the line.
#[inline]
fn tail(text: &[u8]) -> Option<(i64, f64, &[u8])> {
    let text = text.strip_prefix(b" ")?;
    let (value, length) = number::leading(text).or_else(|| other_value(text))?;
    let rest = text.get(length..)?;
    if let Some(rest) = end_of_line(rest) {
        return Some((NO_TIMESTAMP, value, rest));
    }
    let rest = rest.strip_prefix(b" ")?;
    let (timestamp, length) = number::leading_timestamp(rest)?;
    Some((timestamp, value, end_of_line(rest.get(length..)?)?))
}

/// A value that is not of the simple kind: `NaN`, `+Inf`, or one with many digits.
#[cold]
fn other_value(text: &[u8]) -> Option<(f64, usize)> {
    let length = text.iter().position(|byte| byte.is_ascii_whitespace()).unwrap_or(text.len());
    Some((number::value(text.get(..length)?)?, length))
}

/// What follows the end of a line, if `text` begins with that.
#[inline]
fn end_of_line(text: &[u8]) -> Option<&[u8]> {
    match text {
        [] => Some(text),
        [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
