//! Nothing is lost of a batch, and a batch gives the same objects again. What Vector itself wrote stands in the worker's tests.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::Value;

use super::families::{LE, QUANTILE};
use super::*;
use crate::model::batch::{LineUp, Times};
use crate::model::labels::{Labels, METRIC_NAME};

/// 2026-11-21T23:22:47.401Z.
const TIME: i64 = 1_795_303_367_401;

/// The elements as they stand in the line.
pub(crate) fn elements(object: &Object) -> Vec<String> {
    let mut json = Vec::new();
    match object.format {
        Format::VectorJsonGzip => _ = GzDecoder::new(&*object.bytes).read_to_end(&mut json).unwrap(),
        _ => json.extend_from_slice(&object.bytes),
    }
    let text = String::from_utf8(json).unwrap();
    assert!(!text.contains('\n'), "one line");
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let inner = text.strip_prefix('[').unwrap().strip_suffix(']').unwrap();
    let lines: Vec<_> =
        inner.split(r#",{"name""#).map(|part| part.trim_start_matches(r#"{"name""#)).collect();
    let lines: Vec<_> = lines.iter().map(|rest| format!(r#"{{"name"{rest}"#)).collect();
    assert_eq!(lines.len(), all.len(), "{text}");
    lines
}

/// A batch of any series, as a reader of the objects sees it.
fn any_batch() -> impl Strategy<Value = (Batch, SeriesTable)> {
    let labels = prop::collection::btree_map("a|ts|host|node|job|exported_ts", "[xy\"ü]{1,2}", 0..3);
    let bound = prop::option::of(prop::sample::select(vec!["1", "2", "2.5", "+Inf", "x", "1.0"]));
    let name = prop::sample::select(vec!["h", "h_bucket", "h_sum", "h_count", "i_bucket"]);
    let kinds = [MetricType::Histogram, MetricType::Summary, MetricType::Counter, MetricType::Unknown];
    let series = (name, labels, bound, prop::sample::select(kinds.to_vec())).prop_map(
        |(name, labels, bound, kind)| {
            let mut all: BTreeMap<String, String> = labels;
            all.insert("__name__".to_owned(), name.to_owned());
            let label = if kind == MetricType::Summary { QUANTILE } else { LE };
            all.extend(bound.map(|bound| (label.to_owned(), bound.to_owned())));
            (all, kind)
        },
    );
    let value =
        prop_oneof![4 => (0..6_u8).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(2.5), 1 => Just(-1.0)];
    let scrape = prop::collection::vec((any::<prop::sample::Index>(), value), 1..12);
    (prop::collection::hash_set(series, 1..14), prop::collection::vec(scrape, 1..5)).prop_map(
        |(pool, scrapes)| {
            let (mut table, mut batch) = (SeriesTable::default(), Batch::default());
            let pairs = |labels: &BTreeMap<String, String>| Labels::from_pairs(labels);
            let ids: Vec<_> =
                pool.iter().map(|(labels, kind)| table.insert(pairs(labels).iter(), *kind)).collect();
            for (time, scrape) in (0_i64..).zip(&scrapes) {
                let found: Vec<_> = scrape.iter().map(|(index, value)| (*index.get(&ids), *value)).collect();
                let found: BTreeMap<SeriesId, f64> = found.into_iter().collect();
                let (series, values): (Vec<_>, Vec<_>) = found.into_iter().unzip();
                batch.add(&mut LineUp::new(&series), Times::Same(TIME + time * 1500), &values);
            }
            (batch, table)
        },
    )
}

type Tags = BTreeMap<String, String>;

/// An element by what a reader finds it: the name, the tags without those that were added, and the time.
type Place = (String, Tags, String);

/// What was read: of each place its elements.
fn read(objects: &[Object]) -> HashMap<Place, Vec<Value>> {
    let mut all: HashMap<Place, Vec<Value>> = HashMap::new();
    for element in objects.iter().flat_map(elements) {
        let element: Value = serde_json::from_str(&element).unwrap();
        let text = |field: &str| element[field].as_str().unwrap().to_owned();
        let tags: Tags = serde_json::from_value(element["tags"].clone()).unwrap();
        let time: jiff::Timestamp = text("timestamp").parse().unwrap();
        assert_eq!(tags["ts"], time.as_second().to_string());
        all.entry((text("name"), tags, text("timestamp"))).or_default().push(element);
    }
    all
}

/// The tags of a sample.
fn tags(series: SeriesRef<'_>, without: &[&str], time: i64) -> Tags {
    let labels =
        series.labels().filter(|(label, _)| ![METRIC_NAME].contains(label) && !without.contains(label));
    let mut tags: Tags = labels.map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
    for (tag, value) in [
        ("collector", tags.get("job").cloned()),
        ("host", tags.get("node").cloned()),
        ("ts", Some(time.div_euclid(1000).to_string())),
    ] {
        let Some(value) = value else { continue };
        if let Some(hidden) = tags.insert(tag.to_owned(), value) {
            let mut name = format!("exported_{tag}");
            while tags.contains_key(&name) {
                name.insert_str(0, "exported_");
            }
            tags.insert(name, hidden);
        }
    }
    tags
}

/// Whether a reader finds this number; JSON has no NaN and no infinity, which are null.
fn is(found: &Value, value: f64) -> bool {
    if value.is_finite() { found.as_f64() == Some(value) } else { found.is_null() }
}

/// Whether a whole histogram or summary says what a sample of it says.
fn says(element: &Value, bound: &str, name: &str, value: f64) -> bool {
    if let Some(histogram) = element.get("aggregated_histogram") {
        let below = |limit: f64| {
            let buckets = histogram["buckets"].as_array().unwrap().iter();
            let until: Vec<_> = buckets.filter(|b| b["upper_limit"].as_f64().unwrap() <= limit).collect();
            let has = limit.is_infinite() || until.iter().any(|b| b["upper_limit"].as_f64() == Some(limit));
            let sum: u64 = until.iter().map(|b| b["count"].as_u64().unwrap()).sum();
            (has && !limit.is_infinite())
                .then_some(sum as f64)
                .or(limit.is_infinite().then(|| histogram["count"].as_f64().unwrap()))
        };
        return match name.rsplit_once('_') {
            Some((_, "bucket")) => below(bound.parse().unwrap()) == Some(value),
            Some((_, "sum")) => is(&histogram["sum"], value),
            _ => histogram["count"].as_f64() == Some(value),
        };
    }
    let summary = &element["aggregated_summary"];
    let quantiles = summary["quantiles"].as_array().unwrap();
    match name.rsplit_once('_') {
        _ if !bound.is_empty() => {
            let bound: f64 = bound.parse().unwrap();
            let is_it = |q: &&Value| is(&q["quantile"], bound);
            quantiles.iter().find(is_it).is_some_and(|q| is(&q["value"], value))
        }
        Some((_, "sum")) => is(&summary["sum"], value),
        _ => summary["count"].as_f64() == Some(value),
    }
}

/// Whether a sample can be found, by itself or in what it is a part of.
fn is_found(read: &HashMap<Place, Vec<Value>>, series: SeriesRef<'_>, time: i64, value: f64) -> bool {
    let name = series.value(METRIC_NAME);
    let stamp = format!("{:.9}", jiff::Timestamp::from_millisecond(time).unwrap());
    let alone = read.get(&(name.to_owned(), tags(series, &[], time), stamp.clone())).into_iter().flatten();
    let is_alone = |element: &Value| {
        let found = element.get("counter").or(element.get("gauge"));
        found.is_some_and(|found| is(&found["value"], value))
    };
    let bound = if series.metric_type() == MetricType::Summary { QUANTILE } else { LE };
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let bases = base.into_iter().chain([name]);
    let of = |base: &str| read.get(&(base.to_owned(), tags(series, &[LE, QUANTILE], time), stamp.clone()));
    let mut together =
        bases.filter_map(of).flatten().filter(|e| e.get("counter").or(e.get("gauge")).is_none());
    alone.clone().any(is_alone) || together.any(|element| says(element, series.value(bound), name, value))
}

fn encode(
    encoder: &mut VectorEncoder,
    batch: &Batch,
    table: &SeriesTable,
    numbers: Numbers,
) -> (Vec<Object>, Encoded) {
    let mut objects = Vec::new();
    let encoded = encoder.encode(batch, table, numbers, &mut |object| objects.push(object));
    (objects, encoded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_sample_is_found_and_the_objects_are_the_same_again(
        (batch, table) in any_batch(),
        gzip in any::<bool>(),
        max_bytes in 1..2000_u64,
        room in 0..6_u64,
    ) {
        let compression = if gzip { Compression::Gzip } else { Compression::None };
        let config = Config { compression, max_bytes: Size(max_bytes) };
        let numbers = Numbers { first: 100, last: 100 + room };
        let mut encoder = VectorEncoder::new(&config);
        let (objects, encoded) = encode(&mut encoder, &batch, &table, numbers);
        let read = read(&objects);
        for (id, time, value) in batch.iter() {
            let series = table.get(id).unwrap();
            prop_assert!(is_found(&read, series, time, value), "{:?} {time} {value}\n{read:#?}", series.to_series());
        }
        let samples: u64 = objects.iter().map(|object| object.samples).sum();
        prop_assert_eq!(samples + encoded.duplicates, batch.len() as u64);
        prop_assert_eq!(objects.last().map(|object| object.sequence), Some(numbers.last));
        prop_assert!(objects.windows(2).all(|two| two[0].sequence < two[1].sequence && two[0].sequence >= 100));
        let bytes: usize = objects.iter().map(|object| elements(object).join(",").len() + 2).sum();
        prop_assert_eq!(bytes, encoded.bytes);
        for object in objects.iter().filter(|object| object.sequence < numbers.last) {
            let largest = elements(object).iter().map(String::len).max().unwrap() as u64;
            let length = elements(object).join(",").len() as u64 + 2;
            prop_assert!((config.cut()..config.cut() + largest + 2).contains(&length), "{length} {largest}");
        }
        prop_assert_eq!(&objects, &encode(&mut encoder, &batch, &table, numbers).0);
        prop_assert_eq!(&objects, &encode(&mut VectorEncoder::new(&config), &batch, &table, numbers).0);
    }
}
