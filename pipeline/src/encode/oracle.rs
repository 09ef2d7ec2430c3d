//! The same file by `ArrowWriter`: the simple way, kept as the oracle of the fast one.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, MapArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::order::Rows;
use crate::model::batch::Batch;
use crate::model::labels::METRIC_NAME;
use crate::model::series::{SeriesRef, SeriesTable};
use crate::schema::Schema;

/// Writes the rows as a Parquet file.
pub(super) fn write(rows: &Rows, batch: &Batch, table: &SeriesTable, schema: &Schema) -> Vec<u8> {
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
    let mut values = vec![0.0; rows.len()];
    rows.values(batch, 0, &mut values, |value| value);
    let times: Vec<i64> = rows.timestamps().flatten().copied().collect();
    let series: Vec<SeriesRef<'_>> = rows
        .series
        .iter()
        .zip(rows.lengths())
        .flat_map(|(id, length)| std::iter::repeat_n(table.get(*id).unwrap(), length))
        .collect();
    let text = |of: &dyn Fn(SeriesRef<'_>) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(series.iter().map(|series| of(*series))))
    };
    let mut arrays: Vec<ArrayRef> =
        vec![Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"))];
    arrays.push(text(&|series| series.value(METRIC_NAME).to_owned()));
    arrays.push(text(&|series| series.metric_type().as_str().to_owned()));
    arrays.extend(schema.promoted.iter().map(|name| text(&|series| series.value(name).to_owned())));
    arrays.push(map(&series, schema));
    arrays.push(Arc::new(Float64Array::from(values)));
    writer.write(&RecordBatch::try_new(arrow_schema, arrays).unwrap()).unwrap();
    writer.into_inner().unwrap()
}

fn arrow_schema(schema: &Schema) -> ArrowSchema {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("timestamp", time, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
    ];
    fields.extend(schema.promoted.iter().map(|name| Field::new(name, DataType::Utf8, false)));
    fields.push(Field::new("labels", DataType::Map(map_entries(), true), false));
    fields.push(Field::new("value", DataType::Float64, false));
    ArrowSchema::new(fields)
}

fn map(all: &[SeriesRef<'_>], schema: &Schema) -> ArrayRef {
    let fields = map_fields();
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new())
        .with_keys_field(Arc::clone(&fields[0]))
        .with_values_field(Arc::clone(&fields[1]));
    for series in all {
        for (name, value) in series.labels().filter(|(name, _)| schema.in_map(name)) {
            map.keys().append_value(name);
            map.values().append_value(value);
        }
        map.append(true).unwrap();
    }
    let (_, offsets, entries, nulls, _) = map.finish().into_parts();
    Arc::new(MapArray::try_new(map_entries(), offsets, entries, nulls, true).unwrap())
}

fn map_entries() -> Arc<Field> {
    Arc::new(Field::new("key_value", DataType::Struct(map_fields()), false))
}

fn map_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, false)])
}
