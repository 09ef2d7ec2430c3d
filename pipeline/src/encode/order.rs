//! The order of rows: series by series, an entity's series together (see `schema`), each by time.
//!
//! A series' rank is found once, when it first appears; placing a sample is then a scatter and not a sort.

use std::cmp::Ordering;

use crate::model::sample::{Batch, SeriesId, SeriesTable};
use crate::schema::Schema;

/// All known series in row order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// In row order. Series of different targets that ended with equal labels are neighbours.
    sorted: Vec<SeriesId>,
    /// By id: the rank in `leaders`, or `NONE`.
    ranks: Vec<u32>,
    /// By rank: one series of those that are equal.
    leaders: Vec<SeriesId>,
}

/// New series whose keys are held at once.
const NEW_AT_ONCE: usize = 8192;

/// Marks an id without a rank.
const NONE: u32 = u32::MAX;

/// A batch in row order: runs of rows, each of one series.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// The series of each run.
    pub(crate) series: Vec<SeriesId>,
    /// Where each run ends, as a position in the columns below.
    pub(crate) ends: Vec<u32>,
    /// Milliseconds since the Unix epoch, by row.
    pub(crate) timestamps: Vec<i64>,
    /// Values, by row.
    pub(crate) values: Vec<f64>,
    /// Samples left out, because one of an equal series with the same timestamp stands there already.
    pub(crate) duplicates: u64,
}

impl Rows {
    /// Rows in all runs.
    pub(crate) fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// The length of each run.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        let starts = std::iter::once(&0).chain(&self.ends);
        self.ends.iter().zip(starts).map(|(end, start)| (end - start) as usize)
    }
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
        // One of them may have led others that stay.
        self.leaders.clear();
    }

    /// Puts the samples of a batch into row order.
    pub(crate) fn place(&mut self, batch: &Batch, table: &SeriesTable) -> Rows {
        self.admit(batch, table);
        let mut next = vec![0_u32; self.leaders.len() + 1];
        for id in batch.series() {
            if let Some(count) = next.get_mut(self.rank(*id) as usize + 1) {
                *count += 1;
            }
        }
        let mut rows = Rows::default();
        let mut end = 0;
        for (count, leader) in next.iter_mut().skip(1).zip(&self.leaders) {
            // From here on `next[rank]` is where the next sample of that rank goes.
            end += std::mem::replace(count, end + *count);
            if rows.ends.last().copied().unwrap_or_default() < end {
                rows.series.push(*leader);
                rows.ends.push(end);
            }
        }
        rows.timestamps = vec![0; batch.len()];
        rows.values = vec![0.0; batch.len()];
        for (id, timestamp, value) in batch.iter() {
            let Some(at) = next.get_mut(self.rank(id) as usize) else { continue };
            let place = *at as usize;
            *at += 1;
            if let (Some(t), Some(v)) = (rows.timestamps.get_mut(place), rows.values.get_mut(place)) {
                (*t, *v) = (timestamp, value);
            }
        }
        sort_runs(&mut rows);
        rows
    }

    fn rank(&self, id: SeriesId) -> u32 {
        self.ranks.get(id.0 as usize).copied().unwrap_or(NONE)
    }

    /// Gives a rank to every series of the batch that has none.
    fn admit(&mut self, batch: &Batch, table: &SeriesTable) {
        self.ranks.resize(table.slots(), NONE);
        let mut new = Vec::new();
        for id in batch.series() {
            if let Some(rank) = self.ranks.get_mut(id.0 as usize)
                && *rank == NONE
            {
                *rank = NONE - 1; // Seen in this loop; the true rank follows.
                new.push(*id);
            }
        }
        if !new.is_empty() {
            // A part at a time, because the keys of all new series at once would be what takes most memory of all.
            new.chunks(NEW_AT_ONCE).for_each(|part| self.merge(part, table));
            self.leaders.clear();
        }
        if self.leaders.is_empty() {
            self.rank_all(table);
        }
    }

    /// Sorts the new series and merges them into the order; both by key, equal keys by id.
    fn merge(&mut self, new: &[SeriesId], table: &SeriesTable) {
        let key_of = |id: SeriesId| {
            let mut key = Vec::new();
            write_key(id, table, &mut key);
            key
        };
        let mut keyed: Vec<(Vec<u8>, SeriesId)> = new.iter().map(|id| (key_of(*id), *id)).collect();
        keyed.sort_unstable();
        let old = std::mem::take(&mut self.sorted);
        let mut merged = Vec::with_capacity(old.len() + keyed.len());
        let mut rest = old.as_slice();
        let mut probe = Vec::new();
        for (key, id) in keyed {
            let at = gallop(rest, |other| {
                write_key(other, table, &mut probe);
                probe.as_slice().cmp(&key).then(other.cmp(&id)) == Ordering::Less
            });
            let (before, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            merged.extend_from_slice(before);
            merged.push(id);
            rest = after;
        }
        merged.extend_from_slice(rest);
        self.sorted = merged;
    }

    fn rank_all(&mut self, table: &SeriesTable) {
        let mut previous = None;
        for id in &self.sorted {
            let series = table.get(*id);
            if self.leaders.is_empty() || series != previous {
                self.leaders.push(*id);
                previous = series;
            }
            if let Some(rank) = self.ranks.get_mut(id.0 as usize) {
                *rank = u32::try_from(self.leaders.len() - 1).unwrap_or(NONE);
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

fn write_key(id: SeriesId, table: &SeriesTable, key: &mut Vec<u8>) {
    key.clear();
    if let Some(series) = table.get(id) {
        Schema::write_sort_key(series, key);
    }
}

/// Runs arrive in time order but for explicit timestamps and equal series of several targets: those are sorted, and of
/// equal timestamps the first to arrive stays.
fn sort_runs(rows: &mut Rows) {
    let mut start = 0;
    let mut messy = Vec::new();
    for (run, end) in rows.ends.iter().enumerate() {
        let times = rows.timestamps.get(start..*end as usize).unwrap_or_default();
        if !times.is_sorted_by(|a, b| a < b) {
            messy.push(run);
        }
        start = *end as usize;
    }
    if messy.is_empty() {
        return;
    }
    let (times, values) = (std::mem::take(&mut rows.timestamps), std::mem::take(&mut rows.values));
    let mut messy = messy.into_iter().peekable();
    let mut start = 0;
    for (run, end) in rows.ends.iter_mut().enumerate() {
        let range = start..*end as usize;
        start = *end as usize;
        let (times, values) =
            (times.get(range.clone()).unwrap_or_default(), values.get(range).unwrap_or_default());
        if messy.next_if_eq(&run).is_some() {
            let mut pairs: Vec<(i64, f64)> = times.iter().copied().zip(values.iter().copied()).collect();
            pairs.sort_by_key(|(time, _)| *time);
            let before = pairs.len();
            pairs.dedup_by_key(|(time, _)| *time);
            rows.duplicates += (before - pairs.len()) as u64;
            rows.timestamps.extend(pairs.iter().map(|(time, _)| time));
            rows.values.extend(pairs.iter().map(|(_, value)| value));
        } else {
            rows.timestamps.extend_from_slice(times);
            rows.values.extend_from_slice(values);
        }
        *end = u32::try_from(rows.timestamps.len()).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::Labels;
    use crate::model::sample::{MetricType, Series};

    fn table(names: &[&str]) -> SeriesTable {
        let mut table = SeriesTable::default();
        for name in names {
            let labels = Labels::from_pairs([("job", "j"), ("__name__", name)]);
            table.insert(Series { labels, metric_type: MetricType::Gauge });
        }
        table
    }

    fn batch(samples: &[(u32, i64)]) -> Batch {
        let mut batch = Batch::default();
        for (i, (id, time)) in samples.iter().enumerate() {
            batch.push(SeriesId(*id), *time, f64::from(u32::try_from(i).unwrap()));
        }
        batch
    }

    #[test]
    fn samples_stand_by_series_and_time() {
        let table = table(&["b", "a", "c"]);
        let rows = Order::default().place(&batch(&[(0, 1), (1, 1), (0, 2), (1, 2), (0, 0)]), &table);
        assert_eq!(rows.series, [SeriesId(1), SeriesId(0)]);
        assert_eq!(rows.ends, [2, 5]);
        assert_eq!(rows.timestamps, [1, 2, 0, 1, 2]);
        assert_eq!(rows.values, [1.0, 3.0, 4.0, 0.0, 2.0]);
        assert_eq!(rows.lengths().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn equal_series_of_two_targets_share_a_run_and_the_first_sample_stays() {
        let table = table(&["a", "b", "a"]);
        let rows = Order::default().place(&batch(&[(2, 5), (1, 5), (0, 5), (0, 6)]), &table);
        assert_eq!((rows.ends.as_slice(), rows.duplicates), ([2, 3].as_slice(), 1));
        assert_eq!((rows.timestamps, rows.values), (vec![5, 6, 5], vec![0.0, 3.0, 1.0]));
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
            order.place(&batch(&[(0, 1), (1, 1), (2, 2)]), &series);
            series.retire(gone);
            order.forget(&series.sweep());
            let stays = SeriesId(2 - gone.0);
            let rows = order.place(&batch(&[(1, 3), (stays.0, 3)]), &series);
            assert_eq!(rows.series, [stays, SeriesId(1)]);
        }
    }

    #[test]
    fn series_that_come_and_go_give_the_order_of_a_fresh_start() {
        let mut series = table(&["d", "b"]);
        let mut order = Order::default();
        order.place(&batch(&[(0, 1), (1, 1)]), &series);
        series.retire(SeriesId(0));
        order.forget(&series.sweep());
        for name in ["a", "e", "c"] {
            let labels = Labels::from_pairs([("job", "j"), ("__name__", name)]);
            series.insert(Series { labels, metric_type: MetricType::Gauge });
        }
        let all = batch(&[(3, 1), (2, 1), (1, 1), (0, 1)]);
        let rows = order.place(&all, &series);
        assert_eq!(rows, Order::default().place(&all, &series));
        let names: Vec<_> =
            rows.series.iter().map(|id| series.get(*id).unwrap().labels.value("__name__")).collect();
        assert_eq!(names, ["a", "b", "c", "e"]);
    }
}
