//! The text of an element of the array: what all samples of a series share is written once and copied.
//!
//! Fields stand in Vector's order; numbers and texts are written by `serde_json`, as Vector does it.

use jiff::Timestamp;

use super::families::{LE, QUANTILE, Role};
use crate::model::labels::{LabelsBuilder, METRIC_NAME};
use crate::model::sample::MetricType;
use crate::model::series::SeriesRef;

/// The tags that Vector's configuration added, which no label may hide: one of such a name becomes `exported_...`.
const COLLECTOR: &str = "collector";
const HOST: &str = "host";
const TS: &str = "ts";

/// Makes templates; kept for its buffer.
#[derive(Debug, Default)]
pub(super) struct Writer {
    tags: LabelsBuilder,
}

/// An element without what changes from sample to sample.
#[derive(Debug)]
pub(super) struct Template {
    /// Up to the value of the tag `ts`.
    head: Vec<u8>,
    /// From there up to the timestamp.
    middle: Vec<u8>,
}

/// A whole histogram or summary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Aggregate {
    /// Of each bucket where it ends and how much is in it alone; of each quantile which it is and its value.
    bounds: Bounds,
    count: u64,
    sum: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Bounds {
    Buckets(Vec<(f64, u64)>),
    Quantiles(Vec<(f64, f64)>),
}

impl Aggregate {
    /// Puts the values of one timestamp together, buckets and quantiles in ascending order. `None` where something is missing,
    /// or where the result would not say what they say: counts that are no counts, buckets that contradict each other.
    pub(super) fn new(metric_type: MetricType, found: impl Iterator<Item = (Role, f64)>) -> Option<Self> {
        let (mut count, mut sum, mut all, mut below) = (None, None, None, 0);
        let (mut buckets, mut quantiles) = (Vec::new(), Vec::new());
        for (role, value) in found {
            match role {
                Role::Sum => sum = Some(value),
                Role::Count => count = Some(whole(value)?),
                Role::Quantile(quantile) => quantiles.push((quantile, value)),
                // It says what the count says.
                Role::Bucket(f64::INFINITY) => all = Some(whole(value)?),
                Role::Bucket(limit) => {
                    let until = whole(value)?;
                    buckets.push((limit, until.checked_sub(below)?));
                    below = until;
                }
            }
        }
        let (count, sum) = (count?, sum?);
        if all.is_some_and(|all| all != count) || below > count {
            return None;
        }
        let bounds = match metric_type {
            MetricType::Histogram => Bounds::Buckets(buckets),
            _ => Bounds::Quantiles(quantiles),
        };
        Some(Self { bounds, count, sum })
    }
}

/// A count that a double holds exactly.
fn whole(value: f64) -> Option<u64> {
    const MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in between")]
    (value.fract() == 0.0 && (0.0..=MAX).contains(&value)).then_some(value as u64)
}

impl Writer {
    /// The template of a series by itself.
    pub(super) fn template(&mut self, series: SeriesRef<'_>) -> Template {
        self.make(series.value(METRIC_NAME), series.labels())
    }

    /// The template of the family of this name that a series belongs to.
    pub(super) fn template_of(&mut self, name: &str, series: SeriesRef<'_>) -> Template {
        self.make(name, series.labels().filter(|(label, _)| ![LE, QUANTILE].contains(label)))
    }

    fn make<'a>(&mut self, name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Template {
        let tags = &mut self.tags;
        tags.clear();
        labels.filter(|(label, _)| *label != METRIC_NAME).for_each(|(label, value)| tags.set(label, value));
        let (job, node) = (tags.get("job").to_owned(), tags.get("node").to_owned());
        // Its place is held by any value; it is of each sample.
        for (tag, value) in [(COLLECTOR, job.as_str()), (HOST, &node), (TS, "0")] {
            if !value.is_empty() {
                tags.give_way(tag, |_| false);
                tags.set(tag, value);
            }
        }
        let (mut head, mut middle) = (b"{\"name\":".to_vec(), Vec::new());
        text(name, &mut head);
        head.extend_from_slice(b",\"tags\":{");
        let mut out = &mut head;
        for (at, (tag, value)) in tags.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            text(tag, out);
            out.push(b':');
            if tag == TS {
                out.push(b'"');
                out = &mut middle;
                out.push(b'"');
            } else {
                text(value, out);
            }
        }
        middle.extend_from_slice(b"},\"timestamp\":\"");
        Template { head, middle }
    }
}

impl Template {
    /// A counter or a gauge.
    pub(super) fn number(&self, time: i64, kind: &str, value: f64, out: &mut Vec<u8>) {
        self.begin(time, out);
        out.push(b'"');
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\":{\"value\":");
        number(value, out);
        out.extend_from_slice(b"}}");
    }

    /// A histogram or a summary.
    pub(super) fn aggregate(&self, time: i64, aggregate: &Aggregate, out: &mut Vec<u8>) {
        self.begin(time, out);
        match &aggregate.bounds {
            Bounds::Buckets(buckets) => {
                out.extend_from_slice(b"\"aggregated_histogram\":{\"buckets\":[");
                list(buckets, out, |(limit, count), out| {
                    out.extend_from_slice(b"{\"upper_limit\":");
                    number(*limit, out);
                    out.extend_from_slice(format!(",\"count\":{count}}}").as_bytes());
                });
            }
            Bounds::Quantiles(quantiles) => {
                out.extend_from_slice(b"\"aggregated_summary\":{\"quantiles\":[");
                list(quantiles, out, |(quantile, value), out| {
                    out.extend_from_slice(b"{\"quantile\":");
                    number(*quantile, out);
                    out.extend_from_slice(b",\"value\":");
                    number(*value, out);
                    out.push(b'}');
                });
            }
        }
        out.extend_from_slice(format!("],\"count\":{},\"sum\":", aggregate.count).as_bytes());
        number(aggregate.sum, out);
        out.extend_from_slice(b"}}");
    }

    /// Everything up to the value.
    fn begin(&self, time: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(time.div_euclid(1000).to_string().as_bytes());
        out.extend_from_slice(&self.middle);
        // The limits on timestamps leave nothing that is no date.
        let time = Timestamp::from_millisecond(time).unwrap_or_default();
        out.extend_from_slice(format!("{time:.9}").as_bytes());
        out.extend_from_slice(b"\",\"kind\":\"absolute\",");
    }
}

fn list<T>(all: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    for (at, one) in all.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(one, out);
    }
}

/// JSON knows no NaN and no infinity: they are null. Writing to memory does not fail.
fn number(value: f64, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, &value);
}

fn text(text: &str, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, text);
}
