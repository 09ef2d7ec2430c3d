//! The only retry policy: exponential backoff with full jitter, for ever, and a budget over all of it.
//!
//! Built on the crate `backoff`, which nobody maintains any more (RUSTSEC-2025-0012); nothing of it shows outside
//! this module. It draws from `interval * (1 - factor) ..= interval * (1 + factor)`, so that full jitter up to a
//! ceiling (0 ..= ceiling, as in the AWS Architecture Blog's "Exponential Backoff And Jitter") is half the ceiling
//! as interval with the factor 1.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use tokio::time::Instant;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The ceiling of the first wait; it doubles with every attempt.
    pub(crate) first: Duration,
    /// The ceiling that it stays at.
    pub(crate) max: Duration,
}

impl Default for Policy {
    /// From 1 s, so that a second's outage costs a second, to 60 s, so that a long one costs the server little.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl Policy {
    /// For a disk, which costs nobody anything to ask: it is used again within two seconds of having room.
    pub(crate) const DISK: Self = Self { first: Duration::from_millis(100), max: Duration::from_secs(2) };
}

/// The waits of one series of attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    inner: ExponentialBackoff,
    max: Duration,
}

impl Backoff {
    /// A series that starts with the first wait of `policy`.
    pub(crate) fn new(policy: Policy) -> Self {
        let inner = ExponentialBackoff {
            current_interval: policy.first / 2,
            initial_interval: policy.first / 2,
            randomization_factor: 1.0,
            multiplier: 2.0,
            max_interval: policy.max / 2,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { inner, max: policy.max }
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        // `None` means out of time, and there is no limit of time.
        self.inner.next_backoff().unwrap_or(self.max).min(self.max)
    }

    /// Starts again, after a success.
    pub(crate) fn reset(&mut self) {
        self.inner.reset();
    }
}

/// Bounds how often something is attempted, whatever the reasons to: a burst at once, then one at a time.
///
/// Backoff bounds one series of failures, but a series ends with every success and some refusals ask for an attempt at
/// once; answers that alternate must not make a storm of that.
#[derive(Debug)]
pub(crate) struct Budget {
    apart: Duration,
    /// How far ahead of its even pace it may run.
    ahead_max: Duration,
    /// When the next attempt would be due at an even pace.
    due: Mutex<Option<Instant>>,
}

impl Budget {
    /// `burst` attempts at once, and one more every `apart`.
    pub(crate) fn new(burst: u32, apart: Duration) -> Self {
        Self { apart, ahead_max: apart * burst.saturating_sub(1), due: Mutex::new(None) }
    }

    /// Takes one attempt out; how long to wait before it.
    pub(crate) fn take(&self) -> Duration {
        let now = Instant::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let at = due.map_or(now, |due| due.max(now));
        *due = Some(at + self.apart);
        at.duration_since(now).saturating_sub(self.ahead_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_allows_a_burst_and_then_its_pace() {
        let budget = Budget::new(3, Duration::from_secs(2));
        let waits = |count| (0..count).map(|_| budget.take().as_secs()).collect::<Vec<_>>();
        assert_eq!(waits(5), [0, 0, 0, 2, 4]);
        // Whoever took one waits for it.
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(waits(1), [2]);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(waits(4), [0, 0, 0, 2]);
    }

    #[test]
    fn waits_are_drawn_from_zero_to_a_doubling_ceiling() {
        let policy = Policy::default();
        let mut largest = [0_f64; 9];
        let mut smallest = [f64::MAX; 9];
        for _ in 0..500 {
            let mut backoff = Backoff::new(policy);
            for i in 0..9 {
                let wait = backoff.next().as_secs_f64();
                largest[i] = largest[i].max(wait);
                smallest[i] = smallest[i].min(wait);
            }
        }
        for (i, ceiling) in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0].into_iter().enumerate() {
            // 500 uniform draws all below 90 % or above 10 % of the ceiling: once in 10^22.
            assert!(largest[i] <= ceiling && largest[i] > ceiling * 0.9, "{i}: {}", largest[i]);
            assert!(smallest[i] < ceiling * 0.1, "{i}: {}", smallest[i]);
        }
    }

    #[test]
    fn it_never_gives_up_and_starts_again() {
        let mut backoff =
            Backoff::new(Policy { first: Duration::from_millis(2), max: Duration::from_millis(4) });
        for _ in 0..10_000 {
            assert!(backoff.next() <= Duration::from_millis(4));
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(2));
    }
}
