//! Rows, and the Parquet file that is made of them.
//!
//! Few rows and no hot path: the parquet crate's own writer encodes them, column by column. The same rows and sequence number
//! give the same bytes.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use crate::model::object::{Format, Object};
use crate::schema::kube_events::{COLUMNS, Kind};

/// The version that stands in every file.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One Kubernetes event with one count, or one end of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Milliseconds since the Unix epoch.
    pub(super) time: i64,
    pub(super) source: &'static str,
    pub(super) severity: Box<str>,
    pub(super) reason: Box<str>,
    pub(super) kind: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) object_uid: Box<str>,
    pub(super) container: Box<str>,
    pub(super) node: Box<str>,
    pub(super) component: Box<str>,
    pub(super) owner: (Box<str>, Box<str>),
    pub(super) uid: Box<str>,
    pub(super) count: u64,
    pub(super) exit_code: i32,
    pub(super) message: Box<str>,
}

impl Row {
    fn text<'r>(&'r self, column: &str, cluster_id: &'r str) -> &'r str {
        match column {
            "cluster_id" => cluster_id,
            "source" => self.source,
            "type" => &self.severity,
            "reason" => &self.reason,
            "kind" => &self.kind,
            "namespace" => &self.namespace,
            "name" => &self.name,
            "object_uid" => &self.object_uid,
            "container" => &self.container,
            "node" => &self.node,
            "component" => &self.component,
            "owner_kind" => &self.owner.0,
            "owner" => &self.owner.1,
            "uid" => &self.uid,
            _ => &self.message,
        }
    }
}

/// Encodes rows as one object.
///
/// # Errors
/// What the Parquet writer reports, which for rows in memory means a defect.
pub(super) fn encode(
    rows: &[Row],
    cluster_id: &str,
    writer: &str,
    sequence: u64,
) -> Result<Object, ParquetError> {
    let times = || rows.iter().map(|row| row.time);
    let (time_min, time_max) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
    let metadata = [
        ("agent_version", VERSION.to_owned()),
        ("cluster_id", cluster_id.to_owned()),
        ("writer", writer.to_owned()),
        ("sequence", sequence.to_string()),
        ("rows", rows.len().to_string()),
    ];
    let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec();
    let properties = WriterProperties::builder()
        .set_created_by(format!("cedana-agent version {VERSION}"))
        .set_key_value_metadata(Some(metadata))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Compression finds what repeats among few rows; dictionaries of this crate begin with a seed from /dev/urandom, which an
        // empty root need not have.
        .set_dictionary_enabled(false)
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), parquet_schema()?, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (name, kind) in COLUMNS {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("a column too many".to_owned()));
        };
        match kind {
            Kind::Text => {
                let text = |row| ByteArray::from(Row::text(row, name, cluster_id));
                let texts: Vec<ByteArray> = rows.iter().map(text).collect();
                column.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
            }
            Kind::Code => {
                let codes: Vec<i32> = rows.iter().map(|row| row.exit_code).collect();
                column.typed::<Int32Type>().write_batch(&codes, None, None)?;
            }
            Kind::Time | Kind::Count => {
                let number = |row: &Row| match kind {
                    Kind::Time => row.time,
                    _ => i64::try_from(row.count).unwrap_or(i64::MAX),
                };
                let numbers: Vec<i64> = rows.iter().map(number).collect();
                column.typed::<Int64Type>().write_batch(&numbers, None, None)?;
            }
        }
        column.close()?;
    }
    group.close()?;
    let bytes = Bytes::from(file.into_inner()?);
    let crc32 = crc32fast::hash(&bytes);
    let samples = rows.len() as u64;
    Ok(Object {
        sequence,
        format: Format::Parquet,
        bytes,
        samples,
        time_min,
        time_max,
        last_scrape: time_max,
        crc32,
        tenure: None,
    })
}

fn parquet_schema() -> Result<TypePtr, ParquetError> {
    let field = |(name, kind): (&str, Kind)| {
        let (physical, logical) = match kind {
            Kind::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
            Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Count => (PhysicalType::INT64, Some(LogicalType::integer(64, false))),
            Kind::Code => (PhysicalType::INT32, None),
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
        Ok::<_, ParquetError>(Arc::new(builder.with_logical_type(logical).build()?))
    };
    let fields = COLUMNS.into_iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

#[cfg(test)]
pub(super) mod tests {
    use arrow::array::{Array as _, AsArray as _};
    use arrow::datatypes::{Int64Type, UInt64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// The identity of each row.
    pub(in crate::kube_events) fn identities(object: &Object) -> Vec<(String, u64)> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(object.bytes.clone()).unwrap().build().unwrap();
        let mut found = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            let uids = batch.column_by_name("uid").unwrap().as_string::<i32>().clone();
            let counts = batch.column_by_name("count").unwrap().as_primitive::<UInt64Type>().clone();
            found.extend((0..uids.len()).map(|i| (uids.value(i).to_owned(), counts.value(i))));
        }
        found
    }

    #[test]
    fn rows_are_read_back_and_encode_alike() {
        let row = Row { time: 5, uid: "u".into(), count: 7, exit_code: -1, ..Row::default() };
        let later = Row { time: 9, uid: "v".into(), owner: ("Job".into(), "train".into()), ..row.clone() };
        let rows = [row, later];
        let object = encode(&rows, "c", "w", 3).unwrap();
        assert_eq!((object.samples, object.time_min, object.time_max, object.sequence), (2, 5, 9, 3));
        assert_eq!(identities(&object), [("u".to_owned(), 7), ("v".to_owned(), 7)]);
        assert_eq!(encode(&rows, "c", "w", 3).unwrap(), object);
        let reader = ParquetRecordBatchReaderBuilder::try_new(object.bytes).unwrap();
        let names: Vec<_> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, COLUMNS.map(|(name, _)| name));
        assert!(reader.schema().fields().iter().all(|field| !field.is_nullable()));
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        let times = batch.column(0).as_any();
        let times = times.downcast_ref::<arrow::array::TimestampMillisecondArray>().unwrap();
        assert_eq!(times.values().to_vec(), [5, 9]);
        assert_eq!(batch.column_by_name("owner").unwrap().as_string::<i32>().value(1), "train");
        let codes = batch.column_by_name("exit_code").unwrap();
        assert_eq!(codes.as_primitive::<arrow::datatypes::Int32Type>().value(0), -1);
        assert!(codes.as_primitive_opt::<Int64Type>().is_none());
    }
}
