//! Keys: the order of uploads, which is what ClickHouse's S3Queue in ordered mode goes by.
//!
//! A key is `{unix:010}/{writer}-{seq:010}.parquet` below the store's prefix. Keys of one writer only ever
//! increase, byte by byte; this module makes that so whatever clocks and sequence numbers do.

use std::fmt;
use std::str::FromStr;

use pipeline::model::object::EXTENSION;

/// Digits of both numbers in a key: enough for Unix seconds until the year 2286.
const DIGITS: usize = 10;

/// The key of one object, without the store's prefix. Ordered as its text is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Unix second at which the object's turn to upload came.
    pub unix: i64,
    /// What follows the slash: `{writer}-{seq:010}.parquet`, or another writer's name when listed.
    name: String,
}

impl Key {
    /// The key of the object `sequence` of `writer` whose turn comes at `now`, after the key `last`.
    ///
    /// `unix` is the larger of `now` and the last key's; one more where the names alone would not increase.
    #[must_use]
    pub fn next(last: Option<&Self>, now: i64, writer: &str, sequence: u64) -> Self {
        let name = format!("{writer}-{sequence:010}.{EXTENSION}");
        let unix = match last {
            None => now,
            Some(last) if last.unix < now => now,
            Some(last) if last.name < name => last.unix,
            Some(last) => last.unix.saturating_add(1),
        };
        Self { unix, name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}/{}", self.unix, self.name)
    }
}

/// Reads the key of any writer; the error says what a key looks like.
impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("{text:?} is not a key like 1795303367/w0-1795303000.parquet");
        let (unix, name) = text.split_once('/').ok_or_else(problem)?;
        if unix.len() != DIGITS || !unix.bytes().all(|b| b.is_ascii_digit()) || name.is_empty() {
            return Err(problem());
        }
        Ok(Self { unix: unix.parse().map_err(|_| problem())?, name: name.to_owned() })
    }
}

/// Whether `id` may be a writer's: 1 to 32 characters of `[a-z0-9]`.
#[must_use]
pub fn is_writer(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
