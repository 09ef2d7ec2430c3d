//! The wall clock of this crate; whatever needs a time takes it as a value.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, as Prometheus counts them.
pub(crate) fn now_seconds() -> f64 {
    std::time::Duration::from_millis(now_millis().unsigned_abs()).as_secs_f64()
}

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the wall clock")]
pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
