//! Expositions whose samples are known exactly, because they are written from them and not read.
//!
//! Prometheus text format 0.0.4 (prometheus.io, "Exposition formats"), rendered with every escape it needs.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What the text `NaN` is read as: Prometheus' own bits (prometheus/model/value, `NormalNaN`), which are neither those of
/// Rust nor those of a stale marker.
pub const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// One sample as an exporter exposes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposed {
    /// The name of the metric.
    pub metric: String,
    /// Its labels, without those of the target.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
    /// Its explicit timestamp, milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
}

/// An exposition being written.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// The text.
    pub text: String,
    /// The samples in it.
    pub samples: Vec<Exposed>,
}

impl Exposition {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the type of a metric.
    #[must_use]
    pub fn declare(mut self, metric: &str, kind: &str) -> Self {
        let _ = writeln!(self.text, "# HELP {metric} Help of {metric}.\n# TYPE {metric} {kind}");
        self
    }

    /// A sample.
    #[must_use]
    pub fn sample(mut self, metric: &str, labels: &[(&str, &str)], value: f64) -> Self {
        self.push(metric, labels, value, None);
        self
    }

    /// A sample with an explicit timestamp, milliseconds since the Unix epoch.
    #[must_use]
    pub fn sample_at(mut self, metric: &str, labels: &[(&str, &str)], value: f64, timestamp: i64) -> Self {
        self.push(metric, labels, value, Some(timestamp));
        self
    }

    /// A line that holds no sample: a comment, or something that is wrong.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.text.push_str(line);
        self.text.push('\n');
        self
    }

    /// Adds a sample.
    pub fn push(&mut self, metric: &str, labels: &[(&str, &str)], value: f64, timestamp: Option<i64>) {
        self.text.push_str(metric);
        for (i, (name, value)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{open}{name}=\"{value}\"");
        }
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        self.text.push_str(&number(value));
        if let Some(timestamp) = timestamp {
            let _ = write!(self.text, " {timestamp}");
        }
        self.text.push('\n');
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        self.samples.push(Exposed {
            metric: metric.to_owned(),
            labels: labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            value: if value.is_nan() { NAN } else { value },
            timestamp,
        });
    }
}

/// A value as Go's `strconv.FormatFloat` and the exporters write it, near enough: it reads back with equal bits.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}
