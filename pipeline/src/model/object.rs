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
    /// The Parquet file.
    pub bytes: Bytes,
    /// Rows in the file, which is samples.
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

/// File name extension of an object, without the dot.
pub const EXTENSION: &str = "parquet";

/// Media type of an object (IANA registration of Apache Parquet).
pub const CONTENT_TYPE: &str = "application/vnd.apache.parquet";
