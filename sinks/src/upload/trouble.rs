//! A series of failures on the way to one success.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Delivery, Uploader};
use crate::metrics::Metrics;
use crate::retry::{Backoff, Budget};
use crate::status::Progress;
use crate::store::{Body, Error, Next, Store};

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
    /// A step that is only taken once in a series.
    denied: bool,
    clock: bool,
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
            denied: false,
            clock: false,
        }
    }

    /// Does what the error asks for before the next attempt.
    pub(super) async fn step(&mut self, error: &Error) {
        let at_once = match error.next {
            Next::Refresh => self.store.refresh().await,
            Next::Denied => !std::mem::replace(&mut self.denied, true) && self.store.refresh().await,
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

    /// Whether the object that has the key already is this one. Who may not look takes it for this one.
    pub(super) async fn compare(&mut self, store: &S, key: &str, body: &Body) -> Delivery {
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
