//! Keys: the order of uploads, which is what ClickHouse's S3Queue in ordered mode goes by.
//!
//! A key is `{unix:010}/{writer}-{seq:010}.parquet` below the store's prefix. Keys of one writer only ever
//! increase, byte by byte; this module makes that so whatever clocks and sequence numbers do.

use std::fmt;
use std::str::FromStr;

use pipeline::model::object::EXTENSION;

/// Digits of both numbers in a key: enough for Unix seconds until the year 2286.
const DIGITS: usize = 10;

/// What the base name of a key looks like, as the `partition_regex` of an S3Queue table that keeps one pointer per writer.
pub const PARTITION_REGEX: &str = r"(?P<writer>[a-z0-9]+)-(?P<sequence>[0-9]+)\.parquet";

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

    /// Whether it is a key of `writer`.
    #[must_use]
    pub fn is_of(&self, writer: &str) -> bool {
        self.name.strip_prefix(writer).is_some_and(|rest| rest.starts_with('-'))
    }

    /// The object's number, if it is a key of `writer`.
    #[must_use]
    pub fn sequence_of(&self, writer: &str) -> Option<u64> {
        let rest = self.name.strip_prefix(writer)?.strip_prefix('-')?;
        rest.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse().ok()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_written_as_the_queue_expects_it() {
        let key = Key::next(None, 1_795_303_367, "w0", 1_795_303_000);
        assert_eq!(key.to_string(), "1795303367/w0-1795303000.parquet");
        assert_eq!((key.sequence_of("w0"), key.sequence_of("w")), (Some(1_795_303_000), None));
        assert!(key.is_of("w0") && !key.is_of("w") && !key.is_of("w00"));
        assert_eq!(Key::next(None, 7, "a", 8).to_string(), "0000000007/a-0000000008.parquet");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "1795303367",
            "179530336/a",
            "1795303367/",
            "events/1.parquet",
            "+795303367/a",
            "1795303367a/a",
        ] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn writers_are_lower_case_and_digits() {
        for (id, expected) in
            [("w0", true), ("k3j2h1g0f9", true), ("", false), ("W", false), ("a-b", false), ("ä", false)]
        {
            assert_eq!(is_writer(id), expected, "{id}");
        }
        assert!(is_writer(&"a".repeat(32)) && !is_writer(&"a".repeat(33)));
    }

    proptest! {
        #[test]
        fn keys_strictly_increase_as_texts(
            steps in proptest::collection::vec((0_i64..9_999_999_000, "[a-z0-9]{1,4}", 0_u64..9_999_999_999), 1..50),
        ) {
            let mut last: Option<Key> = None;
            for (now, writer, sequence) in steps {
                let key = Key::next(last.as_ref(), now, &writer, sequence);
                prop_assert_eq!(key.to_string().parse::<Key>(), Ok(key.clone()));
                if let Some(last) = &last {
                    prop_assert!(key.to_string() > last.to_string(), "{} after {}", key, last);
                    prop_assert!(key > *last);
                    prop_assert!(key.unix <= now.max(last.unix + 1), "no further ahead than needed");
                }
                last = Some(key);
            }
        }
    }
}
