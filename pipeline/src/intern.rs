//! The series of one target: labelled, relabelled and interned once in their life, then known by a slot.
//!
//! Takes exposed series from the parser and parsed samples from a whole scrape; gives slots, and samples to the
//! open batch. A scrape is committed whole or not at all.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::Limits;
use crate::model::labels::{CLUSTER_ID, Labels, LabelsBuilder, METRIC_NAME};
use crate::model::sample::{
    Batch, Exposed, LABEL_BYTES, NO_TIMESTAMP, Parsed, Refusal, Series, SeriesId, SeriesTable, Slot,
};
use crate::model::scrape::ScrapeError;
use crate::model::target::Target;

/// All series that a target exposed in its last two scrapes.
#[derive(Debug)]
pub(crate) struct TargetSeries {
    slots: Vec<Option<Known>>,
    free: Vec<Slot>,
    by_labels: HashTable<Slot>,
    hasher: RandomState,
    /// Counts the committed scrapes.
    generation: u32,
}

#[derive(Debug)]
struct Known {
    series: SeriesId,
    /// The last committed scrape that held it; 0 before the first.
    seen: u32,
    /// The explicit timestamp that was shipped last.
    timestamp: i64,
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

impl TargetSeries {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_labels: HashTable::new(),
            hasher: RandomState::new(),
            generation: 0,
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
        for (name, value) in external.iter() {
            if labels.get(name).is_empty() {
                labels.set(name, value);
            }
        }
        let series = Series { labels: labels.build(), metric_type };
        let hash = self.hasher.hash_one(&series);
        let same = |slot: &Slot| self.known(*slot).and_then(|k| table.get(k.series)) == Some(&series);
        if let Some(slot) = self.by_labels.find(hash, same) {
            return Ok(*slot);
        }
        if table.is_full(series_max) {
            let text = format!(
                "all targets together have {series_max} series, or as many bytes of labels as {series_max} of {LABEL_BYTES} \
                 have (limits.max_series)"
            );
            return Err(Refusal::Scrape(ScrapeError::Limit(text)));
        }
        let known = Known { series: table.insert(series), seen: 0, timestamp: NO_TIMESTAMP };
        Ok(self.take_slot(known, hash, table))
    }

    /// Adds the samples of a whole scrape to the batch, each series once.
    pub(crate) fn commit(
        &mut self,
        samples: &[Parsed],
        time: i64,
        honor_timestamps: bool,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Committed {
        let mut done = Committed::default();
        let generation = self.next_generation();
        let (first, last) = (
            time.saturating_sub(limits.max_timestamp_behind.as_millis()),
            time.saturating_add(limits.max_timestamp_ahead.as_millis()),
        );
        for sample in samples {
            let Some(known) = self.slots.get_mut(sample.slot.0 as usize).and_then(Option::as_mut) else {
                continue; // A slot lives as long as a line leads to it.
            };
            let (before, explicit) = (known.seen, honor_timestamps && sample.timestamp != NO_TIMESTAMP);
            known.seen = generation;
            done.distinct += u64::from(before != generation);
            let timestamp = if explicit { sample.timestamp } else { time };
            if explicit && timestamp > last {
                done.ahead += 1;
            } else if explicit && timestamp < first {
                done.behind += 1;
            } else if explicit && timestamp == known.timestamp {
                done.repeated += 1;
            } else if !explicit && before == generation {
                done.duplicate += 1;
            } else {
                if explicit {
                    known.timestamp = timestamp;
                }
                let in_last = before == generation || before.wrapping_add(1) == generation;
                done.added += u64::from(before == 0 || !in_last);
                done.kept += 1;
                batch.push(known.series, timestamp, sample.value);
            }
        }
        done
    }

    /// Frees the series that neither the last scrape nor the one before it held.
    pub(crate) fn prune(&mut self, table: &mut SeriesTable) {
        let generation = self.generation;
        self.release(|known| known.seen.wrapping_add(1) >= generation, |id| table.retire(id));
    }

    /// Frees the series that a failed scrape brought, at once: no batch has named them.
    pub(crate) fn roll_back(&mut self, table: &mut SeriesTable) {
        self.release(|known| known.seen != 0, |id| table.discard(id));
    }

    /// Frees all series, because the target is gone.
    pub(crate) fn clear(&mut self, table: &mut SeriesTable) {
        self.release(|_| false, |id| table.retire(id));
    }

    /// Series known.
    pub(crate) fn len(&self) -> usize {
        self.by_labels.len()
    }

    fn known(&self, slot: Slot) -> Option<&Known> {
        self.slots.get(slot.0 as usize).and_then(Option::as_ref)
    }

    fn next_generation(&mut self) -> u32 {
        // Zero means never seen; four billion scrapes are a while.
        self.generation = self.generation.wrapping_add(1).max(1);
        self.generation
    }

    fn take_slot(&mut self, known: Known, hash: u64, table: &SeriesTable) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            *place = Some(known);
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_labels.insert_unique(hash, slot, |slot| {
            let known = slots.get(slot.0 as usize).and_then(Option::as_ref);
            known.and_then(|k| table.get(k.series)).map_or(0, |series| hasher.hash_one(series))
        });
        slot
    }

    fn release(&mut self, keep: impl Fn(&Known) -> bool, mut gone: impl FnMut(SeriesId)) {
        let Self { slots, free, by_labels, .. } = self;
        by_labels.retain(|slot| {
            let Some(place) = slots.get_mut(slot.0 as usize) else { return false };
            match place.take_if(|known| !keep(known)) {
                None => place.is_some(),
                Some(known) => {
                    gone(known.series);
                    free.push(*slot);
                    false
                }
            }
        });
    }
}

/// Merges the target's labels into a series' as Prometheus does: `honor_labels` lets the exposed one win, otherwise it is
/// renamed `exported_...`. The cluster's name is never an exporter's to give.
fn attach(labels: &mut LabelsBuilder, empty: &[String], target: &Target) {
    let is_targets = |name: &str| target.labels.get(name).is_some();
    labels.give_way(CLUSTER_ID, is_targets);
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
