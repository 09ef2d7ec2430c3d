//! From the open batch to the object of a mixed cluster: what it costs for each sample, and how large it is.

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context, Result};
use benches::callgrind::{Fastest, fastest};
use benches::fleet::MixedCluster;
use benches::table::Row;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use pipeline::model::labels::METRIC_NAME;
use pipeline::model::object::Object;
use pipeline::model::sample::MetricType;
use support::cluster::Shape;

use crate::Stages;

/// Samples of each series in an object, whether pods are replaced between two objects, how many rounds are measured at most, and
/// what is asked: nanoseconds and bytes for each sample.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) each: u64,
    pub(crate) is_churning: bool,
    pub(crate) rounds: u32,
    nanoseconds: Option<f64>,
    bytes: Option<f64>,
}

pub(crate) const CASES: [Case; 4] = [
    Case { name: "1 each", each: 1, is_churning: false, rounds: 5, nanoseconds: None, bytes: Some(4.4) },
    Case {
        name: "4 each",
        each: 4,
        is_churning: false,
        rounds: 4,
        nanoseconds: Some(30.0),
        bytes: Some(2.1),
    },
    Case { name: "20 each", each: 20, is_churning: false, rounds: 2, nanoseconds: None, bytes: Some(1.2) },
    Case {
        name: "4 each, 10 % new series",
        each: 4,
        is_churning: true,
        rounds: 4,
        nanoseconds: Some(90.0),
        bytes: None,
    },
];

pub(crate) fn rows(stages: &mut Stages) -> Result<()> {
    let names = CASES.map(|case| (format!("encode, {}", case.name), format!("object, {}", case.name)));
    if !names.iter().any(|(time, size)| stages.wants(time) || stages.wants(size)) {
        return Ok(());
    }
    if !stages.arguments.counted {
        let Shape { series, metrics, bytes, changed, replaced } = Shape::of_mixed();
        let percent = |part: usize| part as f64 / series as f64 * 100.0;
        println!(
            "mixed cluster: {series} series of {metrics} metrics, {} B of text each; {:.1} % change per scrape, {:.1} % are new \
             where that is said",
            bytes / series,
            percent(changed),
            percent(replaced)
        );
    }
    let mut text = None;
    for (case, (encode, size)) in CASES.iter().zip(names) {
        let mut object = None;
        let is_size_wanted = stages.wants(&size);
        let row = stages.time(&encode, case.nanoseconds, |rounds| {
            let (found, last) = measure(case, rounds.min(case.rounds));
            object = Some(last);
            Ok(found)
        })?;
        if let Some(row) = row {
            let object = object.as_ref().context("an object was made")?;
            row.baseline = Some(("ArrowWriter", arrow_writer(object)?));
        }
        if !is_size_wanted || stages.arguments.counted {
            continue;
        }
        let object = object.unwrap_or_else(|| measure(case, 1).1);
        let found = object.bytes.len() as f64 / object.samples as f64;
        if text.is_none() {
            text = Some(vector()?);
        }
        let (plain, gzip) = text.context("the text was made")?;
        let row = Row { name: size.clone(), unit: "B", found, asked: case.bytes, ..Row::default() };
        stages.rows.push(Row { baseline: Some(("Vector's JSON", plain)), ..row.clone() });
        stages.rows.push(Row { asked: None, baseline: Some(("the same, gzip", gzip)), ..row });
    }
    Ok(())
}

pub(crate) fn measure(case: &Case, rounds: u32) -> (Fastest, Object) {
    let mut state = (MixedCluster::new(), None);
    state.0.take(case.each);
    state.1 = Some(state.0.fleet.seal());
    let prepare = |(cluster, _): &mut (MixedCluster, Option<Object>)| {
        cluster.replacements += u64::from(case.is_churning);
        cluster.take(case.each);
    };
    let found = fastest(rounds, &mut state, prepare, |(cluster, object), ()| {
        let sealed = cluster.fleet.seal();
        let samples = sealed.samples;
        *object = Some(sealed);
        samples
    });
    let (mut cluster, object) = state;
    (found, object.unwrap_or_else(|| cluster.fleet.seal()))
}

/// The crate's own writer on the same rows, as they are read back: nanoseconds for each sample, reading not counted.
fn arrow_writer(object: &Object) -> Result<f64> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object.bytes.clone())?.with_batch_size(65_536);
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), builder.schema().clone(), Some(properties))?;
    let mut seconds = 0.0;
    for rows in builder.build()? {
        let rows = rows?;
        let start = Instant::now();
        writer.write(&rows)?;
        seconds += start.elapsed().as_secs_f64();
    }
    let start = Instant::now();
    std::hint::black_box(writer.into_inner()?);
    seconds += start.elapsed().as_secs_f64();
    Ok(seconds * 1e9 / object.samples as f64)
}

/// Bytes for each sample as Vector's JSON lines, plain and compressed: a tenth of the samples of one scrape of the cluster, a
/// thousand at a time in the order in which they come.
fn vector() -> Result<(f64, f64)> {
    let mut cluster = MixedCluster::new();
    cluster.take(1);
    let (batch, table) = cluster.fleet.worker().open();
    let (mut text, mut samples) = (Vec::new(), 0_u64);
    let some = batch.iter().enumerate().filter(|(place, _)| place / 1_000 % 10 == 0);
    for (_, (id, time, value)) in some {
        let series = table.get(id).context("a series of the batch")?;
        let labels = series.labels().filter(|(name, _)| *name != METRIC_NAME);
        let tags: serde_json::Map<_, _> =
            labels.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let kind = if series.metric_type() == MetricType::Counter { "counter" } else { "gauge" };
        let line = serde_json::json!({
            "name": series.value(METRIC_NAME),
            "tags": tags,
            "timestamp": Timestamp::from_millisecond(time)?.to_string(),
            "kind": "absolute",
            kind: { "value": value },
        });
        writeln!(text, "{line}")?;
        samples += 1;
    }
    let mut gzip = GzEncoder::new(Vec::new(), Level::default());
    gzip.write_all(&text)?;
    let each = |bytes: usize| bytes as f64 / samples as f64;
    Ok((each(text.len()), each(gzip.finish()?.len())))
}
