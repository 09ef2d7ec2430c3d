//! From a batch to the bytes of a Parquet file: rows sorted series by series, deterministic.

use serde::{Deserialize, Serialize};

use crate::schema::Schema;

/// How objects are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Labels that become columns, besides the fixed ones. The table has to have the column first: see `agent schema`.
    pub promote: Vec<String>,
    /// Compression of every column.
    pub compression: Compression,
}

/// Compression of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard level 1: within 3 % of level 3 on samples for half the CPU; snappy and lz4 cost 53-73 % more bytes.
    #[default]
    Zstd,
    /// LZ4 (raw block), for readers without zstd.
    Lz4,
    /// Snappy, for readers without zstd.
    Snappy,
    /// None, to look at a file with bare eyes.
    None,
}

impl Config {
    /// Problems of the section: path below it, what is wrong and the remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let problems = Schema::new(&self.promote).err().unwrap_or_default();
        problems.into_iter().map(|(i, text)| (format!("promote[{i}]"), text)).collect()
    }
}
