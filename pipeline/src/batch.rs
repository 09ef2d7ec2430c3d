//! The open batch and the rule for closing it: on age, rows or estimated bytes, whichever comes first.
//!
//! Takes samples, gives a full [`Batch`]; never encodes and never looks at a clock.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::model::sample::Batch;
use crate::model::units::{Duration, Size};

/// When a batch becomes an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Age of the oldest sample at which a batch is sealed. Fifteen seconds is what the stack had; sixty halve the bytes.
    pub max_age: Duration,
    /// Samples at which a batch is sealed. It bounds memory: a sample takes 12 bytes in an open batch and 16 while it is encoded.
    pub max_rows: u64,
    /// Size of an object at which a batch is sealed, estimated from the bytes per row of the object before it.
    pub max_bytes: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(15), max_rows: 1_000_000, max_bytes: Size(10 << 20) }
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

/// What one scrape may bring at most, in full batches. The default, two million samples, is more than fit into the largest
/// body that is taken by default.
pub const SCRAPE_BATCHES: u64 = 2;

/// The open batch.
#[derive(Debug)]
pub(crate) struct Batcher {
    pub(crate) open: Batch,
    since: Option<Instant>,
    config: Config,
    /// Of the last object; before the first, what a first object with all its labels typically takes.
    bytes_per_row: f64,
}

impl Batcher {
    pub(crate) fn new(config: Config) -> Self {
        Self { open: Batch::default(), since: None, config, bytes_per_row: 5.0 }
    }

    /// Samples that one scrape may bring. A batch is looked at between scrapes, and so this bounds it.
    pub(crate) fn scrape_max(&self) -> u64 {
        self.config.max_rows.saturating_mul(SCRAPE_BATCHES)
    }

    /// Says that samples were added at `now`.
    pub(crate) fn touched(&mut self, now: Instant) {
        if !self.open.is_empty() {
            self.since.get_or_insert(now);
        }
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
        std::mem::take(&mut self.open)
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
    use crate::model::sample::SeriesId;
    use std::time::Duration as Time;

    #[test]
    fn a_batch_is_sealed_on_age_rows_or_bytes() {
        let start = Instant::now();
        let check = |config: Config, rows: u32, bytes_per_row: usize, after: Time, expected: bool| {
            let mut batcher = Batcher::new(config.clone());
            batcher.sealed(1, bytes_per_row);
            for i in 0..rows {
                batcher.open.push(SeriesId(i), 0, 0.0);
                batcher.touched(start);
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
}
