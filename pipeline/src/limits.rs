//! The `limits` section: what one process admits and holds, over all targets.

use crate::model::units::{Duration, Size};
use serde::{Deserialize, Serialize};

/// What the process admits and holds, over all targets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bodies that have been received and not yet been read, all targets together. A body that finds no room waits
    /// until its scrape times out.
    pub max_body_bytes: Size,
    /// Series alive, all targets together; a scrape that needs more fails. About 300 bytes each, 768 at worst.
    pub max_series: u64,
    /// A sample whose explicit timestamp is further ahead of the local clock is dropped: ClickHouse takes at most 100
    /// day partitions in one insert.
    pub max_timestamp_ahead: Duration,
    /// A sample whose explicit timestamp is further behind the local clock is dropped.
    pub max_timestamp_behind: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: Size(128 << 20),
            max_series: 5_000_000,
            max_timestamp_ahead: Duration::from_secs(10 * 60),
            max_timestamp_behind: Duration::from_secs(24 * 3600),
        }
    }
}

impl Limits {
    /// Problems between fields: path below the section, what is wrong and the remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.max_body_bytes.0 < 1 << 20 {
            problems
                .push(("max_body_bytes".to_owned(), format!("{} is less than 1MiB", self.max_body_bytes)));
        }
        if !(1..=100_000_000).contains(&self.max_series) {
            let text = format!("{} is not between 1 and 100000000", self.max_series);
            problems.push(("max_series".to_owned(), text));
        }
        problems
    }
}
