//! The pool of loops: one per target, kept while the target stays the same.
//!
//! Takes the target groups of every job, gives scrapes. A changed set of groups stops the loops of targets that are gone,
//! starts those of new ones and leaves the others alone, with their connections. A full queue is back-pressure: the loop
//! waits, and the scrapes that it misses meanwhile are counted. While the gate is closed no loop runs.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::{Memory, Outlet};
use super::fetch::{Client, Fetcher};
use super::job::ResolvedJob;
use super::metrics::Metrics;
use super::schedule::Schedule;
use super::targets::{self, ActiveTarget, Resolver};
use super::view::TargetsView;
use crate::gate::{Gate, Moment, State};
use crate::model::scrape::{Arrival, Scrape, ScrapeError};
use crate::model::target::{Target, TargetSet};
use crate::model::units::Size;
use crate::rest::Rest;

/// How many targets `scrape_once` asks at a time.
const ONCE_CONCURRENCY: usize = 16;
/// What a scrape that is under way gets to end when everything stops. Most take milliseconds.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Reads the wall clock: milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Why the pool ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue of scrapes has no reader any more.
    #[error("nobody takes the scrapes any more")]
    QueueClosed,
    /// A loop panicked, which is a bug.
    #[error("a scrape loop failed")]
    Loop(#[source] JoinError),
}

/// All loops of all jobs.
pub struct Pool {
    shared: Shared,
    view: TargetsView,
    gate: Gate,
}

/// What every loop has.
#[derive(Clone)]
struct Shared {
    queue: mpsc::Sender<Arrival>,
    memory: Memory,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Of the worker, who need not be woken for each scrape.
    rest: Rest,
    /// Each says why nothing can be kept at the moment.
    pauses: Vec<watch::Receiver<Option<String>>>,
}

impl Shared {
    fn is_paused(&self) -> bool {
        self.pauses.iter().any(|pause| pause.borrow().is_some())
    }
}

impl Pool {
    /// A pool that sends to `queue`; all bodies together take at most `max_body_bytes`.
    #[must_use]
    pub fn new(
        queue: mpsc::Sender<Arrival>,
        max_body_bytes: Size,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let rest = Rest::default();
        let memory = Memory::new(max_body_bytes, metrics.body_waits.clone(), rest.clone());
        Self {
            shared: Shared { queue, memory, metrics, clock, rest, pauses: Vec::new() },
            view: TargetsView::default(),
            gate: Gate::open(),
        }
    }

    /// Puts a gate before the targets.
    pub(crate) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Skips scrapes, as back-pressure, while this says a reason for which they could not be kept.
    pub(crate) fn pause_for(&mut self, reason: watch::Receiver<Option<String>>) {
        self.shared.pauses.push(reason);
    }

    /// The gate before the targets.
    pub(crate) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Of whoever takes the scrapes: ended where the queue fills.
    pub(crate) fn rest(&self) -> Rest {
        self.shared.rest.clone()
    }

    /// The targets as they are now; stays valid while the pool runs.
    #[must_use]
    pub fn targets(&self) -> TargetsView {
        self.view.clone()
    }

    /// Scrapes the targets that discovery publishes for each job, until `stop`.
    ///
    /// # Errors
    /// When it ends before `stop`.
    pub async fn run(
        self,
        jobs: Vec<(ResolvedJob, watch::Receiver<TargetSet>)>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        // Its own token: the first job that fails stops the others.
        let stop_jobs = stop.child_token();
        let mut tasks = JoinSet::new();
        self.gate.expect_jobs(jobs.len());
        for (position, (job, groups)) in jobs.into_iter().enumerate() {
            let (shared, gate) = (self.shared.clone(), self.gate.clone());
            let keeper = JobLoops::new(position, job, shared, self.view.clone(), gate, stop_jobs.clone());
            tasks.spawn(keeper.run(groups));
        }
        // From here on only loops hold the queue, which closes when the last of them ends.
        drop(self);
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            result = result.and(ended.unwrap_or_else(|e| Err(Error::Loop(e))));
            if result.is_err() {
                stop_jobs.cancel();
            }
        }
        if result.is_ok() {
            stop.cancelled().await;
        }
        result
    }

    /// Scrapes every target once, or the first `at_most` of each job, now, at most 16 at a time, and returns when all scrapes
    /// are in the queue.
    ///
    /// # Errors
    /// When nobody takes the scrapes.
    pub async fn scrape_once(&self, jobs: &[(ResolvedJob, TargetSet)], at_most: usize) -> Result<(), Error> {
        let at_a_time = Arc::new(Semaphore::new(ONCE_CONCURRENCY));
        let mut tasks = JoinSet::new();
        for (position, (job, set)) in jobs.iter().enumerate() {
            let client = Client::new(job);
            let targets = targets::resolve(job, set);
            for target in targets.active.iter().take(at_most) {
                let fetcher = fetcher(job, &client, target, targets.limit_exceeded, &self.shared);
                let target = Arc::clone(&target.target);
                let (at_a_time, shared) = (Arc::clone(&at_a_time), self.shared.clone());
                tasks.spawn(async move {
                    let _turn = at_a_time.acquire_owned().await;
                    let mut one = TargetLoop { target, fetcher, shared };
                    let time = (one.shared.clock)();
                    let scrape = one.scrape(time).await;
                    one.shared.queue.send(Arrival::Scrape(scrape)).await.map_err(|_| Error::QueueClosed)
                });
            }
            self.view.replace(position, targets, &self.shared.metrics);
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap_or_else(|e| Err(Error::Loop(e)))?;
        }
        Ok(())
    }
}

/// The loops of one job.
struct JobLoops {
    position: usize,
    job: ResolvedJob,
    client: Result<Arc<Client>, ScrapeError>,
    shared: Shared,
    view: TargetsView,
    gate: Gate,
    stop: CancellationToken,
    /// Ends every loop at once, with the scrape that is under way.
    abort: CancellationToken,
    /// What the gate said last.
    state: State,
    resolver: Resolver,
    running: HashMap<Identity, Running>,
    tasks: JoinSet<Result<(), Error>>,
}

/// What must be equal for a loop to go on: labels, URL, interval, timeout, and the limit that stops it from asking.
struct Identity {
    active: ActiveTarget,
    limit_exceeded: Option<u64>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&self.active, &other.active);
        let (a, b) = (&one.target, &two.target);
        (self.limit_exceeded, one.interval, one.timeout) == (other.limit_exceeded, two.interval, two.timeout)
            && (Arc::ptr_eq(a, b) || (a.labels == b.labels && a.url == b.url))
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.active.target.labels_hash);
    }
}

struct Running {
    target: Arc<Target>,
    /// Ends the loop at once.
    abort: CancellationToken,
    /// Ends the loop after the scrape that is under way.
    stop: CancellationToken,
}

impl JobLoops {
    fn new(
        position: usize,
        job: ResolvedJob,
        shared: Shared,
        view: TargetsView,
        mut gate: Gate,
        stop: CancellationToken,
    ) -> Self {
        let client = Client::new(&job);
        let resolver = Resolver::new(&job);
        let (running, tasks, abort) = (HashMap::new(), JoinSet::new(), CancellationToken::new());
        let state = gate.state();
        Self { position, job, client, shared, view, gate, stop, abort, state, resolver, running, tasks }
    }

    async fn run(mut self, mut set: watch::Receiver<TargetSet>) -> Result<(), Error> {
        let mut may_change = true;
        let mut result = Ok(());
        self.update(&set.borrow_and_update().clone());
        self.gate.set_idle(self.position, &self.state);
        while result.is_ok() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                state = self.gate.changed() => {
                    self.state = state;
                    if state.is_open {
                        self.update(&set.borrow_and_update().clone());
                    } else {
                        result = self.close(state.patience).await;
                        self.gate.set_idle(self.position, &state);
                    }
                }
                changed = set.changed(), if may_change => match changed {
                    Ok(()) => self.update(&set.borrow_and_update().clone()),
                    // The set as it is now is the last.
                    Err(_) => may_change = false,
                },
                Some(ended) = self.tasks.join_next() => result = ended.unwrap_or_else(|e| Err(Error::Loop(e))),
            }
        }
        let stopping = self.stop.is_cancelled();
        self.stop.cancel();
        let closed = self.close(if stopping { STOP_PATIENCE } else { Duration::ZERO }).await;
        // A queue that closes while everything stops is no failure.
        result.and(closed.or_else(|e| if matches!(e, Error::QueueClosed) { Ok(()) } else { Err(e) }))
    }

    /// Ends all loops. Scrapes under way may end within `patience`; those that do are still sent.
    async fn close(&mut self, patience: Duration) -> Result<(), Error> {
        self.running.values().for_each(|one| one.stop.cancel());
        let abort = self.abort.clone();
        let too_long = async {
            tokio::time::sleep(patience).await;
            abort.cancel();
            std::future::pending::<()>().await;
        };
        let mut result = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                let ended = ended.unwrap_or_else(|e| Err(Error::Loop(e)));
                if result.is_ok() {
                    result = ended;
                }
            }
        };
        tokio::select! {
            () = all => {}
            () = too_long => {}
        }
        self.abort = CancellationToken::new();
        self.running.clear();
        result
    }

    #[expect(clippy::mutable_key_type, reason = "hash and equality look at nothing that changes")]
    fn update(&mut self, set: &TargetSet) {
        let mut targets = self.resolver.resolve(&self.job, set);
        let limit_exceeded = targets.limit_exceeded;
        let mut running = HashMap::with_capacity(targets.active.len());
        for active in &mut targets.active {
            let identity = Identity { active: active.clone(), limit_exceeded };
            let (identity, one) = match self.running.remove_entry(&identity) {
                Some(kept) => kept,
                None if self.state.is_open => {
                    let one = self.start(active, limit_exceeded);
                    (identity, one)
                }
                None => continue,
            };
            // The one that runs knows how its last scrape went.
            active.target = Arc::clone(&one.target);
            running.insert(identity, one);
        }
        let gone = std::mem::replace(&mut self.running, running);
        for one in gone.into_values() {
            one.abort.cancel();
        }
        // Later loops are of new targets, which nobody had before, once discovery has found the old ones.
        if set.waiting == 0 {
            self.state.from = None;
        }
        self.view.replace(self.position, targets, &self.shared.metrics);
    }

    fn start(&mut self, active: &ActiveTarget, limit_exceeded: Option<u64>) -> Running {
        let target = Arc::clone(&active.target);
        let abort = self.abort.child_token();
        let stop = abort.child_token();
        let fetcher = fetcher(&self.job, &self.client, active, limit_exceeded, &self.shared);
        let one = TargetLoop { target: Arc::clone(&target), fetcher, shared: self.shared.clone() };
        let (interval, from) = (active.interval, self.state.from);
        let (aborted, stopped) = (abort.clone(), stop.clone());
        self.tasks.spawn(async move {
            let target = Arc::clone(&one.target);
            let ended = one.run(interval, from, &stopped, &aborted).await;
            target.set_next_scrape(None);
            ended
        });
        Running { target, abort, stop }
    }
}

fn fetcher(
    job: &ResolvedJob,
    client: &Result<Arc<Client>, ScrapeError>,
    active: &ActiveTarget,
    limit_exceeded: Option<u64>,
    shared: &Shared,
) -> Fetcher {
    let (memory, outlet) = (&shared.memory, Outlet::new(&active.target, &shared.queue));
    match limit_exceeded {
        Some(limit) => Fetcher::never(ScrapeError::TargetLimit(limit), active.timeout, memory, outlet),
        None => Fetcher::new(job, client, &active.target.url, active.timeout, memory, outlet),
    }
}

/// The loop of one target.
struct TargetLoop {
    target: Arc<Target>,
    fetcher: Fetcher,
    shared: Shared,
}

impl TargetLoop {
    /// Scrapes until `stop`, or `abort`, at which a scrape that is under way is given up. What is complete is still sent.
    async fn run(
        mut self,
        interval: Duration,
        from: Option<Moment>,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) -> Result<(), Error> {
        let clock = Arc::clone(&self.shared.clock);
        let hash = self.target.labels_hash ^ xxhash_rust::xxh3::xxh3_64(self.target.url.as_bytes());
        let from = from.unwrap_or_else(|| Moment { at: Instant::now(), time: clock() });
        let mut schedule = Schedule::new(hash, interval, from.at, from.time);
        loop {
            self.target.set_next_scrape(Some(schedule.due_time()));
            let is_due = tokio::time::sleep_until(schedule.due());
            if stop.run_until_cancelled(is_due).await.is_none() {
                return Ok(());
            }
            if self.shared.is_paused() {
                let missed = schedule.advance(Instant::now(), clock());
                self.shared.metrics.skipped.with_label_values(&["backpressure"]).inc_by(missed + 1);
                continue;
            }
            let time = schedule.timestamp(Instant::now(), clock());
            let Some(scrape) = abort.run_until_cancelled(self.scrape(time)).await else {
                self.shared.metrics.skipped.with_label_values(&["stopped"]).inc();
                return Ok(());
            };
            let reason = self.send(scrape).await?;
            let missed = schedule.advance(Instant::now(), clock());
            if missed > 0 {
                self.shared.metrics.skipped.with_label_values(&[reason]).inc_by(missed);
            }
        }
    }

    /// Sends a scrape and says what is to blame if that took long.
    async fn send(&mut self, scrape: Scrape) -> Result<&'static str, Error> {
        let queue = &self.shared.queue;
        if queue.capacity() <= queue.max_capacity() / 2 {
            self.shared.rest.hurry();
        }
        match queue.try_send(Arrival::Scrape(scrape)) {
            Ok(()) => Ok("slow"),
            Err(mpsc::error::TrySendError::Full(scrape)) => {
                self.shared.queue.send(scrape).await.map_err(|_| Error::QueueClosed)?;
                Ok("backpressure")
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Error::QueueClosed),
        }
    }

    async fn scrape(&mut self, time: i64) -> Scrape {
        let start = Instant::now();
        let outcome = self.fetcher.fetch().await;
        let duration = start.elapsed();
        let metrics = &self.shared.metrics;
        let result = match &outcome {
            Ok(exposition) => {
                metrics.body_bytes.inc_by(exposition.end());
                "ok"
            }
            Err(error) => error.reason(),
        };
        metrics.scrapes.with_label_values(&[self.target.job.name.as_str(), result]).inc();
        tracing::debug!(
            job = %self.target.job.name,
            instance = %self.target.instance(),
            elapsed = ?duration,
            result,
            "scraped"
        );
        Scrape { target: Arc::clone(&self.target), time, duration, outcome }
    }
}
