//! A series of failures on the way to one success.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Delivery, Uploader};
use crate::metrics::Metrics;
use crate::retry::{Backoff, Budget};
use crate::status::Progress;
use crate::store::{Body, Error, Next, Store, Stored};

/// How often new credentials are asked for while access is denied.
const DENIED_APART: Duration = Duration::from_secs(300);

/// A series of failures on the way to one success: waits, refreshes, and says each new class of failure once.
pub(super) struct Trouble<S> {
    store: Arc<S>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    budget: Arc<Budget>,
    attempt: u64,
    /// Classes that were said.
    said: BTreeSet<&'static str>,
    /// When new credentials were asked for because of a denial.
    denied: Option<Instant>,
    /// Steps that are only taken once in a series.
    clock: bool,
    insisted: bool,
}

impl<S: Store> Trouble<S> {
    pub(super) fn new(uploader: &Uploader<S>) -> Self {
        Self {
            store: Arc::clone(&uploader.store),
            progress: Arc::clone(&uploader.progress),
            metrics: Arc::clone(&uploader.metrics),
            backoff: Backoff::new(uploader.policy),
            budget: Arc::clone(&uploader.budget),
            attempt: 0,
            said: BTreeSet::new(),
            denied: None,
            clock: false,
            insisted: false,
        }
    }

    /// Does what the error asks for before the next attempt.
    pub(super) async fn step(&mut self, error: &Error) {
        let at_once = match error.next {
            Next::Refresh => self.store.refresh().await,
            Next::Denied => self.renew().await,
            Next::Clock => !std::mem::replace(&mut self.clock, true),
            _ => false,
        };
        if at_once {
            self.note(error.class, &error.text);
            self.pause(Duration::ZERO).await;
        } else {
            self.wait(error.class, &error.text).await;
        }
    }

    /// Gets new credentials after a denial; whether that was done now.
    async fn renew(&mut self) -> bool {
        if self.denied.is_some_and(|at| at.elapsed() < DENIED_APART) {
            return false;
        }
        let renewed = self.store.refresh().await;
        self.denied = renewed.then(Instant::now);
        renewed
    }

    /// Whether to look once more after a refusal to let us look: it may have meant credentials that are not good any more,
    /// which an answer without a body cannot say.
    pub(super) async fn insists(&mut self, error: &Error) -> bool {
        if std::mem::replace(&mut self.insisted, true) {
            return false;
        }
        tracing::debug!(%error, "may not look, trying again with new credentials");
        self.store.refresh().await;
        self.pause(Duration::ZERO).await;
        true
    }

    /// Waits before the next attempt.
    pub(super) async fn wait(&mut self, class: &'static str, text: &str) {
        self.note(class, text);
        let wait = self.backoff.next();
        self.pause(wait).await;
    }

    /// Waits at least so long, and until the budget of all series allows another attempt.
    async fn pause(&self, least: Duration) {
        let wait = least.max(self.budget.take());
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
    pub(super) fn over(&self) {
        if self.attempt > 0 {
            tracing::info!(attempts = self.attempt + 1, "upload recovered");
        }
        self.progress.set_trouble(None);
    }

    /// What is stored under a key, as soon as that is known. Not being permitted to look is the error.
    pub(super) async fn stored(&mut self, key: &str) -> Result<Option<Stored>, Error> {
        loop {
            self.store.ready().await;
            match self.store.head(key).await {
                Ok(stored) => return Ok(stored),
                Err(error) if !error.forbids() => self.step(&error).await,
                Err(error) if self.insists(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the object that has the key after an earlier attempt is this one. Who may not look takes it for this one.
    pub(super) async fn compare(&mut self, key: &str, body: &Body) -> Delivery {
        match self.stored(key).await {
            Ok(Some(stored)) if !stored.is(body) => Delivery::Conflict,
            // Gone again means that ClickHouse has read and removed it.
            Ok(_) | Err(_) => self.confirm(key),
        }
    }

    /// The same before any other attempt: it is another writer's unless it is certainly this one, which is so where something
    /// on the way has sent our only request twice.
    pub(super) async fn compare_first(&mut self, key: &str, body: &Body) -> Delivery {
        match self.stored(key).await {
            Ok(Some(stored)) if stored.is(body) && stored.crc32.is_some() => self.confirm(key),
            Ok(_) | Err(_) => Delivery::Conflict,
        }
    }

    fn confirm(&self, key: &str) -> Delivery {
        tracing::info!(key, "an earlier attempt had arrived");
        self.metrics.uploads_confirmed_late.inc();
        Delivery::Arrived
    }
}
