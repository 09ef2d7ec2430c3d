//! The batch: what was scraped since the last object, as columns for each target.
//!
//! A target mostly brings the same series scrape after scrape, and most values have not changed. So a block holds the list of
//! series once, the values of the last scrape, and of each scrape before only what was different, found by one bit for each
//! sample. Going back from the last scrape gives all of them.

use std::sync::Arc;

use super::object::Tenure;
use super::series::SeriesId;

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

/// The timestamps of a scrape's samples, milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Times {
    /// All have this one.
    Same(i64),
    /// Each has its own, in the order of the series.
    Each(Box<[i64]>),
}

impl Times {
    /// The timestamp of the sample at this place.
    #[must_use]
    pub fn at(&self, place: usize) -> i64 {
        match self {
            Self::Same(time) => *time,
            Self::Each(times) => times.get(place).copied().unwrap_or_default(),
        }
    }
}

/// Scrapes that brought the same series.
#[derive(Clone, Debug)]
pub struct Block {
    series: Arc<[SeriesId]>,
    /// Of each scrape.
    times: Vec<Times>,
    /// Of each scrape: how many scrapes the batch held before it.
    arrivals: Vec<u32>,
    /// The values of the last scrape, with every bit of a NaN kept.
    last: Vec<f64>,
    /// From the second scrape on: a bit for each sample, set where its value is not that of the scrape before.
    changed: Vec<u64>,
    /// The values that were replaced, scrape after scrape.
    replaced: Vec<f64>,
}

impl Block {
    fn new(series: &Arc<[SeriesId]>, arrival: u32, times: Times, values: &[f64]) -> Self {
        Self {
            series: Arc::clone(series),
            times: vec![times],
            arrivals: vec![arrival],
            last: values.to_vec(),
            changed: Vec::new(),
            replaced: Vec::new(),
        }
    }

    fn add(&mut self, arrival: u32, times: Times, values: &[f64]) {
        self.times.push(times);
        self.arrivals.push(arrival);
        for (last, values) in self.last.chunks_mut(64).zip(values.chunks(64)) {
            let mut bits = 0;
            for (i, (last, value)) in last.iter_mut().zip(values).enumerate() {
                let is_new = last.to_bits() != value.to_bits();
                bits |= u64::from(is_new) << i;
                if is_new {
                    self.replaced.push(std::mem::replace(last, *value));
                }
            }
            self.changed.push(bits);
        }
    }

    /// The series that each scrape brought.
    #[must_use]
    pub fn series(&self) -> &Arc<[SeriesId]> {
        &self.series
    }

    /// The timestamps of each scrape.
    #[must_use]
    pub fn times(&self) -> &[Times] {
        &self.times
    }

    /// Of each scrape: how many scrapes the batch held before it.
    #[must_use]
    pub fn arrivals(&self) -> &[u32] {
        &self.arrivals
    }

    /// Shows the values of every scrape, from the last to the first, with the number of the scrape.
    pub fn for_each_back(&self, values: &mut Vec<f64>, mut show: impl FnMut(usize, &[f64])) {
        values.clone_from(&self.last);
        let words = self.last.len().div_ceil(64).max(1);
        let mut changed = self.changed.rchunks(words);
        let mut replaced = self.replaced.iter().rev();
        for scrape in (0..self.times.len()).rev() {
            show(scrape, values);
            let bits = changed.next().unwrap_or_default();
            for (part, bits) in values.chunks_mut(64).zip(bits).rev() {
                let mut bits = *bits;
                while bits != 0 {
                    let highest = 63 - bits.leading_zeros();
                    bits ^= 1 << highest;
                    if let (Some(value), Some(before)) = (part.get_mut(highest as usize), replaced.next()) {
                        *value = *before;
                    }
                }
            }
        }
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
    pub times: &'a Times,
    /// As many as there are series.
    pub values: &'a [f64],
}

/// What was scraped since the last object.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    blocks: Vec<Block>,
    /// The blocks to which scrapes were added, in order of arrival.
    order: Vec<u32>,
    samples: usize,
    /// Tells it from the batches before and after.
    number: u64,
    /// Latest scrape in it, milliseconds since the Unix epoch.
    pub last_scrape: i64,
    /// The turn that it was scraped in; `None` for a single agent.
    pub tenure: Option<Tenure>,
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
        let next = Self { number: self.number + 1, ..Self::default() };
        std::mem::replace(self, next)
    }

    /// Adds a scrape: as many values as there are series.
    pub fn add(&mut self, line_up: &mut LineUp, times: Times, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        let arrival = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        let known = line_up.place.filter(|(batch, _)| *batch == self.number).map(|(_, at)| at);
        let at = match known.and_then(|at| Some((at, self.blocks.get_mut(at)?))) {
            Some((at, block)) if Arc::ptr_eq(&block.series, &line_up.series) => {
                block.add(arrival, times, values);
                at
            }
            _ => {
                self.blocks.push(Block::new(&line_up.series, arrival, times, values));
                self.blocks.len() - 1
            }
        };
        line_up.place = Some((self.number, at));
        self.order.push(u32::try_from(at).unwrap_or(u32::MAX));
        self.samples += values.len();
    }

    /// Scrapes in the batch, the reports on them counted too.
    #[must_use]
    pub fn scrapes(&self) -> usize {
        self.order.len()
    }

    /// What was added after the first `from` scrapes, in order of arrival; no two of them may be of one target.
    pub fn added_since(&self, from: usize) -> impl Iterator<Item = Added<'_>> + Clone {
        let order = self.order.get(from..).unwrap_or_default();
        order.iter().filter_map(|at| {
            let block = self.blocks.get(*at as usize)?;
            let (block_series, times) = (&block.series, block.times.last()?);
            Some(Added { block: *at as usize, series: block_series, times, values: &block.last })
        })
    }

    /// The lists of series, each with its scrapes.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// All series that have a sample, some of them more than once.
    pub fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.blocks.iter().flat_map(|block| block.series.iter().copied())
    }

    /// All samples in order of arrival: for people and for tests, since it takes memory for all of them.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, i64, f64)> {
        let mut scrapes: Vec<Vec<Vec<f64>>> = Vec::new();
        for block in &self.blocks {
            let mut all = Vec::new();
            block.for_each_back(&mut Vec::new(), |_, values| all.push(values.to_vec()));
            scrapes.push(all);
        }
        let mut seen = vec![0; self.blocks.len()];
        self.order.iter().flat_map(move |at| {
            let at = *at as usize;
            let values = scrapes.get_mut(at).and_then(Vec::pop).unwrap_or_default();
            let scrape = seen.get_mut(at).map_or(0, |seen| std::mem::replace(seen, *seen + 1));
            let block = self.blocks.get(at);
            let rows = values.into_iter().enumerate();
            rows.filter_map(move |(i, value)| {
                let (series, times) = (block?.series.get(i)?, block?.times.get(scrape)?);
                Some((*series, times.at(i), value))
            })
        })
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
                let times = match is_own {
                    true => Times::Each(series.iter().map(|id| time - i64::from(id.0)).collect()),
                    false => Times::Same(time),
                };
                let before = batch.scrapes();
                plain.extend(series.iter().zip(&values).enumerate().map(|(i, (id, v))| (*id, times.at(i), v.to_bits())));
                batch.add(line_up, times.clone(), &values);
                let added: Vec<_> = batch.added_since(before).collect();
                prop_assert_eq!(added.len(), 1);
                prop_assert_eq!((added[0].series, added[0].times), (&*series, &times));
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
