//! Durations and sizes as they stand in the configuration: always with a unit, never a bare number.
//!
//! Durations take Prometheus' notation (`1h30m`, `15s`, `250ms`; prometheus/common `model.ParseDuration`) and
//! Go's fractions (`1.5h`), so that `REFRESH_INTERVAL` of the old sidecar can be taken over. Sizes take
//! Prometheus' notation (`10MB`; alecthomas/units `Base2Bytes`), in which `MB` and `MiB` are the same 1024 * 1024.

use std::fmt;
use std::str::FromStr;
use std::time;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time with millisecond resolution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub time::Duration);

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const DURATION_UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1 << 40),
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("KB", 1 << 10),
    ("B", 1),
];

impl Duration {
    /// A duration of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// Whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("{text:?} is not a duration: write it like 15s, 1m30s or 250ms");
        if text == "0" {
            return Ok(Self(time::Duration::ZERO));
        }
        let mut rest = text;
        let mut millis = 0_f64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(problem)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let number: f64 = number.parse().map_err(|_| problem())?;
            let (_, factor) = DURATION_UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(problem)?;
            #[expect(clippy::cast_precision_loss, reason = "the factors are far below 2^52")]
            let factor = *factor as f64;
            millis += number * factor;
            rest = tail;
        }
        // 292 million years are enough, and keep the conversion to i64 milliseconds exact.
        if text.is_empty() || millis > 9.0e15 {
            return Err(problem());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        Ok(Self(time::Duration::from_millis(millis.round() as u64)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in DURATION_UNITS {
            // Years and weeks are read but not written: 365d says more than 1y.
            let count = if matches!(unit, "y" | "w") { 0 } else { millis / factor };
            millis -= count * factor;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("{text:?} is not a size: write it like 512KiB, 10MiB or 2GiB");
        if text == "0" {
            return Ok(Self(0));
        }
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(problem)?;
        let (number, unit) = text.split_at(unit_at);
        let (_, factor) = SIZE_UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(problem)?;
        let number: u64 = number.trim_end().parse().map_err(|_| problem())?;
        number.checked_mul(*factor).map(Self).ok_or_else(problem)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (unit, factor) = SIZE_UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// What stands in the file: a text, or the bare number that is refused with the same remedy.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text with a unit, such as 15s or 10MiB")]
enum Written {
    Text(String),
    Number(u64),
}

impl Written {
    fn parse<T: FromStr<Err = String>>(self) -> Result<T, String> {
        match self {
            Self::Text(text) => text.parse(),
            Self::Number(number) => number.to_string().parse(),
        }
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            let millis = text.parse::<Duration>().ok().map(|d| d.0.as_millis());
            assert_eq!(millis, expected.map(u128::from), "{text}");
        };
        check("15s", Some(15_000));
        check("1h30m", Some(5_400_000));
        check("1.5h", Some(5_400_000));
        check("45m0s", Some(2_700_000));
        check("250ms", Some(250));
        check("1d", Some(86_400_000));
        check("0", Some(0));
        for bad in ["", "15", "s", "15 s", "-1s", "1x", "1.2.3s", "1e3s", "99999999999y"] {
            check(bad, None);
        }
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(text.parse::<Size>().ok().map(|s| s.0), expected, "{text}");
        };
        check("10MiB", Some(10 << 20));
        check("10MB", Some(10 << 20));
        check("512 KiB", Some(512 << 10));
        check("7B", Some(7));
        check("0", Some(0));
        for bad in ["", "10", "MiB", "-1MiB", "1.5MiB", "1XB", "99999999TiB"] {
            check(bad, None);
        }
    }

    #[test]
    fn both_print_what_they_read() {
        for text in ["15s", "1m30s", "250ms", "1d", "0s"] {
            assert_eq!(text.parse::<Duration>().map(|d| d.to_string()), Ok(text.to_owned()));
        }
        for text in ["10MiB", "1536B", "1KiB", "3TiB"] {
            assert_eq!(text.parse::<Size>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
    }
}
