//! The batch: what was scraped since the last object, as columns for each target.
//!
//! A target mostly brings the same series scrape after scrape, and most values have not changed. So a block holds the list of
//! series and the values of the last scrape. What a scrape replaced goes to the end of a log that all blocks share: one bit for
//! each sample, set where its value is not that of the scrape before, and the values that were replaced. Going back from the last
//! scrape gives all of them.

mod log;
mod times;

use std::sync::Arc;

use self::log::{Log, Place};
use self::times::Packed;
use super::object::Tenure;
use super::series::SeriesId;

pub use self::times::{Stamps, Times};

/// Series in the order in which a target brings them, and where a batch holds their values.
#[derive(Clone, Debug)]
pub struct LineUp {
    series: Arc<[SeriesId]>,
    /// The batch and its block that the last scrape was added to.
    place: Option<(u64, usize)>,
}

impl LineUp {
    /// A list that no batch knows.
    #[must_use]
    pub fn new(series: &[SeriesId]) -> Self {
        Self { series: series.into(), place: None }
    }

    /// The series.
    #[must_use]
    pub fn series(&self) -> &[SeriesId] {
        &self.series
    }
}

/// No scrape.
const NONE: u32 = u32::MAX;

/// Scrapes that brought the same series.
#[derive(Clone, Debug)]
struct Held {
    series: Arc<[SeriesId]>,
    /// The values of the last scrape, with every bit of a NaN kept.
    last: Place,
    /// Its place among all scrapes.
    latest: u32,
    scrapes: u32,
}

/// Replaces the values of one scrape by those of the next; appends a bit for each to `words`, and then those that were replaced.
fn replace(last: &mut [f64], values: &[f64], words: &mut Vec<u64>) {
    let start = words.len();
    words.resize(start + bit_words(values.len()), 0);
    for (at, (last, values)) in last.chunks_mut(64).zip(values.chunks(64)).enumerate() {
        let mut bits = 0;
        for (i, (last, value)) in last.iter_mut().zip(values).enumerate() {
            let is_new = last.to_bits() != value.to_bits();
            bits |= u64::from(is_new) << i;
            if is_new {
                words.push(std::mem::replace(last, *value).to_bits());
            }
        }
        if let Some(word) = words.get_mut(start + at) {
            *word = bits;
        }
    }
}

/// Words that hold a bit for each sample.
fn bit_words(samples: usize) -> usize {
    samples.div_ceil(64)
}

/// A scrape of a block. In the log there are, behind each other: the bits, unless it is the first of its block; the values that it
/// replaced; what its timestamps take.
#[derive(Clone, Copy, Debug)]
struct Scrape {
    block: u32,
    /// The scrape of the same block before this one.
    before: u32,
    replaced: u32,
    place: Place,
    times: Packed,
}

/// Scrapes of a batch that brought the same series.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    batch: &'a Batch,
    held: &'a Held,
}

/// One scrape of a block.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'v, 'a> {
    /// How many scrapes the block held before it.
    pub number: usize,
    /// How many scrapes the batch held before it.
    pub arrival: u32,
    /// When.
    pub times: Stamps<'a>,
    /// As many as there are series.
    pub values: &'v [f64],
}

impl<'a> Block<'a> {
    /// The series that each scrape brought.
    #[must_use]
    pub fn series(&self) -> &'a Arc<[SeriesId]> {
        &self.held.series
    }

    /// How many scrapes.
    #[must_use]
    pub fn scrapes(&self) -> usize {
        self.held.scrapes as usize
    }

    /// The timestamps of each scrape, from the first to the last.
    #[must_use]
    pub fn times(&self) -> Vec<Stamps<'a>> {
        let mut times = Vec::with_capacity(self.scrapes());
        times.extend(self.back().map(|(_, scrape)| self.batch.parts(scrape, self.held).2));
        times.reverse();
        times
    }

    /// Shows every scrape, from the last to the first. `values` is a buffer.
    pub fn for_each_back(&self, values: &mut Vec<f64>, mut show: impl FnMut(Shown<'_, 'a>)) {
        values.clear();
        values.extend_from_slice(self.batch.last_of(self.held));
        for (number, (arrival, scrape)) in (0..self.scrapes()).rev().zip(self.back()) {
            let (bits, replaced, times) = self.batch.parts(scrape, self.held);
            show(Shown { number, arrival, times, values });
            let mut replaced = replaced.iter().rev();
            for (part, bits) in values.chunks_mut(64).zip(bits).rev() {
                let mut bits = *bits;
                while bits != 0 {
                    let highest = 63 - bits.leading_zeros();
                    bits ^= 1 << highest;
                    if let (Some(value), Some(before)) = (part.get_mut(highest as usize), replaced.next()) {
                        *value = f64::from_bits(*before);
                    }
                }
            }
        }
    }

    /// Its scrapes from the last to the first, with their places among all.
    fn back(&self) -> impl Iterator<Item = (u32, &'a Scrape)> + use<'a> {
        let (batch, mut next) = (self.batch, self.held.latest);
        std::iter::from_fn(move || {
            let scrape = batch.scrapes.get(next as usize)?;
            Some((std::mem::replace(&mut next, scrape.before), scrape))
        })
    }
}

/// What one scrape added last to a block.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// The number of the block.
    pub block: usize,
    /// Which series.
    pub series: &'a [SeriesId],
    /// When.
    pub times: Stamps<'a>,
    /// As many as there are series.
    pub values: &'a [f64],
}

/// What was scraped since the last object.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    blocks: Vec<Held>,
    /// In order of arrival.
    scrapes: Vec<Scrape>,
    /// The values of the last scrape of each block.
    last: Log<f64>,
    log: Log<u64>,
    samples: usize,
    /// Tells it from the batches before and after.
    number: u64,
    /// Latest scrape in it, milliseconds since the Unix epoch.
    pub last_scrape: i64,
    /// The turn that it was scraped in; `None` for a single agent.
    pub tenure: Option<Tenure>,
    /// What is about to be written to the log; kept for the buffer.
    words: Vec<u64>,
}

impl Batch {
    /// Samples in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Takes everything out; what stays is empty and another batch.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let words = std::mem::take(&mut self.words);
        let next = Self { number: self.number + 1, words, ..Self::default() };
        std::mem::replace(self, next)
    }

    /// Adds a scrape: as many values as there are series.
    pub fn add(&mut self, line_up: &mut LineUp, times: Times<'_>, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(NONE);
        let arrival = count(self.scrapes.len());
        self.words.clear();
        let known = line_up.place.filter(|(batch, _)| *batch == self.number).map(|(_, at)| at);
        let (at, before) = match known.and_then(|at| Some((at, self.blocks.get_mut(at)?))) {
            Some((at, held)) if Arc::ptr_eq(&held.series, &line_up.series) => {
                let last = self.last.at_mut(held.last).get_mut(..values.len()).unwrap_or_default();
                replace(last, values, &mut self.words);
                held.scrapes += 1;
                (at, std::mem::replace(&mut held.latest, arrival))
            }
            _ => {
                let (series, last) = (Arc::clone(&line_up.series), self.last.push_one(values));
                self.blocks.push(Held { series, last, latest: arrival, scrapes: 1 });
                (self.blocks.len() - 1, NONE)
            }
        };
        line_up.place = Some((self.number, at));
        let replaced = self.words.len().saturating_sub(bit_words(values.len()));
        let times = Packed::new(times, &mut self.words);
        let place = self.log.push(&self.words);
        self.scrapes.push(Scrape { block: count(at), before, replaced: count(replaced), place, times });
        self.samples += values.len();
    }

    /// The values of a block's last scrape.
    fn last_of(&self, held: &Held) -> &[f64] {
        self.last.at(held.last).get(..held.series.len()).unwrap_or_default()
    }

    /// The bits, the replaced values and the timestamps of a scrape of this block.
    fn parts(&self, scrape: &Scrape, held: &Held) -> (&[u64], &[u64], Stamps<'_>) {
        let samples = held.series.len();
        let bits = if scrape.before == NONE { 0 } else { bit_words(samples) };
        let written = self.log.at(scrape.place);
        let (bits, rest) = written.split_at_checked(bits).unwrap_or_default();
        let (replaced, rest) = rest.split_at_checked(scrape.replaced as usize).unwrap_or_default();
        let times = rest.get(..scrape.times.words(samples)).unwrap_or_default();
        (bits, replaced, scrape.times.with(times))
    }

    /// Scrapes in the batch; the report on one that failed counts as one.
    #[must_use]
    pub fn scrapes(&self) -> usize {
        self.scrapes.len()
    }

    /// What was added after the first `from` scrapes, in order of arrival; no two of them may be of one target.
    pub fn added_since(&self, from: usize) -> impl Iterator<Item = Added<'_>> + Clone {
        self.scrapes.get(from..).unwrap_or_default().iter().filter_map(|scrape| {
            let block = scrape.block as usize;
            let held = self.blocks.get(block)?;
            let (_, _, times) = self.parts(scrape, held);
            Some(Added { block, series: &held.series, times, values: self.last_of(held) })
        })
    }

    /// The lists of series, each with its scrapes.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Block<'_>> {
        self.blocks.iter().map(|held| Block { batch: self, held })
    }

    /// All series that have a sample, some of them more than once.
    pub fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.blocks.iter().flat_map(|block| block.series.iter().copied())
    }

    /// All samples in order of arrival: for people and for tests, since it takes memory for all of them.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, i64, f64)> {
        let mut scrapes = vec![Vec::new(); self.scrapes.len()];
        for block in self.blocks() {
            block.for_each_back(&mut Vec::new(), |shown| {
                let rows = block.series().iter().zip(shown.values).enumerate();
                if let Some(scrape) = scrapes.get_mut(shown.arrival as usize) {
                    *scrape = rows.map(|(at, (id, value))| (*id, shown.times.at(at), *value)).collect();
                }
            });
        }
        scrapes.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The simple batch, a list of rows, is the oracle.
        #[test]
        fn every_sample_is_kept_in_order_to_the_bit(
            scrapes in prop::collection::vec((0..3_usize, any::<bool>(), any::<bool>(), prop::collection::vec(0..3_u64, 130)), 0..20),
        ) {
            let ids = |from: u32, count: u32| (from..from + count).map(SeriesId).collect::<Vec<_>>();
            let mut targets = [ids(0, 1), ids(1, 64), ids(65, 130)].map(|series| LineUp::new(&series));
            let (mut batch, mut plain) = (Batch::default(), Vec::new());
            for (time, (target, is_new, is_own, values)) in scrapes.into_iter().enumerate() {
                let time = i64::try_from(time).unwrap();
                let line_up = &mut targets[target];
                if is_new {
                    let reversed: Vec<_> = line_up.series().iter().rev().copied().collect();
                    *line_up = LineUp::new(&reversed);
                }
                let series = line_up.series().to_vec();
                let values: Vec<f64> =
                    values.iter().take(series.len()).map(|v| f64::from_bits(0x7ff0_0000_0000_0000 + v)).collect();
                let each: Vec<i64> = match is_own {
                    true => series.iter().map(|id| time - i64::from(id.0)).collect(),
                    false => vec![time; series.len()],
                };
                let times = if is_own { Times::Each(&each) } else { Times::Same(time) };
                let before = batch.scrapes();
                plain.extend(series.iter().zip(&values).enumerate().map(|(i, (id, v))| (*id, each[i], v.to_bits())));
                batch.add(line_up, times, &values);
                let added: Vec<_> = batch.added_since(before).collect();
                prop_assert_eq!(added.len(), 1);
                prop_assert_eq!(added[0].series, &*series);
                prop_assert!(each.iter().enumerate().all(|(at, time)| added[0].times.at(at) == *time));
                prop_assert!(added[0].values.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
            let all: Vec<_> = batch.iter().map(|(id, time, value)| (id, time, value.to_bits())).collect();
            prop_assert_eq!(batch.len(), plain.len());
            prop_assert_eq!(all, plain);
            let taken = batch.take();
            prop_assert!(batch.is_empty() && batch.number != taken.number);
        }
    }
}
