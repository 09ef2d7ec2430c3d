//! Keys: the order of uploads, which is what ClickHouse's S3Queue in ordered mode goes by.
//!
//! A key is `{unix:010}/{writer}-{seq:010}.parquet` below the store's prefix, or as Vector's sink `aws_s3` made it,
//! `{unix:010}/{unix:010}-{uuid}.log`. Keys of one writer only ever increase, byte by byte; this module makes that so
//! whatever clocks and sequence numbers do.

use std::fmt;
use std::str::FromStr;

use pipeline::model::object::Format;

/// Digits of both numbers in a key: enough for Unix seconds until the year 2286.
const DIGITS: usize = 10;

/// What the base name of a key looks like, as the `partition_regex` of an S3Queue table that keeps one pointer per writer.
pub const PARTITION_REGEX: &str = r"(?P<writer>[a-z0-9]+)-(?P<sequence>[0-9]+)\.parquet";

/// The same of keys like Vector's: what stands for the writer is a hash of its id.
pub const PARTITION_REGEX_VECTOR: &str = r"[0-9]+-(?P<sequence>[0-9a-f]{8}-[0-9a-f]{4})-(?P<writer>8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})\.log(\.gz)?";

/// How far ahead of the servers' time keys like Vector's may run, each with a second of its own. Beyond, those of one second
/// are ordered by their names, as all others are; far enough ahead nothing would be uploaded any more.
const AHEAD: i64 = 60;

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
    /// `unix` is the larger of `now` and the last key's; one more where the names alone would not increase. Of keys like
    /// Vector's each has a second of its own, as long as that is not too far ahead.
    #[must_use]
    pub fn next(last: Option<&Self>, now: i64, writer: &str, sequence: u64, format: Format) -> Self {
        let own_second = format != Format::Parquet;
        let name = |unix| name(unix, writer, sequence, format);
        let unix = match last {
            None => now,
            Some(last) if last.unix < now => now,
            Some(last) if own_second && last.unix < now.saturating_add(AHEAD) => last.unix.saturating_add(1),
            Some(last) if last.name < name(last.unix) => last.unix,
            Some(last) => last.unix.saturating_add(1),
        };
        Self { unix, name: name(unix) }
    }

    /// Whether it is a key of `writer`.
    #[must_use]
    pub fn is_of(&self, writer: &str) -> bool {
        let begins = self.name.strip_prefix(writer).is_some_and(|rest| rest.starts_with('-'));
        let named = |(_, of): (u64, &str)| of == uuid_of(writer);
        begins && self.format() == Some(Format::Parquet) || self.uuid().is_some_and(named)
    }

    /// The object's number, if it is a key of `writer`.
    #[must_use]
    pub fn sequence_of(&self, writer: &str) -> Option<u64> {
        if let Some((sequence, of)) = self.uuid() {
            return (of == uuid_of(writer)).then_some(sequence);
        }
        let rest = self.name.strip_prefix(writer)?.strip_prefix('-')?;
        rest.strip_suffix(Format::Parquet.extension())?.strip_suffix('.')?.parse().ok()
    }

    /// Whether an agent may have given it, and no other shipper has.
    #[must_use]
    pub fn is_of_agent(&self) -> bool {
        self.format() == Some(Format::Parquet) || self.uuid().is_some()
    }

    fn format(&self) -> Option<Format> {
        Format::of_name(&self.name)
    }

    /// Of a key like Vector's the object's number, and what stands for the writer.
    fn uuid(&self) -> Option<(u64, &str)> {
        let format = self.format().filter(|format| *format != Format::Parquet)?;
        let name = self.name.strip_suffix(format.extension())?.strip_suffix('.')?;
        let uuid = name.strip_prefix(&format!("{:010}-", self.unix))?;
        let (high, rest) = uuid.split_once('-')?;
        let (low, of) = rest.split_once('-')?;
        let is_hex = uuid.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_ours = is_hex && of.starts_with(VERSION) && [high.len(), low.len(), of.len()] == [8, 4, 22];
        is_ours.then_some((u64::from_str_radix(&format!("{high}{low}"), 16).ok()?, of))
    }
}

/// What follows the slash.
fn name(unix: i64, writer: &str, sequence: u64, format: Format) -> String {
    let extension = format.extension();
    match format {
        Format::Parquet => format!("{writer}-{sequence:010}.{extension}"),
        Format::VectorJson | Format::VectorJsonGzip => {
            // 48 bits, of which a writer uses half.
            let sequence = sequence & 0xffff_ffff_ffff;
            let (high, low) = (sequence >> 16, sequence & 0xffff);
            format!("{unix:010}-{high:08x}-{low:04x}-{}.{extension}", uuid_of(writer))
        }
    }
}

/// The version of UUIDs whose bits mean what their maker wants (RFC 9562, section 5.8). Vector's are of version 4.
const VERSION: char = '8';

/// What stands for a writer in its UUIDs: their last 80 bits, which are version, variant and a hash of its id. Before them
/// stands the object's number, so that UUIDs of one writer increase.
fn uuid_of(writer: &str) -> String {
    // FNV-1a (64 bits), which is the same on every machine and in every release.
    let hash = writer.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let (a, b, c) = (hash >> 52, 0x8000 | hash >> 48 & 0x3fff, hash & 0xffff_ffff_ffff);
    format!("{VERSION}{a:03x}-{b:04x}-{c:012x}")
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
        let key = Key::next(None, 1_795_303_367, "w0", 1_795_303_000, Format::Parquet);
        assert_eq!(key.to_string(), "1795303367/w0-1795303000.parquet");
        assert_eq!((key.sequence_of("w0"), key.sequence_of("w")), (Some(1_795_303_000), None));
        assert!(key.is_of("w0") && !key.is_of("w") && !key.is_of("w00"));
        assert_eq!(
            Key::next(None, 7, "a", 8, Format::Parquet).to_string(),
            "0000000007/a-0000000008.parquet"
        );
    }

    #[test]
    fn a_key_is_written_as_vector_did_it() {
        let key = Key::next(None, 1_795_303_367, "w0", 1_795_303_000, Format::VectorJson);
        assert_eq!(key.to_string(), "1795303367/1795303367-00006b02-2658-808c-88cb-8607b56d7952.log");
        let gzip = Key::next(Some(&key), 1_795_303_367, "w0", 1_795_303_001, Format::VectorJsonGzip);
        assert_eq!(gzip.to_string(), "1795303368/1795303368-00006b02-2659-808c-88cb-8607b56d7952.log.gz");
        for (key, sequence) in [(key, 1_795_303_000), (gzip, 1_795_303_001)] {
            assert_eq!((key.sequence_of("w0"), key.sequence_of("w1")), (Some(sequence), None));
            assert!(key.is_of("w0") && !key.is_of("w1") && key.is_of_agent());
        }
        let theirs: Key = "1795303367/1795303360-0f8fad5b-d9cb-469f-a165-70867728950e.log".parse().unwrap();
        assert!(!theirs.is_of_agent() && !theirs.is_of("1795303360"));
        assert_eq!(theirs.sequence_of("1795303360"), None);
    }

    #[test]
    fn keys_like_vectors_have_a_second_each_until_they_run_ahead() {
        let mut last = None;
        let mut seconds = Vec::new();
        for sequence in 0..200 {
            let key = Key::next(last.as_ref(), 1_795_303_000, "w0", sequence, Format::VectorJson);
            seconds.push(key.unix - 1_795_303_000);
            last = Some(key);
        }
        assert!((0..=AHEAD).eq(seconds.iter().copied().take(61)), "{seconds:?}");
        assert!(seconds[61..].iter().all(|second| *second == AHEAD), "{seconds:?}");
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
            steps in proptest::collection::vec(
                (0_i64..9_999_999_000, "[a-z0-9]{1,4}", 0_u64..9_999_999_999, proptest::sample::select(&Format::ALL[..])),
                1..50,
            ),
        ) {
            let mut last: Option<Key> = None;
            for (now, writer, sequence, format) in steps {
                let key = Key::next(last.as_ref(), now, &writer, sequence, format);
                prop_assert!(key.is_of(&writer) && key.sequence_of(&writer) == Some(sequence));
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
