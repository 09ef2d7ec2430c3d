//! One object as text and as JSON.

use std::io::{self, Write};

use pipeline::decode::{Column, Description, RowGroup, Sample};
use pipeline::model::labels::{Labels, METRIC_NAME};
use pipeline::model::series::Series;
use serde_json::{Map, Value, json};

use super::{OfSeries, Summary};
use crate::cli::Shape;
use crate::targets::rfc3339;

/// Prometheus' notation: the name before the braces.
fn notation(labels: &Labels) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .filter(|(name, _)| *name != METRIC_NAME)
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{}{{{}}}", labels.value(METRIC_NAME), pairs.join(","))
}

fn labels(labels: &Labels) -> Value {
    let pairs = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    Value::Object(Map::from_iter(pairs.map(|(name, value)| (name.to_owned(), value.into()))))
}

/// A value as JSON takes it: what is no finite number is a text.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(shown(value)) }
}

fn shown(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

pub(crate) fn samples(
    out: &mut impl Write,
    series: &Series,
    samples: &[Sample],
    shape: Shape,
) -> io::Result<()> {
    match shape {
        Shape::Text => {
            let notation = notation(&series.labels);
            for (time, value) in samples {
                writeln!(out, "{} {notation} {}", rfc3339(*time), shown(*value))?;
            }
            Ok(())
        }
        // As a dry run prints them.
        Shape::Json => {
            for (time, value) in samples {
                let line = json!({
                    "timestamp": rfc3339(*time), "metric": series.labels.value(METRIC_NAME),
                    "labels": labels(&series.labels), "value": number(*value), "type": series.metric_type.as_str(),
                });
                writeln!(out, "{line}")?;
            }
            Ok(())
        }
    }
}

pub(super) fn series<'a>(
    out: &mut impl Write,
    all: impl Iterator<Item = &'a OfSeries>,
    shape: Shape,
) -> io::Result<()> {
    for OfSeries { series, samples, times: (first, last), values: (min, max) } in all {
        let kind = series.metric_type.as_str();
        match shape {
            Shape::Text => writeln!(
                out,
                "{} {kind} {samples} {} {} {} {}",
                notation(&series.labels),
                rfc3339(*first),
                rfc3339(*last),
                shown(*min),
                shown(*max)
            )?,
            Shape::Json => {
                let line = json!({
                    "metric": series.labels.value(METRIC_NAME), "labels": labels(&series.labels), "type": kind,
                    "samples": samples, "first": rfc3339(*first), "last": rfc3339(*last),
                    "min": number(*min), "max": number(*max),
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

pub(super) fn summary(out: &mut impl Write, summary: &Summary, shape: Shape) -> io::Result<()> {
    match shape {
        Shape::Text => text(out, summary),
        Shape::Json => writeln!(out, "{}", json(summary)),
    }
}

fn text(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    writeln!(out, "{}", summary.name)?;
    let mut line = |name: &str, value: String| writeln!(out, "  {name:<16} {value}");
    line("kind", summary.kind.as_str().to_owned())?;
    line("bytes", summary.bytes.to_string())?;
    line("samples", format!("{} ({} selected)", summary.counts.samples, summary.selected))?;
    line("series", summary.series.to_string())?;
    line("metrics", summary.metrics.to_string())?;
    if let Some((first, last)) = summary.times {
        line("first sample", rfc3339(first))?;
        line("last sample", rfc3339(last))?;
    }
    if let Some((writer, sequence)) = &summary.writer {
        line("writer", writer.clone())?;
        line("sequence", sequence.to_string())?;
    }
    for (reason, count) in &summary.counts.left_out {
        line("left out", format!("{count} elements: {reason}"))?;
    }
    let Some(description) = &summary.description else { return Ok(()) };
    line("created by", description.created_by.clone())?;
    for (name, value) in &description.metadata {
        line("metadata", format!("{name} = {value}"))?;
    }
    for (number, group) in description.row_groups.iter().enumerate() {
        writeln!(out, "  row group {number}: {} rows", group.rows)?;
        for Column { name, physical_type, compression, encodings, compressed_bytes, bytes } in &group.columns
        {
            let encodings = encodings.join(" ");
            writeln!(
                out,
                "    {name:<24} {physical_type:<10} {compressed_bytes:>10} of {bytes:>10} bytes  {compression:<8} {encodings}"
            )?;
        }
    }
    Ok(())
}

fn json(summary: &Summary) -> Value {
    let time = |of: fn((i64, i64)) -> i64| summary.times.map(|times| rfc3339(of(times)));
    json!({
        "object": summary.name,
        "kind": summary.kind.as_str(),
        "bytes": summary.bytes,
        "samples": summary.counts.samples,
        "samples_selected": summary.selected,
        "series": summary.series,
        "metrics": summary.metrics,
        "first_sample": time(|times| times.0),
        "last_sample": time(|times| times.1),
        "writer": summary.writer.as_ref().map(|(writer, _)| writer),
        "sequence": summary.writer.as_ref().map(|(_, sequence)| sequence),
        "elements_left_out": summary.counts.left_out,
        "parquet": summary.description.as_ref().map(parquet),
    })
}

fn parquet(description: &Description) -> Value {
    let column = |column: &Column| {
        json!({
            "name": column.name, "type": column.physical_type, "compression": column.compression,
            "encodings": column.encodings, "compressed_bytes": column.compressed_bytes, "bytes": column.bytes,
        })
    };
    let group = |group: &RowGroup| json!({"rows": group.rows, "columns": group.columns.iter().map(column).collect::<Vec<_>>()});
    let pairs = description.metadata.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    json!({
        "rows": description.rows,
        "created_by": description.created_by,
        "metadata": Value::Object(pairs.collect()),
        "row_groups": description.row_groups.iter().map(group).collect::<Vec<_>>(),
    })
}
