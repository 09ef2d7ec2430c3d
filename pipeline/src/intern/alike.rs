//! The short way from a line to its series, for lines that are written like one before them.
//!
//! The names of labels, which of them are empty, and the type decide which label becomes which, under which name, and what the
//! target and the external labels add; what the labels say decides nothing, as long as no rule looks at it and no limit is set. So all
//! of that is found out once, by [`attach`] with marks for values, and from then on a series is a row of texts, of which the
//! line names some. [`TargetSeries::resolve`] is the simple way, and what this must agree with.

use std::hash::BuildHasher;

use super::{TargetSeries, add_external, attach, index};
use crate::model::alike::{Alike, Kind, Kinds, Resolve, VALUES_MAX};
use crate::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use crate::model::sample::{Exposed, Refusal, Slot};
use crate::model::series::{RowRef, SeriesTable};
use crate::model::target::{Limits, Target};
use crate::model::texts::Text;

/// Stands before the number of a value where it is traced through [`attach`]. No label of target or agent begins so, or nothing
/// is traced.
const MARK: char = '\u{1}';

/// Kinds of lines that are written alike beyond which those are forgotten.
const KINDS_MAX: usize = 16;

/// Gives the series of one target their slots.
pub(crate) struct Resolver<'a> {
    pub(crate) series: &'a mut TargetSeries,
    pub(crate) target: &'a Target,
    pub(crate) external: &'a Labels,
    pub(crate) series_max: u64,
    pub(crate) table: &'a mut SeriesTable,
}

impl Resolve for Resolver<'_> {
    fn resolve(&mut self, exposed: Exposed<'_>) -> Result<Slot, Refusal> {
        self.series.resolve(exposed, self.target, self.external, self.series_max, self.table)
    }

    fn knows_alike(&self) -> bool {
        let job = &self.target.job;
        let Limits { samples: _, labels, label_name_bytes, label_value_bytes } = job.limits;
        job.metric_relabel.judge_by_name() && (labels, label_name_bytes, label_value_bytes) == (0, 0, 0)
    }

    fn resolve_alike(&mut self, alike: &Alike<'_>, kinds: &mut Kinds) -> Option<Slot> {
        if self.is_dropped(alike, kinds) {
            // Its values are not looked at, so that nothing is known of them for the next line.
            kinds.epoch = None;
            std::str::from_utf8(alike.line).ok()?;
            kinds.is_dropped = Some(true);
            return Some(Slot::DROPPED);
        }
        let Self { series, table, .. } = self;
        if kinds.epoch != Some(table.epoch()) || table.is_full(self.series_max) {
            return None;
        }
        let Kinds { texts, kinds: all, last, epoch, is_dropped } = kinds;
        let is_its = |kind: &Kind| kind.empty == alike.empty && kind.metric_type == alike.metric_type;
        if !all.get(*last).is_some_and(is_its) {
            *last = all.iter().position(is_its)?;
        }
        let kind = all.get_mut(*last)?;
        if hold(kind, texts, alike, table).is_none() {
            *epoch = None;
            return None;
        }
        *is_dropped = Some(false);
        let row = RowRef { shape: kind.shape, values: &kind.row };
        Some(series.slot_of(row, table))
    }

    fn learn<'n>(
        &mut self,
        slot: Slot,
        alike: &Alike<'_>,
        names: impl Iterator<Item = &'n str>,
        kinds: &mut Kinds,
    ) {
        kinds.is_dropped = Some(slot == Slot::DROPPED);
        let known = self.series.slots.get(slot.0 as usize);
        let Some(series) = known.and_then(|known| self.table.get(known.series)) else {
            kinds.epoch = None;
            return;
        };
        let Kinds { texts, kinds: all, last, epoch, .. } = kinds;
        if *epoch != Some(self.table.epoch()) || all.len() >= KINDS_MAX {
            all.clear();
        }
        *epoch = None;
        let is_its = |kind: &Kind| kind.empty == alike.empty && kind.metric_type == alike.metric_type;
        let found = all.iter().position(is_its).or_else(|| {
            let marked = trace(alike, names, self.target, self.external)?;
            if !marked.iter().map(|(name, _)| name).eq(series.labels().map(|(name, _)| name)) {
                return None;
            }
            all.push(kind_of(alike, &marked, series.row()));
            Some(all.len() - 1)
        });
        let Some(found) = found else { return };
        let Some(kind) = all.get_mut(found) else { return };
        texts.resize(alike.spans.len(), Text::EMPTY);
        kind.row.clear();
        kind.row.extend_from_slice(series.values());
        for (place, column) in &kind.written {
            if let (Some(text), Some(of)) =
                (texts.get_mut(usize::from(*place)), kind.row.get(*column as usize))
            {
                *text = *of;
            }
        }
        (*last, *epoch) = (found, Some(self.table.epoch()));
    }
}

impl Resolver<'_> {
    /// Whether metric relabelling drops a line, where it looks at nothing but the name.
    fn is_dropped(&self, alike: &Alike<'_>, kinds: &Kinds) -> bool {
        let rules = &self.target.job.metric_relabel;
        if rules.is_empty() {
            return false;
        }
        let before = kinds.is_dropped.filter(|_| alike.same & 1 == 1);
        before.unwrap_or_else(|| {
            let name = alike.spans.first().and_then(|name| std::str::from_utf8(name.of(alike.line)).ok());
            let mut labels = LabelsBuilder::default();
            labels.set(METRIC_NAME, name.unwrap_or_default());
            !rules.apply(&mut labels)
        })
    }
}

/// Puts the texts of a line into the row of its kind, each held once; `None`, and nothing held, where one is no text.
fn hold(kind: &mut Kind, texts: &mut [Text], alike: &Alike<'_>, table: &mut SeriesTable) -> Option<()> {
    let Kind { row, written, given, .. } = kind;
    for (count, (place, column)) in written.iter().enumerate() {
        let (text, to) = (texts.get_mut(usize::from(*place))?, row.get_mut(*column as usize)?);
        let is_same = alike.same >> place & 1 == 1;
        if is_same {
            table.hold_again(*text);
        } else {
            let value = alike.spans.get(usize::from(*place))?.of(alike.line);
            let Some(held) = table.hold_after(*text, value) else {
                let before = written.iter().take(count);
                before
                    .filter_map(|(_, column)| row.get(*column as usize))
                    .for_each(|text| table.release(*text));
                return None;
            };
            *text = held;
        }
        *to = *text;
    }
    given.iter().filter_map(|column| row.get(*column as usize)).for_each(|text| {
        table.hold_again(*text);
    });
    Some(())
}

impl TargetSeries {
    /// The slot of the series with these texts, which the caller has held for it.
    fn slot_of(&mut self, row: RowRef<'_>, table: &mut SeriesTable) -> Slot {
        let Self { slots, by_labels, hasher, .. } = self;
        let by_labels = by_labels.get_or_insert_with(|| index(slots, table, hasher));
        let hash = hasher.hash_one(row);
        let is_it =
            |slot: &Slot| slots.get(slot.0 as usize).is_some_and(|known| table.is_row(known.series, row));
        if let Some(slot) = by_labels.find(hash, is_it).copied() {
            row.values.iter().for_each(|text| table.release(*text));
            return slot;
        }
        let id = table.insert_row(row);
        self.take_slot(id, hash, table)
    }
}

/// The labels of a line as they end up, with marks that say which value of the line is which.
fn trace<'n>(
    alike: &Alike<'_>,
    names: impl Iterator<Item = &'n str>,
    target: &Target,
    external: &Labels,
) -> Option<LabelsBuilder> {
    if target.labels.iter().chain(external.iter()).any(|(_, value)| value.starts_with(MARK)) {
        return None;
    }
    let (mut labels, mut empty) = (LabelsBuilder::default(), Vec::new());
    for (place, name) in std::iter::once(METRIC_NAME).chain(names).enumerate() {
        match alike.empty >> place & 1 {
            0 => labels.set(name, &format!("{MARK}{place}")),
            _ => empty.push(name.to_owned()),
        }
    }
    attach(&mut labels, &empty, target);
    add_external(&mut labels, external);
    Some(labels)
}

/// Lines like this one, whose labels end up like that.
fn kind_of(alike: &Alike<'_>, marked: &LabelsBuilder, row: RowRef<'_>) -> Kind {
    let (mut written, mut given) = (Vec::new(), Vec::new());
    for (column, (_, value)) in (0_u32..).zip(marked.iter()) {
        let place = value.strip_prefix(MARK).and_then(|place| place.parse().ok());
        match place.filter(|place| usize::from(*place) < VALUES_MAX) {
            Some(place) => written.push((place, column)),
            None => given.push(column),
        }
    }
    // The lines are read in their order, and so are their texts.
    written.sort_unstable();
    let Alike { empty, metric_type, .. } = *alike;
    Kind { empty, metric_type, shape: row.shape, row: Vec::new(), written, given }
}
