//! Uploading: oldest first, one in flight, each retried until a receipt.
//!
//! Takes spooled objects, gives each its key when its turn comes, and puts it into the store. The key is recorded
//! durably before the first byte and kept for every attempt. An object leaves the spool by its receipt, or set
//! aside because the store refused it alone; nothing else is ever given up.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::clock;
use crate::key::Key;
use crate::metrics::{DropReason, Metrics};
use crate::retry::{Backoff, Policy};
use crate::spool::{InFlight, Spool, SpooledObject};
use crate::status::Progress;
use crate::store::{Body, Condition, Error, Next, Store};

/// Without permission to list, the first key waits until this long after the start, so that it is above what the
/// process before this one may have written in its last second.
const SETTLE: Duration = Duration::from_secs(5);
/// How far back from now the largest key is looked for, seconds.
const LOOK_BACK: i64 = 3600;
/// A recorded key further ahead of the servers than this was made by a wrong clock, seconds.
const AHEAD_MAX: i64 = 15 * 60;
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
    condition: Condition,
    /// The largest key known to be taken; `None` until it was looked for.
    last: Option<Key>,
    started: Instant,
    /// Whether the store refused the last object alone. If it refuses the next one too, it is not the object.
    rejected: bool,
    /// The key that the last process left with an unknown outcome.
    resumed: Option<InFlight>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Arrived,
    Rejected,
    /// Another writer's object has the key.
    Conflict,
}

impl<S: Store> Uploader<S> {
    pub(crate) fn new(
        store: Arc<S>,
        spool: Arc<Spool>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let last = spool.last_key().and_then(|key| key.parse().ok());
        let resumed = spool.in_flight();
        let (policy, condition, started) = (Policy::default(), Condition::Absent, Instant::now());
        Self { store, spool, progress, metrics, policy, condition, last, started, rejected: false, resumed }
    }

    /// Uploads until it is dropped, or until `closed` says that nothing more comes and the spool is empty.
    pub(crate) async fn run(mut self, closed: impl Future<Output = ()>) {
        tokio::pin!(closed);
        let mut closing = false;
        loop {
            if closing && self.spool.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = &mut closed, if !closing => closing = true,
                object = next_object(&self.spool, self.policy) => {
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

    /// One object, from its turn to its end.
    async fn deliver(&mut self, object: &SpooledObject) -> Delivery {
        let (key, maybe_sent) = match self.recorded_key(object.sequence) {
            Some(recorded) => recorded,
            None => (self.give_key(object.sequence).await, false),
        };
        self.wait_for_servers(&key).await;
        let key = key.to_string();
        let delivery = self.put_until_settled(object, &key, maybe_sent).await;
        self.rejected = delivery == Delivery::Rejected;
        match delivery {
            Delivery::Arrived => {
                self.spool.delivered(object.sequence).await;
                self.count(object, &key);
            }
            Delivery::Rejected => self.spool.discard(object.sequence, DropReason::Rejected).await,
            Delivery::Conflict => self.stop_for_conflict(object.sequence, &key).await,
        }
        delivery
    }

    /// The key that an earlier process recorded for this object, and whether its bytes may have been sent under it.
    /// After a conflict nothing was; then a new writer id needs a new key.
    fn recorded_key(&mut self, sequence: u64) -> Option<(Key, bool)> {
        let recorded = self.resumed.take_if(|recorded| recorded.sequence == sequence)?;
        let key: Key = recorded.key.parse().ok()?;
        let same_writer = key.is_of(&self.spool.writer().id);
        (same_writer || !recorded.conflict).then_some((key, !recorded.conflict))
    }

    /// Gives the object its key: above every other, and durable when this returns.
    async fn give_key(&mut self, sequence: u64) -> Key {
        if self.last.is_none() {
            self.last = self.find_last().await;
        }
        let now = match self.last.clone() {
            Some(last) => self.wait_for_servers(&last).await,
            None => self.now().await,
        };
        let writer = self.spool.writer().id;
        let key = Key::next(self.last.as_ref(), now, &writer, sequence);
        self.record(InFlight { sequence, key: key.to_string(), conflict: false }).await;
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
                    sleep_until(self.started + SETTLE).await;
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
        self.record(InFlight { sequence, key: key.to_owned(), conflict: true }).await;
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

/// The next object; a disk that does not let it be read is asked again.
async fn next_object(spool: &Spool, policy: Policy) -> SpooledObject {
    let mut backoff = Backoff::new(policy);
    let mut said = false;
    loop {
        match spool.oldest().await {
            Ok(object) => return object,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::error!(%error, "cannot read the oldest object of the spool, trying again");
                }
                sleep(backoff.next()).await;
            }
        }
    }
}

/// A series of failures on the way to one success: waits, refreshes, and says each new class of failure once.
struct Trouble<S> {
    store: Arc<S>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    attempt: u64,
    /// Classes that were said.
    said: BTreeSet<&'static str>,
    /// A step that is only taken once in a series.
    denied: bool,
    clock: bool,
}

impl<S: Store> Trouble<S> {
    fn new(uploader: &Uploader<S>) -> Self {
        Self {
            store: Arc::clone(&uploader.store),
            progress: Arc::clone(&uploader.progress),
            metrics: Arc::clone(&uploader.metrics),
            backoff: Backoff::new(uploader.policy),
            attempt: 0,
            said: BTreeSet::new(),
            denied: false,
            clock: false,
        }
    }

    /// Does what the error asks for before the next attempt.
    async fn step(&mut self, error: &Error) {
        let at_once = match error.next {
            Next::Refresh => self.store.refresh().await,
            Next::Denied => !std::mem::replace(&mut self.denied, true) && self.store.refresh().await,
            Next::Clock => !std::mem::replace(&mut self.clock, true),
            _ => false,
        };
        if at_once {
            self.note(error.class, &error.text);
        } else {
            self.wait(error.class, &error.text).await;
        }
    }

    /// Waits before the next attempt.
    async fn wait(&mut self, class: &'static str, text: &str) {
        self.note(class, text);
        let wait = self.backoff.next();
        self.metrics.retry_wait_seconds.inc_by(wait.as_secs_f64());
        sleep(wait).await;
    }

    fn note(&mut self, class: &'static str, text: &str) {
        self.attempt += 1;
        self.metrics.upload_errors.with_label_values(&[class]).inc();
        self.progress.set_trouble(Some(text.to_owned()));
        if self.said.insert(class) {
            tracing::warn!(attempt = self.attempt, class, error = text, "upload failed, trying again");
        } else {
            tracing::debug!(attempt = self.attempt, class, error = text, "upload failed again");
        }
    }

    /// The end of the series.
    fn over(&self) {
        if self.attempt > 0 {
            tracing::info!(attempts = self.attempt + 1, "upload recovered");
        }
        self.progress.set_trouble(None);
    }

    /// Whether the object that has the key already is this one. Who may not look takes it for this one.
    async fn compare(&mut self, store: &S, key: &str, body: &Body) -> Delivery {
        loop {
            store.ready().await;
            match store.head(key).await {
                Ok(Some(stored)) if !stored.is(body) => return Delivery::Conflict,
                // Gone again means that ClickHouse has read and removed it.
                Ok(_) => break,
                Err(error) if matches!(error.next, Next::Unknown | Next::Clock) => self.step(&error).await,
                Err(_) => break,
            }
        }
        tracing::info!(key, "an earlier attempt had arrived");
        self.metrics.uploads_confirmed_late.inc();
        Delivery::Arrived
    }
}
