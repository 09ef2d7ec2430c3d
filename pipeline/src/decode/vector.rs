//! Vector's objects: one JSON array of metrics, or one metric per line.
//!
//! Source: Vector's codec `json` for metrics (`lib/vector-core`, `Metric`), as version 0.58 writes it. A histogram or summary is
//! one element there and is spread to the series that Prometheus' text format gives it: cumulative `X_bucket{le}` with `+Inf`,
//! `X_sum` and `X_count`; `X{quantile}`. Null, which Vector writes for what is no finite number, becomes NaN.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Counts, Error, Sample};
use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::sample::MetricType;
use crate::model::series::Series;

/// Reads all elements, one at a time.
pub(super) fn read(bytes: &[u8], each: &mut dyn FnMut(&Series, &[Sample])) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    let mut spread = Spread { counts: &mut counts, each, labels: LabelsBuilder::default() };
    let problem = |error: serde_json::Error| Error::Vector(error.to_string());
    let mut json = serde_json::Deserializer::from_slice(bytes);
    if bytes.trim_ascii_start().starts_with(b"[") {
        Elements(&mut spread).deserialize(&mut json).map_err(problem)?;
        json.end().map_err(problem)?;
    } else {
        for element in json.into_iter::<Element>() {
            spread.take(&element.map_err(problem)?);
        }
    }
    Ok(counts)
}

/// The array, whose elements are taken as they come.
struct Elements<'a, 'b>(&'a mut Spread<'b>);

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of metrics")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<Element>()? {
            self.0.take(&element);
        }
        Ok(())
    }
}

/// One metric. What is not there, or not of use, is left out and counted; what is of another type ends the reading.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Element {
    name: String,
    /// Of Vector's own metrics: `host`, which belongs before the name.
    namespace: Option<String>,
    tags: Option<BTreeMap<String, Value>>,
    timestamp: Option<String>,
    kind: String,
    counter: Option<Number>,
    gauge: Option<Number>,
    aggregated_histogram: Option<Histogram>,
    aggregated_summary: Option<Summary>,
}

#[derive(Debug, Deserialize)]
struct Number {
    value: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Histogram {
    buckets: Vec<Bucket>,
    count: Option<f64>,
    sum: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Bucket {
    upper_limit: Option<f64>,
    count: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    quantiles: Vec<Quantile>,
    count: Option<f64>,
    sum: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Quantile {
    quantile: Option<f64>,
    value: Option<f64>,
}

/// Makes samples of elements.
struct Spread<'a> {
    counts: &'a mut Counts,
    each: &'a mut dyn FnMut(&Series, &[Sample]),
    labels: LabelsBuilder,
}

impl Spread<'_> {
    fn take(&mut self, element: &Element) {
        if let Err(reason) = self.try_take(element) {
            *self.counts.left_out.entry(reason).or_default() += 1;
        }
    }

    fn try_take(&mut self, element: &Element) -> Result<(), &'static str> {
        let name = match element.namespace.as_deref().unwrap_or_default() {
            _ if element.name.is_empty() => return Err("no metric"),
            "" => element.name.clone(),
            namespace => format!("{namespace}_{}", element.name),
        };
        if element.kind == "incremental" {
            return Err("an increment, which is no value");
        }
        let time = element.timestamp.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let time = time.ok_or("no timestamp")?.as_millisecond();
        self.labels.clear();
        for (tag, value) in element.tags.iter().flatten() {
            match value {
                Value::String(value) => self.labels.set(tag, value),
                Value::Null => {}
                _ => return Err("a tag that is no text"),
            }
        }
        let Element { counter, gauge, aggregated_histogram, aggregated_summary, .. } = element;
        if let Some(Number { value }) = counter {
            self.give(&name, MetricType::Counter, None, (time, *value));
        } else if let Some(Number { value }) = gauge {
            self.give(&name, MetricType::Gauge, None, (time, *value));
        } else if let Some(histogram) = aggregated_histogram {
            self.histogram(&name, time, histogram);
        } else if let Some(summary) = aggregated_summary {
            self.summary(&name, time, summary);
        } else {
            return Err("a set, a distribution or a sketch");
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, time: i64, histogram: &Histogram) {
        let kind = MetricType::Histogram;
        let bucket = format!("{name}_bucket");
        let mut buckets: Vec<_> = histogram.buckets.iter().collect();
        let limit = |bucket: &Bucket| bucket.upper_limit.unwrap_or(f64::INFINITY);
        buckets.sort_by(|a, b| limit(a).total_cmp(&limit(b)));
        let mut sum = 0.0;
        for one in buckets.into_iter().filter(|bucket| limit(bucket).is_finite()) {
            sum += one.count.unwrap_or_default();
            self.give(&bucket, kind, Some(("le", &limit(one).to_string())), (time, Some(sum)));
        }
        self.give(&bucket, kind, Some(("le", "+Inf")), (time, histogram.count));
        self.sums(name, kind, time, histogram.sum, histogram.count);
    }

    fn summary(&mut self, name: &str, time: i64, summary: &Summary) {
        for one in &summary.quantiles {
            let quantile = one.quantile.unwrap_or(f64::NAN).to_string();
            self.give(name, MetricType::Summary, Some(("quantile", &quantile)), (time, one.value));
        }
        self.sums(name, MetricType::Summary, time, summary.sum, summary.count);
    }

    fn sums(&mut self, name: &str, kind: MetricType, time: i64, sum: Option<f64>, count: Option<f64>) {
        self.give(&format!("{name}_sum"), kind, None, (time, sum));
        self.give(&format!("{name}_count"), kind, None, (time, count));
    }

    fn give(
        &mut self,
        name: &str,
        metric_type: MetricType,
        more: Option<(&str, &str)>,
        (time, value): (i64, Option<f64>),
    ) {
        self.labels.set(METRIC_NAME, name);
        if let Some((name, value)) = more {
            self.labels.set(name, value);
        }
        let series = Series { labels: self.labels.build(), metric_type };
        if let Some((name, _)) = more {
            self.labels.remove(name);
        }
        self.counts.samples += 1;
        (self.each)(&series, &[(time, value.unwrap_or(f64::NAN))]);
    }
}
