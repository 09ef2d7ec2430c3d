//! The clock of the fake servers, which may differ from that of the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// A clock that runs a settable time ahead of the machine's (or behind it). Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead_millis: Arc<AtomicI64>,
}

impl Clock {
    /// Makes this clock run `seconds` ahead of the machine's; negative is behind.
    pub fn set_ahead(&self, seconds: i64) {
        self.ahead_millis.store(seconds * 1000, Ordering::SeqCst);
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_millis(&self) -> i64 {
        machine_millis() + self.ahead_millis.load(Ordering::SeqCst)
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.now_millis().div_euclid(1000)
    }

    /// Now, as the HTTP header `Date` writes it (RFC 9110, section 5.6.7).
    #[must_use]
    pub fn http_date(&self) -> String {
        timestamp(self.now_millis()).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// The time `later` from now in RFC 3339, to the second.
    #[must_use]
    pub fn rfc3339(&self, later: i64) -> String {
        timestamp((self.now() + later) * 1000).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).expect("a time of this millennium")
}

/// The machine's own time, milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the one place of the tests that reads the wall clock")]
#[must_use]
pub fn machine_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).expect("a time of this millennium")
}
