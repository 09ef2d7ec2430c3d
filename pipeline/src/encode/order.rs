//! The order of rows: series by series, an entity's series together (see `schema`), each by time.
//!
//! A series' rank is found once, when it first appears; placing a sample is then a scatter and not a sort.

use std::ops::Range;

use crate::model::batch::{Batch, Block, Shown};
use crate::model::series::SeriesId;

use super::layout::Layouts;

/// All known series in row order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// In row order. Series of different targets that ended with equal labels are neighbours.
    sorted: Vec<SeriesId>,
    /// By id: how many different series stand before it, or `NONE`.
    ranks: Vec<u32>,
    /// How many different series there are; 0 where the ranks are not known.
    different: usize,
}

/// Series that are put in order at a time: while that lasts, each takes some sixty bytes more.
const MERGED_MAX: usize = if cfg!(test) { 2 } else { 32 << 10 };

/// Marks an id without a rank, and a sample that cannot simply be placed.
const NONE: u32 = u32::MAX;

/// The order of a batch's rows: runs of rows, each of one series.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// The series of each run.
    pub(crate) series: Vec<SeriesId>,
    /// Where each run ends, in rows.
    pub(crate) ends: Vec<u32>,
    /// Where the timestamps of each run begin in `times`: all series of a target share theirs.
    times_from: Vec<u32>,
    /// Milliseconds since the Unix epoch.
    times: Vec<i64>,
    /// By block of the batch.
    blocks: Vec<Placed>,
    /// Samples of runs that are not in order as they arrived, in the order of rows.
    loose: Vec<Loose>,
    /// Samples left out, because one of an equal series with the same timestamp stands there already.
    pub(crate) duplicates: u64,
}

/// Where the series of a block have their rows.
#[derive(Debug, PartialEq)]
struct Placed {
    /// Of each series the first row, the others follow; `NONE` where its samples are loose.
    firsts: Vec<u32>,
    /// The rows between the first of all and the last.
    range: Range<usize>,
}

impl Rows {
    /// Rows in all runs.
    pub(crate) fn len(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// The length of each run.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        let starts = std::iter::once(&0).chain(&self.ends);
        self.ends.iter().zip(starts).map(|(end, start)| (end - start) as usize)
    }

    /// The timestamps of each run, milliseconds since the Unix epoch.
    pub(crate) fn timestamps(&self) -> impl Iterator<Item = &[i64]> {
        let runs = self.times_from.iter().zip(self.lengths());
        runs.map(|(from, length)| {
            self.times.get(*from as usize..).and_then(|times| times.get(..length)).unwrap_or_default()
        })
    }

    /// The first and the last timestamp; `None` without rows.
    pub(crate) fn time_range(&self) -> Option<(i64, i64)> {
        Some((*self.times.iter().min()?, *self.times.iter().max()?))
    }

    /// The values of so many rows from `from` on, each made a `T`. Only a part of an object at a time, so that it is never held
    /// whole.
    pub(crate) fn values<T>(&self, batch: &Batch, from: usize, out: &mut [T], of: impl Fn(f64) -> T) {
        let until = from + out.len();
        let mut buffer = Vec::new();
        let blocks = batch.blocks().zip(&self.blocks);
        for (block, placed) in blocks.filter(|(_, p)| p.range.start < until && from < p.range.end) {
            block.for_each_back(&mut buffer, |Shown { number, values, .. }| {
                for (first, value) in placed.firsts.iter().zip(values) {
                    // Beyond the end is what belongs to another part, and what is loose.
                    if let Some(place) = out.get_mut((*first as usize + number).wrapping_sub(from)) {
                        *place = of(*value);
                    }
                }
            });
        }
        let first = self.loose.partition_point(|sample| (sample.row as usize) < from);
        for sample in self.loose.iter().skip(first) {
            let Some(place) = out.get_mut(sample.row as usize - from) else { break };
            *place = of(sample.value);
        }
    }
}

/// What is placed at one rank.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// How many rows there are.
    rows: u32,
    /// Lists of series that it stands in, two at most: with more than one its samples have to be put in order.
    sources: u8,
    /// Its run, once the runs are known.
    run: u32,
}

/// A sample that is not in order as it arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Loose {
    /// Its rank, and later its row.
    row: u32,
    time: i64,
    /// The scrape, and the position in it: of equal timestamps the first to arrive stays.
    arrival: (u32, u32),
    value: f64,
}

impl Order {
    /// Forgets series whose ids are about to be given to others.
    pub(crate) fn forget(&mut self, freed: &[SeriesId]) {
        let mut gone = vec![false; self.ranks.len()];
        for id in freed {
            if let Some(flag) = gone.get_mut(id.0 as usize) {
                *flag = true;
            }
        }
        self.sorted.retain(|id| gone.get(id.0 as usize) != Some(&true));
        for id in freed {
            if let Some(rank) = self.ranks.get_mut(id.0 as usize) {
                *rank = NONE;
            }
        }
        // One of them may have been the first of others that stay.
        self.different = 0;
    }

    /// Finds the row of every sample of a batch.
    pub(super) fn place(&mut self, batch: &Batch, layouts: &mut Layouts<'_>) -> Rows {
        self.admit(batch, layouts);
        let mut places = self.count(batch);
        let mut rows = Rows { loose: self.loose(batch, &places), ..Rows::default() };
        put_in_order(&mut rows, &mut places);
        let runs = places.iter().filter(|place| place.rows > 0).count();
        rows.series.reserve_exact(runs);
        rows.ends.reserve_exact(runs);
        let mut end = 0;
        let mut last = NONE;
        for id in &self.sorted {
            let rank = self.rank(*id);
            // One of those that are equal stands for all.
            let is_first = std::mem::replace(&mut last, rank) != rank;
            if let Some(place) = places.get_mut(rank as usize).filter(|place| is_first && place.rows > 0) {
                place.run = u32::try_from(rows.series.len()).unwrap_or(NONE);
                end += place.rows;
                rows.series.push(*id);
                rows.ends.push(end);
            }
        }
        rows.times_from = vec![0; runs];
        for block in batch.blocks() {
            let placed = self.place_block(&block, &places, &mut rows);
            rows.blocks.push(placed);
        }
        place_loose(&mut rows, &places);
        rows
    }

    /// Counts the samples of each rank.
    fn count(&self, batch: &Batch) -> Vec<Place> {
        let mut places = vec![Place::default(); self.different];
        for block in batch.blocks() {
            let scrapes = u32::try_from(block.scrapes()).unwrap_or(u32::MAX);
            // Timestamps of their own need not ascend.
            let sources = if ascends(&block) { 1 } else { 2 };
            for id in block.series().iter() {
                if let Some(place) = places.get_mut(self.rank(*id) as usize) {
                    place.rows += scrapes;
                    place.sources = (place.sources + sources).min(2);
                }
            }
        }
        places
    }

    /// The samples of all ranks that are not in order.
    fn loose(&self, batch: &Batch, places: &[Place]) -> Vec<Loose> {
        let count = places.iter().filter(|place| place.sources > 1).map(|place| place.rows as usize).sum();
        let (mut loose, mut buffer) = (Vec::with_capacity(count), Vec::new());
        for block in batch.blocks() {
            let ranks = block.series().iter().map(|id| self.rank(*id)).enumerate();
            let is_loose =
                |(_, rank): &(usize, u32)| places.get(*rank as usize).is_some_and(|p| p.sources > 1);
            let found: Vec<(usize, u32)> = ranks.filter(is_loose).collect();
            if found.is_empty() {
                continue;
            }
            block.for_each_back(&mut buffer, |Shown { arrival, times, values, .. }| {
                loose.extend(found.iter().filter_map(|(at, rank)| {
                    let arrival = (arrival, u32::try_from(*at).unwrap_or(NONE));
                    Some(Loose { row: *rank, time: times.at(*at), arrival, value: *values.get(*at)? })
                }));
            });
        }
        loose
    }

    /// Gives the runs of a block's series their timestamps, and says where their values go.
    fn place_block(&self, block: &Block<'_>, places: &[Place], rows: &mut Rows) -> Placed {
        let Rows { times, times_from, ends, .. } = rows;
        let stamps = block.times();
        let scrapes = stamps.len();
        let is_shared = stamps.iter().all(|stamps| stamps.shared().is_some());
        let mut from = times.len();
        if is_shared {
            times.extend(stamps.iter().map(|stamps| stamps.at(0)));
        }
        let (mut start, mut end) = (usize::MAX, 0);
        let mut first_of = |at: usize, id: SeriesId| {
            let place = places.get(self.rank(id) as usize).filter(|place| place.sources == 1)?;
            if !is_shared {
                from = times.len();
                times.extend(stamps.iter().map(|stamps| stamps.at(at)));
            }
            *times_from.get_mut(place.run as usize)? = u32::try_from(from).ok()?;
            let first = ends.get(place.run as usize)? - place.rows;
            (start, end) = (start.min(first as usize), end.max(first as usize + scrapes));
            Some(first)
        };
        let ids = block.series().iter().enumerate();
        let firsts = ids.map(|(at, id)| first_of(at, *id).unwrap_or(NONE)).collect();
        Placed { firsts, range: start..end }
    }

    fn rank(&self, id: SeriesId) -> u32 {
        self.ranks.get(id.0 as usize).copied().unwrap_or(NONE)
    }

    /// Gives a rank to every series of the batch that has none.
    fn admit(&mut self, batch: &Batch, layouts: &mut Layouts<'_>) {
        self.ranks.resize(layouts.table().slots(), NONE);
        let mut new = Vec::new();
        for id in batch.series() {
            if let Some(rank) = self.ranks.get_mut(id.0 as usize)
                && *rank == NONE
            {
                *rank = NONE - 1; // Seen in this loop; the true rank follows.
                new.push(id);
            }
        }
        if !new.is_empty() {
            layouts.prepare(new.len());
            new.chunks(MERGED_MAX).for_each(|new| self.merge(new, layouts));
            self.different = 0;
        }
        if self.different == 0 {
            self.rank_all(layouts);
        }
    }

    /// Sorts the new series and merges them into the order; equal ones by id.
    fn merge(&mut self, new: &[SeriesId], layouts: &Layouts<'_>) {
        let mut keys = Vec::new();
        let with_key = |id: &SeriesId| {
            let start = keys.len();
            layouts.key(*id, &mut keys);
            (start..keys.len(), *id)
        };
        let mut new: Vec<_> = new.iter().map(with_key).collect();
        let key = |range: &Range<usize>| keys.get(range.clone()).unwrap_or_default();
        new.sort_unstable_by(|(a, id), (b, other)| layouts.compare(key(a), key(b)).then(id.cmp(other)));
        let old = std::mem::take(&mut self.sorted);
        let mut merged = Vec::with_capacity(old.len() + new.len());
        let (mut rest, mut of_other) = (old.as_slice(), Vec::new());
        for (range, id) in &new {
            let at = gallop(rest, |other| {
                of_other.clear();
                layouts.key(other, &mut of_other);
                layouts.compare(&of_other, key(range)).then(other.cmp(id)).is_lt()
            });
            let (before, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            merged.extend_from_slice(before);
            merged.push(*id);
            rest = after;
        }
        merged.extend_from_slice(rest);
        self.sorted = merged;
    }

    fn rank_all(&mut self, layouts: &Layouts<'_>) {
        let mut previous = None;
        for id in &self.sorted {
            let series = layouts.table().get(*id);
            if self.different == 0 || series != previous {
                self.different += 1;
                previous = series;
            }
            if let Some(rank) = self.ranks.get_mut(id.0 as usize) {
                *rank = u32::try_from(self.different - 1).unwrap_or(NONE);
            }
        }
    }
}

/// How many ids at the start of `ids` are `before` the place looked for. New series of one target stand together, so that it
/// is mostly found at once.
fn gallop(ids: &[SeriesId], mut before: impl FnMut(SeriesId) -> bool) -> usize {
    let mut known = 0;
    let mut step = 1;
    while let Some(id) = ids.get(known + step - 1)
        && before(*id)
    {
        known += step;
        step *= 2;
    }
    let end = (known + step - 1).min(ids.len());
    known + ids.get(known..end).map_or(0, |range| range.partition_point(|id| before(*id)))
}

/// Whether the samples of each series of a block are in order of time.
fn ascends(block: &Block<'_>) -> bool {
    block.times().array_windows().all(|[a, b]| match (a.shared(), b.shared()) {
        (Some(a), Some(b)) => a < b,
        _ => (0..block.series().len()).all(|at| a.at(at) < b.at(at)),
    })
}

/// Sorts the samples that are not in order: several targets brought equal series, or their timestamps are their own. Of equal
/// timestamps the first to arrive stays.
fn put_in_order(rows: &mut Rows, places: &mut [Place]) {
    let loose = &mut rows.loose;
    loose.sort_unstable_by_key(|sample| (sample.row, sample.time, sample.arrival));
    let before = loose.len();
    loose.dedup_by_key(|sample| (sample.row, sample.time));
    rows.duplicates = (before - loose.len()) as u64;
    for run in loose.chunk_by(|a, b| a.row == b.row) {
        if let Some(place) = run.first().and_then(|sample| places.get_mut(sample.row as usize)) {
            place.rows = u32::try_from(run.len()).unwrap_or(u32::MAX);
        }
    }
}

/// Gives the loose samples their rows, and their runs the timestamps.
fn place_loose(rows: &mut Rows, places: &[Place]) {
    let Rows { loose, times, times_from, ends, .. } = rows;
    times.reserve_exact(loose.len());
    for run in loose.chunk_by_mut(|a, b| a.row == b.row) {
        let Some(place) = run.first().and_then(|sample| places.get(sample.row as usize)) else { continue };
        if let Some(from) = times_from.get_mut(place.run as usize) {
            *from = u32::try_from(times.len()).unwrap_or(NONE);
        }
        times.extend(run.iter().map(|sample| sample.time));
        let first = ends.get(place.run as usize).map_or(0, |end| end - place.rows);
        run.iter_mut().zip(first..).for_each(|(sample, row)| sample.row = row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::{LineUp, Times};
    use crate::model::labels::Labels;
    use crate::model::sample::MetricType;
    use crate::model::series::SeriesTable;
    use crate::schema::Schema;

    fn table(names: &[&str]) -> SeriesTable {
        let mut table = SeriesTable::default();
        for name in names {
            let labels = Labels::from_pairs([("job", "j"), ("__name__", name)]);
            table.insert(labels.iter(), MetricType::Gauge);
        }
        table
    }

    fn batch(samples: &[(u32, i64)]) -> Batch {
        let mut batch = Batch::default();
        for (i, (id, time)) in samples.iter().enumerate() {
            let value = f64::from(u32::try_from(i).unwrap());
            batch.add(&mut LineUp::new(&[SeriesId(*id)]), Times::Same(*time), &[value]);
        }
        batch
    }

    fn place(order: &mut Order, batch: &Batch, table: &SeriesTable) -> Rows {
        order.place(batch, &mut Layouts::new(table, &Schema::default()))
    }

    /// The values of all rows, a few at a time.
    fn values(rows: &Rows, batch: &Batch) -> Vec<f64> {
        let mut all = vec![f64::NAN; rows.len()];
        all.chunks_mut(2)
            .enumerate()
            .for_each(|(part, out)| rows.values(batch, 2 * part, out, |value| value));
        all
    }

    fn timestamps(rows: &Rows) -> Vec<i64> {
        rows.timestamps().flatten().copied().collect()
    }

    #[test]
    fn samples_stand_by_series_and_time() {
        let table = table(&["b", "a", "c"]);
        let batch = batch(&[(0, 1), (1, 1), (0, 2), (1, 2), (0, 0)]);
        let rows = place(&mut Order::default(), &batch, &table);
        assert_eq!(rows.series, [SeriesId(1), SeriesId(0)]);
        assert_eq!(rows.ends, [2, 5]);
        assert_eq!(timestamps(&rows), [1, 2, 0, 1, 2]);
        assert_eq!(values(&rows, &batch), [1.0, 3.0, 4.0, 0.0, 2.0]);
        assert_eq!(rows.lengths().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn equal_series_of_two_targets_share_a_run_and_the_first_sample_stays() {
        let table = table(&["a", "b", "a"]);
        let batch = batch(&[(2, 5), (1, 5), (0, 5), (0, 6)]);
        let rows = place(&mut Order::default(), &batch, &table);
        assert_eq!((rows.ends.as_slice(), rows.duplicates), ([2, 3].as_slice(), 1));
        assert_eq!((timestamps(&rows), values(&rows, &batch)), (vec![5, 6, 5], vec![0.0, 3.0, 1.0]));
    }

    #[test]
    fn galloping_finds_every_place() {
        let ids: Vec<_> = (0..40).map(SeriesId).collect();
        for length in 0..ids.len() {
            for place in 0..=length {
                let found = gallop(&ids[..length], |id| (id.0 as usize) < place);
                assert_eq!(found, place, "{place} of {length}");
            }
        }
    }

    #[test]
    fn equal_series_outlive_each_other() {
        for gone in [SeriesId(0), SeriesId(2)] {
            let mut series = table(&["a", "b", "a"]);
            let mut order = Order::default();
            place(&mut order, &batch(&[(0, 1), (1, 1), (2, 2)]), &series);
            series.retire(gone);
            order.forget(&series.sweep());
            let stays = SeriesId(2 - gone.0);
            let rows = place(&mut order, &batch(&[(1, 3), (stays.0, 3)]), &series);
            assert_eq!(rows.series, [stays, SeriesId(1)]);
        }
    }

    #[test]
    fn series_that_come_and_go_give_the_order_of_a_fresh_start() {
        let mut series = table(&["d", "b"]);
        let mut order = Order::default();
        place(&mut order, &batch(&[(0, 1), (1, 1)]), &series);
        series.retire(SeriesId(0));
        order.forget(&series.sweep());
        for name in ["a", "e", "c"] {
            let labels = Labels::from_pairs([("job", "j"), ("__name__", name)]);
            series.insert(labels.iter(), MetricType::Gauge);
        }
        let all = batch(&[(3, 1), (2, 1), (1, 1), (0, 1)]);
        let rows = place(&mut order, &all, &series);
        assert_eq!(rows, place(&mut Order::default(), &all, &series));
        let names: Vec<_> = rows.series.iter().map(|id| series.get(*id).unwrap().value("__name__")).collect();
        assert_eq!(names, ["a", "b", "c", "e"]);
    }
}
