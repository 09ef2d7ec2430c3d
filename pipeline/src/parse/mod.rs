//! From the bytes of an exposition to samples of the target's series.
//!
//! Takes a body in text format 0.0.4, whole or in pieces, and the target's [`Cache`]; gives samples and counted problems. A line
//! where it is expected costs one hash and its value; a line never seen is decoded by [`line`] and given to the caller's
//! `resolve`, which relabels and interns it once in its life. One that is written like one before it ([`pattern`]) is not
//! decoded: the caller is asked for a series with other values. Never fails, never keeps more of the body than some lines.

mod cache;
mod hash;
mod known;
pub(crate) mod line;
mod lines;
pub(crate) mod number;
mod pattern;
mod tail;

use crate::model::alike::{Each, Resolve};
use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::sample::{Exposed, MetricType, NO_TIMESTAMP, Refusal, Samples, Slot};
use crate::model::scrape::ScrapeError;
use known::{Family, Position};
use line::Comment;
use pattern::{Match, Patterns};

pub use cache::Cache;
pub use hash::Secret;
pub use lines::Lines;

/// Shown of a bad line at most, bytes.
const BAD_LINE_BYTES_MAX: usize = 120;

/// A longer line cannot be read: of one that comes in pieces no more is held.
const LINE_BYTES_MAX: usize = 1 << 20;
const LINE_TOO_LONG: &str = "longer than 1 MiB";

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
    out: &mut Progress,
    resolve: impl FnMut(Exposed<'_>) -> Result<Slot, Refusal>,
) -> Reading {
    let mut resolver = Each(resolve);
    out.begin(cache);
    out.piece_with(body, cache, samples_max, &mut resolver);
    out.finish_with(cache, samples_max, &mut resolver)
}

/// What is known of an answer while its pieces come in; kept for its buffers.
#[derive(Debug, Default)]
pub struct Progress {
    /// The samples so far.
    pub samples: Samples,
    reading: Reading,
    /// Lines so far.
    lines: u64,
    /// The line that is not whole yet.
    cut: Vec<u8>,
    family: Family,
    /// The last `# TYPE` line that could be read; empty before the first.
    family_line: Vec<u8>,
    /// What a `# TYPE` line says: that line, where a line under it had to be decoded or it had to be read itself.
    declared: Declared,
    labels: LabelsBuilder,
    /// Names that a line gives an empty value.
    empty: Vec<String>,
    /// How the lines are written that had to be decoded.
    patterns: Patterns,
}

/// The name and the type of a family; those of none before the first.
#[derive(Debug, Default)]
struct Declared {
    of: Family,
    name: Vec<u8>,
    metric_type: MetricType,
}

impl Declared {
    /// Takes what the `# TYPE` line says that stands for this family.
    fn set(&mut self, of: Family, said: &Comment<'_>) {
        let (name, metric_type) = match *said {
            Comment::Type { family, metric_type } => (family, metric_type),
            _ => (b"".as_slice(), MetricType::Unknown),
        };
        self.name.clear();
        self.name.extend_from_slice(name);
        (self.of, self.metric_type) = (of, metric_type);
    }
}

impl Progress {
    /// Begins with an answer and forgets the one before it.
    pub fn begin(&mut self, cache: &mut Cache) {
        self.samples.clear();
        self.reading = Reading::default();
        self.lines = 0;
        self.cut.clear();
        self.family = Family::default();
        self.family_line.clear();
        self.declared.set(Family::default(), &Comment::Other);
        self.patterns.clear();
        cache.begin();
    }

    /// Reads the next piece of the answer, cut anywhere; see [`read`].
    pub fn piece(
        &mut self,
        piece: &[u8],
        cache: &mut Cache,
        samples_max: u64,
        resolve: impl FnMut(Exposed<'_>) -> Result<Slot, Refusal>,
    ) {
        self.piece_with(piece, cache, samples_max, &mut Each(resolve));
    }

    /// As [`Self::piece`], for a caller that knows more than how to resolve one series.
    pub(crate) fn piece_with(
        &mut self,
        piece: &[u8],
        cache: &mut Cache,
        samples_max: u64,
        resolver: &mut impl Resolve,
    ) {
        let mut rest = piece;
        if !self.cut.is_empty() {
            let end = memchr::memchr(b'\n', piece).map_or(piece.len(), |at| at + 1);
            let (line, after) = piece.split_at_checked(end).unwrap_or((piece, &[]));
            self.extend_cut(line);
            if line.last() != Some(&b'\n') {
                return;
            }
            self.cut_line(cache, samples_max, resolver);
            rest = after;
        }
        let whole = memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1);
        let (lines, cut) = rest.split_at_checked(whole).unwrap_or((rest, &[]));
        self.read(lines, cache, samples_max, resolver);
        self.extend_cut(cut);
    }

    /// Adds to the line that is not whole yet, as far as it can be read then.
    fn extend_cut(&mut self, more: &[u8]) {
        let room = (LINE_BYTES_MAX + 1).saturating_sub(self.cut.len());
        self.cut.extend_from_slice(more.get(..room).unwrap_or(more));
    }

    /// Whether the answer fails as a whole already.
    pub fn has_failed(&self) -> bool {
        self.reading.failed.is_some()
    }

    /// Says that there are no more pieces; a last line without an end is read too.
    pub fn finish(
        &mut self,
        cache: &mut Cache,
        samples_max: u64,
        resolve: impl FnMut(Exposed<'_>) -> Result<Slot, Refusal>,
    ) -> Reading {
        self.finish_with(cache, samples_max, &mut Each(resolve))
    }

    /// As [`Self::finish`], for a caller that knows more than how to resolve one series.
    pub(crate) fn finish_with(
        &mut self,
        cache: &mut Cache,
        samples_max: u64,
        resolver: &mut impl Resolve,
    ) -> Reading {
        self.cut_line(cache, samples_max, resolver);
        self.samples.finish();
        self.samples.is_as_before = cache.finish(self.reading.failed.is_none());
        std::mem::take(&mut self.reading)
    }

    /// Reads the line that was put together.
    fn cut_line(&mut self, cache: &mut Cache, samples_max: u64, resolver: &mut impl Resolve) {
        let mut line = std::mem::take(&mut self.cut);
        if line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n') && self.reading.failed.is_none() {
            // Of what was left out nothing may be taken for a part of it.
            self.lines += 1;
            self.reading.bad(self.lines, &line, LINE_TOO_LONG);
        } else {
            self.read(&line, cache, samples_max, resolver);
        }
        line.clear();
        self.cut = line;
    }

    /// Reads whole lines.
    fn read(&mut self, lines: &[u8], cache: &mut Cache, samples_max: u64, resolver: &mut impl Resolve) {
        let mut reader = Reader { state: self, cache, resolver, family_line: None };
        reader.lines(lines, samples_max);
        if let Some(line) = reader.family_line {
            self.family_line.clear();
            self.family_line.extend_from_slice(line);
        }
    }
}

/// Lines that look like samples.
fn samples_in(body: &[u8]) -> u64 {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| line.first().is_some_and(|byte| *byte != b'#')).count() as u64
}

impl Reading {
    /// Notes a bad line.
    fn bad(&mut self, number: u64, line: &[u8], problem: &str) {
        self.lines_bad += 1;
        if self.first_bad.is_none() {
            let shown = line.get(..BAD_LINE_BYTES_MAX).unwrap_or(line);
            let dots = if shown.len() < line.len() { "..." } else { "" };
            let shown = String::from_utf8_lossy(shown);
            self.first_bad = Some(format!("line {number}: {problem}: {:?}{dots}", shown.trim_end()));
        }
    }
}

/// Reads whole lines.
struct Reader<'a, 't, R> {
    state: &'a mut Progress,
    cache: &'a mut Cache,
    resolver: &'a mut R,
    /// The last `# TYPE` line among these lines.
    family_line: Option<&'t [u8]>,
}

impl<'t, R: Resolve> Reader<'_, 't, R> {
    fn lines(&mut self, text: &'t [u8], samples_max: u64) {
        let mut rest = text;
        while !rest.is_empty() {
            if self.state.reading.failed.is_some() {
                // What is dropped with the scrape is counted.
                self.state.reading.samples += samples_in(rest);
                return;
            }
            rest = self.expected(rest, samples_max);
            if !rest.is_empty() && !self.is_over(samples_max) {
                let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                self.state.lines += 1;
                match self.line(line) {
                    Ok(()) => {}
                    Err(Refusal::Line(problem)) => self.state.reading.bad(self.state.lines, line, problem),
                    Err(Refusal::Scrape(error)) => {
                        self.state.reading.samples += 1;
                        self.state.reading.failed = Some(error);
                    }
                }
                rest = after.get(1..).unwrap_or_default();
            }
            if self.is_over(samples_max) {
                let text = format!(
                    "more than {samples_max} samples after metric relabelling (sample_limit, or batch.max_rows)"
                );
                self.state.reading.failed = Some(ScrapeError::Limit(text));
            }
        }
    }

    fn is_over(&self, samples_max: u64) -> bool {
        samples_max > 0 && self.state.samples.slots.len() as u64 > samples_max
    }

    /// Reads the lines that are the ones expected, and plain; gives what follows them.
    fn expected(&mut self, text: &'t [u8], samples_max: u64) -> &'t [u8] {
        let Progress { samples, reading, family, lines, .. } = &mut *self.state;
        let kept = samples.slots.len();
        let lines_max = match samples_max {
            0 => u64::MAX,
            max => (max + 1).saturating_sub(kept as u64),
        };
        let mut at = Position { family: *family, family_line: self.family_line, lines: *lines, dropped: 0 };
        let rest = self.cache.follow(text, &mut at, lines_max, samples);
        (*family, *lines, self.family_line) = (at.family, at.lines, at.family_line);
        reading.dropped += at.dropped;
        reading.samples += at.dropped + (samples.slots.len() - kept) as u64;
        rest
    }

    fn push(&mut self, slot: Slot, value: f64, timestamp: i64) {
        self.state.reading.samples += 1;
        if slot == Slot::DROPPED {
            self.state.reading.dropped += 1;
        } else {
            self.state.samples.push(slot, value, timestamp);
        }
    }

    fn line(&mut self, line: &'t [u8]) -> Result<(), Refusal> {
        if line.len() > LINE_BYTES_MAX {
            return Err(Refusal::Line(LINE_TOO_LONG));
        }
        // Blanks at either end are allowed; the carriage return of CRLF is one of them.
        let line = line.trim_ascii();
        match line.first() {
            None => Ok(()),
            Some(b'#') => self.comment(line),
            Some(_) => self.sample(line),
        }
    }

    fn comment(&mut self, line: &'t [u8]) -> Result<(), Refusal> {
        match line::comment(line) {
            Comment::Other => Ok(()),
            Comment::Bad(problem) => Err(Refusal::Line(problem)),
            said @ Comment::Type { .. } => {
                self.state.family = match self.cache.find_type(line) {
                    Some((place, family)) => {
                        self.cache.held(place);
                        family
                    }
                    None => self.cache.insert_type(line),
                };
                self.family_line = Some(line);
                self.state.declared.set(self.state.family, &said);
                Ok(())
            }
        }
    }

    fn sample(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let found = self.state.patterns.find(line);
        let parts = found.map_or_else(|| line::split(line), |found| line::split_at(line, found.end));
        let parts = parts.map_err(Refusal::Line)?;
        let value = number::value(parts.value).ok_or(Refusal::Line("not a value"))?;
        let timestamp = match parts.timestamp {
            None => NO_TIMESTAMP,
            Some(text) => number::timestamp(text).ok_or(Refusal::Line("not a timestamp in milliseconds"))?,
        };
        let family = self.state.family;
        let hash = self.cache.hash(parts.series, family);
        let slot = if let Some((place, slot)) = self.cache.find(parts.series, hash) {
            self.cache.held(place);
            slot
        } else {
            let slot = self.unknown(parts.series, found)?;
            self.cache.insert(parts.series, hash, slot);
            slot
        };
        self.push(slot, value, timestamp);
        Ok(())
    }

    /// The slot of a series that no known line leads to.
    fn unknown(&mut self, series: &[u8], found: Option<Match>) -> Result<Slot, Refusal> {
        let family = self.state.family;
        if let Some(found) = found {
            let metric_type = match self.state.patterns.metric_type(found, family) {
                Some(known) => known,
                None => self.metric_type(series.get(..found.name_length).unwrap_or_default()),
            };
            let declared = (family, metric_type);
            if let Some(slot) = self.state.patterns.resolve(found, series, declared, self.resolver) {
                return Ok(slot);
            }
        }
        let (slot, metric_type) = self.decode(series)?;
        if self.resolver.knows_alike() {
            self.state.patterns.learn(found, series, (family, metric_type), slot, self.resolver);
        }
        Ok(slot)
    }

    fn decode(&mut self, series: &[u8]) -> Result<(Slot, MetricType), Refusal> {
        let (name, rest) = line::name(series).map_err(Refusal::Line)?;
        let metric_type = self.metric_type(name.as_bytes());
        let Progress { labels, empty, .. } = &mut *self.state;
        labels.clear();
        empty.clear();
        labels.set(METRIC_NAME, name);
        let read = line::labels(rest, |name, value| {
            let is_new = match &*value {
                "" => labels.get(name).is_empty() && !empty.iter().any(|n| n == name),
                value => labels.add(name, value) && !empty.iter().any(|n| n == name),
            };
            if value.is_empty() {
                empty.push(name.to_owned());
            }
            if is_new { Ok(()) } else { Err("a label name given twice") }
        });
        read.map_err(Refusal::Line)?;
        let slot = self.resolver.resolve(Exposed { labels, empty, metric_type })?;
        Ok((slot, metric_type))
    }

    /// The type of a metric of this name.
    fn metric_type(&mut self, name: &[u8]) -> MetricType {
        let Progress { family, family_line, declared, .. } = &mut *self.state;
        if declared.of != *family {
            declared.set(*family, &line::comment(self.family_line.unwrap_or(family_line)));
        }
        match line::belongs(name, &declared.name, declared.metric_type) {
            true => declared.metric_type,
            false => MetricType::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
