//! Rows to a Parquet file, page by page.
//!
//! Keys are written as runs straight from the order of rows; the parquet crate writes headers and footer.
//! Layout and encodings are measured choices: one row group; plain timestamps and values, since in this order zstd
//! beats every delta and byte-split encoding; dictionaries for text; data page v1; statistics per column chunk.
//! Source of the format: Apache Parquet, "Data Pages", "Encodings" and "Nested Encoding".

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Encoding, LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{
    SerializedFileWriter, SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite,
};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, Type, TypePtr};

use super::columns::{Columns, Texts};
use super::compress::Compressor;
use super::hybrid::{self, Hybrid};
use super::order::Rows;
use crate::schema::Schema;

/// Values in one page of a plain column: one MiB.
const PLAIN_VALUES: usize = 128 << 10;

/// Texts beyond this make no statistics: nobody prunes by them, and the footer stays small.
const STATISTICS_BYTES_MAX: usize = 64;

/// Writes the rows as a Parquet file.
pub(super) fn write(
    rows: &Rows,
    columns: &Columns,
    schema: &Schema,
    compressor: &mut Compressor,
    created_by: &str,
    metadata: Vec<KeyValue>,
) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_created_by(created_by.to_owned())
        .set_key_value_metadata(Some(metadata))
        .set_offset_index_disabled(true)
        .build();
    let root = parquet_schema(schema)?;
    let leaves = SchemaDescriptor::new(Arc::clone(&root)).columns().to_vec().into_iter();
    let mut file = SerializedFileWriter::new(Vec::new(), root, Arc::new(properties))?;
    let writer = file.next_row_group()?;
    write_columns(Group { writer, compressor, rows: rows.len() as u64 }, leaves, rows, columns)?;
    file.into_inner()
}

fn write_columns<W: Write + Send>(
    mut group: Group<'_, W>,
    mut leaves: impl Iterator<Item = ColumnDescPtr>,
    rows: &Rows,
    columns: &Columns,
) -> Result<(), ParquetError> {
    let mut next = || leaves.next().ok_or_else(|| ParquetError::General("a column too many".to_owned()));
    group.plain(next()?, &rows.timestamps, time_statistics(&rows.timestamps), |v| v.to_le_bytes())?;
    for texts in [&columns.metric, &columns.metric_type].into_iter().chain(&columns.promoted) {
        let runs = texts.keys.iter().copied().zip(rows.lengths());
        let mut body = Vec::new();
        keys(&mut body, texts, runs);
        group.dictionary(next()?, texts, rows.len(), &body)?;
    }
    let levels = Levels::new(rows, columns);
    for texts in [&columns.map_keys, &columns.map_values] {
        let mut body = levels.bytes.clone();
        keys(&mut body, texts, map_keys(rows, columns, texts));
        group.dictionary(next()?, texts, levels.count, &body)?;
    }
    group.plain(next()?, &rows.values, value_statistics(&rows.values), |v| v.to_le_bytes())?;
    group.writer.close()?;
    Ok(())
}

fn parquet_schema(schema: &Schema) -> Result<TypePtr, ParquetError> {
    let required = |name: &str, physical, logical| {
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
        Ok::<_, ParquetError>(Arc::new(builder.with_logical_type(logical).build()?))
    };
    let text = |name: &str| required(name, PhysicalType::BYTE_ARRAY, Some(LogicalType::String));
    let time = LogicalType::timestamp(true, TimeUnit::MILLIS);
    let mut fields =
        vec![required("timestamp", PhysicalType::INT64, Some(time))?, text("metric")?, text("type")?];
    for name in &schema.promoted {
        fields.push(text(name)?);
    }
    let entry = Type::group_type_builder("key_value")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![text("key")?, text("value")?])
        .build()?;
    let labels = Type::group_type_builder("labels")
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::Map))
        .with_fields(vec![Arc::new(entry)])
        .build()?;
    fields.push(Arc::new(labels));
    fields.push(required("value", PhysicalType::DOUBLE, None)?);
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

/// The width of the keys, then the keys.
fn keys(body: &mut Vec<u8>, texts: &Texts, runs: impl Iterator<Item = (u32, usize)>) {
    let largest = u32::try_from(texts.values.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let width = hybrid::width(largest);
    body.push(width.to_le_bytes()[0]);
    let mut encoder = Hybrid::new(body, width);
    runs.for_each(|(key, count)| encoder.push(key, count));
    encoder.finish();
}

/// The keys of the map's entries, row by row: every row of a run repeats the entries of its series.
fn map_keys<'a>(
    rows: &'a Rows,
    columns: &'a Columns,
    texts: &'a Texts,
) -> impl Iterator<Item = (u32, usize)> + 'a {
    let mut rest = texts.keys.as_slice();
    let runs = columns.map_lengths.iter().zip(rows.lengths());
    runs.flat_map(move |(entries, length)| {
        let (run, after) = rest.split_at_checked(*entries as usize).unwrap_or((rest, &[]));
        rest = after;
        std::iter::repeat_n(run, length).flatten().map(|key| (*key, 1))
    })
}

/// Repetition and definition levels of the map's leaves, which both have: a first entry repeats at level 0 and a
/// further one at 1; an entry is defined at level 1, and a row without any is one value at 0.
struct Levels {
    bytes: Vec<u8>,
    count: usize,
}

impl Levels {
    fn new(rows: &Rows, columns: &Columns) -> Self {
        let (mut repetition, mut definition) = (Vec::new(), Vec::new());
        let mut repeats = Hybrid::new(&mut repetition, 1);
        let mut defines = Hybrid::new(&mut definition, 1);
        let mut count = 0;
        for (entries, length) in columns.map_lengths.iter().zip(rows.lengths()) {
            let entries = *entries as usize;
            count += entries.max(1) * length;
            defines.push(u32::from(entries > 0), entries.max(1) * length);
            if entries < 2 {
                repeats.push(0, length);
                continue;
            }
            for _ in 0..length {
                repeats.push(0, 1);
                repeats.push(1, entries - 1);
            }
        }
        repeats.finish();
        defines.finish();
        let mut bytes = Vec::with_capacity(repetition.len() + definition.len() + 8);
        for levels in [repetition, definition] {
            // In a data page v1 each kind of level follows its length in four bytes.
            bytes.extend_from_slice(&u32::try_from(levels.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(&levels);
        }
        Self { bytes, count }
    }
}

/// The one row group of a file.
struct Group<'a, W: Write> {
    writer: SerializedRowGroupWriter<'a, W>,
    compressor: &'a mut Compressor,
    rows: u64,
}

impl<W: Write + Send> Group<'_, W> {
    /// A column of fixed-width values as they are in memory.
    fn plain<T: Copy>(
        &mut self,
        column: ColumnDescPtr,
        values: &[T],
        statistics: Option<Statistics>,
        bytes: impl Fn(T) -> [u8; 8],
    ) -> Result<(), ParquetError> {
        let mut chunk = Chunk::default();
        let mut body = Vec::with_capacity(8 * values.len().min(PLAIN_VALUES));
        for page in values.chunks(PLAIN_VALUES) {
            body.clear();
            page.iter().for_each(|value| body.extend_from_slice(&bytes(*value)));
            chunk.data_page(&body, page.len(), Encoding::PLAIN, self.compressor)?;
        }
        self.append(column, chunk, statistics, vec![Encoding::PLAIN, Encoding::RLE])
    }

    /// A column of texts: the dictionary, then one page of keys.
    fn dictionary(
        &mut self,
        column: ColumnDescPtr,
        texts: &Texts,
        values: usize,
        keys: &[u8],
    ) -> Result<(), ParquetError> {
        let mut chunk = Chunk::default();
        let mut body = Vec::new();
        for text in &texts.values {
            body.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        chunk.dictionary_page(&body, texts.values.len(), self.compressor)?;
        chunk.data_page(keys, values, Encoding::RLE_DICTIONARY, self.compressor)?;
        let encodings = vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
        self.append(column, chunk, text_statistics(texts), encodings)
    }

    fn append(
        &mut self,
        column: ColumnDescPtr,
        chunk: Chunk,
        statistics: Option<Statistics>,
        encodings: Vec<Encoding>,
    ) -> Result<(), ParquetError> {
        let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let written = chunk.sink.bytes_written();
        let mut metadata = ColumnChunkMetaData::builder(column)
            .set_compression(self.compressor.codec())
            .set_encodings(encodings)
            .set_num_values(size(chunk.values))
            .set_total_compressed_size(size(written))
            .set_total_uncompressed_size(size(chunk.uncompressed))
            .set_data_page_offset(size(chunk.dictionary_bytes))
            .set_dictionary_page_offset((chunk.dictionary_bytes > 0).then_some(0));
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: written as u64,
            rows_written: self.rows,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        self.writer.append_column(&Bytes::from(chunk.sink.into_inner()?), close)
    }
}

/// The pages of one column, with their headers.
struct Chunk {
    sink: TrackedWrite<Vec<u8>>,
    /// Bytes that the dictionary page takes, header included.
    dictionary_bytes: usize,
    uncompressed: usize,
    values: usize,
}

impl Default for Chunk {
    fn default() -> Self {
        Self { sink: TrackedWrite::new(Vec::new()), dictionary_bytes: 0, uncompressed: 0, values: 0 }
    }
}

impl Chunk {
    fn dictionary_page(
        &mut self,
        body: &[u8],
        values: usize,
        compressor: &mut Compressor,
    ) -> Result<(), ParquetError> {
        let page = Page::DictionaryPage {
            buf: compress(body, compressor)?,
            num_values: count(values)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.page(CompressedPage::new(page, body.len()))?;
        self.dictionary_bytes = self.sink.bytes_written();
        Ok(())
    }

    fn data_page(
        &mut self,
        body: &[u8],
        values: usize,
        encoding: Encoding,
        compressor: &mut Compressor,
    ) -> Result<(), ParquetError> {
        let page = Page::DataPage {
            buf: compress(body, compressor)?,
            num_values: count(values)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.values += values;
        self.page(CompressedPage::new(page, body.len()))
    }

    fn page(&mut self, page: CompressedPage) -> Result<(), ParquetError> {
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += spec.uncompressed_size;
        Ok(())
    }
}

fn compress(body: &[u8], compressor: &mut Compressor) -> io::Result<Bytes> {
    compressor.compress(body).map(Bytes::from)
}

fn count(values: usize) -> Result<u32, ParquetError> {
    u32::try_from(values).map_err(|_| ParquetError::General("more than 2^32 values in a page".to_owned()))
}

fn time_statistics(times: &[i64]) -> Option<Statistics> {
    let (min, max) = (times.iter().min()?, times.iter().max()?);
    Some(Statistics::int64(Some(*min), Some(*max), None, Some(0), false))
}

/// In the total order of IEEE 754, which is what the footer declares; NaN is left out.
fn value_statistics(values: &[f64]) -> Option<Statistics> {
    let numbers = || values.iter().copied().filter(|v| !v.is_nan());
    let (min, max) = (numbers().min_by(f64::total_cmp)?, numbers().max_by(f64::total_cmp)?);
    Some(Statistics::double(Some(min), Some(max), None, Some(0), false))
}

fn text_statistics(texts: &Texts) -> Option<Statistics> {
    let (min, max) = (texts.values.iter().min()?, texts.values.iter().max()?);
    if min.len().max(max.len()) > STATISTICS_BYTES_MAX {
        return None;
    }
    Some(Statistics::byte_array(
        Some(ByteArray::from(&**min)),
        Some(ByteArray::from(&**max)),
        None,
        Some(0),
        false,
    ))
}
