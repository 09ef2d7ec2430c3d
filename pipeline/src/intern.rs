//! The series of one target: labelled, relabelled and interned once in their life, then known by a slot.
//!
//! Takes exposed series from the parser and parsed samples from a whole scrape; gives slots, and samples to the
//! open batch. A scrape is committed whole or not at all. What was found out of one series serves those that are written alike,
//! see [`alike`].

mod alike;

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::Limits;
use crate::model::batch::{Batch, LineUp, Times};
use crate::model::labels::{CLUSTER_ID, Labels, LabelsBuilder, METRIC_NAME};
use crate::model::sample::{Exposed, NO_TIMESTAMP, Refusal, Samples, Slot};
use crate::model::scrape::ScrapeError;
use crate::model::series::{LABEL_BYTES, SeriesId, SeriesTable};
use crate::model::target::Target;

pub(crate) use alike::Resolver;

/// All series that a target exposed in its last two scrapes.
#[derive(Debug)]
pub(crate) struct TargetSeries {
    slots: Vec<Known>,
    free: Vec<Slot>,
    /// The slots that are in use, by the labels of their series. Only new lines need it: a target that brings none has none.
    by_labels: Option<HashTable<Slot>>,
    hasher: DefaultHashBuilder,
    /// Counts the committed scrapes, but for those that brought just what the one before had, from 1 to 255 and round again:
    /// what neither this one nor the one before held is gone.
    generation: u8,
    /// By slot, as far as there were any: the explicit timestamp that was shipped last.
    timestamps: Vec<i64>,
    /// The series of the last committed scrape, and those of the report on it.
    line_up: LineUp,
    /// Whether the next scrape, if it brings the same slots, brings just this line-up: every sample was kept, and no series of
    /// the target was missing.
    is_settled: bool,
}

/// What is kept of a scrape, on its way to the batch; held for its buffers.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    series: Vec<SeriesId>,
    values: Vec<f64>,
    /// Empty where all are the scrape's.
    times: Vec<i64>,
}

/// Packed, since there is one for each series.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed)]
struct Known {
    /// [`SeriesId::NONE`] where the slot is free.
    series: SeriesId,
    /// The generation of the last committed scrape that held it; 0 before the first.
    seen: u8,
}

impl Known {
    const FREE: Self = Self { series: SeriesId::NONE, seen: 0 };

    fn is_free(self) -> bool {
        // Copied, because a packed field cannot be referred to.
        let series = self.series;
        series == SeriesId::NONE
    }
}

/// What became of the samples of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Added to the batch.
    pub(crate) kept: u64,
    /// Of these, of series that the scrape before did not have.
    pub(crate) added: u64,
    /// Series that the scrape held.
    pub(crate) distinct: u64,
    /// Dropped: the scrape held the series already.
    pub(crate) duplicate: u64,
    /// Dropped: this explicit timestamp was shipped before.
    pub(crate) repeated: u64,
    /// Dropped: the explicit timestamp is too far ahead.
    pub(crate) ahead: u64,
    /// Dropped: the explicit timestamp is too far behind.
    pub(crate) behind: u64,
}

impl Kept {
    fn clear(&mut self) {
        self.series.clear();
        self.values.clear();
        self.times.clear();
    }
}

/// Whether the scrape before did not hold a series that was last seen in this one.
fn is_new(seen: u8, generation: u8) -> bool {
    seen == 0 || after(seen) != generation
}

/// The generation after this one. Zero means never seen.
fn after(generation: u8) -> u8 {
    generation.wrapping_add(1).max(1)
}

impl TargetSeries {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_labels: None,
            hasher: DefaultHashBuilder::default(),
            generation: 0,
            timestamps: Vec::new(),
            line_up: LineUp::new(&[]),
            is_settled: false,
        }
    }

    /// The slot of an exposed series: attaches the target's labels, applies `metric_relabel_configs`, checks
    /// the job's limits, adds the external labels that are missing, and interns what is left.
    pub(crate) fn resolve(
        &mut self,
        exposed: Exposed<'_>,
        target: &Target,
        external: &Labels,
        series_max: u64,
        table: &mut SeriesTable,
    ) -> Result<Slot, Refusal> {
        let Exposed { labels, empty, metric_type } = exposed;
        attach(labels, empty, target);
        if !target.job.metric_relabel.apply(labels) {
            return Ok(Slot::DROPPED);
        }
        if labels.get(METRIC_NAME).is_empty() {
            return Err(Refusal::Line("no metric name left after metric relabelling"));
        }
        check_limits(labels.iter(), target)?;
        add_external(labels, external);
        let is_full = table.is_full(series_max);
        let id = table.insert(labels.iter(), metric_type);
        let Some(series) = table.get(id) else { return Ok(Slot::DROPPED) };
        let Self { slots, by_labels, hasher, .. } = self;
        let by_labels = by_labels.get_or_insert_with(|| index(slots, table, hasher));
        let of = |slot: &Slot| slots.get(slot.0 as usize).and_then(|known| table.get(known.series));
        let hash = hasher.hash_one(series.row());
        if let Some(slot) = by_labels.find(hash, |slot| of(slot) == Some(series)).copied() {
            table.discard_twin(id);
            return Ok(slot);
        }
        if is_full {
            table.discard(id);
            let text = format!(
                "all targets together have {series_max} series, or as many bytes of labels as {series_max} of {LABEL_BYTES} \
                 have (limits.max_series)"
            );
            return Err(Refusal::Scrape(ScrapeError::Limit(text)));
        }
        Ok(self.take_slot(id, hash, table))
    }

    /// Finds out what is kept of a whole scrape, each series once; [`Self::add`] adds it to the batch, with the values of the
    /// series in `own`.
    pub(crate) fn commit(
        &mut self,
        samples: &Samples,
        time: i64,
        honor_timestamps: bool,
        limits: &Limits,
        own: &[SeriesId],
        kept: &mut Kept,
    ) -> Committed {
        kept.clear();
        let is_plain = !honor_timestamps || samples.timestamps.is_empty();
        if self.is_settled && is_plain && samples.is_as_before {
            let count = samples.values.len() as u64;
            self.by_labels = None;
            kept.values.extend_from_slice(&samples.values);
            return Committed { kept: count, distinct: count, ..Committed::default() };
        }
        let done = match is_plain {
            true => self.keep_all(samples, kept),
            false => self.keep_timely(samples, time, limits, kept),
        };
        kept.series.extend_from_slice(own);
        if kept.series != self.line_up.series() {
            self.line_up = LineUp::new(&kept.series);
        }
        self.is_settled =
            is_plain && done.kept == samples.values.len() as u64 && done.kept == self.len() as u64;
        done
    }

    /// Adds what was committed to the batch, and the values of the series that are not the scrape's own, all in one block.
    pub(crate) fn add(&mut self, kept: &mut Kept, own: &[f64], time: i64, batch: &mut Batch) {
        let Kept { values, times, .. } = kept;
        values.extend_from_slice(own);
        let times = if times.is_empty() {
            Times::Same(time)
        } else {
            times.resize(values.len(), time);
            Times::Each(times)
        };
        batch.add(&mut self.line_up, times, values);
    }

    /// Keeps the first sample of each series.
    fn keep_all(&mut self, samples: &Samples, kept: &mut Kept) -> Committed {
        let mut done = Committed::default();
        let generation = self.next_generation();
        for (slot, value) in samples.slots.iter().zip(&samples.values) {
            // A slot lives as long as a line leads to it.
            let Some(known) = self.slots.get_mut(slot.0 as usize) else { continue };
            let before = std::mem::replace(&mut known.seen, generation);
            if before == generation {
                done.duplicate += 1;
                continue;
            }
            done.distinct += 1;
            done.added += u64::from(is_new(before, generation));
            kept.series.push(known.series);
            kept.values.push(*value);
        }
        done.kept = kept.values.len() as u64;
        done
    }

    /// Keeps the samples that are timely and were not shipped before, each with its own timestamp if it has one.
    fn keep_timely(&mut self, samples: &Samples, time: i64, limits: &Limits, kept: &mut Kept) -> Committed {
        let mut done = Committed::default();
        let generation = self.next_generation();
        let (first, last) = (
            time.saturating_sub(limits.max_timestamp_behind.as_millis()),
            time.saturating_add(limits.max_timestamp_ahead.as_millis()),
        );
        let Self { slots, timestamps, .. } = self;
        timestamps.resize(slots.len(), NO_TIMESTAMP);
        let all = samples.slots.iter().zip(&samples.values).zip(&samples.timestamps);
        for ((slot, value), written) in all {
            let (known, shipped) = (slots.get_mut(slot.0 as usize), timestamps.get_mut(slot.0 as usize));
            let (Some(known), Some(shipped)) = (known, shipped) else { continue };
            let before = std::mem::replace(&mut known.seen, generation);
            let explicit = *written != NO_TIMESTAMP;
            let timestamp = if explicit { *written } else { time };
            done.distinct += u64::from(before != generation);
            if explicit && timestamp > last {
                done.ahead += 1;
            } else if explicit && timestamp < first {
                done.behind += 1;
            } else if explicit && timestamp == *shipped {
                done.repeated += 1;
            } else if !explicit && before == generation {
                done.duplicate += 1;
            } else {
                if explicit {
                    *shipped = timestamp;
                }
                done.added += u64::from(before != generation && is_new(before, generation));
                kept.series.push(known.series);
                kept.values.push(*value);
                kept.times.push(timestamp);
            }
        }
        done.kept = kept.values.len() as u64;
        done
    }

    /// Frees the series that neither the last scrape nor the one before it held.
    pub(crate) fn prune(&mut self, table: &mut SeriesTable) {
        let generation = self.generation;
        self.release(
            |known| known.seen == generation || !is_new(known.seen, generation),
            |id| table.retire(id),
        );
    }

    /// Frees the series that a failed scrape brought, at once: no batch has named them.
    pub(crate) fn roll_back(&mut self, table: &mut SeriesTable) {
        self.release(|known| known.seen != 0, |id| table.discard(id));
    }

    /// Frees all series, because the target is gone.
    pub(crate) fn clear(&mut self, table: &mut SeriesTable) {
        self.is_settled = false;
        self.release(|_| false, |id| table.retire(id));
    }

    /// Series known.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn next_generation(&mut self) -> u8 {
        self.generation = after(self.generation);
        self.generation
    }

    fn take_slot(&mut self, series: SeriesId, hash: u64, table: &SeriesTable) -> Slot {
        let Self { slots, free, by_labels, hasher, timestamps, .. } = self;
        let known = Known { series, seen: 0 };
        let slot = free.pop().unwrap_or_else(|| {
            slots.push(known);
            Slot(u32::try_from(slots.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(place) = slots.get_mut(slot.0 as usize) {
            *place = known;
        }
        if let Some(timestamp) = timestamps.get_mut(slot.0 as usize) {
            *timestamp = NO_TIMESTAMP;
        }
        if let Some(by_labels) = by_labels {
            by_labels.insert_unique(hash, slot, |slot| hash_of(*slot, slots, table, hasher));
        }
        self.is_settled = false;
        slot
    }

    fn release(&mut self, keep: impl Fn(&Known) -> bool, mut gone: impl FnMut(SeriesId)) {
        let Self { slots, free, by_labels, .. } = self;
        let before = free.len();
        for (slot, known) in slots.iter_mut().enumerate() {
            if !known.is_free() && !keep(known) {
                gone(known.series);
                *known = Known::FREE;
                free.push(Slot(u32::try_from(slot).unwrap_or(u32::MAX)));
            }
        }
        if free.len() > before {
            // Made again when it is needed.
            *by_labels = None;
        }
    }
}

/// An index of the slots in use.
fn index(slots: &[Known], table: &SeriesTable, hasher: &DefaultHashBuilder) -> HashTable<Slot> {
    let mut index = HashTable::new();
    for (slot, _) in slots.iter().enumerate().filter(|(_, known)| !known.is_free()) {
        let slot = Slot(u32::try_from(slot).unwrap_or(u32::MAX));
        let hash = |slot: &Slot| hash_of(*slot, slots, table, hasher);
        index.insert_unique(hash(&slot), slot, hash);
    }
    index
}

fn hash_of(slot: Slot, slots: &[Known], table: &SeriesTable, hasher: &DefaultHashBuilder) -> u64 {
    let series = slots.get(slot.0 as usize).and_then(|known| table.get(known.series));
    series.map_or(0, |series| hasher.hash_one(series.row()))
}

/// Merges the target's labels into a series' as Prometheus does: `honor_labels` lets the exposed one win, otherwise it is
/// renamed `exported_...`. The cluster's name is never an exporter's to give.
fn attach(labels: &mut LabelsBuilder, empty: &[String], target: &Target) {
    let is_targets = |name: &str| target.labels.get(name).is_some();
    labels.give_way(CLUSTER_ID, is_targets);
    if empty.is_empty() && labels.merge(&target.labels) {
        return;
    }
    for (name, value) in target.labels.iter() {
        if labels.get(name).is_empty() {
            if !(target.job.honor_labels && empty.iter().any(|n| n == name)) {
                labels.set(name, value);
            }
        } else if !target.job.honor_labels {
            labels.give_way(name, is_targets);
            labels.set(name, value);
        }
    }
}

/// Adds the external labels that are missing.
fn add_external(labels: &mut LabelsBuilder, external: &Labels) {
    if !labels.merge(external) {
        for (name, value) in external.iter() {
            labels.add(name, value);
        }
    }
}

fn check_limits<'a>(
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    target: &Target,
) -> Result<(), Refusal> {
    let limits = &target.job.limits;
    if limits.labels == 0 && limits.label_name_bytes == 0 && limits.label_value_bytes == 0 {
        return Ok(());
    }
    let over = |limit: u64, actual: usize| limit > 0 && actual as u64 > limit;
    let refuse = |text: String| Err(Refusal::Scrape(ScrapeError::Limit(text)));
    let mut count = 0;
    for (name, value) in labels {
        count += 1;
        if over(limits.label_name_bytes, name.len()) {
            let limit = limits.label_name_bytes;
            return refuse(format!(
                "label name of {} bytes is over {limit} (label_name_length_limit)",
                name.len()
            ));
        }
        if over(limits.label_value_bytes, value.len()) {
            let (limit, bytes) = (limits.label_value_bytes, value.len());
            return refuse(format!(
                "value of label {name} has {bytes} bytes, over {limit} (label_value_length_limit)"
            ));
        }
    }
    match over(limits.labels, count) {
        true => refuse(format!("series with {count} labels, over {} (label_limit)", limits.labels)),
        false => Ok(()),
    }
}
