//! The object: a sealed, encoded batch, which is what the sinks deliver. The only part of the model they see,
//! beside the units of configuration.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A sealed batch in its final bytes. The same batch and sequence number give the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Given when the batch is sealed, increasing by one per object of a writer; a gap in what was delivered is a
    /// dropped object.
    pub sequence: u64,
    /// What `bytes` are.
    pub format: Format,
    /// The file.
    pub bytes: Bytes,
    /// Samples in the file.
    pub samples: u64,
    /// Earliest sample, milliseconds since the Unix epoch.
    pub time_min: i64,
    /// Latest sample, milliseconds since the Unix epoch.
    pub time_max: i64,
    /// Latest scrape, milliseconds since the Unix epoch: when it was due, whatever timestamps its samples have.
    pub last_scrape: i64,
    /// CRC-32 (IEEE) of `bytes`, computed at sealing and checked at every later step up to the bucket.
    pub crc32: u32,
    /// The turn in which all of it was scraped, where that is known of the object itself: one that comes out of the journal
    /// may be of an earlier turn than the present one. `None` for a single agent, and where it is of the present turn.
    pub tenure: Option<Tenure>,
}

/// One turn of one agent among several that take turns: which of a Lease's holders it was. Two turns are never equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tenure {
    /// How often the Lease had changed hands.
    pub transitions: i64,
    /// When it was taken, microseconds since the Unix epoch by the clock of who took it. Scrapes from then on are theirs.
    pub acquired: i64,
}

/// Who writes objects: the part of a key and of the file metadata that tells writers apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// `[a-z0-9]+`, unique among the writers of one prefix.
    pub id: String,
    /// The sequence number of the next object.
    pub next_sequence: u64,
    /// Every object below this has come to the spool before, or was dropped and counted. Usually `next_sequence`; less where
    /// the spool's memory was lost, because then it does not know which of the numbers below were ever used.
    pub taken: u64,
}

/// What an object is: names of files and keys, and what S3 is told of it, follow from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Rows and columns.
    #[default]
    Parquet,
    /// A JSON array as Vector's `aws_s3` sink wrote it.
    VectorJson,
    /// The same, by gzip.
    VectorJsonGzip,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parquet, Self::VectorJson, Self::VectorJsonGzip];

    /// File name extension, without the first dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::VectorJson => "log",
            Self::VectorJsonGzip => "log.gz",
        }
    }

    /// What a file of this name is; `None` where no object has such a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| {
            name.strip_suffix(format.extension()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        })
    }

    /// Media type: IANA's registration of Apache Parquet; what Vector's sink says unless it is told otherwise.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Parquet => "application/vnd.apache.parquet",
            Self::VectorJson | Self::VectorJsonGzip => "text/x-log",
        }
    }

    /// The header `Content-Encoding`, as Vector's sink sets it.
    #[must_use]
    pub fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::Parquet | Self::VectorJson => None,
            Self::VectorJsonGzip => Some("gzip"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_in_it() {
        let check =
            |name: &str, expected: Option<Format>| assert_eq!(Format::of_name(name), expected, "{name}");
        check("1795303367/w0-1795303000.parquet", Some(Format::Parquet));
        check("1795303367/1795303367-x.log", Some(Format::VectorJson));
        check("1795303367/1795303367-x.log.gz", Some(Format::VectorJsonGzip));
        for other in ["", "log", ".log", "x.gz", "x.parquet.tmp", "xparquet", "x.json"] {
            check(other, None);
        }
    }
}
