//! The task: from what the watches bring to objects in the spool, one at a time.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::account::{Account, Sealed, Turn};
use super::keep::{Brought, KeepEvents, KeepPods};
use super::metrics::{Metrics, reason};
use super::object::KubeEvent;
use super::owners::Owners;
use super::pod::Pod;
use super::position::{Block, Position};
use super::{Config, Outlet, rows};
use crate::clock;
use crate::gate::{Gate, State};
use crate::kubernetes::delay::Delay;
use crate::kubernetes::object::Object as Resource;
use crate::kubernetes::road::Road;
use crate::kubernetes::watch::{Keep, Scope, Watch};

/// What the watches have brought and is not accounted for yet; a kilobyte each.
const BROUGHT_MAX: usize = 1024;
/// How long the last object waits at the end for the spool to take the one before.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Watcher {
    config: Config,
    cluster_id: String,
    account: Account,
    owners: Owners,
    position: Arc<Mutex<Position>>,
    outlet: Outlet,
    /// What becomes durable with the object that is on its way.
    pending: Option<Block>,
    /// Whether a block is being written whose object was not given to the spool.
    is_sealing: bool,
    /// When the open rows have to become an object.
    due: Option<Instant>,
    metrics: Metrics,
}

/// What to do next.
enum Next {
    Brought(Brought),
    /// The spool has taken something.
    Taken,
    Due,
    /// It is not our turn any more, or all stops.
    End,
}

impl Watcher {
    pub(super) fn new(
        config: Config,
        cluster_id: &str,
        account: Account,
        position: Arc<Mutex<Position>>,
        outlet: Outlet,
        metrics: Metrics,
    ) -> Self {
        let (owners, cluster_id) = (Owners::default(), cluster_id.to_owned());
        let (pending, due, is_sealing) = (None, None, false);
        Self { config, cluster_id, account, owners, position, outlet, pending, is_sealing, due, metrics }
    }

    /// Watches whenever the gate is open, until `stop`; then seals what is open.
    pub(crate) async fn run(mut self, mut gate: Gate, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let state = gate.state();
            if state.is_open {
                self.follow(state, &mut gate, &stop).await;
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = gate.changed() => {}
            }
        }
        let taken = async {
            while self.pending.is_some() && self.outlet.taken.changed().await.is_ok() {
                self.commit();
            }
        };
        // What finds no place now is listed again by the next process. Two blocks of one number there must not be.
        if timeout(STOP_PATIENCE, taken).await.is_ok() && self.pending.is_none() && !self.is_sealing {
            let _ = timeout(STOP_PATIENCE, self.seal()).await;
        }
    }

    /// Watches until the turn ends, or everything does.
    async fn follow(&mut self, state: State, gate: &mut Gate, stop: &CancellationToken) {
        let road = Arc::new(Road::new(self.config.server()));
        let (queue, mut brought) = mpsc::channel(BROUGHT_MAX);
        let mut tasks = JoinSet::new();
        self.start(&road, &queue, &mut tasks);
        drop(queue);
        let resumes = state.from.is_none();
        self.account.begin(state.tenure.map(|tenure| Turn { since: tenure.acquired / 1000, resumes }));
        loop {
            let is_ready = self.pending.is_none();
            let due = self.due.filter(|_| is_ready);
            let has_room = !self.account.is_full();
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => Next::End,
                _ = gate.changed() => Next::End,
                Some(ended) = tasks.join_next() => {
                    if let Err(failed) = ended && failed.is_panic() {
                        std::panic::resume_unwind(failed.into_panic());
                    }
                    Next::End
                }
                Ok(()) = self.outlet.taken.changed(), if !is_ready => Next::Taken,
                () = until(due) => Next::Due,
                Some(brought) = brought.recv(), if has_room => Next::Brought(brought),
            };
            match next {
                Next::Brought(brought) => self.take(brought),
                Next::Taken => self.commit(),
                Next::Due => {
                    // Broken off, it leaves its rows to the next process.
                    let _ = stop.run_until_cancelled(self.seal()).await;
                }
                Next::End => break,
            }
        }
        if self.pending.is_none() && !stop.is_cancelled() {
            let _ = stop.run_until_cancelled(self.seal()).await;
        }
    }

    /// Starts the watches of all namespaces that are looked at.
    fn start(&self, road: &Arc<Road>, queue: &mpsc::Sender<Brought>, tasks: &mut JoinSet<()>) {
        let scopes = self.config.scopes();
        let (waiting, is_waiting) = watch::channel(scopes.len());
        for (scope, namespace) in scopes.into_iter().enumerate() {
            let (queue, waiting) = (queue.clone(), waiting.clone());
            let pods = KeepPods { queue: queue.clone(), scope, list: 0, is_first: true, waiting };
            let problem = self.metrics.problem.clone();
            let events = KeepEvents { queue, waiting: is_waiting.clone(), problem };
            tasks.spawn(self.watch::<Pod, _>(road, namespace.clone(), pods));
            tasks.spawn(self.watch::<KubeEvent, _>(road, namespace, events));
        }
    }

    fn watch<T: Resource, K: Keep<T> + 'static>(
        &self,
        road: &Arc<Road>,
        namespace: Option<String>,
        keep: K,
    ) -> impl Future<Output = ()> + Send + use<T, K> {
        let scope = Scope { namespace, ..Scope::default() };
        Watch::new(Arc::clone(road), scope, keep, self.metrics.watch.clone()).run()
    }

    fn take(&mut self, brought: Brought) {
        take(brought, &mut self.account, &mut self.owners, clock::now_millis());
        self.plan();
    }

    /// Says when the open rows have to become an object.
    fn plan(&mut self) {
        let open = self.account.open_rows();
        self.metrics.rows_open.set(i64::try_from(open).unwrap_or(i64::MAX));
        self.metrics.watch.objects.set(i64::try_from(self.owners.len()).unwrap_or(i64::MAX));
        match self.due {
            _ if open == 0 => self.due = None,
            _ if self.account.is_full() => self.due = Some(Instant::now()),
            None => self.due = Some(Instant::now() + self.config.max_object_age.0),
            Some(_) => {}
        }
    }

    /// Takes note of what the spool has taken.
    fn commit(&mut self) {
        let taken = *self.outlet.taken.borrow_and_update();
        if let Some(block) = self.pending.take_if(|block| block.sequence < taken) {
            self.account.commit(&block);
        }
    }

    /// Makes an object of the open rows: its block first, then the object itself. Nothing is on its way.
    async fn seal(&mut self) {
        self.owners.forget(clock::now_millis());
        let sequence = self.outlet.writer.next_sequence;
        let sealed = self.account.seal(sequence, &self.owners);
        self.due = None;
        let Some(Sealed { rows, block }) = sealed else { return };
        let count = rows.len() as u64;
        let object = match rows::encode(&rows, &self.cluster_id, &self.outlet.writer.id, sequence) {
            Ok(object) => object,
            Err(error) => {
                // Rows in memory always encode; should they not, the process goes on and says so.
                tracing::error!(rows = count, %error, "rows of Kubernetes events lost: they cannot be encoded");
                self.metrics.rows_dropped.with_label_values(&[reason::ENCODE]).inc_by(count);
                return;
            }
        };
        drop(rows);
        self.is_sealing = true;
        self.write(&block).await;
        if self.outlet.objects.send(object).await.is_err() {
            // Its number never came to the spool, so that the block is void.
            return;
        }
        self.is_sealing = false;
        self.metrics.rows_sealed.inc_by(count);
        self.outlet.writer.next_sequence += 1;
        self.pending = Some(block);
        self.plan();
    }

    /// Adds a block to the position, as soon as the disk lets that be done.
    async fn write(&mut self, block: &Block) {
        let (mut delay, mut failed) = (Delay::default(), false);
        let mut is_replaced = lock(&self.position).is_long();
        loop {
            let whole = is_replaced.then(|| self.account.whole(block.sequence, clock::now_millis()));
            let (position, block) = (Arc::clone(&self.position), block.clone());
            let written =
                tokio::task::spawn_blocking(move || add(&mut lock(&position), &block, whole.as_ref()));
            // Only the end of the process cuts it short.
            let Ok(written) = written.await else { return };
            let Err(error) = written else { break };
            // Taken away, or cut: everything is written anew.
            is_replaced = true;
            self.metrics.position_errors.inc();
            if !std::mem::replace(&mut failed, true) {
                tracing::error!(%error, "cannot write the position of Kubernetes events, trying again");
            }
            tokio::time::sleep(delay.next()).await;
        }
        if failed {
            tracing::info!("the position of Kubernetes events can be written again");
        }
    }
}

/// Takes what a watch has brought.
pub(super) fn take(brought: Brought, account: &mut Account, owners: &mut Owners, now: i64) {
    match brought {
        Brought::Happened(found) => account.take(*found, now),
        Brought::Expired(uid) => account.lose(&uid),
        Brought::Pod { pod, scope, list } => {
            account.take_ends(&pod, now);
            owners.take(*pod, scope, list);
        }
        Brought::PodGone(key, last) => {
            if let Some(last) = last {
                // What ended it may have come with its deletion only.
                account.take_ends(&last, now);
                account.lose_ends(&last);
            }
            owners.lose(&key, now);
        }
        Brought::Pods { scope, list } => owners.end(scope, list, now),
    }
}

/// Adds a block, where there is a whole to a new file that begins with it.
pub(super) fn add(position: &mut Position, block: &Block, whole: Option<&Block>) -> io::Result<()> {
    if let Some(whole) = whole {
        position.replace(whole)?;
    }
    position.append(block)
}

fn lock(position: &Mutex<Position>) -> MutexGuard<'_, Position> {
    position.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
