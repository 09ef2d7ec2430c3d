//! The loops of one job: one per target, kept while the target stays the same.
//!
//! Takes the target groups that discovery publishes, the word of the gate, and new versions of the job. A changed set of
//! groups stops the loops of targets that are gone, starts those of new ones and leaves the others alone, with their connections.
//! So does a new version of the job, unless it scrapes differently: then every loop is followed by one that does. While the
//! gate is closed no loop runs.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::Outlet;
use super::fetch::{Client, Fetcher};
use super::job::ResolvedJob;
use super::pool::{Error, Shared};
use super::target_loop::{Beginning, TargetLoop};
use super::targets::{ActiveTarget, Resolver, Unique};
use super::view::TargetsView;
use crate::discovery::Look;
use crate::gate::{Gate, Moment, State};
use crate::model::scrape::ScrapeError;
use crate::model::target::Target;

/// What a scrape that is under way gets to end when everything stops. Most take milliseconds.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// How long the targets of the version before are scraped while those of the next are looked for. Kubernetes answers within
/// seconds; one source that does not answer must not keep the others' targets waiting.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// A new version of a job, and the search for its targets if they are to be looked for elsewhere.
pub(super) struct Version {
    job: Arc<ResolvedJob>,
    look: Option<Look>,
    /// When it follows even if its targets are not all known.
    deadline: Instant,
}

impl Version {
    /// A version that was made now.
    pub(super) fn new(job: Arc<ResolvedJob>, look: Option<Look>) -> Self {
        Self { job, look, deadline: Instant::now() + LOOK_MAX }
    }
}

/// See the module.
pub(super) struct JobLoops {
    number: usize,
    job: Arc<ResolvedJob>,
    client: Result<Arc<Client>, ScrapeError>,
    look: Look,
    /// The version that follows as soon as its targets are known.
    next: Option<Version>,
    versions: mpsc::Receiver<Version>,
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

/// What must be equal for a loop to go on: labels, URL, how it is scraped, interval, timeout, and the limit that stops it
/// from asking.
struct Identity {
    active: ActiveTarget,
    limit_exceeded: Option<u64>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&self.active, &other.active);
        (self.limit_exceeded, one.interval, one.timeout) == (other.limit_exceeded, two.interval, two.timeout)
            && Arc::ptr_eq(&one.target.job, &two.target.job)
            && Unique(Arc::clone(&one.target)) == Unique(Arc::clone(&two.target))
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
    /// Says that it has ended, and what was due next.
    ended: oneshot::Receiver<Moment>,
}

/// The part of a pool that a job's loops have.
pub(super) struct Surroundings {
    pub(super) shared: Shared,
    pub(super) view: TargetsView,
    pub(super) gate: Gate,
    pub(super) stop: CancellationToken,
}

impl JobLoops {
    /// Loops for the targets that `look` finds. `number` is the job's in the view and at the gate.
    pub(super) fn new(
        number: usize,
        job: Arc<ResolvedJob>,
        look: Look,
        versions: mpsc::Receiver<Version>,
        surroundings: Surroundings,
    ) -> Self {
        let Surroundings { shared, view, mut gate, stop } = surroundings;
        let (client, resolver, state) = (Client::new(&job), Resolver::new(&job), gate.state());
        let (running, tasks, abort) = (HashMap::new(), JoinSet::new(), CancellationToken::new());
        Self {
            number,
            job,
            client,
            look,
            next: None,
            versions,
            shared,
            view,
            gate,
            stop,
            abort,
            state,
            resolver,
            running,
            tasks,
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let mut result = Ok(());
        self.update();
        self.gate.set_idle(self.number, &self.state);
        while result.is_ok() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                state = self.gate.changed() => {
                    self.state = state;
                    if state.is_open {
                        self.update();
                    } else {
                        result = self.close(state.patience).await;
                        self.gate.set_idle(self.number, &state);
                    }
                }
                Some(mut version) = self.versions.recv() => {
                    // One that looks where the one before it does, which may not have followed yet.
                    version.look = version.look.or_else(|| self.next.take()?.look);
                    self.next = Some(version);
                }
                known = settled(&mut self.next), if self.next.is_some() => match known {
                    Ok(()) => self.go_on(),
                    Err(e) => result = Err(Error::Discovery(e)),
                },
                changed = self.look.changed() => match changed {
                    Ok(()) => self.update(),
                    Err(e) => result = Err(Error::Discovery(e)),
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

    /// Takes the next version of the job for the present one.
    fn go_on(&mut self) {
        let Some(Version { job, look, .. }) = self.next.take() else { return };
        let is_alike = Arc::ptr_eq(&self.job.job, &job.job);
        if !is_alike {
            self.client = Client::new(&job);
        }
        self.resolver.follow(&job, is_alike);
        self.job = job;
        if let Some(look) = look {
            self.look = look;
        }
        self.update();
    }

    #[expect(clippy::mutable_key_type, reason = "hash and equality look at nothing that changes")]
    fn update(&mut self) {
        let set = self.look.set();
        let mut targets = self.resolver.resolve(&self.job, &set);
        let limit_exceeded = targets.limit_exceeded;
        let mut running = HashMap::with_capacity(targets.active.len());
        let mut new = Vec::new();
        for active in &mut targets.active {
            let identity = Identity { active: active.clone(), limit_exceeded };
            match self.running.remove_entry(&identity) {
                Some((identity, kept)) => {
                    // The one that runs knows how its last scrape went.
                    active.target = Arc::clone(&kept.target);
                    running.insert(identity, kept);
                }
                None => new.push(identity),
            }
        }
        let gone = std::mem::take(&mut self.running).into_values();
        let mut gone: HashMap<_, _> = gone.map(|one| (Unique(Arc::clone(&one.target)), one)).collect();
        let is_open = self.state.is_open;
        for identity in new.into_iter().filter(|_| is_open) {
            // Scraped differently, or at other times.
            let before = gone.remove(&Unique(Arc::clone(&identity.active.target)));
            let one = self.start(&identity.active, limit_exceeded, before);
            running.insert(identity, one);
        }
        self.running = running;
        for one in gone.into_values() {
            one.abort.cancel();
        }
        // Later loops are of new targets, which nobody had before, once discovery has found the old ones.
        if set.waiting == 0 {
            self.state.from = None;
        }
        self.view.replace(self.number, targets, &self.shared.metrics);
    }

    /// Starts the loop of a target, which follows `before` where there was one.
    fn start(
        &mut self,
        active: &ActiveTarget,
        limit_exceeded: Option<u64>,
        before: Option<Running>,
    ) -> Running {
        let target = Arc::clone(&active.target);
        let abort = self.abort.child_token();
        let stop = abort.child_token();
        let fetcher = fetcher(&self.job, &self.client, active, limit_exceeded, &self.shared);
        let one = TargetLoop { target: Arc::clone(&target), fetcher, shared: self.shared.clone() };
        let beginning = match (before, self.state.from) {
            (Some(before), _) => {
                before.stop.cancel();
                Beginning::After(before.ended)
            }
            (None, Some(from)) => Beginning::At(from),
            (None, None) => Beginning::Now,
        };
        let interval = active.interval;
        let (aborted, stopped) = (abort.clone(), stop.clone());
        let (next_due, ended) = oneshot::channel();
        self.tasks.spawn(async move {
            let target = Arc::clone(&one.target);
            let result = one.run(interval, beginning, &stopped, &aborted).await;
            target.set_next_scrape(None);
            // Mostly nobody follows.
            result.map(|due| _ = next_due.send(due))
        });
        Running { target, abort, stop, ended }
    }
}

/// Waits until the targets of the next version are known.
async fn settled(next: &mut Option<Version>) -> Result<(), JoinError> {
    match next {
        Some(Version { look: Some(look), deadline, .. }) => look.settled(*deadline).await,
        _ => Ok(()),
    }
}

/// Who asks a target.
pub(super) fn fetcher(
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
