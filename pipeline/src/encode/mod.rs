//! From a batch to the bytes of a Parquet file: rows sorted series by series, deterministic.

mod columns;
mod compress;
mod hybrid;
#[cfg(test)]
mod oracle;
mod order;
mod pages;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use crate::metrics::{Metrics, reason};
use crate::model::object::Object;
use crate::model::sample::{Batch, SeriesId, SeriesTable};
use crate::schema::Schema;
use compress::Compressor;
use order::Order;

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
    /// Zstandard, level 1; snappy and lz4 cost 53-73 % more bytes.
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

/// Turns batches into objects.
#[derive(Debug)]
pub struct Encoder {
    schema: Schema,
    compressor: Compressor,
    /// Goes into the metadata of every file.
    writer: String,
    cluster_id: String,
    order: Order,
    columns: columns::Cache,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) object: Object,
    /// Samples left out as duplicates across targets.
    pub(crate) duplicates: u64,
}

impl Encoder {
    /// An encoder for one writer's objects.
    ///
    /// # Errors
    /// The problems of [`Config::check`].
    pub fn new(config: &Config, writer: &str, cluster_id: &str) -> Result<Self, Vec<(String, String)>> {
        let schema = Schema::new(&config.promote).map_err(|_| config.check())?;
        let compressor = Compressor::new(config.compression)
            .map_err(|error| vec![("compression".to_owned(), format!("cannot start zstd: {error}"))])?;
        let (writer, cluster_id) = (writer.to_owned(), cluster_id.to_owned());
        Ok(Self {
            schema,
            compressor,
            writer,
            cluster_id,
            order: Order::default(),
            columns: columns::Cache::default(),
        })
    }

    /// Encodes a batch; the same batch and sequence number give the same bytes. Takes the batch, so that it is gone by the
    /// time its pages are made.
    ///
    /// # Errors
    /// What the Parquet writer reports, which for rows in memory means a defect.
    pub(crate) fn encode(
        &mut self,
        batch: Batch,
        table: &SeriesTable,
        sequence: u64,
    ) -> Result<Encoded, ParquetError> {
        let rows = self.order.place(&batch, table);
        let (last_scrape, tenure) = (batch.last_scrape, batch.tenure);
        drop(batch);
        let time_min = rows.timestamps.iter().copied().min().unwrap_or_default();
        let time_max = rows.timestamps.iter().copied().max().unwrap_or_default();
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
        let columns = self.columns.of(&rows, table, &self.schema);
        let created_by = format!("cedana-agent version {VERSION}");
        let bytes = pages::write(&rows, columns, &self.schema, &mut self.compressor, &created_by, metadata)?;
        let bytes = Bytes::from(bytes);
        let crc32 = crc32fast::hash(&bytes);
        let samples = rows.len() as u64;
        let object = Object { sequence, bytes, samples, time_min, time_max, last_scrape, crc32, tenure };
        Ok(Encoded { object, duplicates: rows.duplicates })
    }

    /// Encodes a batch and counts it. `None` where that fails, which is a defect; the samples are counted then.
    pub(crate) fn seal(
        &mut self,
        batch: Batch,
        table: &SeriesTable,
        sequence: u64,
        metrics: &Metrics,
    ) -> Option<Object> {
        let samples = batch.len() as u64;
        let timer = metrics.encode_seconds.start_timer();
        let encoded = self.encode(batch, table, sequence);
        timer.observe_duration();
        match encoded {
            Ok(Encoded { object, duplicates }) => {
                metrics.dropped(reason::DUPLICATE, duplicates);
                metrics.objects_sealed.inc();
                metrics.object_bytes.inc_by(object.bytes.len() as u64);
                metrics.samples_sealed.inc_by(object.samples);
                Some(object)
            }
            Err(error) => {
                // Rows in memory always encode; should they not, the process goes on and says so.
                tracing::error!(samples, sequence, %error, "batch lost: it cannot be encoded");
                metrics.dropped(reason::ENCODE, samples);
                None
            }
        }
    }

    /// Forgets all series.
    pub(crate) fn reset(&mut self) {
        self.order = Order::default();
        self.columns.clear();
    }

    /// Forgets series whose ids are about to be given to others.
    pub(crate) fn forget(&mut self, freed: &[SeriesId]) {
        if !freed.is_empty() {
            self.order.forget(freed);
            self.columns.clear();
        }
    }
}

/// The version that stands in every file.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests;
