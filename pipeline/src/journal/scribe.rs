//! What a scrape adds to the open batch, as frames: each series once, then numbers only.
//!
//! Takes columns of the batch, gives bytes for two files. A series gets its number within the journal when it is first
//! written; numbers are never given again within a generation, so that what was written stays true while the ids of the
//! series table change hands. A new generation begins, at a seal, when most of the numbers are not in use any more.

use std::ops::Range;

use super::frame::{self, HEADER};
use super::number::{push, push_signed};
use crate::model::batch::{Added, Batch};
use crate::model::labels::write_text;
use crate::model::object::Tenure;
use crate::model::series::{SeriesId, SeriesTable};

/// Marks a series that has no number yet.
const NONE: u32 = u32::MAX;
/// Numbers out of use for which no new generation is begun: some megabytes on disk.
const WASTE_MIN: u32 = 65_536;
/// Of a list of series with more runs than this, the runs are not kept.
const RUNS_KEPT_MAX: usize = 16;

/// What one scrape added, ready to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The sequence number of the object that the batch will become.
    pub(crate) sequence: u64,
    /// Which file of series the numbers belong to.
    pub(crate) generation: u32,
    /// A frame with the series that were not written yet; empty if there are none.
    pub(crate) series: Vec<u8>,
    /// A frame with the samples.
    pub(crate) samples: Vec<u8>,
}

impl Entry {
    /// Bytes in all.
    pub(crate) fn bytes(&self) -> usize {
        self.series.len() + self.samples.len()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scribe {
    generation: u32,
    /// By id.
    numbers: Vec<u32>,
    /// The next number, which is how many were given in this generation.
    next: u32,
    /// How many of them are in use.
    live: u32,
    /// By the open batch's blocks: the numbers of their series, where those were written and are few runs. A target that brings
    /// what it brought before has its series looked up once in a batch.
    blocks: Vec<Option<Box<[Range<u32>]>>>,
    /// The numbers of the entry at hand, and the labels of the series; kept for the buffers.
    runs: Runs,
    labels: String,
}

/// Numbers of series as runs of consecutive ones: length, and the distance of the first from the end of the run before. A
/// target's series mostly follow each other, since they got their numbers in the same order.
#[derive(Debug, Default)]
struct Runs {
    bytes: Vec<u8>,
    /// The last one, which may go on.
    open: Range<u32>,
    /// Where the one before it ended.
    expected: u32,
}

impl Runs {
    fn add(&mut self, run: Range<u32>) {
        if run.start == self.open.end {
            self.open.end = run.end;
        } else {
            self.end();
            self.open = run;
        }
    }

    fn end(&mut self) {
        let Range { start, end } = self.open;
        if start < end {
            push(u64::from(end - start), &mut self.bytes);
            push_signed(i64::from(start) - i64::from(self.expected), &mut self.bytes);
            self.expected = end;
        }
    }

    /// Begins anew.
    fn clear(&mut self) {
        self.bytes.clear();
        (self.open, self.expected) = (0..0, 0);
    }
}

impl Scribe {
    /// A scribe whose first generation is this one.
    pub(crate) fn new(generation: u32) -> Self {
        Self {
            generation,
            numbers: Vec::new(),
            next: 0,
            live: 0,
            blocks: Vec::new(),
            runs: Runs::default(),
            labels: String::new(),
        }
    }

    /// What the batch holds from its scrape `from` on. All before has to have been written.
    pub(crate) fn write(&mut self, batch: &Batch, from: usize, table: &SeriesTable, sequence: u64) -> Entry {
        let added = batch.added_since(from);
        let count_added: usize = added.clone().map(|added| added.values.len()).sum();
        let mut series = Vec::new();
        let first = self.next;
        let mut runs = std::mem::take(&mut self.runs);
        runs.clear();
        for added in added.clone() {
            self.write_numbers(added, table, &mut series, &mut runs);
        }
        runs.end();
        frame::finish(&mut series, HEADER, first, self.next - first);
        // It grew by doubling, and waits for the disk.
        series.shrink_to_fit();
        let mut samples = Vec::with_capacity(64 + runs.bytes.len() + count_added * 8);
        let start = frame::begin(&mut samples);
        push(u64::from(self.generation), &mut samples);
        push(u64::from(self.next), &mut samples);
        push_signed(batch.last_scrape, &mut samples);
        samples.push(u8::from(batch.tenure.is_some()));
        if let Some(Tenure { transitions, acquired }) = batch.tenure {
            push_signed(transitions, &mut samples);
            push_signed(acquired, &mut samples);
        }
        samples.extend_from_slice(&runs.bytes);
        self.runs = runs;
        write_times(batch.last_scrape, added.clone(), &mut samples);
        for Added { values, .. } in added {
            write_values(values, &mut samples);
        }
        // A batch has at most some millions of rows (`batch.max_rows`) and those of one scrape.
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        frame::finish(&mut samples, start, count(batch.len() - count_added), count(count_added));
        Entry { sequence, generation: self.generation, series, samples }
    }

    /// Writes the numbers of a block's series, and what those are that have none yet.
    fn write_numbers(
        &mut self,
        added: Added<'_>,
        table: &SeriesTable,
        series: &mut Vec<u8>,
        runs: &mut Runs,
    ) {
        if let Some(Some(known)) = self.blocks.get(added.block) {
            known.iter().for_each(|run| runs.add(run.clone()));
            return;
        }
        let mut own: Vec<Range<u32>> = Vec::new();
        for id in added.series {
            let number = match self.numbers.get(id.0 as usize) {
                Some(number) if *number != NONE => *number,
                _ => self.define(*id, table, series),
            };
            match own.last_mut() {
                Some(run) if run.end == number => run.end += 1,
                _ => own.push(number..number + 1),
            }
        }
        own.iter().for_each(|run| runs.add(run.clone()));
        if own.len() <= RUNS_KEPT_MAX {
            if self.blocks.len() <= added.block {
                self.blocks.resize(added.block + 1, None);
            }
            if let Some(place) = self.blocks.get_mut(added.block) {
                *place = Some(own.into());
            }
        }
    }

    /// Gives a series its number and writes what it is.
    fn define(&mut self, id: SeriesId, table: &SeriesTable, out: &mut Vec<u8>) -> u32 {
        if out.is_empty() {
            frame::begin(out);
        }
        let at = id.0 as usize;
        if self.numbers.len() <= at {
            self.numbers.resize(table.slots().max(at + 1), NONE);
        }
        let number = self.next;
        if let (Some(place), Some(series)) = (self.numbers.get_mut(at), table.get(id)) {
            *place = number;
            out.push(series.metric_type().code());
            self.labels.clear();
            for (name, value) in series.labels() {
                write_text(name, &mut self.labels);
                write_text(value, &mut self.labels);
            }
            push(self.labels.len() as u64, out);
            out.extend_from_slice(self.labels.as_bytes());
        }
        self.next += 1;
        self.live += 1;
        number
    }

    /// Forgets series whose ids are about to be given to others; call it when no batch is open. Begins a new generation
    /// where most numbers are out of use.
    pub(crate) fn sealed(&mut self, freed: &[SeriesId]) {
        self.blocks.clear();
        for id in freed {
            if let Some(number) = self.numbers.get_mut(id.0 as usize).filter(|number| **number != NONE) {
                *number = NONE;
                self.live -= 1;
            }
        }
        if self.next > self.live.saturating_mul(2).saturating_add(WASTE_MIN) {
            self.begin_generation();
        }
    }

    /// Writes every series again from here on, to another file.
    pub(crate) fn begin_generation(&mut self) {
        self.numbers.fill(NONE);
        self.blocks.clear();
        (self.next, self.live) = (0, 0);
        self.generation = self.generation.saturating_add(1);
    }
}

/// Writes the values, eight bytes each.
fn write_values(values: &[f64], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + size_of_val(values), 0);
    let (places, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut();
    for (place, value) in places.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
}

/// Writes the timestamps: runs of equal ones, each with its distance from the one before, the first from the scrape's time.
fn write_times<'a>(scrape: i64, added: impl Iterator<Item = Added<'a>>, out: &mut Vec<u8>) {
    let (mut before, mut run) = (scrape, (scrape, 0_u64));
    let mut end_run = |(time, length): (i64, u64)| {
        if length > 0 {
            push(length, out);
            push_signed(time.wrapping_sub(before), out);
            before = time;
        }
    };
    for Added { values, times, .. } in added {
        let shared = times.shared().map(|time| (time, values.len() as u64));
        let each = if shared.is_some() { 0..0 } else { 0..values.len() };
        for (time, length) in each.map(|at| (times.at(at), 1)).chain(shared) {
            if time == run.0 {
                run.1 += length;
            } else {
                end_run(std::mem::replace(&mut run, (time, length)));
            }
        }
    }
    end_run(run);
}
