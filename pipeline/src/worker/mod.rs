//! The loop around the pure stages: a scrape goes in, and now and then an object comes out.
//!
//! The worker owns all series, the open batch and the encoder, and runs on one thread. It looks at no clock and does
//! no I/O: `now` is an argument.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod parts;
mod thread;

use std::sync::{Arc, Weak};
use std::time::Instant;

use hashbrown::HashMap;

use crate::batch::Batcher;
use crate::encode::{Encoder, Numbers};
use crate::gate::stretch;
use crate::intern::{Kept, TargetSeries};
use crate::journal::{Entry, Found, Left, Scribe};
use crate::metrics::{Metrics, reason};
use crate::model::batch::Batch;
use crate::model::labels::Labels;
use crate::model::object::{Object, Tenure};
use crate::model::scrape::{Exposition, Scrape, ScrapeError};
use crate::model::series::SeriesTable;
use crate::model::target::{Health, LastScrape, Target};
use crate::parse::{Cache, Lines, Progress, Reading, Secret};
use crate::report::{self, Report, ReportSeries};
use crate::{Limits, batch};

pub(crate) use thread::{Connections, run};

/// What a worker is told once.
#[derive(Debug)]
pub struct Settings {
    /// When a batch becomes an object.
    pub batch: batch::Config,
    /// What the process admits and holds.
    pub limits: Limits,
    /// Labels that every series gets if it lacks them; `cluster_id` among them.
    pub external: Labels,
    /// The sequence number of the first object.
    pub next_sequence: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Worker {
    limits: Limits,
    external: Labels,
    next_sequence: u64,
    /// The smallest number that an object out of the journal may have.
    replay_from: u64,
    secret: Secret,
    /// Whether series that are gone keep others out.
    crowded: bool,
    /// Lines that all targets together remember.
    lines: Arc<Lines>,
    table: SeriesTable,
    /// By address: an address cannot be given to another target while the weak pointer lives. Boxed, because each is taken out
    /// for its scrape and put back.
    targets: HashMap<usize, Box<TargetState>>,
    batcher: Batcher,
    encoder: Encoder,
    /// Writes what is added to the open batch for the journal; `None` without one.
    scribe: Option<Scribe>,
    metrics: Arc<Metrics>,
    /// Of the body that was read last, and what is kept of it; held for the buffers.
    spare: Option<Box<Progress>>,
    kept: Kept,
}

/// What is remembered of one target from scrape to scrape.
#[derive(Debug)]
struct TargetState {
    target: Weak<Target>,
    lines: Cache,
    series: TargetSeries,
    report: ReportSeries,
    /// What has been read of a body that is not complete yet.
    begun: Option<Box<Progress>>,
}

impl Worker {
    /// A worker that knows no target yet.
    #[must_use]
    pub fn new(settings: Settings, encoder: Encoder, metrics: Arc<Metrics>) -> Self {
        let lines = Lines::new(settings.limits.max_series);
        let mut batcher = Batcher::new(settings.batch);
        batcher.sealed(1, encoder.row_bytes());
        Self {
            limits: settings.limits,
            external: settings.external,
            next_sequence: settings.next_sequence,
            replay_from: 0,
            secret: Secret::random(),
            crowded: false,
            lines,
            table: SeriesTable::default(),
            targets: HashMap::new(),
            batcher,
            encoder,
            scribe: None,
            metrics,
            spare: None,
            kept: Kept::default(),
        }
    }

    /// Has everything written for the journal, from the next scrape on; `left` is what an earlier process had written.
    pub(crate) fn keep_journal(&mut self, left: &Left) {
        self.scribe = Some(Scribe::new(left.next_generation()));
        self.replay_from = left.taken();
    }

    /// Says in which turn the next scrape was made; those of one batch have one.
    pub(crate) fn set_tenure(&mut self, tenure: Option<Tenure>) {
        self.batcher.open.tenure = tenure;
    }

    /// Scrapes in the open batch; the report on one that failed counts as one.
    pub(crate) fn open_scrapes(&self) -> usize {
        self.batcher.open.scrapes()
    }

    /// What was added to the open batch after its first `from` scrapes, for the journal.
    pub(crate) fn written_since(&mut self, from: usize) -> Option<Entry> {
        let number = self.numbers().last;
        let Self { scribe, batcher, table, .. } = self;
        let added = batcher.open.scrapes() > from;
        scribe.as_mut().filter(|_| added).map(|scribe| scribe.write(&batcher.open, from, table, number))
    }

    /// Adds the samples of a scrape and the report on it to the open batch.
    pub fn take(&mut self, scrape: Scrape, now: Instant) {
        let Scrape { target, time, duration, outcome } = scrape;
        let mut state = self.state(&target);
        let mut report = Report { duration_seconds: duration.as_secs_f64(), ..Report::default() };
        let (reading, outcome) = match outcome {
            Ok(exposition) => self.read(&mut state, &target, exposition, time, &mut report),
            Err(error) => {
                self.give_up(&mut state);
                (Reading::default(), Err(error))
            }
        };
        report.up = outcome.is_ok();
        if matches!(outcome, Err(ScrapeError::BodySize(_))) {
            report.body_size_bytes = -1.0;
        }
        let open = &mut self.batcher.open;
        match report.up {
            true => state.series.add(&mut self.kept, &report.values(), time, open),
            false => state.report.push(&report, time, open),
        }
        open.last_scrape = open.last_scrape.max(time);
        self.metrics.samples_reported.inc_by(report::NAMES.len() as u64);
        self.batcher.touched(now, time);
        self.metrics.batch_samples.set(gauge(self.batcher.open.len()));
        self.targets.insert(address(&target), state);
        let health = match outcome {
            Ok(()) => Health::Up,
            Err(ScrapeError::Refused) if target.job.optional => Health::NotRunning,
            Err(error) => Health::Down(error.to_string()),
        };
        conclude(
            &target,
            LastScrape {
                time,
                duration,
                health,
                samples_scraped: report.samples_scraped,
                samples_kept: report.samples_post_metric_relabeling,
                lines_bad: reading.lines_bad,
                first_bad_line: reading.first_bad,
            },
        );
    }

    /// Whether the open batch has to become an object before a scrape of this time is taken: because it is old enough by then, or
    /// because the two may turn out to belong to different agents.
    pub(crate) fn is_cut(&self, time: i64, ours_until: i64) -> bool {
        let open = &self.batcher.open;
        let may_part = || stretch(open.last_scrape, ours_until) < stretch(time, ours_until);
        self.batcher.is_over(time) || !open.is_empty() && may_part()
    }

    /// The sequence number of the next object.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether the open batch has to become an object.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.batcher.is_due(now) || self.crowded || self.table.is_stale(self.limits.max_series)
    }

    /// When it has to at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.batcher.due()
    }

    /// How many objects a batch may become.
    pub(crate) fn objects_max(&self) -> u64 {
        self.encoder.parts_max()
    }

    /// The numbers that the objects of the open batch may have. The journal has the last.
    fn numbers(&self) -> Numbers {
        let first = self.next_sequence;
        Numbers { first, last: first.saturating_add(self.encoder.parts_max() - 1) }
    }

    /// Makes the object of the open batch; `None` where there is no sample. Of Parquet: other encodings may need several.
    pub fn seal(&mut self) -> Option<Object> {
        let mut only = None;
        self.seal_each(|object| only = Some(object));
        only
    }

    /// Makes the objects of the open batch and gives each away before the next one is made.
    pub fn seal_each(&mut self, mut give: impl FnMut(Object)) {
        if self.batcher.open.is_empty() {
            return;
        }
        let numbers = self.numbers();
        let batch = self.batcher.take();
        let encoded = self.encoder.seal(&batch, &self.table, numbers, &self.metrics, &mut give);
        self.batcher.sealed(batch.len() as u64, encoded.bytes);
        // Also where there is no object: the journal has given the number to this batch.
        self.next_sequence = numbers.last + 1;
        self.metrics.batch_samples.set(0);
        drop(batch);
        self.sweep();
    }

    /// Makes the objects of a batch that an earlier process had open, whose number in the journal this is.
    pub(crate) fn replay(&mut self, sequence: u64, found: Found, mut give: impl FnMut(Object)) {
        let Found { batch, table, lost } = found;
        self.metrics.dropped(reason::JOURNAL_CORRUPT, lost);
        if batch.is_empty() {
            return;
        }
        // Below it there are as many numbers as were kept free, by whoever wrote it or when the journal was opened. Some of its
        // objects may have come already: they come again, since what they held is not known.
        let room = sequence.saturating_sub(self.objects_max() - 1);
        let numbers = Numbers { first: room.max(self.replay_from).min(sequence), last: sequence };
        let Self { encoder, metrics, .. } = self;
        encoder.seal(&batch, &table, numbers, metrics, &mut |object| {
            // Before anybody has it.
            metrics.samples_replayed.inc_by(object.samples);
            give(object);
        });
        // Its ids mean other series than those to come.
        self.encoder.reset();
        self.replay_from = sequence + 1;
        self.next_sequence = self.next_sequence.max(sequence + 1);
    }

    /// Says that the journal's files may not be relied on; the next batch begins with new ones.
    pub(crate) fn distrust_journal(&mut self) {
        if let Some(scribe) = &mut self.scribe {
            scribe.begin_generation();
        }
    }

    /// Where what goes wrong is counted.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Gives the objects that sealing would make, with the batch left open.
    pub(crate) fn preview(&mut self, mut give: impl FnMut(Object)) {
        let numbers = self.numbers();
        if !self.batcher.open.is_empty() {
            // What cannot be encoded is shown as nothing.
            let _ = self.encoder.encode(&self.batcher.open, &self.table, numbers, &mut give);
        }
    }

    /// The samples of the open batch and their series, in order of arrival.
    #[must_use]
    pub fn open(&self) -> (&Batch, &SeriesTable) {
        (&self.batcher.open, &self.table)
    }

    /// Reads a body. What is kept of it is left in `kept`.
    fn read(
        &mut self,
        state: &mut TargetState,
        target: &Target,
        exposition: Exposition,
        time: i64,
        report: &mut Report,
    ) -> (Reading, Result<(), ScrapeError>) {
        let body_bytes = exposition.end();
        let mut reading = self.read_last(state, target, exposition);
        let Self { limits, table, metrics, spare, kept, .. } = self;
        let TargetState { lines, series, report: own, .. } = state;
        let samples = &spare.get_or_insert_default().samples;
        metrics.samples_scraped.inc_by(reading.samples);
        metrics.lines_bad.inc_by(reading.lines_bad);
        #[expect(clippy::cast_precision_loss, reason = "bodies are far below 2^53 bytes")]
        let body_size_bytes = body_bytes as f64;
        report.body_size_bytes = body_size_bytes;
        report.samples_scraped = reading.samples;
        report.samples_post_metric_relabeling = reading.samples - reading.dropped;
        let failed = reading.failed.take().or_else(|| {
            let problem = reading.first_bad.as_ref().filter(|_| reading.samples == 0)?;
            Some(ScrapeError::Unreadable(problem.clone()))
        });
        if let Some(error) = failed {
            metrics.dropped(reason::SCRAPE_FAILED, reading.samples);
            metrics.scrapes_refused.with_label_values(&[error.reason()]).inc();
            self.roll_back(state);
            return (reading, Err(error));
        }
        let job = &target.job;
        let done = series.commit(samples, time, job.honor_timestamps, limits, own.series(), kept);
        metrics.dropped(reason::RELABELLED, reading.dropped);
        metrics.dropped(reason::DUPLICATE, done.duplicate);
        metrics.dropped(reason::REPEATED, done.repeated);
        metrics.dropped(reason::AHEAD, done.ahead);
        metrics.dropped(reason::BEHIND, done.behind);
        report.series_added = done.added;
        if done.distinct < series.len() as u64 || lines.has_idle() {
            lines.prune();
            series.prune(table);
        }
        metrics.series.set(gauge(table.len()));
        (reading, Ok(()))
    }

    /// Frees what no target exposes any more; the batch is empty.
    fn sweep(&mut self) {
        let table = &mut self.table;
        self.targets.retain(|_, state| {
            let alive = state.target.strong_count() > 0;
            if !alive {
                state.series.clear(table);
                state.report.clear(table);
            }
            alive
        });
        let freed = table.sweep();
        self.crowded = false;
        self.encoder.forget(&freed);
        if let Some(scribe) = &mut self.scribe {
            scribe.sealed(&freed);
        }
        self.metrics.series.set(gauge(table.len()));
    }
}

/// Records how a scrape went and says so if that is news.
fn conclude(target: &Target, last: LastScrape) {
    let (samples, elapsed) = (last.samples_kept, last.duration);
    tracing::debug!(job = target.job.name, instance = target.instance(), samples, ?elapsed, "scraped");
    let state = |last: &LastScrape| (std::mem::discriminant(&last.health), last.lines_bad > 0);
    let now = state(&last);
    let before = target.record(last);
    if before.as_ref().map(state) != Some(now)
        && let Some(last) = target.last()
    {
        let (job, instance) = (target.job.name.as_str(), target.instance());
        match &last.health {
            Health::Down(error) => tracing::warn!(job, instance, url = target.url, error, "scrape failed"),
            Health::NotRunning => tracing::info!(job, instance, "not running here"),
            Health::Up => {
                if let Some(line) = &last.first_bad_line {
                    let lines_bad = last.lines_bad;
                    tracing::warn!(job, instance, lines_bad, first = line, "lines that cannot be read");
                } else if before.is_some() {
                    tracing::info!(job, instance, "scrape recovered");
                }
            }
        }
    }
}

fn address(target: &Arc<Target>) -> usize {
    Arc::as_ptr(target).addr()
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
