//! Uploading: oldest first, one in flight, each retried until a receipt.
//!
//! Takes spooled objects, gives each its key when its turn comes, and puts it into the store. The key is recorded
//! durably before the first byte and kept for every attempt. An object leaves the spool by its receipt, or set
//! aside because the store refused it alone; nothing else is ever given up. Sends only while it is our turn: at its end
//! the attempt that is under way is broken off, and the next turn finds out what became of it.

mod left;
#[cfg(test)]
mod tests;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use pipeline::model::object::Tenure;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock;
use crate::key::Key;
use crate::metrics::{DropReason, Metrics};
use crate::retry::{Backoff, Policy};
use crate::spool::{InFlight, Spool, SpooledObject};
use crate::status::Progress;
use crate::store::{Body, Condition, Next, Store};
use crate::turn::{self, Turn};
use left::Left;
use trouble::Trouble;

/// Without permission to list, the first key waits until this long after the turn began, so that it is above what whoever
/// was before may have written in its last second.
const SETTLE: Duration = Duration::from_secs(5);
/// How far back from now the largest key is looked for, seconds.
const LOOK_BACK: i64 = 3600;
/// A recorded key further ahead of the servers than this was made by a wrong clock, seconds.
const AHEAD_MAX: i64 = 15 * 60;
/// How often it is tried whether objects that wait for a turn could be delivered.
const REACH_PAUSE: Duration = Duration::from_secs(5);
/// What an answer to that may take.
const REACH_MAX: Duration = Duration::from_secs(10);
/// Sorts below every object's key; asked for, never written.
const REACH_KEY: &str = "0000000000/reach";
/// A medium that has failed this often, which takes minutes, does not give the object back.
const MEDIUM_FAILURES_MAX: u32 = 8;
/// How often it is looked whether the servers have caught up with a key that was too far ahead.
const AHEAD_PAUSE: Duration = Duration::from_secs(30);

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
    /// The largest key known to be taken.
    last: Option<Key>,
    /// Whether the store was looked into for it, or need not be.
    looked: bool,
    /// When this turn began; of a single agent, when it was started.
    began: Instant,
    /// The turn that the fields here belong to; `None` before the first, and where one was broken off.
    tenure: Option<Option<Tenure>>,
    /// Until when the last turn went.
    deadline: Option<(Tenure, Instant)>,
    /// Whether the store refused the last object alone. If it refuses the next one too, it is not the object.
    rejected: bool,
    /// The key that this turn left with an unknown outcome when it was broken off, or an earlier process did.
    resumed: Option<InFlight>,
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
        Self {
            store,
            spool,
            progress,
            metrics,
            policy,
            turn,
            wanted,
            condition,
            last: None,
            looked: false,
            began,
            tenure: None,
            deadline: None,
            rejected: false,
            resumed: None,
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
            if turn.is_none() {
                if !closing {
                    closed.await;
                }
                return;
            }
            // While it is our turn, what is undecided is going to be somebody else's.
            if closing && self.spool.is_drained() {
                return;
            }
            let over = turn::over(self.turn.clone());
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

    /// Takes note of whose turn was before: nobody else's, and all is as it was left; or perhaps somebody else's, and the
    /// keys of theirs have to be looked for.
    fn begin(&mut self, turn: Turn) {
        let tenure = turn.tenure();
        if self.tenure == Some(tenure) {
            return;
        }
        self.tenure = Some(tenure);
        if tenure.is_some() {
            self.began = Instant::now();
        }
        let recorded = self.spool.in_flight();
        self.last = self.spool.last_key().and_then(|key| key.parse().ok());
        let nobody_else = recorded.as_ref().map(|recorded| recorded.tenure).unwrap_or_default() == tenure;
        self.looked = nobody_else && self.last.is_some();
        (self.resumed, self.left) = match recorded {
            Some(recorded) if nobody_else => (Some(recorded), None),
            Some(recorded) => {
                let ended = self.deadline.filter(|(of, _)| Some(*of) == recorded.tenure);
                (None, Left::new(recorded, ended.map(|(_, deadline)| deadline)))
            }
            None => (None, None),
        };
    }

    /// One object, from its turn to its end.
    async fn deliver(&mut self, object: &SpooledObject) -> Delivery {
        let (over, turn) = (turn::over(self.turn.clone()), *self.turn.borrow());
        let settled = tokio::select! {
            biased;
            () = over => None,
            settled = self.settle(object, turn) => Some(settled),
        };
        self.note_deadline();
        let Some((key, delivery)) = settled else {
            self.break_off();
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

    /// Attempts until the outcome is certain; the key, and how it ended.
    async fn settle(&mut self, object: &SpooledObject, turn: Turn) -> (String, Delivery) {
        self.begin(turn);
        if let Some(left) = self.left.take_if(|left| left.sequence() == object.sequence)
            && self.has_arrived(&left, object).await
        {
            return (left.key().to_owned(), Delivery::Arrived);
        }
        let (key, maybe_sent) = match self.recorded_key(object.sequence) {
            Some(recorded) => recorded,
            None => (self.give_key(object.sequence).await, false),
        };
        self.wait_for_servers(&key).await;
        let key = key.to_string();
        let delivery = self.put_until_settled(object, &key, maybe_sent).await;
        (key, delivery)
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

    /// The key that an earlier process recorded for this object, and whether its bytes may have been sent under it.
    /// After a conflict nothing was; then a new writer id needs a new key.
    fn recorded_key(&mut self, sequence: u64) -> Option<(Key, bool)> {
        let recorded = self.resumed.take_if(|recorded| recorded.sequence == sequence)?;
        let key: Key = recorded.key.parse().ok()?;
        // Below a key that was given since, it would never be read.
        if self.last.as_ref().is_some_and(|last| key < *last) {
            return None;
        }
        let same_writer = key.is_of(&self.spool.writer().id);
        (same_writer || !recorded.conflict).then_some((key, !recorded.conflict))
    }

    /// Gives the object its key: above every other, and durable when this returns.
    async fn give_key(&mut self, sequence: u64) -> Key {
        if !self.looked {
            self.last = self.last.take().max(self.find_last().await);
            self.looked = true;
        }
        let now = match self.last.clone() {
            Some(last) => self.wait_for_servers(&last).await,
            None => self.now().await,
        };
        let writer = self.spool.writer().id;
        let key = Key::next(self.last.as_ref(), now, &writer, sequence);
        let tenure = self.tenure.flatten();
        self.record(InFlight { sequence, key: key.to_string(), conflict: false, tenure }).await;
        self.progress.set_last_key(&key.to_string());
        self.metrics.last_key.set(key.unix);
        self.last = Some(key.clone());
        key
    }

    async fn record(&self, in_flight: InFlight) {
        let mut trouble = Trouble::new(self);
        while let Err(error) = self.spool.record(in_flight.clone()).await {
            self.metrics.spool_write_errors.inc();
            trouble.wait("spool", &format!("cannot record the next key in the spool: {error}")).await;
        }
    }

    /// The servers' time, as soon as it is known.
    async fn now(&self) -> i64 {
        let mut trouble = Trouble::new(self);
        loop {
            self.store.ready().await;
            match self.store.server_time().await {
                Ok(now) => return now,
                Err(error) => trouble.step(&error).await,
            }
        }
    }

    /// The largest key in the store, looked for from an hour back. Without permission to look, time must do.
    async fn find_last(&self) -> Option<Key> {
        let mut trouble = Trouble::new(self);
        loop {
            let after = self.now().await.saturating_sub(LOOK_BACK).max(0);
            match self.store.largest_key(&format!("{after:010}")).await {
                Ok(largest) => return largest.and_then(|key| key.parse().ok()),
                Err(error) if matches!(error.next, Next::Denied | Next::Reject | Next::Unconditional) => {
                    tracing::info!(%error, wait = ?SETTLE, "may not list keys, the first one waits a moment");
                    sleep_until(self.began + SETTLE).await;
                    return None;
                }
                Err(error) => trouble.step(&error).await,
            }
        }
    }

    /// Waits while `key` is too far ahead of the servers; the time that it then is.
    async fn wait_for_servers(&self, key: &Key) -> i64 {
        let mut stopped = false;
        loop {
            let now = self.now().await;
            if key.unix <= now.saturating_add(AHEAD_MAX) {
                if stopped {
                    self.go_on();
                }
                return now;
            }
            if !stopped {
                stopped = true;
                let ahead = Duration::from_secs(key.unix.abs_diff(now));
                self.stop(format!(
                    "stopped: the last key {key} is {ahead:?} ahead of the servers' time, so a clock was wrong; uploads \
                     go on when the servers get there, or with a new spool.dir after that key was removed from the store"
                ));
            }
            sleep(AHEAD_PAUSE).await;
        }
    }

    /// Attempts until the outcome is certain. `maybe_sent` says that an earlier attempt may have arrived.
    async fn put_until_settled(
        &mut self,
        object: &SpooledObject,
        key: &str,
        mut maybe_sent: bool,
    ) -> Delivery {
        let body = Body { bytes: object.bytes.clone(), crc32: object.crc32 };
        let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&self.metrics));
        let mut trouble = Trouble::new(self);
        let (mut condition, rejected) = (self.condition, self.rejected);
        let delivery = loop {
            store.ready().await;
            let begun = Instant::now();
            let error = match store.put(key, &body, condition).await {
                Ok(receipt) => {
                    metrics.upload_seconds.observe(begun.elapsed().as_secs_f64());
                    let (etag, elapsed) = (receipt.etag, begun.elapsed());
                    tracing::debug!(
                        key,
                        bytes = body.bytes.len(),
                        samples = object.samples,
                        ?elapsed,
                        etag,
                        "uploaded"
                    );
                    break Delivery::Arrived;
                }
                Err(error) => error,
            };
            match error.next {
                Next::Exists if !maybe_sent => break Delivery::Conflict,
                Next::Exists => break trouble.compare(&*store, key, &body).await,
                Next::Reject if !rejected => {
                    metrics.upload_errors.with_label_values(&[error.class]).inc();
                    tracing::error!(key, %error, "store refused this object");
                    break Delivery::Rejected;
                }
                Next::Unconditional if condition == Condition::Absent => {
                    tracing::warn!(key, %error, "store knows no conditional writes, uploading without them");
                    condition = Condition::None;
                }
                next => {
                    maybe_sent |= next == Next::Unknown;
                    trouble.step(&error).await;
                }
            }
        };
        trouble.over();
        self.condition = condition;
        delivery
    }

    fn count(&self, object: &SpooledObject, key: &str) {
        let now = clock::wall_seconds();
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
        let tenure = self.tenure.flatten();
        self.record(InFlight { sequence, key: key.to_owned(), conflict: true, tenure }).await;
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
