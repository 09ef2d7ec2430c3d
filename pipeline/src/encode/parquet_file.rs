//! From a batch to the bytes of a Parquet file: rows sorted series by series, deterministic.

use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use super::columns::Columns;
use super::compress::Compressor;
use super::layout::Layouts;
use super::order::Order;
use super::pages::{self, TextChunks};
use crate::model::batch::{Batch, Block};
use crate::model::object::{Format, Object};
use crate::model::series::{SeriesId, SeriesTable};
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
    /// Zstandard, level 1 for numbers and 3 for texts; snappy and lz4 cost 53-73 % more bytes.
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

/// Turns batches into files.
#[derive(Debug)]
pub(super) struct ParquetEncoder {
    schema: Schema,
    compressor: Compressor,
    /// Goes into the metadata of every file.
    writer: String,
    cluster_id: String,
    order: Order,
    last: Last,
}

/// What is kept of the last object. While each list of series brings as many scrapes as in that one, which is mostly so, the
/// text columns are the same: in which order they came makes no difference to the order of rows.
#[derive(Debug, Default)]
struct Last {
    lists: Lists,
    texts: TextChunks,
}

/// Lists of series by their address, each with its number of scrapes.
#[derive(Debug, Default)]
struct Lists(Vec<(Arc<[SeriesId]>, usize)>);

impl Lists {
    fn of(batch: &Batch) -> Self {
        let list = |block: Block<'_>| (Arc::clone(block.series()), block.scrapes());
        let mut lists: Vec<_> = batch.blocks().map(list).collect();
        lists.sort_unstable_by_key(|(series, scrapes)| (series.as_ptr().addr(), *scrapes));
        Self(lists)
    }
}

/// The very lists, and not others that say the same: those that are held cannot change.
impl PartialEq for Lists {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(a, b)| Arc::ptr_eq(&a.0, &b.0) && a.1 == b.1)
    }
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct File {
    pub(super) object: Object,
    /// Samples left out as duplicates across targets.
    pub(super) duplicates: u64,
}

impl ParquetEncoder {
    /// An encoder for one writer's objects.
    ///
    /// # Errors
    /// The problems of [`Config::check`].
    pub(super) fn new(
        config: &Config,
        writer: &str,
        cluster_id: &str,
    ) -> Result<Self, Vec<(String, String)>> {
        let schema = Schema::new(&config.promote).map_err(|_| config.check())?;
        let compressor = Compressor::new(config.compression)
            .map_err(|error| vec![("compression".to_owned(), format!("cannot start zstd: {error}"))])?;
        let (writer, cluster_id) = (writer.to_owned(), cluster_id.to_owned());
        Ok(Self { schema, compressor, writer, cluster_id, order: Order::default(), last: Last::default() })
    }

    /// Encodes a batch; the same batch and sequence number give the same bytes.
    ///
    /// # Errors
    /// What the Parquet writer reports, which for rows in memory means a defect.
    pub(super) fn encode(
        &mut self,
        batch: &Batch,
        table: &SeriesTable,
        sequence: u64,
    ) -> Result<File, ParquetError> {
        let mut layouts = Layouts::new(table, &self.schema);
        let rows = self.order.place(batch, &mut layouts);
        let (last_scrape, tenure) = (batch.last_scrape, batch.tenure);
        // Rows that are left out make runs shorter than the scrapes say.
        let lists = if rows.duplicates > 0 { Lists::default() } else { Lists::of(batch) };
        if lists.0.is_empty() || lists != self.last.lists {
            let columns = Columns::new(&rows, &layouts, &self.schema);
            let texts = pages::text_chunks(&rows, &columns, table, &mut self.compressor)?;
            self.last = Last { lists, texts };
        }
        let (time_min, time_max) = rows.time_range().unwrap_or_default();
        let metadata = [
            ("agent_version", VERSION.to_owned()),
            ("cluster_id", self.cluster_id.clone()),
            ("writer", self.writer.clone()),
            ("sequence", sequence.to_string()),
            ("samples", rows.len().to_string()),
            ("time_min", time_min.to_string()),
            ("time_max", time_max.to_string()),
        ];
        let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec();
        let created_by = format!("cedana-agent version {VERSION}");
        let bytes = pages::write(
            &rows,
            batch,
            &self.last.texts,
            &self.schema,
            &mut self.compressor,
            &created_by,
            metadata,
        )?;
        let bytes = Bytes::from(bytes);
        let crc32 = crc32fast::hash(&bytes);
        let samples = rows.len() as u64;
        let format = Format::Parquet;
        let object =
            Object { sequence, format, bytes, samples, time_min, time_max, last_scrape, crc32, tenure };
        Ok(File { object, duplicates: rows.duplicates })
    }

    /// Forgets all series.
    pub(super) fn reset(&mut self) {
        self.order = Order::default();
        self.last = Last::default();
    }

    /// Forgets series whose ids are about to be given to others.
    pub(super) fn forget(&mut self, freed: &[SeriesId]) {
        if !freed.is_empty() {
            self.order.forget(freed);
            self.last = Last::default();
        }
    }
}

/// The version that stands in every file.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
pub(crate) mod tests;
