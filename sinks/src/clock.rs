//! The local wall clock, read here and nowhere else in the sinks.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as this machine believes it to be.
#[expect(clippy::disallowed_methods, reason = "the one place where the sinks read the wall clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// A time in milliseconds since the Unix epoch; 0 for times before it.
pub(crate) fn unix_millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Whole seconds since the Unix epoch, as this machine believes them to be.
pub(crate) fn wall_seconds() -> i64 {
    unix_millis(wall()) / 1000
}
