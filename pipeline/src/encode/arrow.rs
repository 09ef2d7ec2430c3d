//! The encoder on `ArrowWriter`: simple, and the reference for a faster one.
//!
//! Takes rows in order, gives a Parquet file of one row group. Layout and encodings are measured choices: plain
//! values and timestamps, dictionaries for text, data page v1, statistics per column chunk.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema as ArrowSchema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::order::Rows;
use crate::model::labels::METRIC_NAME;
use crate::model::sample::SeriesTable;
use crate::schema::Schema;

/// Rows handed to the writer at once: bounds what is held beside the pages.
const ROWS_AT_ONCE: usize = 64 << 10;

/// Writes the rows as a Parquet file.
pub(super) fn write(
    rows: &Rows,
    table: &SeriesTable,
    schema: &Schema,
    properties: WriterProperties,
) -> Result<Vec<u8>, ParquetError> {
    let columns = Columns::new(rows, table, schema);
    let arrow_schema = Arc::new(columns.schema(schema));
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&arrow_schema), options)?;
    let mut runs = rows.lengths().enumerate();
    let mut open = runs.next();
    let mut start = 0;
    while start < rows.len() {
        // The next chunk, as (run, rows of it).
        let mut chunk = Vec::new();
        let mut room = ROWS_AT_ONCE;
        while let Some((run, length)) = open {
            let taken = length.min(room);
            chunk.push((run, taken));
            room -= taken;
            open = if taken < length { Some((run, length - taken)) } else { runs.next() };
            if room == 0 {
                break;
            }
        }
        let end = start + ROWS_AT_ONCE - room;
        let arrays = columns.arrays(rows, start..end, &chunk)?;
        writer.write(&RecordBatch::try_new(Arc::clone(&arrow_schema), arrays)?)?;
        start = end;
    }
    writer.into_inner()
}

/// Encodings and compression of every column.
pub(super) fn properties(
    compression: parquet::basic::Compression,
) -> parquet::file::properties::WriterPropertiesBuilder {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_page_size_limit(usize::MAX)
        .set_data_page_size_limit(1 << 20)
        .set_data_page_row_count_limit(usize::MAX)
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_column_dictionary_enabled(path("timestamp"), false)
        .set_column_dictionary_enabled(path("value"), false)
}

/// One dictionary of texts, and an index into it per run.
#[derive(Default)]
struct Texts<'a> {
    values: Vec<&'a str>,
    index: HashMap<&'a str, i32>,
    last: Option<(&'a str, i32)>,
    keys: Vec<i32>,
}

impl<'a> Texts<'a> {
    fn push(&mut self, text: &'a str) {
        // Neighbours are mostly equal, so most texts need no hash.
        let key = match self.last {
            Some((last, key)) if last == text => key,
            _ => *self.index.entry(text).or_insert_with(|| {
                self.values.push(text);
                i32::try_from(self.values.len() - 1).unwrap_or(i32::MAX)
            }),
        };
        self.last = Some((text, key));
        self.keys.push(key);
    }

    fn array(&self, keys: Vec<i32>) -> Result<ArrayRef, ParquetError> {
        let values = Arc::new(StringArray::from(self.values.clone()));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), values)?))
    }

    /// The keys of `chunk`'s rows.
    fn rows(&self, chunk: &[(usize, usize)]) -> Vec<i32> {
        let key = |run: usize| self.keys.get(run).copied().unwrap_or_default();
        chunk.iter().flat_map(|(run, count)| std::iter::repeat_n(key(*run), *count)).collect()
    }
}

/// The text columns of all runs.
struct Columns<'a> {
    metric: Texts<'a>,
    metric_type: Texts<'a>,
    promoted: Vec<Texts<'a>>,
    map_keys: Texts<'a>,
    map_values: Texts<'a>,
    /// Where each run's map entries end.
    map_ends: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn new(rows: &Rows, table: &'a SeriesTable, schema: &Schema) -> Self {
        let mut columns = Self {
            metric: Texts::default(),
            metric_type: Texts::default(),
            promoted: schema.promoted.iter().map(|_| Texts::default()).collect(),
            map_keys: Texts::default(),
            map_values: Texts::default(),
            map_ends: Vec::new(),
        };
        for series in rows.series.iter().filter_map(|id| table.get(*id)) {
            columns.metric.push(series.labels.value(METRIC_NAME));
            columns.metric_type.push(series.metric_type.as_str());
            for (texts, name) in columns.promoted.iter_mut().zip(&schema.promoted) {
                texts.push(series.labels.value(name));
            }
            for (name, value) in series.labels.iter().filter(|(name, _)| schema.in_map(name)) {
                columns.map_keys.push(name);
                columns.map_values.push(value);
            }
            columns.map_ends.push(columns.map_keys.keys.len());
        }
        columns
    }

    fn schema(&self, schema: &Schema) -> ArrowSchema {
        let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let mut fields = vec![
            Field::new("timestamp", time, false),
            Field::new("metric", text(), false),
            Field::new("type", text(), false),
        ];
        fields.extend(schema.promoted.iter().map(|name| Field::new(name, text(), false)));
        fields.push(Field::new("labels", DataType::Map(map_entries(), true), false));
        fields.push(Field::new("value", DataType::Float64, false));
        ArrowSchema::new(fields)
    }

    fn arrays(
        &self,
        rows: &Rows,
        range: std::ops::Range<usize>,
        chunk: &[(usize, usize)],
    ) -> Result<Vec<ArrayRef>, ParquetError> {
        let times = rows.timestamps.get(range.clone()).unwrap_or_default().to_vec();
        let values = rows.values.get(range).unwrap_or_default().to_vec();
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"))];
        for texts in [&self.metric, &self.metric_type].into_iter().chain(&self.promoted) {
            arrays.push(texts.array(texts.rows(chunk))?);
        }
        arrays.push(self.map(chunk)?);
        arrays.push(Arc::new(Float64Array::from(values)));
        Ok(arrays)
    }

    fn map(&self, chunk: &[(usize, usize)]) -> Result<ArrayRef, ParquetError> {
        let (mut keys, mut values, mut offsets) = (Vec::new(), Vec::new(), vec![0_i32]);
        for (run, count) in chunk {
            let start = run.checked_sub(1).and_then(|r| self.map_ends.get(r)).copied().unwrap_or_default();
            let end = self.map_ends.get(*run).copied().unwrap_or_default();
            for _ in 0..*count {
                keys.extend_from_slice(self.map_keys.keys.get(start..end).unwrap_or_default());
                values.extend_from_slice(self.map_values.keys.get(start..end).unwrap_or_default());
                offsets.push(i32::try_from(keys.len()).unwrap_or(i32::MAX));
            }
        }

        let columns = vec![self.map_keys.array(keys)?, self.map_values.array(values)?];
        let entries = StructArray::try_new(map_fields(), columns, None)?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(MapArray::try_new(map_entries(), offsets, entries, None, true)?))
    }
}

fn map_entries() -> Arc<Field> {
    Arc::new(Field::new("key_value", DataType::Struct(map_fields()), false))
}

fn map_fields() -> Fields {
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Fields::from(vec![Field::new("key", text(), false), Field::new("value", text(), false)])
}
