//! From the bytes of an exposition to samples of the target's series.
//!
//! Takes a body in text format 0.0.4 and the target's [`Cache`]; gives samples and counted problems. A line seen
//! before costs a hash and a look-up; a line never seen is decoded by [`line`] and given to the caller's `resolve`,
//! which relabels and interns it once in its life. Never fails, never keeps a byte of the body.

pub(crate) mod line;
pub(crate) mod number;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_secret;

use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::sample::{Exposed, MetricType, NO_TIMESTAMP, Parsed, Refusal, Slot};
use crate::model::scrape::ScrapeError;
use line::Comment;

/// Shown of a bad line at most, bytes.
const BAD_LINE_BYTES_MAX: usize = 120;

/// What a body held besides the samples themselves.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// Sample lines that could be read, relabelled away or not; after a failure those that were not looked at too.
    pub(crate) samples: u64,
    /// Of these, the ones that metric relabelling dropped.
    pub(crate) dropped: u64,
    /// Lines that could not be read.
    pub(crate) lines_bad: u64,
    /// The first of them, with its number, its text and what is wrong.
    pub(crate) first_bad: Option<String>,
    /// Why reading stopped before the end: the scrape fails as a whole.
    pub(crate) failed: Option<ScrapeError>,
}

/// 192 random bytes, drawn once per process, so that nobody outside can make two lines collide on purpose.
#[derive(Clone, Debug)]
pub(crate) struct Secret(Arc<[u8; 192]>);

impl Secret {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 192];
        for (i, chunk) in bytes.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&RandomState::new().hash_one(i).to_le_bytes());
        }
        Self(Arc::new(bytes))
    }
}

/// What a target's lines have led to before: the hash of the bytes of `name{labels}`, as spelt, to a series.
///
/// Two different lines of one target that hash alike would be taken for one series. The hash has 64 bits and a secret
/// seed: with a million lines the odds are 1 in 37 million, once and not per scrape.
#[derive(Debug)]
pub(crate) struct Cache {
    lines: HashTable<CachedLine>,
    secret: Secret,
    all: Arc<Lines>,
    generation: u32,
}

/// How many lines all caches together hold, and may hold. Lines beyond are decoded each time, so that whoever spells one
/// series in a million ways, or exposes what metric relabelling drops, takes time of its own and no memory.
#[derive(Debug)]
pub(crate) struct Lines {
    held: AtomicU64,
    max: u64,
}

impl Lines {
    /// Room for two lines of each series.
    pub(crate) fn new(series_max: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), max: series_max.saturating_mul(2) })
    }

    fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.max
    }

    /// One cache went from so many lines to so many.
    fn changed(&self, from: usize, to: usize) {
        if to > from {
            self.held.fetch_add((to - from) as u64, Ordering::Relaxed);
        } else {
            self.held.fetch_sub((from - to) as u64, Ordering::Relaxed);
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.all.changed(self.lines.len(), 0);
    }
}

#[derive(Debug)]
struct CachedLine {
    hash: u64,
    slot: Slot,
    /// The scrape that last held the line.
    seen: u32,
}

impl Cache {
    pub(crate) fn new(secret: Secret, all: Arc<Lines>) -> Self {
        Self { lines: HashTable::new(), secret, all, generation: 0 }
    }

    /// Lines remembered.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Forgets the lines that neither this scrape nor the one before it held.
    pub(crate) fn prune(&mut self) {
        let (generation, before) = (self.generation, self.lines.len());
        self.lines.retain(|line| line.seen.wrapping_add(1) >= generation);
        self.all.changed(before, self.lines.len());
        self.lines.shrink_to(self.lines.len() * 2, |line| line.hash);
    }

    /// Forgets all lines, because the series they lead to are about to go.
    pub(crate) fn clear(&mut self) {
        self.all.changed(self.lines.len(), 0);
        self.lines.clear();
    }

    fn hash(&self, family: u64, series: &[u8]) -> u64 {
        // The family is part of what a line means: its type is the series' type. It is multiplied (by 2^64 over the
        // golden ratio, which is odd) because a plain XOR would cancel it where the line is the family's own name.
        xxh3_64_with_secret(series, &*self.secret.0) ^ family.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Reads a whole body. `resolve` is called for every line that the cache does not know; more than `samples_max`
/// samples (0 = any number) end the reading.
pub(crate) fn read(
    body: &[u8],
    cache: &mut Cache,
    samples_max: u64,
    out: &mut Vec<Parsed>,
    resolve: impl FnMut(Exposed<'_>) -> Result<Slot, Refusal>,
) -> Reading {
    out.clear();
    cache.generation = cache.generation.wrapping_add(1);
    let mut reader = Reader {
        cache,
        resolve,
        labels: LabelsBuilder::default(),
        empty: Vec::new(),
        family: Vec::new(),
        family_type: MetricType::Unknown,
        family_hash: 0,
        reading: Reading::default(),
    };
    let mut rest = body;
    let mut number = 0_u64;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = after.get(1..).unwrap_or_default();
        number += 1;
        match reader.line(line, out) {
            Ok(()) => {}
            Err(Refusal::Line(problem)) => reader.reading.bad(number, line, problem),
            Err(Refusal::Scrape(error)) => {
                reader.reading.samples += 1;
                reader.reading.failed = Some(error);
            }
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

struct Reader<'a, R> {
    cache: &'a mut Cache,
    resolve: R,
    labels: LabelsBuilder,
    /// Names that the line gives an empty value.
    empty: Vec<String>,
    /// The family that the last `# TYPE` line opened.
    family: Vec<u8>,
    family_type: MetricType,
    family_hash: u64,
    reading: Reading,
}

impl<R: FnMut(Exposed<'_>) -> Result<Slot, Refusal>> Reader<'_, R> {
    fn line(&mut self, line: &[u8], out: &mut Vec<Parsed>) -> Result<(), Refusal> {
        // Blanks at either end are allowed; the carriage return of CRLF is one of them.
        let line = line.trim_ascii();
        match line.first() {
            None => Ok(()),
            Some(b'#') => self.comment(line),
            Some(_) => self.sample(line, out),
        }
    }

    fn comment(&mut self, line: &[u8]) -> Result<(), Refusal> {
        match line::comment(line) {
            Comment::Other => Ok(()),
            Comment::Bad(problem) => Err(Refusal::Line(problem)),
            Comment::Type { family, metric_type } => {
                self.family.clear();
                self.family.extend_from_slice(family);
                self.family_type = metric_type;
                self.family_hash = self.cache.hash(metric_type as u64, family);
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
        let slot = self.slot(parts.series)?;
        self.reading.samples += 1;
        if slot == Slot::DROPPED {
            self.reading.dropped += 1;
        } else {
            out.push(Parsed { slot, timestamp, value });
        }
        Ok(())
    }

    fn slot(&mut self, series: &[u8]) -> Result<Slot, Refusal> {
        let hash = self.cache.hash(self.family_hash, series);
        let seen = self.cache.generation;
        if let Some(line) = self.cache.lines.find_mut(hash, |line| line.hash == hash) {
            line.seen = seen;
            return Ok(line.slot);
        }
        let slot = self.decode(series)?;
        if !self.cache.all.is_full() {
            self.cache.all.changed(0, 1);
            self.cache.lines.insert_unique(hash, CachedLine { hash, slot, seen }, |line| line.hash);
        }
        Ok(slot)
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
        let metric_type = match line::belongs(name, &self.family, self.family_type) {
            true => self.family_type,
            false => MetricType::Unknown,
        };
        (self.resolve)(Exposed { labels, empty, metric_type })
    }
}

#[cfg(test)]
mod tests;
