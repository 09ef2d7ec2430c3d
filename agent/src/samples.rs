//! Samples as text: one JSON object per line, or Prometheus' text format 0.0.4.
//!
//! Takes samples as the pipeline holds them, writes them to a stream. Never collects the whole text.

use std::collections::HashMap;
use std::io::{self, Write};

use pipeline::model::labels::METRIC_NAME;
use pipeline::model::sample::MetricType;
use pipeline::model::series::SeriesRef;

use crate::targets::rfc3339;

/// A sample: its series, milliseconds since the Unix epoch, value.
pub type Sample<'a> = (SeriesRef<'a>, i64, f64);

/// One JSON object per line: `timestamp`, `metric`, `labels`, `value`, `type`.
///
/// # Errors
/// When the stream takes no more.
pub fn write_json<'a>(out: &mut impl Write, samples: impl Iterator<Item = Sample<'a>>) -> io::Result<()> {
    // Nearly all samples of a scrape have the same timestamp.
    let mut time = (0, rfc3339(0));
    for (series, timestamp, value) in samples {
        if time.0 != timestamp {
            time = (timestamp, rfc3339(timestamp));
        }
        write!(out, "{{\"timestamp\":\"{}\",\"metric\":", time.1)?;
        text(out, series.value(METRIC_NAME))?;
        out.write_all(b",\"labels\":{")?;
        for (i, (name, value)) in series.labels().filter(|(name, _)| *name != METRIC_NAME).enumerate() {
            out.write_all(if i == 0 { b"" } else { b"," })?;
            text(out, name)?;
            out.write_all(b":")?;
            text(out, value)?;
        }
        out.write_all(b"},\"value\":")?;
        if value.is_finite() {
            serde_json::to_writer(&mut *out, &value)?;
        } else {
            write!(out, "\"{}\"", number(value))?;
        }
        writeln!(out, ",\"type\":\"{}\"}}", series.metric_type().as_str())?;
    }
    Ok(())
}

fn text(out: &mut impl Write, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

/// Text format 0.0.4, grouped by family as it demands, with timestamps.
///
/// # Errors
/// When the stream takes no more.
pub fn write_prometheus<'a>(
    out: &mut impl Write,
    samples: impl Iterator<Item = Sample<'a>>,
) -> io::Result<()> {
    let mut families: Vec<(&str, MetricType, Vec<Sample<'a>>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for sample in samples {
        let family = family(sample.0);
        let place = *places.entry(family).or_insert(families.len());
        match families.get_mut(place) {
            Some((_, kind, samples)) => {
                // Two targets may disagree; a known type says more than none.
                if *kind == MetricType::Unknown {
                    *kind = sample.0.metric_type();
                }
                samples.push(sample);
            }
            None => families.push((family, sample.0.metric_type(), vec![sample])),
        }
    }
    for (family, kind, samples) in families {
        if is_name(family) {
            writeln!(out, "# TYPE {family} {}", type_name(kind))?;
        }
        for (series, timestamp, value) in samples {
            write_series(out, series)?;
            writeln!(out, " {} {timestamp}", number(value))?;
        }
    }
    Ok(())
}

/// The name that the parts of a histogram or summary share.
fn family(series: SeriesRef<'_>) -> &str {
    let name = series.value(METRIC_NAME);
    let suffixes: &[&str] = match series.metric_type() {
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// The type in the words of format 0.0.4.
fn type_name(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Unknown => "untyped",
        MetricType::Info | MetricType::Stateset => "gauge",
        kind => kind.as_str(),
    }
}

/// `name{label="value"}`, or `{"name",label="value"}` for names that need quotes (Prometheus' UTF-8 names).
fn write_series(out: &mut impl Write, series: SeriesRef<'_>) -> io::Result<()> {
    let name = series.value(METRIC_NAME);
    let mut comma = "";
    let labels = series.labels().filter(|(label, _)| *label != METRIC_NAME);
    if is_name(name) {
        write!(out, "{name}")?;
        if series.labels().count() <= 1 {
            return Ok(());
        }
        write!(out, "{{")?;
    } else {
        write!(out, "{{\"{}\"", escape(name))?;
        comma = ",";
    }
    for (label, value) in labels {
        if is_name(label) {
            write!(out, "{comma}{label}=\"{}\"", escape(value))?;
        } else {
            write!(out, "{comma}\"{}\"=\"{}\"", escape(label), escape(value))?;
        }
        comma = ",";
    }
    write!(out, "}}")
}

/// Prometheus' data model: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    !name.is_empty() && name.chars().all(letter) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn escape(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return text.into();
    }
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
}

/// A value as Prometheus writes it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::model::labels::Labels;
    use pipeline::model::series::{SeriesId, SeriesTable};

    fn insert(table: &mut SeriesTable, metric_type: MetricType, pairs: &[(&str, &str)]) -> SeriesId {
        table.insert(Labels::from_pairs(pairs.iter().copied()).iter(), metric_type)
    }

    #[test]
    fn one_json_object_per_sample() {
        let mut table = SeriesTable::default();
        let id = insert(&mut table, MetricType::Counter, &[("__name__", "m"), ("b", "\"\\\n"), ("a", "é")]);
        let series = table.get(id).unwrap();
        let check = |value: f64, expected: &str| {
            let mut out = Vec::new();
            write_json(&mut out, [(series, 1_795_303_367_401, value)].into_iter()).unwrap();
            let start =
                r#"{"timestamp":"2026-11-21T23:22:47.401Z","metric":"m","labels":{"a":"é","b":"\"\\\n"},"#;
            let expected = format!("{start}\"value\":{expected},\"type\":\"counter\"}}\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(1.5, "1.5");
        check(1e300, "1e+300");
        check(f64::NAN, "\"NaN\"");
        check(f64::INFINITY, "\"+Inf\"");
        check(f64::NEG_INFINITY, "\"-Inf\"");
    }

    #[test]
    fn families_stand_together() {
        let all: [(MetricType, &[_]); 4] = [
            (MetricType::Histogram, &[("__name__", "h_bucket"), ("le", "1")]),
            (MetricType::Gauge, &[("__name__", "g"), ("x", "a\"\\\nb")]),
            (MetricType::Histogram, &[("__name__", "h_count"), ("le", "")]),
            (MetricType::Unknown, &[("__name__", "a.b"), ("c.d", "e")]),
        ];
        let mut table = SeriesTable::default();
        let ids = all.map(|(metric_type, pairs)| insert(&mut table, metric_type, pairs));
        let values = [1.0, f64::NAN, 0.25, f64::NEG_INFINITY];
        let mut out = Vec::new();
        write_prometheus(
            &mut out,
            ids.iter().zip(values).map(|(id, value)| (table.get(*id).unwrap(), 5, value)),
        )
        .unwrap();
        let expected = "\
# TYPE h histogram
h_bucket{le=\"1\"} 1 5
h_count 0.25 5
# TYPE g gauge
g{x=\"a\\\"\\\\\\nb\"} NaN 5
{\"a.b\",\"c.d\"=\"e\"} -Inf 5
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
