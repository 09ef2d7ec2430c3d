//! Objects read back, and made up, with the crates `parquet` and `arrow`: rows of plain Rust values and the metadata of the file.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, MapBuilder, MapFieldNames, RecordBatch,
    StringArray, StringBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Schema, TimestampMillisecondType, UInt64Type,
};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// One sample of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The column `metric`.
    pub metric: String,
    /// The column `type`.
    pub kind: String,
    /// All other text columns by name, empty ones left out.
    pub promoted: BTreeMap<String, String>,
    /// The column `labels`.
    pub labels: BTreeMap<String, String>,
    /// The column `value`.
    pub value: f64,
}

impl Row {
    /// Promoted columns and labels together: all labels but the name.
    #[must_use]
    pub fn all_labels(&self) -> BTreeMap<String, String> {
        let promoted = self.promoted.iter();
        promoted.chain(&self.labels).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// A label, promoted or not; the empty text where there is none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.promoted.get(name).or_else(|| self.labels.get(name)).map_or("", String::as_str)
    }
}

/// An object that was read back.
#[derive(Clone, Debug)]
pub struct File {
    /// Its samples, in order.
    pub rows: Vec<Row>,
    /// Key-value metadata of the file, Arrow's own schema left out.
    pub metadata: BTreeMap<String, String>,
    /// Column names with their Arrow types, in order.
    pub columns: Vec<(String, String)>,
    /// Names of columns that may be null; there should be none.
    pub nullable: Vec<String>,
    /// How many row groups.
    pub row_groups: usize,
}

/// Reads an object.
///
/// # Errors
/// When it is no Parquet file, or lacks a column that all objects have.
pub fn read(bytes: &Bytes) -> anyhow::Result<File> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).context("not a Parquet file")?;
    let metadata = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let metadata = metadata.into_iter().filter(|pair| pair.key != "ARROW:schema");
    let fields = builder.schema().fields().clone();
    let row_groups = builder.metadata().num_row_groups();
    let mut rows = Vec::new();
    for batch in builder.build()? {
        read_rows(&batch?, &mut rows)?;
    }
    Ok(File {
        rows,
        metadata: metadata.map(|pair| (pair.key, pair.value.unwrap_or_default())).collect(),
        columns: fields.iter().map(|f| (f.name().clone(), f.data_type().to_string())).collect(),
        nullable: fields.iter().filter(|f| f.is_nullable()).map(|f| f.name().clone()).collect(),
        row_groups,
    })
}

/// Cluster, identity and count of each row of an object of Kubernetes events.
///
/// # Errors
/// When it is no such object.
pub fn read_events(bytes: &Bytes) -> anyhow::Result<Vec<(String, String, u64)>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).context("not a Parquet file")?;
    let mut rows = Vec::new();
    for batch in builder.build()? {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column {name}"));
        let clusters = read_texts(column("cluster_id")?.as_ref())?;
        let uids = read_texts(column("uid")?.as_ref())?;
        let counts = column("count")?.as_primitive_opt::<UInt64Type>().context("count is no number")?;
        let pairs = clusters.into_iter().zip(uids).zip(counts.values().iter());
        rows.extend(pairs.map(|((cluster, uid), count)| (cluster, uid, *count)));
    }
    Ok(rows)
}

fn read_rows(batch: &RecordBatch, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column {name}"));
    let timestamps =
        column("timestamp")?.as_primitive_opt::<TimestampMillisecondType>().context("timestamp")?;
    let values = column("value")?.as_primitive_opt::<Float64Type>().context("value is no double")?;
    let labels = column("labels")?.as_map_opt().context("labels is no map")?;
    let schema = batch.schema();
    let mut texts = BTreeMap::new();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        ensure!(array.null_count() == 0, "null in column {}", field.name());
        if !matches!(field.name().as_str(), "timestamp" | "value" | "labels") {
            texts.insert(field.name().clone(), read_texts(array.as_ref()).context(field.name().clone())?);
        }
    }
    for at in 0..batch.num_rows() {
        let entry = labels.value(at);
        let (names, contents) =
            (read_texts(entry.column(0).as_ref())?, read_texts(entry.column(1).as_ref())?);
        ensure!(names.is_sorted(), "labels are not sorted: {names:?}");
        ensure!(contents.iter().all(|value| !value.is_empty()), "an empty label among {names:?}");
        let mut promoted: BTreeMap<_, _> =
            texts.iter().map(|(name, values)| (name.clone(), values[at].clone())).collect();
        let metric = promoted.remove("metric").context("no column metric")?;
        let kind = promoted.remove("type").context("no column type")?;
        promoted.retain(|_, value| !value.is_empty());
        rows.push(Row {
            timestamp: timestamps.value(at),
            metric,
            kind,
            promoted,
            labels: names.into_iter().zip(contents).collect(),
            value: values.value(at),
        });
    }
    Ok(())
}

/// A column of texts, plain or dictionary.
fn read_texts(array: &dyn Array) -> anyhow::Result<Vec<String>> {
    let plain = |texts: &StringArray| texts.iter().map(|text| text.unwrap_or_default().to_owned()).collect();
    match array.data_type() {
        DataType::Utf8 => Ok(plain(array.as_string::<i32>())),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().iter().map(Option::unwrap_or_default);
            Ok(bytes.map(|b| String::from_utf8(b.to_vec())).collect::<Result<_, _>>()?)
        }
        DataType::Dictionary(..) => {
            let dictionary: &DictionaryArray<Int32Type> =
                array.as_dictionary_opt().context("dictionary keys")?;
            let texts = dictionary.downcast_dict::<StringArray>().context("dictionary values")?;
            Ok(texts.into_iter().map(|text| text.unwrap_or_default().to_owned()).collect())
        }
        other => anyhow::bail!("unexpected type {other}"),
    }
}

/// The columns for labels of an object that is made up.
const PROMOTED: [&str; 8] = ["cluster_id", "job", "instance", "namespace", "pod", "container", "node", "uid"];

/// An object with these rows, by a writer that has nothing in common with the agent's.
///
/// # Errors
/// When the crates refuse it.
pub fn write(rows: &[Row]) -> anyhow::Result<Bytes> {
    let texts =
        |of: &dyn Fn(&Row) -> String| Arc::new(rows.iter().map(of).map(Some).collect::<StringArray>());
    let times: TimestampMillisecondArray = rows.iter().map(|row| row.timestamp).collect::<Vec<_>>().into();
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("timestamp".to_owned(), Arc::new(times.with_timezone("UTC"))),
        ("metric".to_owned(), texts(&|row| row.metric.clone())),
        ("type".to_owned(), texts(&|row| row.kind.clone())),
    ];
    for name in PROMOTED {
        columns.push((name.to_owned(), texts(&|row| row.label(name).to_owned())));
    }
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_values_field(Field::new("value", DataType::Utf8, false));
    for row in rows {
        for (name, value) in row.labels.iter().filter(|(name, _)| !PROMOTED.contains(&name.as_str())) {
            labels.keys().append_value(name);
            labels.values().append_value(value);
        }
        labels.append(true)?;
    }
    columns.push(("labels".to_owned(), Arc::new(labels.finish())));
    let values: Float64Array = rows.iter().map(|row| row.value).collect::<Vec<_>>().into();
    columns.push(("value".to_owned(), Arc::new(values)));
    let fields = columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes.into())
}
