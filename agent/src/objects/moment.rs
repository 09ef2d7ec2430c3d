//! Times on the command line, and the time in keys.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pipeline::model::units::Duration;

/// Digits of the Unix second in a key, of the agent's and of Vector's.
const DIGITS: usize = 10;

/// A time as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds since the Unix epoch.
    At(i64),
    /// So long ago, milliseconds.
    Ago(i64),
}

impl Moment {
    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn resolve(self, now: i64) -> i64 {
        match self {
            Self::At(time) => time,
            Self::Ago(time) => now.saturating_sub(time),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "now" {
            return Ok(Self::Ago(0));
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time.as_millisecond()));
        }
        if text.len() == DIGITS
            && let Ok(second) = text.parse::<i64>()
        {
            return Ok(Self::At(second.saturating_mul(1000)));
        }
        if let Ok(time) = text.parse::<DateTime>()
            && let Ok(time) = time.to_zoned(TimeZone::UTC)
        {
            return Ok(Self::At(time.timestamp().as_millisecond()));
        }
        match text.parse::<Duration>() {
            Ok(ago) => Ok(Self::Ago(ago.as_millis())),
            Err(_) => Err(format!(
                "{text:?} is no time: write 2026-11-22T10:00:00Z, 2026-11-22 10:00 (UTC), 1795303367, now, or 90m for so long ago"
            )),
        }
    }
}

/// The range of seconds that a key's may lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first second.
    pub from: i64,
    /// The last second.
    pub to: i64,
}

impl Window {
    /// Every time there is.
    pub const ALL: Self = Self { from: i64::MIN, to: i64::MAX };

    /// The seconds of a range of milliseconds, with a margin at both ends.
    #[must_use]
    pub fn around(from: i64, to: i64, margin: i64) -> Self {
        let floor = |millis: i64| millis.div_euclid(1000);
        Self { from: floor(from.saturating_sub(margin)), to: floor(to.saturating_add(margin)) }
    }

    /// Whether a key may be that of an object in the range: its second, if it has one, lies in it. A directory ends with a slash.
    #[must_use]
    pub fn may_have(self, key: &str) -> bool {
        let mut directories: Vec<_> = key.split('/').collect();
        directories.pop();
        directories.into_iter().find_map(second).is_none_or(|second| (self.from..=self.to).contains(&second))
    }
}

/// The second that a part of a key says.
pub(super) fn second(part: &str) -> Option<i64> {
    let is_second = part.len() == DIGITS && part.bytes().all(|b| b.is_ascii_digit());
    is_second.then(|| part.parse().ok()).flatten()
}
