//! The open batch and the rule for closing it: on age, rows or estimated bytes, whichever comes first.
//!
//! Takes samples, gives a full [`Batch`]; never encodes and never looks at a clock.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::model::batch::Batch;
use crate::model::units::{Duration, Size};

/// When a batch becomes an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Age of the oldest sample at which a batch is sealed. Fifteen seconds is what the stack had; sixty halve the bytes.
    pub max_age: Duration,
    /// Samples at which a batch is sealed. It bounds memory: a sample takes 8 bytes in an open batch, or a bit where its value has not
    /// changed, and two more where its timestamp is its own; 17 at most. A batch that is sealed on its age holds the same series as
    /// often as the one before, and is made from what is left of that one; so this is above what a cluster's nodes bring in that time.
    pub max_rows: u64,
    /// Size of an object at which a batch is sealed, estimated from the bytes per row of the object before it.
    pub max_bytes: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(15), max_rows: 2_000_000, max_bytes: Size(10 << 20) }
    }
}

impl Config {
    /// Problems between fields: path below the section, what is wrong and the remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.max_age.0 < std::time::Duration::from_millis(100) {
            let text =
                format!("{} is shorter than 100ms: the bucket would fill with tiny objects", self.max_age);
            problems.push(("max_age".to_owned(), text));
        }
        if !(1..=50_000_000).contains(&self.max_rows) {
            let text = format!("{} is not between 1 and 50000000 rows", self.max_rows);
            problems.push(("max_rows".to_owned(), text));
        }
        if self.max_bytes.0 < 1 << 10 {
            problems.push(("max_bytes".to_owned(), format!("{} is less than 1KiB", self.max_bytes)));
        }
        problems
    }
}

/// The open batch.
#[derive(Debug)]
pub(crate) struct Batcher {
    pub(crate) open: Batch,
    since: Option<Instant>,
    /// Scrapes from this moment on belong to the next batch, milliseconds since the Unix epoch.
    until: Option<i64>,
    config: Config,
    /// Of the last object; before the first, what a first object with all its labels typically takes.
    bytes_per_row: f64,
}

impl Batcher {
    pub(crate) fn new(config: Config) -> Self {
        Self { open: Batch::default(), since: None, until: None, config, bytes_per_row: 5.0 }
    }

    /// Samples that one scrape may bring. A batch is looked at between scrapes, and so this bounds it. The default is more than
    /// fit into the largest body that is taken by default.
    pub(crate) fn scrape_max(&self) -> u64 {
        self.config.max_rows
    }

    /// Says that samples of a scrape at `time` (milliseconds since the Unix epoch) were added at `now`.
    pub(crate) fn touched(&mut self, now: Instant, time: i64) {
        if !self.open.is_empty() && self.since.is_none() {
            self.since = Some(now);
            self.until = Some(self.next_cut(time));
        }
    }

    /// Whether the batch has to be sealed before a scrape at `time` is added.
    ///
    /// Cuts lie [`Config::max_age`] apart on the scrapes' own clock, and not where a batch happens to begin: so that each batch
    /// holds as many scrapes of a target as the one before.
    pub(crate) fn is_over(&self, time: i64) -> bool {
        !self.open.is_empty() && self.until.is_some_and(|until| until <= time)
    }

    /// The cut that follows a batch whose first scrape is at `time`. A scrape that took long may be of before the last cut.
    fn next_cut(&self, time: i64) -> i64 {
        let age = self.config.max_age.as_millis().max(1);
        let cut = self.until.map(|last| last + age * ((time - last).div_euclid(age) + 1).max(1));
        // Further away only where the clock was set back.
        cut.filter(|cut| cut - time <= 2 * age).unwrap_or(time + age)
    }

    /// When the batch has to be sealed for its age; `None` while it is empty.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.config.max_age.0)
    }

    /// Whether the batch has to be sealed at `now`.
    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
            || self.open.len() as u64 >= self.config.max_rows
            || self.open.len() as f64 * self.bytes_per_row >= self.config.max_bytes.0 as f64
    }

    /// Takes the batch out; the next begins empty.
    pub(crate) fn take(&mut self) -> Batch {
        self.since = None;
        self.open.take()
    }

    /// Learns from the size of the object that a batch became.
    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    pub(crate) fn sealed(&mut self, rows: u64, bytes: usize) {
        if rows > 0 && bytes > 0 {
            self.bytes_per_row = bytes as f64 / rows as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::{LineUp, Times};
    use crate::model::series::SeriesId;
    use std::time::Duration as Time;

    #[test]
    fn a_batch_is_sealed_on_age_rows_or_bytes() {
        let start = Instant::now();
        let check = |config: Config, rows: u32, bytes_per_row: usize, after: Time, expected: bool| {
            let mut batcher = Batcher::new(config.clone());
            batcher.sealed(1, bytes_per_row);
            for i in 0..rows {
                batcher.open.add(&mut LineUp::new(&[SeriesId(i)]), Times::Same(0), &[0.0]);
                batcher.touched(start, 0);
            }
            assert_eq!(
                batcher.is_due(start + after),
                expected,
                "{config:?} {rows} {bytes_per_row} {after:?}"
            );
        };
        let config = Config { max_rows: 10, max_bytes: Size(2048), ..Config::default() };
        check(config.clone(), 0, 5, Time::from_secs(99), false);
        check(config.clone(), 9, 5, Time::from_secs(14), false);
        check(config.clone(), 9, 5, Time::from_secs(15), true);
        check(config.clone(), 10, 5, Time::ZERO, true);
        check(config, 2, 1024, Time::ZERO, true);
    }

    #[test]
    fn cuts_lie_on_a_grid_of_the_scrapes_clock() {
        let mut batcher = Batcher::new(Config::default());
        let mut begin = |time: i64, is_inside: &[i64], is_over: &[i64]| {
            batcher.take();
            assert!(!batcher.is_over(i64::MAX), "an empty batch is not over");
            batcher.open.add(&mut LineUp::new(&[SeriesId(0)]), Times::Same(time), &[0.0]);
            batcher.touched(Instant::now(), time);
            for time in is_inside {
                assert!(!batcher.is_over(*time), "{time}");
            }
            for time in is_over {
                assert!(batcher.is_over(*time), "{time}");
            }
        };
        begin(1_007, &[1_007, 16_006], &[16_007, 90_000]);
        // It begins later than it could, and ends where it would.
        begin(18_000, &[15_000, 31_006], &[31_007]);
        // Its first scrape took long, and is from before the cut.
        begin(30_900, &[31_007, 46_006], &[46_007]);
        // Nothing came for a while.
        begin(500_000, &[511_006], &[511_007]);
        // The clock was set back, and forward.
        begin(100, &[15_099], &[15_100]);
        begin(9_000_000, &[9_000_099], &[9_015_100]);
    }
}
