//! When a target is scraped: at a moment of its own within the interval, at the same distance ever after.
//!
//! Takes the monotonic and the wall clock as values, gives the next due time. The moment is a stable hash of the target
//! modulo the interval on the wall clock (as Prometheus), so that targets spread evenly and a restart changes nothing. Moments
//! lie on a grid, since scrapes that begin together share what it costs to wake up.

use std::time::Duration;

use tokio::time::Instant;

/// The step of the grid, milliseconds, and how many of them an interval has at least. To be woken, with caches that others have
/// filled meanwhile, costs more than a scrape: a hundred targets that are scraped every second begin ten at a time.
const STEP: i64 = 100;
const STEPS_MIN: i64 = 10;

/// The due times of one target.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    interval: Duration,
    /// Where in the interval, in milliseconds.
    phase: i64,
    due: Instant,
    /// `due` on the wall clock, milliseconds since the Unix epoch.
    due_time: i64,
}

impl Schedule {
    /// A schedule whose first due time lies within one interval from `now`, which is `time` on the wall clock.
    pub(super) fn new(hash: u64, interval: Duration, now: Instant, time: i64) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        let phase = i64::try_from(hash % u64::try_from(millis(interval)).unwrap_or(1)).unwrap_or(0);
        let step = (millis(interval) / STEPS_MIN).clamp(1, STEP);
        let phase = phase / step * step;
        let mut schedule = Self { interval, phase, due: now, due_time: time };
        schedule.anchor(now, time);
        schedule
    }

    /// When the next scrape is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The same on the wall clock, milliseconds since the Unix epoch.
    pub(super) fn due_time(&self) -> i64 {
        self.due_time
    }

    /// The timestamp for a scrape that begins `now`. It is the due time, so that timestamps are perfectly regular,
    /// unless the scrape is late by more than a hundredth of the interval, or the wall clock was set.
    pub(super) fn timestamp(&self, now: Instant, time: i64) -> i64 {
        let is_close = (time - self.due_time).abs() <= self.tolerance() && now >= self.due;
        if is_close { self.due_time } else { time }
    }

    /// Goes on to the next due time and returns how many were missed on the way. A due time that has just passed is
    /// not missed: the scrape is late, and begins at once.
    pub(super) fn advance(&mut self, now: Instant, time: i64) -> u64 {
        self.step(1);
        let late = now.saturating_duration_since(self.due);
        let missed = u32::try_from(late.as_nanos() / self.interval.as_nanos()).unwrap_or(u32::MAX);
        self.step(missed);
        // Was the wall clock set? Then the moments are counted from its new time.
        let expected = self.due_time + millis(now.saturating_duration_since(self.due))
            - millis(self.due.saturating_duration_since(now));
        if (time - expected).abs() > self.tolerance() {
            self.anchor(now, time);
        }
        u64::from(missed)
    }

    fn step(&mut self, count: u32) {
        self.due += self.interval * count;
        self.due_time += millis(self.interval) * i64::from(count);
    }

    /// The next moment at which the wall clock is at `phase` in its interval.
    fn anchor(&mut self, now: Instant, time: i64) {
        let wait = (self.phase - time).rem_euclid(millis(self.interval));
        self.due = now + Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        self.due_time = time + wait;
    }

    /// Two milliseconds (as Prometheus, for timers that are a little late) or a hundredth of the interval.
    fn tolerance(&self) -> i64 {
        (millis(self.interval) / 100).max(2)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_scrape_is_at_the_targets_own_moment() {
        let now = Instant::now();
        let check = |hash: u64, time: i64, expected: u64| {
            let schedule = Schedule::new(hash, 15 * SECOND, now, time);
            assert_eq!(schedule.due() - now, Duration::from_millis(expected), "hash {hash} at {time}");
            assert_eq!(schedule.due_time, time + i64::try_from(expected).unwrap());
        };
        check(0, 0, 0);
        check(4_000, 0, 4_000);
        check(4_000, 3_999, 1);
        check(4_000, 4_001, 14_999);
        check(15_000 * 7 + 4_000, 30_000, 4_000);
        check(u64::MAX, 1_700_000_000_123, 1_477);
        // Those of neighbours on the grid are the same.
        check(4_099, 0, 4_000);
        check(4_100, 0, 4_100);
    }

    #[test]
    fn due_times_do_not_drift() {
        let start = Instant::now();
        let mut schedule = Schedule::new(0, SECOND, start, 0);
        for round in 1..=1_000_u32 {
            // Every scrape takes a while and is noticed a little late.
            let now = schedule.due() + Duration::from_millis(1);
            let time = i64::from(round - 1) * 1_000 + 1;
            assert_eq!(schedule.timestamp(now, time), i64::from(round - 1) * 1_000);
            assert_eq!(schedule.advance(now + 300 * SECOND / 1_000, time + 300), 0);
            assert_eq!(schedule.due(), start + SECOND * round);
        }
    }

    #[test]
    fn missed_moments_are_skipped_and_counted() {
        let start = Instant::now();
        let check = |took: u64, missed: u64, next_due: u64| {
            let mut schedule = Schedule::new(0, SECOND, start, 0);
            let now = start + Duration::from_millis(took);
            assert_eq!(schedule.advance(now, i64::try_from(took).unwrap()), missed, "took {took} ms");
            assert_eq!(schedule.due() - start, Duration::from_millis(next_due), "took {took} ms");
        };
        check(10, 0, 1_000);
        check(1_000, 0, 1_000);
        check(1_001, 0, 1_000);
        check(1_999, 0, 1_000);
        check(2_000, 1, 2_000);
        check(5_500, 4, 5_000);
    }

    #[test]
    fn a_late_scrape_has_its_own_time() {
        let start = Instant::now();
        let schedule = Schedule::new(0, 10 * SECOND, start, 0);
        let check = |late: u64, expected: i64| {
            let time = i64::try_from(late).unwrap();
            assert_eq!(schedule.timestamp(start + Duration::from_millis(late), time), expected);
        };
        check(0, 0);
        check(100, 0);
        check(101, 101);
        check(9_000, 9_000);
    }

    #[test]
    fn a_clock_that_was_set_moves_the_moments() {
        let start = Instant::now();
        let mut schedule = Schedule::new(3_000, 10 * SECOND, start, 3_000);
        let now = start + SECOND;
        assert_eq!(schedule.timestamp(now, 3_605_000), 3_605_000);
        assert_eq!(schedule.advance(now, 3_605_000), 0);
        assert_eq!((schedule.due() - now, schedule.due_time), (8 * SECOND, 3_613_000));
    }
}
