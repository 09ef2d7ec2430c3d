//! Files read back through the crate's own reader, cell by cell.

use ::arrow::array::{Array, AsArray, RecordBatch, StringArray};
use ::arrow::datatypes::{Float64Type, TimestampMillisecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::super::oracle;
use super::*;
use crate::model::batch::{LineUp, Times};
use crate::model::labels::Labels;
use crate::model::sample::MetricType;
use crate::model::series::Series;
use crate::schema::ORDER;

/// A row as text: every column but `labels` as `name=value`, then the map's entries.
fn read_back(bytes: &Bytes) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap().build().unwrap();
    reader.flat_map(|batch| rows_of(&batch.unwrap())).collect()
}

fn rows_of(batch: &RecordBatch) -> Vec<String> {
    let schema = batch.schema();
    let cell = |row: usize, column: usize| -> String {
        let (name, array) = (schema.field(column).name(), batch.column(column));
        assert_eq!(array.null_count(), 0);
        match name.as_str() {
            "timestamp" => array.as_primitive::<TimestampMillisecondType>().value(row).to_string(),
            "value" => format!("{:x}", array.as_primitive::<Float64Type>().value(row).to_bits()),
            "labels" => {
                let entries = array.as_map().value(row);
                let text =
                    |i: usize| entries.column(i).as_any().downcast_ref::<StringArray>().unwrap().clone();
                let (keys, values) = (text(0), text(1));
                let pairs = keys.iter().zip(values.iter());
                pairs.map(|(k, v)| format!("[{}={}]", k.unwrap(), v.unwrap())).collect()
            }
            other => format!("{other}={}", array.as_string::<i32>().value(row)),
        }
    };
    let columns = batch.num_columns();
    (0..batch.num_rows())
        .map(|row| (0..columns).map(|c| cell(row, c)).collect::<Vec<_>>().join(" "))
        .collect()
}

/// What rows are ordered by.
fn key(
    labels: &Labels,
    metric_type: MetricType,
) -> (Vec<String>, Vec<(String, String)>, String, &'static str) {
    let is_other = |name: &str| name != "__name__" && !ORDER.contains(&name);
    let others = labels.iter().filter(|(name, _)| is_other(name)).map(|(n, v)| (n.to_owned(), v.to_owned()));
    let first = ORDER.iter().map(|name| labels.value(name).to_owned()).collect();
    (first, others.collect(), labels.value("__name__").to_owned(), metric_type.as_str())
}

/// The same text made from the batch, without an encoder.
fn expected(batch: &Batch, table: &SeriesTable, schema: &Schema) -> Vec<String> {
    let mut rows: Vec<_> = batch
        .iter()
        .map(|(id, time, value)| {
            let Series { labels, metric_type } = table.get(id).unwrap().to_series();
            let key = key(&labels, metric_type);
            let promoted: Vec<_> =
                schema.promoted.iter().map(|p| format!("{p}={}", labels.value(p))).collect();
            let map: String =
                labels.iter().filter(|(n, _)| schema.in_map(n)).map(|(n, v)| format!("[{n}={v}]")).collect();
            let (metric, kind) = (labels.value("__name__"), metric_type.as_str());
            let value = value.to_bits();
            let row = format!("{time} metric={metric} type={kind} {} {map} {value:x}", promoted.join(" "));
            ((key, time), row)
        })
        .collect();
    // Of equal ones the first to arrive stays.
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.dedup_by(|a, b| a.0 == b.0);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The schema, and the kind, values and statistics of every column: what a reader plans by.
fn footer(bytes: &Bytes) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let columns = reader.metadata().row_group(0).columns().iter().map(|c| {
        let statistics = c.statistics().map(|s| (s.min_bytes_opt(), s.max_bytes_opt())).unwrap_or_default();
        format!("{} {} {statistics:?}", c.column_path(), c.num_values())
    });
    let schema = format!("{:?}", reader.parquet_schema().root_schema());
    std::iter::once(schema).chain(columns).collect()
}

fn series(pairs: &[(&str, &str)], metric_type: MetricType) -> Series {
    Series { labels: Labels::from_pairs(pairs.iter().copied()), metric_type }
}

fn encoder(compression: Compression) -> ParquetEncoder {
    let config = Config { promote: vec!["image".to_owned()], compression };
    ParquetEncoder::new(&config, "w0", "c1").unwrap()
}

#[test]
fn what_is_written_is_read() {
    let mut table = SeriesTable::default();
    let all = [
        series(&[("__name__", "up"), ("job", "b"), ("pod", "p"), ("image", "i")], MetricType::Gauge),
        series(
            &[("__name__", "x"), ("job", "a"), ("type", "t"), ("value", "v"), ("le", "+Inf")],
            MetricType::Histogram,
        ),
        series(&[("__name__", "ü"), ("job", "a"), ("k", "line\nbreak \u{1D11E}")], MetricType::Unknown),
    ];
    let ids = all.map(|series| table.insert(series.labels.iter(), series.metric_type));
    let (mut batch, mut line_up) = (Batch::default(), LineUp::new(&ids));
    let values = [0.0, -0.0, f64::INFINITY, f64::from_bits(0x7ff0_0000_0000_0002), 1.5e-300];
    for (i, value) in values.into_iter().enumerate() {
        batch.add(&mut line_up, Times::Same(1_700_000_000_000 + i as i64), &[value; 3]);
    }
    for compression in [Compression::Zstd, Compression::Lz4, Compression::Snappy, Compression::None] {
        let mut encoder = encoder(compression);
        let object = encoder.encode(&batch, &table, 9).unwrap().object;
        assert_eq!(read_back(&object.bytes), expected(&batch, &table, &encoder.schema), "{compression:?}");
        assert_eq!((object.samples, object.sequence), (15, 9));
        assert_eq!((object.time_min, object.time_max), (1_700_000_000_000, 1_700_000_000_004));
        assert_eq!(object.crc32, crc32fast::hash(&object.bytes));
    }
}

#[test]
fn the_file_says_where_it_comes_from() {
    let mut table = SeriesTable::default();
    let id = table.insert([("__name__", "up"), ("le", "1")].into_iter(), MetricType::Gauge);
    let mut batch = Batch::default();
    batch.add(&mut LineUp::new(&[id]), Times::Same(5), &[1.0]);
    let object = encoder(Compression::Zstd).encode(&batch, &table, 42).unwrap().object;
    let reader = ParquetRecordBatchReaderBuilder::try_new(object.bytes).unwrap();
    let file = reader.metadata().file_metadata();
    let pairs = file.key_value_metadata().unwrap().iter();
    let text: Vec<_> =
        pairs.map(|p| format!("{}={}", p.key, p.value.as_deref().unwrap_or_default())).collect();
    let version = format!("agent_version={VERSION}");
    let rest = ["cluster_id=c1", "writer=w0", "sequence=42", "samples=1", "time_min=5", "time_max=5"];
    assert_eq!(text, [&[version.as_str()][..], &rest].concat());
    assert_eq!(reader.metadata().num_row_groups(), 1);
    let columns = reader.metadata().row_group(0).columns().iter();
    for column in columns {
        assert!(column.statistics().is_some_and(|s| s.min_bytes_opt().is_some()), "{}", column.column_path());
        assert_eq!(column.column_descr().max_rep_level(), i16::from(column.column_path().parts().len() > 1));
    }
}

/// Labels, type, time and bits of the value.
pub(crate) type ReadRow = (String, &'static str, i64, u64);

/// Objects of each compression, for who reads them back, and their rows.
pub(crate) fn objects() -> Vec<(Bytes, Vec<ReadRow>)> {
    let mut table = SeriesTable::default();
    let all = [
        series(&[("__name__", "up"), ("job", "b"), ("pod", "p"), ("image", "i")], MetricType::Gauge),
        series(&[("__name__", "x"), ("job", "a"), ("type", "t"), ("le", "+Inf")], MetricType::Histogram),
        series(&[("__name__", "x"), ("job", "a"), ("le", "1"), ("a", "ü\n")], MetricType::Histogram),
        series(&[("__name__", "y")], MetricType::Unknown),
    ];
    let ids = all.clone().map(|series| table.insert(series.labels.iter(), series.metric_type));
    let (mut batch, mut line_up) = (Batch::default(), LineUp::new(&ids));
    for i in 0..9_u8 {
        let times = Times::Same(1_700_000_000_000 + i64::from(i));
        batch.add(&mut line_up, times, &[f64::from(i), f64::NAN, -0.0, f64::NEG_INFINITY]);
    }
    let mut rows: Vec<_> = batch
        .iter()
        .map(|(id, time, value)| {
            let Series { labels, metric_type } = table.get(id).unwrap().to_series();
            (
                (key(&labels, metric_type), time),
                (labels.to_string(), metric_type.as_str(), time, value.to_bits()),
            )
        })
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let kinds = [Compression::Zstd, Compression::Lz4, Compression::Snappy, Compression::None];
    let object = |kind| (encoder(kind).encode(&batch, &table, 7).unwrap().object.bytes, rows.clone());
    kinds.map(object).into()
}

prop_compose! {
    fn any_series()(
        labels in prop::collection::btree_map("[a-c]|job|instance|pod|le|type", "[a-z0-9ü]{0,3}", 0..5),
        name in "[m-p]",
        counter in any::<bool>(),
    ) -> Series {
        let mut pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        pairs.push(("__name__", &name));
        series(&pairs, if counter { MetricType::Counter } else { MetricType::Gauge })
    }
}

#[test]
fn text_columns_are_kept_in_whatever_order_targets_come() {
    let mut table = SeriesTable::default();
    let all = ["a", "b"].map(|job| series(&[("__name__", "up"), ("job", job)], MetricType::Gauge));
    let ids = all.map(|series| table.insert(series.labels.iter(), series.metric_type));
    let mut targets = ids.map(|id| LineUp::new(&[id]));
    let mut again = LineUp::new(&[ids[0]]);
    let mut batch = |order: &[usize]| {
        let mut batch = Batch::default();
        for (time, target) in order.iter().enumerate() {
            let line_up = targets.get_mut(*target).unwrap_or(&mut again);
            batch.add(line_up, Times::Same(time as i64), &[1.0]);
        }
        batch.take()
    };
    let first = Lists::of(&batch(&[0, 1, 0]));
    assert!(first == Lists::of(&batch(&[0, 0, 1])) && first == Lists::of(&batch(&[1, 0, 0])));
    // Other scrapes of each, one more, one less, and another list of the same series.
    for other in [&[0, 1, 1][..], &[0, 1, 0, 0], &[0, 0], &[0, 1, 2], &[1, 2, 2]] {
        assert!(first != Lists::of(&batch(other)), "{other:?}");
    }
    let (mut kept, batches) = (encoder(Compression::Zstd), [batch(&[0, 1, 0]), batch(&[1, 0, 0])]);
    for batch in &batches {
        let object = kept.encode(batch, &table, 1).unwrap().object;
        assert_eq!(object, encoder(Compression::Zstd).encode(batch, &table, 1).unwrap().object);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_batch_is_read_back_and_encodes_the_same_twice(
        pool in prop::collection::hash_set(any_series(), 1..12),
        rounds in prop::collection::vec(prop::collection::vec((0..4_usize, any::<bool>(), 0..3_i64, any::<u64>()), 1..40), 1..4),
        lists in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..9), 4),
    ) {
        let mut table = SeriesTable::default();
        let ids: Vec<_> = pool.iter().map(|series| table.insert(series.labels.iter(), series.metric_type)).collect();
        let mut lists: Vec<_> = lists
            .iter()
            .map(|list| LineUp::new(&list.iter().map(|index| *index.get(&ids)).collect::<Vec<_>>()))
            .collect();
        let mut long_lived = encoder(Compression::Zstd);
        for (round, scrapes) in rounds.iter().enumerate() {
            let (mut batch, mut by_sample) = (Batch::default(), Batch::default());
            for (i, (list, is_own, back, bits)) in scrapes.iter().enumerate() {
                let (list, time) = (&mut lists[*list], i as i64 * 2 - back);
                let series = list.series().to_vec();
                let values: Vec<_> = (0..series.len() as u64).map(|n| f64::from_bits(bits.wrapping_add(n))).collect();
                let each: Vec<_> = (0..series.len() as i64).map(|n| time - if *is_own { n % 3 } else { 0 }).collect();
                let times = if *is_own { Times::Each(&each) } else { Times::Same(time) };
                for (n, (id, value)) in series.iter().zip(&values).enumerate() {
                    by_sample.add(&mut LineUp::new(&[*id]), Times::Same(each[n]), &[*value]);
                }
                batch.add(list, times, &values);
            }
            let sequence = round as u64;
            let object = long_lived.encode(&batch, &table, sequence).unwrap().object;
            prop_assert_eq!(read_back(&object.bytes), expected(&batch, &table, &long_lived.schema));
            let rows = Order::default().place(&batch, &mut Layouts::new(&table, &long_lived.schema));
            let oracle = Bytes::from(oracle::write(&rows, &batch, &table, &long_lived.schema));
            prop_assert_eq!(read_back(&object.bytes), read_back(&oracle));
            prop_assert_eq!(footer(&object.bytes), footer(&oracle));
            // The same bytes again, whatever is remembered and however the samples came.
            for batch in [batch.clone(), by_sample] {
                let fresh = encoder(Compression::Zstd).encode(&batch, &table, sequence).unwrap().object;
                prop_assert_eq!(&object, &fresh);
                prop_assert_eq!(&object, &long_lived.encode(&batch, &table, sequence).unwrap().object);
            }
        }
    }
}
