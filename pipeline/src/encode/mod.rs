//! From a batch to the bytes of objects, in one of the encodings; deterministic.
//!
//! Takes the open batch and the numbers that its objects may have, gives objects one after the other, so that no two of them
//! need to be held.

mod columns;
mod compress;
mod hybrid;
mod layout;
#[cfg(test)]
mod oracle;
mod order;
mod pages;
mod parquet_file;
pub mod vector;

use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

use crate::metrics::{Metrics, reason};
use crate::model::batch::Batch;
use crate::model::object::Object;
use crate::model::series::{SeriesId, SeriesTable};
#[cfg(test)]
pub(crate) use parquet_file::tests;
pub use parquet_file::{Compression, Config};
use parquet_file::{File, ParquetEncoder};
use vector::VectorEncoder;

/// `encoding`: what objects are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Parquet files, by the section `parquet`.
    #[default]
    Parquet,
    /// What Vector 0.58 wrote, by the section `vector_json`.
    VectorJson,
}

/// The numbers that the objects of a batch may have, both ends included. The last of its objects has the last number, which
/// is the batch's own; so that whoever keeps the batch until that number has come, keeps it until all have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Samples left out as duplicates across targets.
    pub(crate) duplicates: u64,
    /// Bytes by which the next batch is estimated: what its objects hold, before a compression of the whole.
    pub(crate) bytes: usize,
}

/// Turns batches into objects.
#[derive(Debug)]
pub struct Encoder(Kind);

#[derive(Debug)]
enum Kind {
    Parquet(Box<ParquetEncoder>),
    Vector(VectorEncoder),
}

impl Encoder {
    /// An encoder for one writer's Parquet files.
    ///
    /// # Errors
    /// The problems of [`Config::check`].
    pub fn new(config: &Config, writer: &str, cluster_id: &str) -> Result<Self, Vec<(String, String)>> {
        Ok(Self(Kind::Parquet(Box::new(ParquetEncoder::new(config, writer, cluster_id)?))))
    }

    /// An encoder for objects as Vector wrote them.
    #[must_use]
    pub fn vector(config: &vector::Config) -> Self {
        Self(Kind::Vector(VectorEncoder::new(config)))
    }

    /// How many objects a batch may become.
    pub(crate) fn parts_max(&self) -> u64 {
        match self.0 {
            Kind::Parquet(_) => 1,
            Kind::Vector(_) => vector::PARTS_MAX,
        }
    }

    /// Bytes that a row takes, as long as nothing is known.
    pub(crate) fn row_bytes(&self) -> usize {
        match self.0 {
            // A first object with all its labels.
            Kind::Parquet(_) => 5,
            Kind::Vector(_) => vector::ROW_BYTES,
        }
    }

    /// Encodes a batch; the same batch and numbers give the same objects.
    ///
    /// # Errors
    /// What the Parquet writer reports, which for rows in memory means a defect.
    pub(crate) fn encode(
        &mut self,
        batch: &Batch,
        table: &SeriesTable,
        numbers: Numbers,
        give: &mut dyn FnMut(Object),
    ) -> Result<Encoded, ParquetError> {
        match &mut self.0 {
            Kind::Parquet(encoder) => {
                let File { object, duplicates } = encoder.encode(batch, table, numbers.last)?;
                let bytes = object.bytes.len();
                give(object);
                Ok(Encoded { duplicates, bytes })
            }
            Kind::Vector(encoder) => Ok(encoder.encode(batch, table, numbers, give)),
        }
    }

    /// Encodes a batch and counts it. Where that fails, which is a defect, nothing is given, and the samples are counted.
    pub(crate) fn seal(
        &mut self,
        batch: &Batch,
        table: &SeriesTable,
        numbers: Numbers,
        metrics: &Metrics,
        give: &mut dyn FnMut(Object),
    ) -> Encoded {
        let samples = batch.len() as u64;
        let mut seconds = 0.0;
        let mut since = std::time::Instant::now();
        let encoded = self.encode(batch, table, numbers, &mut |object| {
            // Without the time that it takes to give it away.
            seconds += since.elapsed().as_secs_f64();
            metrics.objects_sealed.inc();
            metrics.object_bytes.inc_by(object.bytes.len() as u64);
            metrics.samples_sealed.inc_by(object.samples);
            give(object);
            since = std::time::Instant::now();
        });
        metrics.encode_seconds.observe(seconds);
        match encoded {
            Ok(encoded) => {
                metrics.dropped(reason::DUPLICATE, encoded.duplicates);
                encoded
            }
            Err(error) => {
                // Rows in memory always encode; should they not, the process goes on and says so.
                let sequence = numbers.last;
                tracing::error!(samples, sequence, %error, "batch lost: it cannot be encoded");
                metrics.dropped(reason::ENCODE, samples);
                Encoded::default()
            }
        }
    }

    /// Forgets all series.
    pub(crate) fn reset(&mut self) {
        match &mut self.0 {
            Kind::Parquet(encoder) => encoder.reset(),
            Kind::Vector(encoder) => encoder.reset(),
        }
    }

    /// Forgets series whose ids are about to be given to others.
    pub(crate) fn forget(&mut self, freed: &[SeriesId]) {
        if freed.is_empty() {
            return;
        }
        match &mut self.0 {
            Kind::Parquet(encoder) => encoder.forget(freed),
            Kind::Vector(encoder) => encoder.forget(freed),
        }
    }
}
