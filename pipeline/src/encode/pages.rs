//! Rows to a Parquet file, page by page.
//!
//! Keys are written as runs straight from the order of rows; the parquet crate writes headers and footer.
//! Layout and encodings are measured choices: one row group; plain timestamps and values, since in this order zstd
//! beats every delta and byte-split encoding; dictionaries for text; data page v1; statistics per column chunk.
//! Source of the format: Apache Parquet, "Data Pages", "Encodings" and "Nested Encoding".

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as PhysicalType};
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

use super::columns::{Columns, Map};
use super::compress::{Compressor, Content};
use super::hybrid::{self, Hybrid};
use super::order::Rows;
use crate::model::batch::Batch;
use crate::model::series::SeriesTable;
use crate::model::texts::Text;
use crate::schema::Schema;

/// Rows in one page of timestamps, of values and of the map: a page is held whole, the column is not. In tests a file of
/// any size has several.
const PAGE_ROWS: usize = if cfg!(test) { 16 } else { 128 << 10 };

/// Texts beyond this make no statistics: nobody prunes by them, and the footer stays small.
const STATISTICS_BYTES_MAX: usize = 64;

/// The text columns of an object, compressed: those of the next one are the same while the same series follow each other as
/// often. In the order of the schema, the two of the map last.
#[derive(Debug, Default)]
pub(super) struct TextChunks(Vec<Chunk>);

/// Makes the chunks of all text columns.
pub(super) fn text_chunks(
    rows: &Rows,
    columns: &Columns,
    table: &SeriesTable,
    compressor: &mut Compressor,
) -> Result<TextChunks, ParquetError> {
    let text = |word: &Text| table.text(*word);
    let mut chunks = Vec::with_capacity(4 + columns.promoted.len());
    let mut body = Vec::new();
    let mut column = |dictionary: &[&str], runs: &[(u32, u32)]| {
        body.clear();
        keys(&mut body, dictionary.len(), |keys| {
            runs.iter().for_each(|(key, count)| keys.push(*key, *count as usize));
        });
        let mut pages = TextPages::new(dictionary, compressor)?;
        pages.keys(&body, rows.len())?;
        pages.finish()
    };
    let Columns { metric, metric_type, promoted, map } = columns;
    let metrics: Vec<_> = metric.dictionary.words.iter().map(text).collect();
    chunks.push(column(&metrics, &metric.runs)?);
    let types: Vec<_> = metric_type.dictionary.words.iter().map(|word| word.as_str()).collect();
    chunks.push(column(&types, &metric_type.runs)?);
    for promoted in promoted {
        let texts: Vec<_> = promoted.dictionary.words.iter().map(text).collect();
        chunks.push(column(&texts, &promoted.runs)?);
    }
    let parts: Vec<_> = parts(map).map(|part| (part, Levels::new(part.runs))).collect();
    for (dictionary, of_entries) in [(&map.names, &map.name_keys), (&map.values, &map.value_keys)] {
        let texts: Vec<_> = dictionary.words.iter().map(text).collect();
        let mut pages = TextPages::new(&texts, compressor)?;
        for (part, levels) in &parts {
            body.clone_from(&levels.bytes);
            let mut rest = of_entries.get(part.entries_from..).unwrap_or_default();
            keys(&mut body, texts.len(), |keys| {
                for (entries, count) in part.runs {
                    // Every row of a run repeats the entries of its series.
                    let (run, after) = rest.split_at_checked(*entries as usize).unwrap_or((rest, &[]));
                    keys.repeat(run, *count as usize);
                    rest = after;
                }
            });
            pages.keys(&body, levels.count)?;
        }
        chunks.push(pages.finish()?);
    }
    Ok(TextChunks(chunks))
}

/// Writes the rows as a Parquet file.
pub(super) fn write(
    rows: &Rows,
    batch: &Batch,
    texts: &TextChunks,
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
    let mut leaves = SchemaDescriptor::new(Arc::clone(&root)).columns().to_vec().into_iter();
    let mut leaf = || leaves.next().ok_or_else(|| ParquetError::General("a column too many".to_owned()));
    let mut file = SerializedFileWriter::new(Vec::new(), root, Arc::new(properties))?;
    let writer = file.next_row_group()?;
    let mut group = Group { writer, codec: compressor.codec(), rows: rows.len() as u64 };
    group.append(leaf()?, &Chunk::of_timestamps(rows, compressor)?)?;
    for chunk in &texts.0 {
        group.append(leaf()?, chunk)?;
    }
    group.append(leaf()?, &Chunk::of_values(rows, batch, compressor)?)?;
    group.close()?;
    file.into_inner()
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

/// The width of the keys of so many texts, then the keys.
fn keys(body: &mut Vec<u8>, texts: usize, write: impl FnOnce(&mut Hybrid<'_>)) {
    let largest = u32::try_from(texts.saturating_sub(1)).unwrap_or(u32::MAX);
    let width = hybrid::width(largest);
    body.push(width.to_le_bytes()[0]);
    let mut encoder = Hybrid::new(body, width);
    write(&mut encoder);
    encoder.finish();
}

/// Runs of the map that make one page of each of its leaves.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// As in [`Map::runs`].
    runs: &'a [(u32, u32)],
    /// Entries before the first run.
    entries_from: usize,
}

/// Divides the map into parts of whole runs, a little more than [`PAGE_ROWS`] each.
fn parts(map: &Map) -> impl Iterator<Item = Part<'_>> {
    let (mut rest, mut entries_from) = (map.runs.as_slice(), 0);
    std::iter::from_fn(move || {
        let mut rows = 0;
        let end = rest.iter().position(|(_, count)| {
            let is_full = rows >= PAGE_ROWS;
            rows += *count as usize;
            is_full
        });
        let (runs, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        let part = Part { runs, entries_from };
        entries_from += runs.iter().map(|(entries, _)| *entries as usize).sum::<usize>();
        rest = after;
        (!runs.is_empty()).then_some(part)
    })
}

/// Repetition and definition levels of the map's leaves, which both have: a first entry repeats at level 0 and a
/// further one at 1; an entry is defined at level 1, and a row without any is one value at 0.
struct Levels {
    bytes: Vec<u8>,
    count: usize,
}

impl Levels {
    fn new(runs: &[(u32, u32)]) -> Self {
        let (mut repetition, mut definition) = (Vec::new(), Vec::new());
        let mut repeats = Hybrid::new(&mut repetition, 1);
        let mut defines = Hybrid::new(&mut definition, 1);
        let mut count = 0;
        let mut row = Vec::new();
        for (entries, rows) in runs {
            let (entries, rows) = (*entries as usize, *rows as usize);
            count += entries.max(1) * rows;
            defines.push(u32::from(entries > 0), entries.max(1) * rows);
            row.clear();
            row.push(0);
            row.resize(entries.max(1), 1);
            repeats.repeat(&row, rows);
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
    codec: Compression,
    rows: u64,
}

impl<W: Write + Send> Group<'_, W> {
    fn append(&mut self, column: ColumnDescPtr, chunk: &Chunk) -> Result<(), ParquetError> {
        let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut metadata = ColumnChunkMetaData::builder(column)
            .set_compression(self.codec)
            .set_encodings(chunk.encodings.to_vec())
            .set_num_values(size(chunk.values))
            .set_total_compressed_size(size(chunk.bytes.len()))
            .set_total_uncompressed_size(size(chunk.uncompressed))
            .set_data_page_offset(size(chunk.dictionary_bytes))
            .set_dictionary_page_offset((chunk.dictionary_bytes > 0).then_some(0));
        if let Some(statistics) = chunk.statistics.clone() {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: chunk.bytes.len() as u64,
            rows_written: self.rows,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        self.writer.append_column(&chunk.bytes, close)
    }

    fn close(self) -> Result<(), ParquetError> {
        self.writer.close().map(|_| ())
    }
}

/// One column of the row group: its pages with their headers, ready to be copied into a file.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Bytes that the dictionary page takes, header included.
    dictionary_bytes: usize,
    uncompressed: usize,
    values: usize,
    encodings: &'static [Encoding],
    statistics: Option<Statistics>,
}

impl Chunk {
    fn of_timestamps(rows: &Rows, compressor: &mut Compressor) -> Result<Self, ParquetError> {
        let mut pages = Pages::new(compressor, Content::Numbers);
        let mut body = Vec::with_capacity(8 * rows.len().min(PAGE_ROWS));
        let mut last: (&[i64], usize) = (&[], 0);
        for times in rows.timestamps() {
            let start = body.len();
            // A target's runs have the same timestamps, and the first of them is still there to be copied.
            match last {
                (before, at) if std::ptr::eq(before, times) => {
                    body.extend_from_within(at..at + 8 * times.len());
                }
                _ => times.iter().for_each(|time| body.extend_from_slice(&time.to_le_bytes())),
            }
            last = (times, start);
            if body.len() >= 8 * PAGE_ROWS {
                pages.plain(&body)?;
                body.clear();
                last = (&[], 0);
            }
        }
        if !body.is_empty() {
            pages.plain(&body)?;
        }
        let range = rows.time_range();
        let statistics =
            range.map(|(min, max)| Statistics::int64(Some(min), Some(max), None, Some(0), false));
        pages.finish(&PLAIN_ENCODINGS, statistics)
    }

    fn of_values(rows: &Rows, batch: &Batch, compressor: &mut Compressor) -> Result<Self, ParquetError> {
        let mut pages = Pages::new(compressor, Content::Numbers);
        let mut values = vec![[0; 8]; PAGE_ROWS.min(rows.len())];
        let mut range = None;
        for from in (0..rows.len()).step_by(PAGE_ROWS) {
            values.truncate(rows.len() - from);
            rows.values(batch, from, &mut values, f64::to_le_bytes);
            range = widened(range, &values);
            pages.plain(values.as_flattened())?;
        }
        let statistics = range.map(|(min, max)| {
            Statistics::double(Some(of_order(min)), Some(of_order(max)), None, Some(0), false)
        });
        pages.finish(&PLAIN_ENCODINGS, statistics)
    }
}

/// A column of texts while it is made: the dictionary, then pages of keys.
struct TextPages<'a> {
    pages: Pages<'a>,
    dictionary_bytes: usize,
    statistics: Option<Statistics>,
}

impl<'a> TextPages<'a> {
    fn new(texts: &[&str], compressor: &'a mut Compressor) -> Result<Self, ParquetError> {
        let mut pages = Pages::new(compressor, Content::Texts);
        let mut body = Vec::new();
        for text in texts {
            body.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        pages.dictionary(&body, texts.len())?;
        let dictionary_bytes = pages.sink.bytes_written();
        Ok(Self { pages, dictionary_bytes, statistics: text_statistics(texts) })
    }

    fn keys(&mut self, body: &[u8], values: usize) -> Result<(), ParquetError> {
        self.pages.data(body, values, Encoding::RLE_DICTIONARY)
    }

    fn finish(self) -> Result<Chunk, ParquetError> {
        const ENCODINGS: [Encoding; 3] = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
        let Self { pages, dictionary_bytes, statistics } = self;
        Ok(Chunk { dictionary_bytes, ..pages.finish(&ENCODINGS, statistics)? })
    }
}

const PLAIN_ENCODINGS: [Encoding; 2] = [Encoding::PLAIN, Encoding::RLE];

/// The pages of one column while they are made.
struct Pages<'a> {
    sink: TrackedWrite<Vec<u8>>,
    compressor: &'a mut Compressor,
    content: Content,
    uncompressed: usize,
    values: usize,
}

impl<'a> Pages<'a> {
    fn new(compressor: &'a mut Compressor, content: Content) -> Self {
        Self { sink: TrackedWrite::new(Vec::new()), compressor, content, uncompressed: 0, values: 0 }
    }

    fn dictionary(&mut self, body: &[u8], values: usize) -> Result<(), ParquetError> {
        let page = Page::DictionaryPage {
            buf: self.compress(body)?,
            num_values: count(values)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.page(CompressedPage::new(page, body.len()))
    }

    fn data(&mut self, body: &[u8], values: usize, encoding: Encoding) -> Result<(), ParquetError> {
        let page = Page::DataPage {
            buf: self.compress(body)?,
            num_values: count(values)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.values += values;
        self.page(CompressedPage::new(page, body.len()))
    }

    /// A page of values of eight bytes.
    fn plain(&mut self, body: &[u8]) -> Result<(), ParquetError> {
        self.data(body, body.len() / 8, Encoding::PLAIN)
    }

    fn compress(&mut self, body: &[u8]) -> io::Result<Bytes> {
        self.compressor.compress(body, self.content).map(Bytes::from)
    }

    fn page(&mut self, page: CompressedPage) -> Result<(), ParquetError> {
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += spec.uncompressed_size;
        Ok(())
    }

    fn finish(
        self,
        encodings: &'static [Encoding],
        statistics: Option<Statistics>,
    ) -> Result<Chunk, ParquetError> {
        let Self { sink, uncompressed, values, .. } = self;
        let bytes = Bytes::from(sink.into_inner()?);
        Ok(Chunk { bytes, dictionary_bytes: 0, uncompressed, values, encodings, statistics })
    }
}

fn count(values: usize) -> Result<u32, ParquetError> {
    u32::try_from(values).map_err(|_| ParquetError::General("more than 2^32 values in a page".to_owned()))
}

/// The range of numbers that these values widen, as places in the total order of IEEE 754, which is what the footer declares;
/// NaN is left out.
fn widened(range: Option<(i64, i64)>, values: &[[u8; 8]]) -> Option<(i64, i64)> {
    let (mut min, mut max) = range.unwrap_or((i64::MAX, i64::MIN));
    for value in values {
        let value = f64::from_le_bytes(*value);
        let place = in_order(value);
        min = min.min(if value.is_nan() { i64::MAX } else { place });
        max = max.max(if value.is_nan() { i64::MIN } else { place });
    }
    (min <= max).then_some((min, max))
}

/// The place of a number in the total order: negative ones count backwards (as `f64::total_cmp` does it).
fn in_order(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The number at a place: the same again.
fn of_order(place: i64) -> f64 {
    f64::from_bits((place ^ ((place >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}

fn text_statistics(texts: &[&str]) -> Option<Statistics> {
    let (min, max) = (texts.iter().min()?, texts.iter().max()?);
    if min.len().max(max.len()) > STATISTICS_BYTES_MAX {
        return None;
    }
    Some(Statistics::byte_array(
        Some(ByteArray::from(*min)),
        Some(ByteArray::from(*max)),
        None,
        Some(0),
        false,
    ))
}
