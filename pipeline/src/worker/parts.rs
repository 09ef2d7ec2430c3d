//! Bodies that come in parts: read as they come, and counted when their scrape says that they were complete.
//!
//! Takes parts and what is left of a body after them, gives what was read. What was begun and never completed leaves nothing:
//! the series it brought go, and so do the lines that lead to them.

use std::sync::Arc;

use super::{TargetState, Worker, address};
use crate::intern::{Resolver, TargetSeries};
use crate::model::scrape::{Exposition, Part};
use crate::model::target::Target;
use crate::parse::{Cache, Progress, Reading};
use crate::report::ReportSeries;

impl Worker {
    /// Reads what has come of a large body, and keeps that until its scrape comes.
    pub(crate) fn read_part(&mut self, part: &Part) {
        let mut state = self.state(&part.target);
        let progress = self.read_pieces(&mut state, &part.target, &part.exposition);
        if progress.has_failed() {
            // Others may need the room long before the end comes.
            self.roll_back(&mut state);
        }
        state.begun = Some(progress);
        self.targets.insert(address(&part.target), state);
    }

    /// Reads the end of a body. The samples of all of it are in `spare` then.
    pub(super) fn read_last(
        &mut self,
        state: &mut TargetState,
        target: &Target,
        exposition: Exposition,
    ) -> Reading {
        let mut progress = self.read_pieces(state, target, &exposition);
        // Others may need the memory by now.
        drop(exposition);
        let samples_max = self.samples_max(target);
        let Self { limits, external, table, .. } = self;
        let TargetState { lines, series, .. } = state;
        let series_max = limits.max_series;
        let mut resolver = Resolver { series, target, external, series_max, table };
        let reading = progress.finish_with(lines, samples_max, &mut resolver);
        self.spare = Some(progress);
        reading
    }

    fn read_pieces(
        &mut self,
        state: &mut TargetState,
        target: &Target,
        exposition: &Exposition,
    ) -> Box<Progress> {
        if exposition.before == 0 {
            self.give_up(state);
        }
        let is_new = state.begun.is_none();
        let mut progress = state.begun.take().or_else(|| self.spare.take()).unwrap_or_default();
        let samples_max = self.samples_max(target);
        let Self { limits, external, table, .. } = self;
        let TargetState { lines, series, .. } = state;
        if is_new {
            progress.begin(lines);
        }
        let series_max = limits.max_series;
        let mut resolver = Resolver { series, target, external, series_max, table };
        for piece in &exposition.pieces {
            progress.piece_with(piece, lines, samples_max, &mut resolver);
        }
        progress
    }

    /// Forgets what was read of a body that will not be completed.
    pub(super) fn give_up(&mut self, state: &mut TargetState) {
        if let Some(progress) = state.begun.take() {
            state.series.roll_back(&mut self.table);
            state.lines.clear();
            self.spare = Some(progress);
        }
    }

    /// Frees the series that a failed scrape brought, and forgets the lines that lead to them.
    pub(super) fn roll_back(&mut self, state: &mut TargetState) {
        let is_full = self.table.is_full(self.limits.max_series);
        state.series.roll_back(&mut self.table);
        if is_full {
            // All may be those of before, which would keep out those of now for ever. An object makes room.
            self.crowded |= state.series.len() > 0;
            state.series.clear(&mut self.table);
        }
        state.lines.clear();
    }

    /// Forgets what was read of all bodies that are not complete.
    pub(crate) fn give_up_all(&mut self) {
        let mut targets = std::mem::take(&mut self.targets);
        targets.values_mut().for_each(|state| self.give_up(state));
        self.targets = targets;
    }

    /// What is remembered of a target, taken out.
    pub(super) fn state(&mut self, target: &Arc<Target>) -> Box<TargetState> {
        let (external, table) = (&self.external, &mut self.table);
        self.targets.remove(&address(target)).unwrap_or_else(|| {
            Box::new(TargetState {
                target: Arc::downgrade(target),
                lines: Cache::new(self.secret.clone(), Arc::clone(&self.lines)),
                series: TargetSeries::new(),
                report: ReportSeries::new(target, external, table),
                begun: None,
            })
        })
    }

    /// Samples that a scrape may have; the batch is looked at between scrapes only.
    fn samples_max(&self, target: &Target) -> u64 {
        match target.job.limits.samples {
            0 => self.batcher.scrape_max(),
            limit => limit.min(self.batcher.scrape_max()),
        }
    }
}
