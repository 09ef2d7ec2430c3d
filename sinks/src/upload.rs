//! Uploading: oldest first, one in flight, each retried until a receipt.
//!
//! Takes spooled objects, gives each its key when its turn comes, and puts it into the store. The key is recorded
//! durably before the first byte and kept for every attempt. An object leaves the spool by its receipt, or set
//! aside because the store refused it alone; nothing else is ever given up. Sends only while it is our turn: at its end
//! the attempt that is under way is broken off, and the next turn finds out what became of it.

mod attempts;
mod keys;
mod left;
#[cfg(test)]
mod tests;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use pipeline::model::object::Tenure;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::key::Key;
use crate::metrics::{DropReason, Metrics};
use crate::retry::{Backoff, Budget, Policy};
use crate::spool::{InFlight, Spool, SpooledObject};
use crate::status::Progress;
use crate::store::{Condition, Location, Next, Store};
use crate::turn::{self, Turn};
use left::Left;
use trouble::Trouble;

/// How often it is tried whether objects that wait for a turn could be delivered.
const REACH_PAUSE: Duration = Duration::from_secs(5);
/// What an answer to that may take.
const REACH_MAX: Duration = Duration::from_secs(10);
/// Sorts below every object's key; asked for, never written.
const REACH_KEY: &str = "0000000000/reach";
/// A medium that has failed this often, which takes minutes, does not give the object back.
const MEDIUM_FAILURES_MAX: u32 = 8;
/// Attempts after failures: two quick series of ten, then one every two seconds, whatever the store answers. A store that
/// fails every other time still takes a day's objects in half a day.
const RETRIES_BURST: u32 = 20;
const RETRIES_APART: Duration = Duration::from_secs(2);

/// Uploads what is in the spool.
#[derive(Debug)]
pub(crate) struct Uploader<S> {
    pub store: Arc<S>,
    pub spool: Arc<Spool>,
    pub progress: Arc<Progress>,
    pub metrics: Arc<Metrics>,
    pub policy: Policy,
    turn: watch::Receiver<Turn>,
    /// Says whether objects wait for our turn that could be delivered then.
    wanted: watch::Sender<bool>,
    condition: Condition,
    /// Bounds the attempts of all series together.
    budget: Arc<Budget>,
    /// Where objects went last; `None` before the first.
    location: Option<Location>,
    /// The largest key known to be taken.
    last: Option<Key>,
    /// Whether the store was looked into for it, or need not be.
    looked: bool,
    /// When it was looked into last in this turn.
    looked_at: Option<Instant>,
    /// When this turn began; of a single agent, when it was started. Anew where objects go to another place.
    began: Instant,
    /// The turn that the fields here belong to; `None` before the first, and where one was broken off.
    tenure: Option<Option<Tenure>>,
    /// Until when the last turn went.
    deadline: Option<(Tenure, Instant)>,
    /// Whether the store refused the last object alone. If it refuses the next one too, it is not the object.
    rejected: bool,
    /// The key that this turn left with an unknown outcome when it was broken off, or an earlier process did.
    resumed: Option<InFlight>,
    /// The same at another place than where objects go now.
    carried: Option<InFlight>,
    /// The same from an earlier turn, after which somebody else may have written.
    left: Option<Left>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Arrived,
    Rejected,
    /// Another writer's object has the key.
    Conflict,
    /// Our turn ended before the outcome was known.
    BrokenOff,
}

impl<S: Store> Uploader<S> {
    pub(crate) fn new(
        store: Arc<S>,
        spool: Arc<Spool>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
        turn: watch::Receiver<Turn>,
        wanted: watch::Sender<bool>,
    ) -> Self {
        let (policy, condition, began) = (Policy::default(), Condition::Absent, Instant::now());
        let budget = Arc::new(Budget::new(RETRIES_BURST, RETRIES_APART));
        Self {
            store,
            spool,
            progress,
            metrics,
            policy,
            turn,
            wanted,
            condition,
            budget,
            location: None,
            last: None,
            looked: false,
            looked_at: None,
            began,
            tenure: None,
            deadline: None,
            rejected: false,
            resumed: None,
            carried: None,
            left: None,
        }
    }

    /// Uploads until it is dropped, or until `closed` says that nothing more comes and the spool is empty or will have
    /// no turn any more.
    pub(crate) async fn run(mut self, closed: impl Future<Output = ()>) {
        tokio::pin!(closed);
        let mut closing = false;
        loop {
            if closing && self.spool.is_empty() {
                return;
            }
            let turn = tokio::select! {
                biased;
                () = &mut closed, if !closing => {
                    closing = true;
                    continue;
                }
                turn = self.wait_for_turn() => turn,
            };
            let Some(turn) = turn else {
                if !closing {
                    closed.await;
                }
                return;
            };
            // While it is our turn, what is undecided is going to be somebody else's.
            if closing && self.spool.is_drained() {
                return;
            }
            let over = turn::over(self.turn.clone(), turn.tenure());
            tokio::select! {
                biased;
                () = &mut closed, if !closing => closing = true,
                () = over => self.spool.record_receipts().await,
                object = next_object(&self.spool, self.policy) => {
                    let Some(object) = object else { continue };
                    if self.deliver(&object).await == Delivery::Conflict {
                        // Nothing that this process could do helps; the spool keeps what comes.
                        if !closing {
                            closed.await;
                        }
                        return;
                    }
                }
            }
        }
    }

    /// Waits until it is our turn, and says meanwhile whether a turn would be of use. `None` if there will be none.
    async fn wait_for_turn(&mut self) -> Option<Turn> {
        let mut receiver = self.turn.clone();
        let turn = tokio::select! {
            biased;
            turn = turn::wait(&mut receiver) => turn,
            () = self.want_turn() => None,
        };
        self.wanted.send_replace(false);
        turn
    }

    /// Looks now and then whether what waits could be delivered, for ever. An agent that does not reach the store must not
    /// take the turn from one that does.
    async fn want_turn(&self) {
        loop {
            let reaches = tokio::time::timeout(REACH_MAX, self.reaches());
            let reaches = !self.spool.is_drained() && reaches.await.unwrap_or_default();
            self.wanted.send_replace(reaches);
            sleep(REACH_PAUSE).await;
        }
    }

    /// Whether the store answers us at all.
    async fn reaches(&self) -> bool {
        self.store.ready().await;
        match self.store.head(REACH_KEY).await {
            Ok(_) => true,
            Err(error) => !matches!(error.next, Next::Unknown | Next::Wait | Next::Refresh),
        }
    }

    /// One object, from its turn to its end.
    async fn deliver(&mut self, object: &SpooledObject) -> Delivery {
        let turn = *self.turn.borrow();
        let over = turn::over(self.turn.clone(), turn.tenure());
        let settled = tokio::select! {
            biased;
            () = over => None,
            settled = self.settle(object, turn) => Some(settled),
        };
        self.note_deadline();
        let Some((key, delivery)) = settled else {
            self.break_off();
            self.spool.record_receipts().await;
            return Delivery::BrokenOff;
        };
        self.rejected = delivery == Delivery::Rejected;
        match delivery {
            Delivery::Arrived => {
                self.spool.delivered(object.sequence).await;
                self.count(object, &key);
            }
            Delivery::Rejected => self.spool.discard(object.sequence, DropReason::Rejected).await,
            Delivery::Conflict => self.stop_for_conflict(object.sequence, &key).await,
            Delivery::BrokenOff => {}
        }
        delivery
    }

    /// Remembers until when the turn went, or goes, in which the last key was given. It may have been prolonged since.
    fn note_deadline(&mut self) {
        let given_in = self.spool.in_flight().and_then(|recorded| recorded.tenure);
        if let Turn::Until { deadline, tenure } = *self.turn.borrow()
            && given_in == Some(tenure)
        {
            self.deadline = Some((tenure, deadline));
        }
    }

    /// Our turn ended in the middle: what was known is to be read from the spool again.
    fn break_off(&mut self) {
        self.tenure = None;
        self.progress.set_trouble(None);
        if self.metrics.upload_stopped.get() != 0 {
            self.go_on();
        }
        tracing::info!("our turn is over, an upload under way is broken off");
    }

    fn count(&self, object: &SpooledObject, key: &str) {
        let (now, waited) = (clock::wall_seconds(), clock::wall().duration_since(object.written));
        // None if the clock was set back meanwhile.
        self.metrics.upload_lag.set(waited.unwrap_or_default().as_secs_f64());
        self.metrics.objects_uploaded.inc();
        self.metrics.bytes_uploaded.inc_by(object.bytes.len() as u64);
        self.metrics.samples_uploaded.inc_by(object.samples);
        #[expect(clippy::cast_precision_loss, reason = "seconds of this age stay below 2^53")]
        self.metrics.last_upload.set(now as f64);
        self.progress.set_last_upload(now);
        self.progress.set_last_key(key);
    }

    async fn stop_for_conflict(&self, sequence: u64, key: &str) {
        let writer = self.spool.writer().id;
        self.stop(format!(
            "stopped: another writer has the id {writer}, an object of it is stored under {key}; stop the other one, \
             then restart this one with an id of its own (sink.s3.writer); the spool keeps what comes"
        ));
        let (tenure, location) = (self.tenure.flatten(), self.location.clone());
        self.record(InFlight { sequence, key: key.to_owned(), conflict: true, tenure, location }).await;
    }

    fn stop(&self, reason: String) {
        tracing::error!(reason, "uploading stopped");
        self.metrics.upload_stopped.set(1);
        self.progress.set_stopped(Some(reason));
    }

    fn go_on(&self) {
        tracing::info!("uploading goes on");
        self.metrics.upload_stopped.set(0);
        self.progress.set_stopped(None);
    }
}

/// The next object, as soon as there is one. `None` if the next one was set aside. A disk that does not let it be read is
/// asked again; a medium that has failed too often has lost it.
async fn next_object(spool: &Spool, policy: Policy) -> Option<SpooledObject> {
    while spool.is_drained() {
        spool.added().await;
    }
    let mut backoff = Backoff::new(policy);
    let mut failures = 0;
    loop {
        let error = match spool.oldest().await {
            Ok(object) => {
                if failures > 0 {
                    tracing::info!(failures, "the spool can be read again");
                }
                return object;
            }
            Err(error) => error,
        };
        failures += 1;
        if failures == 1 {
            tracing::error!(%error, "cannot read the oldest object of the spool, trying again");
        }
        if failures >= MEDIUM_FAILURES_MAX && is_medium(&error) {
            spool.give_up().await;
            return None;
        }
        sleep(backoff.next()).await;
    }
}

/// Whether it is the medium that does not give it back.
fn is_medium(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
