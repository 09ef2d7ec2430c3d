//! The same file by `ArrowWriter`: the simple way, kept as the oracle of the fast one.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema as ArrowSchema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::columns::{Columns, Texts};
use super::order::Rows;
use crate::schema::Schema;

/// Writes the rows as a Parquet file.
pub(super) fn write(rows: &Rows, columns: &Columns, schema: &Schema) -> Vec<u8> {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(path("timestamp"), false)
        .set_column_dictionary_enabled(path("value"), false)
        .build();
    let arrow_schema = Arc::new(arrow_schema(schema));
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true)
        .with_schema_root("schema".to_owned());
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&arrow_schema), options).unwrap();
    let times = TimestampMillisecondArray::from(rows.timestamps.clone()).with_timezone("UTC");
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(times)];
    for texts in [&columns.metric, &columns.metric_type].into_iter().chain(&columns.promoted) {
        let keys = texts.keys.iter().zip(rows.lengths());
        arrays.push(array(texts, keys.flat_map(|(k, n)| std::iter::repeat_n(*k as i32, n)).collect()));
    }
    arrays.push(map(rows, columns));
    arrays.push(Arc::new(Float64Array::from(rows.values.clone())));
    writer.write(&RecordBatch::try_new(arrow_schema, arrays).unwrap()).unwrap();
    writer.into_inner().unwrap()
}

fn text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn arrow_schema(schema: &Schema) -> ArrowSchema {
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

fn array(texts: &Texts, keys: Vec<i32>) -> ArrayRef {
    let values = Arc::new(StringArray::from_iter_values(&texts.values));
    Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), values).unwrap())
}

fn map(rows: &Rows, columns: &Columns) -> ArrayRef {
    let (mut keys, mut values, mut offsets, mut start) = (Vec::new(), Vec::new(), vec![0_i32], 0);
    for (entries, length) in columns.map_lengths.iter().zip(rows.lengths()) {
        let end = start + *entries as usize;
        for _ in 0..length {
            keys.extend(columns.map_keys.keys[start..end].iter().map(|k| *k as i32));
            values.extend(columns.map_values.keys[start..end].iter().map(|k| *k as i32));
            offsets.push(i32::try_from(keys.len()).unwrap());
        }
        start = end;
    }
    let arrays = vec![array(&columns.map_keys, keys), array(&columns.map_values, values)];
    let entries = StructArray::try_new(map_fields(), arrays, None).unwrap();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Arc::new(MapArray::try_new(map_entries(), offsets, entries, None, true).unwrap())
}

fn map_entries() -> Arc<Field> {
    Arc::new(Field::new("key_value", DataType::Struct(map_fields()), false))
}

fn map_fields() -> Fields {
    Fields::from(vec![Field::new("key", text(), false), Field::new("value", text(), false)])
}
