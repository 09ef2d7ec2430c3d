//! The pool of loops of all jobs.
//!
//! Takes the jobs and, whenever the configuration changes, other ones; gives scrapes. A job is known by its name: one that is
//! still there goes on with its loops, one that is new gets some, one that is gone ends.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::body::Memory;
use super::fetch::Client;
use super::job::ResolvedJob;
use super::job_loops::{JobLoops, Surroundings, Version, fetcher};
use super::metrics::Metrics;
use super::target_loop::TargetLoop;
use super::targets;
use super::view::TargetsView;
use crate::discovery::Look;
use crate::gate::Gate;
use crate::model::scrape::Arrival;
use crate::model::target::TargetSet;
use crate::model::units::Size;
use crate::rest::Rest;

/// How many targets `scrape_once` asks at a time.
const ONCE_CONCURRENCY: usize = 16;

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
    /// A source of discovery panicked, which is a bug.
    #[error("discovery failed")]
    Discovery(#[source] JoinError),
}

/// All loops of all jobs.
pub struct Pool {
    shared: Shared,
    view: TargetsView,
    gate: Gate,
}

/// Other jobs in place of those before.
pub struct Change {
    /// All of them, in the order of the configuration.
    pub jobs: Vec<ResolvedJob>,
    /// Is told what became of them.
    pub made: oneshot::Sender<Changed>,
}

/// How many jobs a change has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// New ones.
    pub added: usize,
    /// Those that are gone.
    pub removed: usize,
    /// Those that are another version of themselves.
    pub changed: usize,
    /// Those that nothing was changed of.
    pub kept: usize,
}

/// What every loop has.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) queue: mpsc::Sender<Arrival>,
    pub(super) memory: Memory,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    /// Of the worker, who need not be woken for each scrape.
    pub(super) rest: Rest,
    /// Each says why nothing can be kept at the moment.
    pauses: Vec<watch::Receiver<Option<String>>>,
}

impl Shared {
    pub(super) fn is_paused(&self) -> bool {
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

    /// Scrapes the targets that `look` finds for each job, until `stop`.
    ///
    /// # Errors
    /// When it ends before `stop`.
    pub async fn run(
        self,
        jobs: Vec<ResolvedJob>,
        look: impl Fn(&ResolvedJob) -> Look,
        mut changes: mpsc::Receiver<Change>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let mut all = Jobs::new(self, &stop);
        all.change(jobs, &look).await;
        let mut result = Ok(());
        while result.is_ok() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(change) = changes.recv() => {
                    // Whoever asked may have gone.
                    let changed = all.change(change.jobs, &look).await;
                    let _ = change.made.send(changed);
                }
                ended = all.ended() => result = ended,
            }
        }
        // From here on only loops hold the queue, which closes when the last of them ends.
        result.and(all.end().await)
    }

    /// Scrapes every target once, or the first `at_most` of each job, now, at most 16 at a time, and returns when all scrapes
    /// are in the queue.
    ///
    /// # Errors
    /// When nobody takes the scrapes.
    pub async fn scrape_once(&self, jobs: &[(ResolvedJob, TargetSet)], at_most: usize) -> Result<(), Error> {
        let at_a_time = Arc::new(Semaphore::new(ONCE_CONCURRENCY));
        let mut tasks = JoinSet::new();
        self.view.arrange(0..jobs.len(), &self.shared.metrics);
        for (number, (job, set)) in jobs.iter().enumerate() {
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
            self.view.replace(number, targets, &self.shared.metrics);
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap_or_else(|e| Err(Error::Loop(e)))?;
        }
        Ok(())
    }
}

/// The jobs that run.
struct Jobs {
    pool: Pool,
    running: Vec<Job>,
    /// Of the next job.
    number: usize,
    tasks: JoinSet<Result<(), Error>>,
    /// The first job that fails stops the others.
    stop: CancellationToken,
    /// Tasks of jobs that were taken out, whose loops are ending.
    leaving: HashMap<Id, usize>,
}

/// A job that runs.
struct Job {
    number: usize,
    /// Its last version.
    job: Arc<ResolvedJob>,
    versions: mpsc::Sender<Version>,
    stop: CancellationToken,
    task: Id,
}

impl Jobs {
    fn new(pool: Pool, stop: &CancellationToken) -> Self {
        let (running, leaving, tasks) = (Vec::new(), HashMap::new(), JoinSet::new());
        Self { pool, running, number: 0, tasks, stop: stop.child_token(), leaving }
    }

    /// Has these jobs run and no others.
    async fn change(&mut self, jobs: Vec<ResolvedJob>, look: impl Fn(&ResolvedJob) -> Look) -> Changed {
        let mut changed = Changed::default();
        let mut before = mem::take(&mut self.running);
        // None is scraped before all are known to the gate and to the view.
        let numbered: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let known = before.iter().position(|one| one.job.job.name == job.job.name);
                let known = known.map(|position| before.swap_remove(position));
                let number = known.as_ref().map_or_else(|| self.expect(), |known| known.number);
                (number, known, job)
            })
            .collect();
        for gone in before {
            changed.removed += 1;
            gone.stop.cancel();
            self.leaving.insert(gone.task, gone.number);
        }
        self.pool.view.arrange(numbered.iter().map(|(number, ..)| *number), &self.pool.shared.metrics);
        for (number, known, job) in numbered {
            let running = match known {
                Some(known) if known.job.is_same(&job) => {
                    changed.kept += 1;
                    known
                }
                Some(known) => {
                    changed.changed += 1;
                    known.follow(job, &look).await
                }
                None => {
                    changed.added += 1;
                    self.start(number, job, &look)
                }
            };
            self.running.push(running);
        }
        changed
    }

    /// A number for a new job, for which the gate waits from now on.
    fn expect(&mut self) -> usize {
        let number = self.number;
        self.number += 1;
        self.pool.gate.expect_job(number);
        number
    }

    fn start(&mut self, number: usize, job: ResolvedJob, look: impl Fn(&ResolvedJob) -> Look) -> Job {
        let Pool { shared, view, gate } = &self.pool;
        let stop = self.stop.child_token();
        let surroundings = Surroundings {
            shared: shared.clone(),
            view: view.clone(),
            gate: gate.clone(),
            stop: stop.clone(),
        };
        let (look, job) = (look(&job), Arc::new(job));
        let (versions, receiver) = mpsc::channel(1);
        let loops = JobLoops::new(number, Arc::clone(&job), look, receiver, surroundings);
        let task = self.tasks.spawn(loops.run()).id();
        Job { number, job, versions, stop, task }
    }

    /// Waits until a job has ended, which is an error unless it was taken out.
    async fn ended(&mut self) -> Result<(), Error> {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let (task, result) = ended.map_err(Error::Loop)?;
        if let Some(number) = self.leaving.remove(&task) {
            self.pool.gate.forget_job(number);
        }
        result
    }

    /// Waits until all have ended.
    async fn end(self) -> Result<(), Error> {
        let Self { pool, mut tasks, stop, .. } = self;
        stop.cancel();
        drop(pool);
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            result = result.and(ended.unwrap_or_else(|e| Err(Error::Loop(e))));
        }
        result
    }
}

impl Job {
    /// Goes on with another version of the job.
    async fn follow(self, mut job: ResolvedJob, look: impl Fn(&ResolvedJob) -> Look) -> Self {
        if self.job.scrapes_like(&job) {
            job.job = Arc::clone(&self.job.job);
        }
        let look = (self.job.sources() != job.sources()).then(|| look(&job));
        let job = Arc::new(job);
        // It is gone only if its task is, which whoever joins that will say.
        let _ = self.versions.send(Version::new(Arc::clone(&job), look)).await;
        Self { job, ..self }
    }
}
