//! Objects read back: the agent's own, and those of the shipper that it replaces.
//!
//! Takes the bytes of one object, whichever of the two it is; gives its samples, series by series as they stand there, and
//! what is known of the file. Holds one object, never all of its samples; never judges what they say.

mod parquet;
mod vector;

use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::model::series::Series;

/// Decompressed, an object takes at most this many bytes: ours have some ten million, Vector's as many.
pub const BYTES_MAX: u64 = 1 << 30;

/// Milliseconds since the Unix epoch, and the value.
pub type Sample = (i64, f64);

/// Which of the two kinds an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The agent's Parquet.
    Parquet,
    /// Vector's JSON, compressed or not.
    Vector,
}

impl Kind {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Vector => "Vector's JSON",
        }
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples.
    pub samples: u64,
    /// What is no sample, by the reason; only Vector's objects have such.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// Why an object, or the rest of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is of neither kind.
    #[error("neither Parquet nor Vector's JSON: it begins with {0}")]
    Unknown(String),
    /// It is too large.
    #[error("more than {BYTES_MAX} bytes when decompressed")]
    Large,
    /// It is damaged, or not as the agent writes it.
    #[error("cannot be read as Parquet: {0}")]
    Parquet(String),
    /// It is damaged, or not as Vector writes it.
    #[error("cannot be read as Vector's JSON: {0}")]
    Vector(String),
    /// It is damaged.
    #[error("cannot be decompressed")]
    Gzip(#[source] std::io::Error),
}

/// What a Parquet object says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// Rows, which is samples.
    pub rows: u64,
    /// The program that wrote it.
    pub created_by: String,
    /// Key-value metadata, in order.
    pub metadata: Vec<(String, String)>,
    /// The row groups in order.
    pub row_groups: Vec<RowGroup>,
}

/// A part of a Parquet object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowGroup {
    /// Its rows.
    pub rows: u64,
    /// Its columns in order.
    pub columns: Vec<Column>,
}

/// A column of a row group.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Such as `labels.key_value.key`.
    pub name: String,
    /// Such as `BYTE_ARRAY`.
    pub physical_type: String,
    /// Such as `ZSTD`.
    pub compression: String,
    /// Such as `RLE_DICTIONARY`.
    pub encodings: Vec<String>,
    /// Bytes in the object.
    pub compressed_bytes: u64,
    /// Bytes when decompressed.
    pub bytes: u64,
}

/// Which kind these bytes are of, compressed JSON included.
///
/// # Errors
/// [`Error::Unknown`].
pub fn kind(bytes: &[u8]) -> Result<Kind, Error> {
    let is_json = |start: &[u8]| matches!(start.trim_ascii_start().first(), Some(b'[' | b'{'));
    if bytes.starts_with(b"PAR1") {
        Ok(Kind::Parquet)
    } else if bytes.starts_with(&GZIP) || is_json(bytes) {
        Ok(Kind::Vector)
    } else if bytes.is_empty() {
        Err(Error::Unknown("nothing, for it is empty".to_owned()))
    } else {
        let start = bytes.get(..bytes.len().min(8)).unwrap_or_default();
        Err(Error::Unknown(format!("{:?}", String::from_utf8_lossy(start))))
    }
}

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads an object; `each` is given samples of one series, a series perhaps several times. What was given before an error is good.
///
/// # Errors
/// When it, or the rest of it, cannot be read.
pub fn read(bytes: &Bytes, each: &mut dyn FnMut(&Series, &[Sample])) -> Result<Counts, Error> {
    match kind(bytes)? {
        Kind::Parquet => guarded(|| parquet::read(bytes, each)),
        Kind::Vector if bytes.starts_with(&GZIP) => vector::read(&decompress(bytes, BYTES_MAX)?, each),
        Kind::Vector => vector::read(bytes, each),
    }
}

/// What a Parquet object says of itself. Reads its footer, no rows.
///
/// # Errors
/// When that cannot be read.
pub fn describe(bytes: &Bytes) -> Result<Description, Error> {
    guarded(|| parquet::describe(bytes))
}

/// The crate's decoder asserts where a page holds less than it says: damage to one object is not the end of the process.
fn guarded<T>(read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    caught.unwrap_or_else(|_| Err(Error::Parquet("it is damaged, and its decoder gave up".to_owned())))
}

fn decompress(bytes: &[u8], max: u64) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes).take(max + 1).read_to_end(&mut out).map_err(Error::Gzip)?;
    if out.len() as u64 > max { Err(Error::Large) } else { Ok(out) }
}

#[cfg(test)]
mod tests;
