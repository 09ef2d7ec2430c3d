//! The loop around the pure stages: a scrape goes in, and now and then an object comes out.
//!
//! The worker owns all series, the open batch and the encoder, and runs on one thread. It looks at no clock and does
//! no I/O: `now` is an argument.

mod thread;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::batch::Batcher;
use crate::encode::Encoder;
use crate::gate::stretch;
use crate::intern::TargetSeries;
use crate::journal::{Entry, Found, Left, Scribe};
use crate::metrics::{Metrics, reason};
use crate::model::labels::Labels;
use crate::model::object::{Object, Tenure};
use crate::model::sample::{Batch, Parsed, SeriesTable};
use crate::model::scrape::{Scrape, ScrapeError};
use crate::model::target::{Health, LastScrape, Target};
use crate::parse::{self, Cache, Lines, Reading, Secret};
use crate::report::{self, Report, ReportSeries};
use crate::{Limits, batch};

pub(crate) use thread::{Connections, run};

/// What a worker is told once.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) batch: batch::Config,
    pub(crate) limits: Limits,
    /// Labels that every series gets if it lacks them; `cluster_id` among them.
    pub(crate) external: Labels,
    /// The sequence number of the first object.
    pub(crate) next_sequence: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker {
    limits: Limits,
    external: Labels,
    next_sequence: u64,
    secret: Secret,
    /// Whether series that are gone keep others out.
    crowded: bool,
    /// Lines that all targets together remember.
    lines: Arc<Lines>,
    table: SeriesTable,
    /// By address: an address cannot be given to another target while the weak pointer lives.
    targets: HashMap<usize, TargetState>,
    batcher: Batcher,
    encoder: Encoder,
    /// Writes what is added to the open batch for the journal; `None` without one.
    scribe: Option<Scribe>,
    metrics: Arc<Metrics>,
    /// The samples of the scrape at hand; kept for its buffer.
    parsed: Vec<Parsed>,
}

/// What is remembered of one target from scrape to scrape.
#[derive(Debug)]
struct TargetState {
    target: Weak<Target>,
    lines: Cache,
    series: TargetSeries,
    report: ReportSeries,
}

impl Worker {
    pub(crate) fn new(settings: Settings, encoder: Encoder, metrics: Arc<Metrics>) -> Self {
        let lines = Lines::new(settings.limits.max_series);
        Self {
            limits: settings.limits,
            external: settings.external,
            next_sequence: settings.next_sequence,
            secret: Secret::random(),
            crowded: false,
            lines,
            table: SeriesTable::default(),
            targets: HashMap::new(),
            batcher: Batcher::new(settings.batch),
            encoder,
            scribe: None,
            metrics,
            parsed: Vec::new(),
        }
    }

    /// Has everything written for the journal, from the next scrape on; `left` is what an earlier process had written.
    pub(crate) fn keep_journal(&mut self, left: &Left) {
        self.scribe = Some(Scribe::new(left.next_generation()));
    }

    /// Says in which turn the next scrape was made; those of one batch have one.
    pub(crate) fn set_tenure(&mut self, tenure: Option<Tenure>) {
        self.batcher.open.tenure = tenure;
    }

    /// Samples in the open batch.
    pub(crate) fn open_samples(&self) -> usize {
        self.batcher.open.len()
    }

    /// What was added to the open batch after its first `from` samples, for the journal.
    pub(crate) fn written_since(&mut self, from: usize) -> Option<Entry> {
        let Self { scribe, batcher, table, next_sequence, .. } = self;
        let added = batcher.open.len() > from;
        scribe
            .as_mut()
            .filter(|_| added)
            .map(|scribe| scribe.write(&batcher.open, from, table, *next_sequence))
    }

    /// Adds the samples of a scrape and the report on it to the open batch.
    pub(crate) fn take(&mut self, scrape: Scrape, now: Instant) {
        let Scrape { target, time, duration, outcome } = scrape;
        let (external, secret, table) = (&self.external, &self.secret, &mut self.table);
        let mut state = self.targets.remove(&address(&target)).unwrap_or_else(|| TargetState {
            target: Arc::downgrade(&target),
            lines: Cache::new(secret.clone(), Arc::clone(&self.lines)),
            series: TargetSeries::new(),
            report: ReportSeries::new(&target, external, table),
        });
        let mut report = Report { duration_seconds: duration.as_secs_f64(), ..Report::default() };
        let (reading, outcome) = match outcome {
            Ok(exposition) => self.read(&mut state, &target, &exposition.body, time, &mut report),
            Err(error) => (Reading::default(), Err(error)),
        };
        report.up = outcome.is_ok();
        if matches!(outcome, Err(ScrapeError::BodySize(_))) {
            report.body_size_bytes = -1.0;
        }
        state.report.push(&report, time, &mut self.batcher.open);
        self.batcher.open.last_scrape = self.batcher.open.last_scrape.max(time);
        self.metrics.samples_reported.inc_by(report::NAMES.len() as u64);
        self.batcher.touched(now);
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

    /// Whether the open batch has to become an object before a scrape of this time is taken, because the two may turn out to
    /// belong to different agents.
    pub(crate) fn is_cut(&self, time: i64, ours_until: i64) -> bool {
        let open = &self.batcher.open;
        !open.is_empty() && stretch(open.last_scrape, ours_until) < stretch(time, ours_until)
    }

    /// The sequence number of the next object.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether the open batch has to become an object.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.batcher.is_due(now) || self.crowded || self.table.is_stale(self.limits.max_series)
    }

    /// When it has to at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.batcher.due()
    }

    /// Makes an object of the open batch; `None` where there is no sample.
    pub(crate) fn seal(&mut self) -> Option<Object> {
        if self.batcher.open.is_empty() {
            return None;
        }
        let batch = self.batcher.take();
        let samples = batch.len() as u64;
        let object = self.encoder.seal(batch, &self.table, self.next_sequence, &self.metrics);
        if let Some(object) = &object {
            self.batcher.sealed(samples, object.bytes.len());
        }
        // Also where there is no object: the journal has given the number to this batch.
        self.next_sequence += 1;
        self.metrics.batch_samples.set(0);
        self.sweep();
        object
    }

    /// Makes the object of a batch that an earlier process had open.
    pub(crate) fn replay(&mut self, sequence: u64, found: Found) -> Option<Object> {
        let Found { batch, table, lost } = found;
        self.metrics.dropped(reason::JOURNAL_CORRUPT, lost);
        if batch.is_empty() {
            return None;
        }
        let object = self.encoder.seal(batch, &table, sequence, &self.metrics);
        // Its ids mean other series than those to come.
        self.encoder.reset();
        self.next_sequence = self.next_sequence.max(sequence + 1);
        self.metrics.samples_replayed.inc_by(object.as_ref().map_or(0, |object| object.samples));
        object
    }

    /// Says that the journal's files may not be relied on; the next batch begins with new ones.
    pub(crate) fn distrust_journal(&mut self) {
        if let Some(scribe) = &mut self.scribe {
            scribe.begin_generation();
        }
    }

    /// Counts an object that nobody takes any more.
    pub(crate) fn lose(&self, object: &Object) {
        let (sequence, samples) = (object.sequence, object.samples);
        tracing::error!(sequence, samples, "dropped an object that the spool did not take in time");
        self.metrics.dropped(reason::NOT_SPOOLED, samples);
    }

    /// The object that sealing would make, with the batch left open.
    pub(crate) fn preview(&mut self) -> Option<Object> {
        let encoded = self.encoder.encode(self.batcher.open.clone(), &self.table, self.next_sequence).ok()?;
        (encoded.object.samples > 0).then_some(encoded.object)
    }

    /// The samples of the open batch and their series, in order of arrival.
    pub(crate) fn open(&self) -> (&Batch, &SeriesTable) {
        (&self.batcher.open, &self.table)
    }

    fn read(
        &mut self,
        state: &mut TargetState,
        target: &Target,
        body: &[u8],
        time: i64,
        report: &mut Report,
    ) -> (Reading, Result<(), ScrapeError>) {
        let Self { limits, external, table, metrics, parsed, batcher, crowded, .. } = self;
        let TargetState { lines, series, .. } = state;
        let samples_max = match target.job.limits.samples {
            0 => batcher.scrape_max(),
            limit => limit.min(batcher.scrape_max()),
        };
        let mut reading = parse::read(body, lines, samples_max, parsed, |exposed| {
            series.resolve(exposed, target, external, limits.max_series, table)
        });
        metrics.samples_scraped.inc_by(reading.samples);
        metrics.lines_bad.inc_by(reading.lines_bad);
        #[expect(clippy::cast_precision_loss, reason = "bodies are far below 2^53 bytes")]
        let body_size_bytes = body.len() as f64;
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
            let is_full = table.is_full(limits.max_series);
            series.roll_back(table);
            if is_full {
                // All may be those of before, which would keep out those of now for ever. An object makes room.
                *crowded |= series.len() > 0;
                series.clear(table);
            }
            lines.clear();
            return (reading, Err(error));
        }
        let job = &target.job;
        let done = series.commit(parsed, time, job.honor_timestamps, limits, &mut batcher.open);
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
    let (job, instance) = (target.job.name.as_str(), target.instance());
    let before = target.last();
    let state = |last: &LastScrape| (std::mem::discriminant(&last.health), last.lines_bad > 0);
    if before.as_ref().map(state) != Some(state(&last)) {
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
    tracing::debug!(job, instance, samples = last.samples_kept, elapsed = ?last.duration, "scraped");
    target.record(last);
}

fn address(target: &Arc<Target>) -> usize {
    Arc::as_ptr(target).addr()
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
