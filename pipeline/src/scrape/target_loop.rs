//! The loop of one target: waits until a scrape is due, makes it, hands it on.
//!
//! A full queue is back-pressure: the loop waits, and the scrapes that it misses meanwhile are counted. A loop that follows
//! another of the same target begins where that one ended, so that no scrape is left out or made twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fetch::Fetcher;
use super::pool::{Error, Shared};
use super::schedule::Schedule;
use crate::gate::Moment;
use crate::model::scrape::{Arrival, Scrape};
use crate::model::target::Target;

/// Due times are told apart as finely as this.
const MILLISECOND: Duration = Duration::from_millis(1);

/// Where a loop begins.
pub(super) enum Beginning {
    /// Whenever it starts.
    Now,
    /// With what was due at this moment.
    At(Moment),
    /// With what the loop before it has not scraped, once that one has ended.
    After(oneshot::Receiver<Moment>),
}

impl Beginning {
    /// The moment from which on scrapes are this loop's; `None` if it is told to give up before that is known.
    async fn moment(self, now: impl Fn() -> Moment, abort: &CancellationToken) -> Option<Moment> {
        match self {
            Self::Now => Some(now()),
            Self::At(moment) => Some(moment),
            Self::After(before) => {
                let left = abort.run_until_cancelled(before).await?;
                let now = now();
                // The loop before has died.
                let Ok(left) = left else { return Some(now) };
                // It has scraped what was due by now; what is due later is due by this loop's own interval.
                let later = Moment { at: now.at + MILLISECOND, time: now.time + 1 };
                Some(if left.at <= later.at { left } else { later })
            }
        }
    }
}

/// See the module.
pub(super) struct TargetLoop {
    pub(super) target: Arc<Target>,
    pub(super) fetcher: Fetcher,
    pub(super) shared: Shared,
}

impl TargetLoop {
    /// Scrapes until `stop`, or `abort`, at which a scrape that is under way is given up. What is complete is still sent. Gives
    /// the due time of the first scrape that was neither made nor counted as skipped.
    pub(super) async fn run(
        mut self,
        interval: Duration,
        beginning: Beginning,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) -> Result<Moment, Error> {
        let clock = Arc::clone(&self.shared.clock);
        let now = || Moment { at: Instant::now(), time: clock() };
        let hash = self.target.labels_hash ^ xxhash_rust::xxh3::xxh3_64(self.target.url.as_bytes());
        let Some(from) = beginning.moment(now, abort).await else { return Ok(now()) };
        let mut schedule = Schedule::new(hash, interval, from.at, from.time);
        loop {
            let due = Moment { at: schedule.due(), time: schedule.due_time() };
            self.target.set_next_scrape(Some(due.time));
            if stop.run_until_cancelled(tokio::time::sleep_until(due.at)).await.is_none() {
                return Ok(due);
            }
            if self.shared.is_paused() {
                let missed = schedule.advance(Instant::now(), clock());
                self.shared.metrics.skipped.with_label_values(&["backpressure"]).inc_by(missed + 1);
                continue;
            }
            let time = schedule.timestamp(Instant::now(), clock());
            let Some(scrape) = abort.run_until_cancelled(self.scrape(time)).await else {
                self.shared.metrics.skipped.with_label_values(&["stopped"]).inc();
                return Ok(now());
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

    /// Makes one scrape, which has this timestamp.
    pub(super) async fn scrape(&mut self, time: i64) -> Scrape {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What was due and not scraped is the next loop's; what is due later is due by its own interval, and not at the moment that
    /// was scraped just now.
    #[tokio::test(start_paused = true)]
    async fn a_loop_begins_with_what_the_one_before_has_not_scraped() {
        let now = Moment { at: Instant::now() + Duration::from_secs(10), time: 10_000 };
        let abort = CancellationToken::new();
        for (seconds, expected) in [(9, 9_000), (10, 10_000), (11, 10_001)] {
            let at = now.at - Duration::from_secs(10) + Duration::from_secs(seconds);
            let (sender, before) = oneshot::channel();
            let time = i64::try_from(seconds * 1_000).unwrap();
            sender.send(Moment { at, time }).unwrap();
            let begins = Beginning::After(before).moment(|| now, &abort).await.unwrap();
            assert_eq!(begins.time, expected, "due after {seconds} s");
        }
        // One that died has said nothing.
        let (sender, before) = oneshot::channel();
        drop(sender);
        assert_eq!(Beginning::After(before).moment(|| now, &abort).await, Some(now));
        let (_sender, before) = oneshot::channel();
        abort.cancel();
        assert_eq!(Beginning::After(before).moment(|| now, &abort).await, None);
    }
}
