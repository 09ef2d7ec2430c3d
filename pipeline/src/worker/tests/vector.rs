//! What Vector wrote of an exposition, and what the agent writes of it.

use super::*;
use crate::encode::vector::tests::elements;
use crate::encode::vector::{Compression, Config, PARTS_MAX};
use crate::model::batch::{LineUp, Times};
use crate::model::sample::MetricType;
use crate::model::units::Size;

/// 2026-11-21T23:22:47.401Z.
const TIME: i64 = 1_795_303_367_401;

/// What Vector 0.58 wrote of [`EXPOSITION`], with a transform that adds the tag `ts`.
const RECORDED: [&str; 4] = [
    r#"{"name":"probe_latency_seconds","tags":{"route":"/x","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","aggregated_histogram":{"buckets":[{"upper_limit":0.1,"count":10},{"upper_limit":1.0,"count":5}],"count":17,"sum":8.25}}"#,
    r#"{"name":"probe_requests_total","tags":{"method":"GET","path":"/a\"b\\c\nd","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","counter":{"value":1234567.0}}"#,
    r#"{"name":"probe_temperature_celsius","tags":{"room":"plain","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","gauge":{"value":21.5}}"#,
    r#"{"name":"probe_rpc_seconds","tags":{"service":"s","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","aggregated_summary":{"quantiles":[{"quantile":0.5,"value":0.05},{"quantile":0.99,"value":null}],"count":2693,"sum":17560.473}}"#,
];

const EXPOSITION: &str = r#"# TYPE probe_requests_total counter
probe_requests_total{method="GET",path="/a\"b\\c\nd"} 1234567
# TYPE probe_temperature_celsius gauge
probe_temperature_celsius{room="plain"} 21.5
# TYPE probe_latency_seconds histogram
probe_latency_seconds_bucket{route="/x",le="0.1"} 10
probe_latency_seconds_bucket{route="/x",le="1"} 15
probe_latency_seconds_bucket{route="/x",le="+Inf"} 17
probe_latency_seconds_sum{route="/x"} 8.25
probe_latency_seconds_count{route="/x"} 17
# TYPE probe_rpc_seconds summary
probe_rpc_seconds{service="s",quantile="0.5"} 0.05
probe_rpc_seconds{service="s",quantile="0.99"} NaN
probe_rpc_seconds_sum{service="s"} 17560.473
probe_rpc_seconds_count{service="s"} 2693
"#;

pub(super) fn worker(config: &Config) -> Worker {
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let external = Labels::from_pairs([("cluster_id", "c1")]);
    let settings =
        Settings { batch: batch::Config::default(), limits: Limits::default(), external, next_sequence: 7 };
    Worker::new(settings, Encoder::vector(config), metrics)
}

/// The objects of one scrape.
fn scraped(config: &Config, labels: &[(&str, &str)], body: &str) -> Vec<Object> {
    let mut worker = worker(config);
    let job = Arc::new(Job { name: "probe".to_owned(), honor_timestamps: true, ..Job::default() });
    let own = [("job", "probe"), ("instance", "a:1")];
    let labels = Labels::from_pairs(own.iter().chain(labels).copied());
    let target =
        Arc::new(Target::new(job, labels, Labels::default().into(), "http://a:1/metrics".to_owned()));
    let outcome = Ok(Exposition::whole(Bytes::copy_from_slice(body.as_bytes())));
    worker.take(Scrape { target, time: TIME, duration: Duration::ZERO, outcome }, Instant::now());
    let mut objects = Vec::new();
    worker.seal_each(|object| objects.push(object));
    objects
}

#[test]
fn the_lines_are_those_that_vector_wrote() {
    for compression in [Compression::None, Compression::Gzip] {
        let config = Config { compression, ..Config::default() };
        let objects = scraped(&config, &[], EXPOSITION);
        assert_eq!((objects.len(), objects[0].samples), (1, 1 + 1 + 5 + 4 + 6));
        assert_eq!(objects[0].crc32, crc32fast::hash(&objects[0].bytes));
        let found: Vec<_> =
            elements(&objects[0]).into_iter().filter(|line| line.contains("probe_")).collect();
        // Without the tags that `deploy/MIGRATION.md` lists, and with the time to the millisecond.
        let own =
            [r#""cluster_id":"c1","#, r#""collector":"probe","#, r#""instance":"a:1","#, r#""job":"probe","#];
        let plain = |line: &String| own.iter().fold(line.clone(), |line, tag| line.replacen(tag, "", 1));
        let recorded = RECORDED.map(|line| line.replace(".401428458Z", ".401000000Z"));
        assert_eq!(found.iter().map(plain).collect::<std::collections::BTreeSet<_>>(), recorded.into());
        assert!(found.iter().all(|line| own.iter().all(|tag| line.contains(tag))), "{found:#?}");
    }
}

#[test]
fn what_a_sample_becomes() {
    let check = |body: &str, expected: &[&str]| {
        let objects = scraped(&Config::default(), &[("node", "n1")], body);
        let all = elements(&objects[0]);
        let own = r#""cluster_id":"c1","collector":"probe","#;
        let found = all.iter().filter(|line| line.starts_with(r#"{"name":"x"#));
        let found = found.map(|line| {
            let (tags, value) = line
                .split_once(r#"},"timestamp":"2026-11-21T23:22:47.401000000Z","kind":"absolute","#)
                .unwrap();
            let tags =
                tags.replacen(own, "", 1).replacen(r#""host":"n1","instance":"a:1","job":"probe","#, "", 1);
            format!("{} {}", tags.replacen(r#","ts":"1795303367""#, "", 1), value.strip_suffix('}').unwrap())
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{body}");
    };
    // The node stays a tag of its own, because of some exporters it is not the host.
    check("x 1\n", &[r#"{"name":"x","tags":{"node":"n1" "gauge":{"value":1.0}"#]);
    check("# TYPE x counter\nx -Inf\n", &[r#"{"name":"x","tags":{"node":"n1" "counter":{"value":null}"#]);
    check("x{a=\"\"} 0.1\n", &[r#"{"name":"x","tags":{"node":"n1" "gauge":{"value":0.1}"#]);
    // What the tags of Vector's configuration hide keeps a name.
    check(
        "x{collector=\"a\",host=\"b\",ts=\"c\"} -0\n",
        &[
            r#"{"name":"x","tags":{"exported_collector":"a","exported_host":"b","exported_ts":"c","node":"n1" "gauge":{"value":-0.0}"#,
        ],
    );
    // Parts of what is not whole: no count; no sum; buckets that go down; a count that is none; all that is not all.
    let part = |suffix: &str, tags: &str, kind: &str, value: &str| {
        format!(r#"{{"name":"x{suffix}","tags":{{{tags}"node":"n1" "{kind}":{{"value":{value}}}"#)
    };
    let histogram = "# TYPE x histogram\n";
    let (sum, count) = (part("_sum", "", "counter", "2.0"), part("_count", "", "counter", "3.0"));
    let bucket = |le: &str, value: &str| part("_bucket", &format!(r#""le":"{le}","#), "counter", value);
    let together = |lines: &[&str], expected: &[&str]| {
        check(&(histogram.to_owned() + &lines.join("\n") + "\n"), expected);
    };
    together(&["x_bucket{le=\"1\"} 1", "x_sum 2"], &[&bucket("1", "1.0"), &sum]);
    together(&["x_bucket{le=\"1\"} 1", "x_count 3"], &[&bucket("1", "1.0"), &count]);
    together(
        &["x_bucket{le=\"2\"} 1", "x_bucket{le=\"1\"} 2", "x_sum 2", "x_count 3"],
        &[&bucket("1", "2.0"), &bucket("2", "1.0"), &sum, &count],
    );
    together(&["x_bucket{le=\"1\"} 1.5", "x_sum 2", "x_count 3"], &[&bucket("1", "1.5"), &sum, &count]);
    together(&["x_bucket{le=\"+Inf\"} 4", "x_sum 2", "x_count 3"], &[&bucket("+Inf", "4.0"), &sum, &count]);
    together(
        &["x_bucket{le=\"1\"} 1", "x_bucket{le=\"1.0\"} 1", "x_sum 2", "x_count 3"],
        &[&bucket("1", "1.0"), &bucket("1.0", "1.0"), &sum, &count],
    );
    let whole =
        r#"{"name":"x","tags":{"node":"n1" "aggregated_histogram":{"buckets":[],"count":3,"sum":null}"#;
    together(&["x_sum NaN", "x_count 3"], &[whole]);
    check(
        "# TYPE x summary\nx{quantile=\"0.5\"} 1\nx_sum 2\n",
        &[
            &part("", r#""node":"n1","quantile":"0.5""#, "gauge", "1.0").replacen(r#""node":"n1" "#, " ", 1),
            &sum,
        ],
    );
}

#[test]
fn a_scrape_that_is_too_large_becomes_several_objects() {
    let body: String = (0..30_000).map(|n| format!("x{{n=\"{n}\"}} {n}\n")).collect();
    let config = Config { max_bytes: Size(1 << 20), ..Config::default() };
    let objects = scraped(&config, &[], &body);
    let rows: Vec<_> = objects.iter().map(|object| elements(object).len()).collect();
    assert_eq!((rows.iter().sum::<usize>(), objects.len()), (30_006, 3), "{rows:?}");
    assert!(objects.iter().all(|object| object.bytes.len() < (2 << 20) + 1024));
    let numbers: Vec<_> = objects.iter().map(|object| object.sequence).collect();
    assert_eq!(numbers, [7, 8, 7 + PARTS_MAX - 1]);
}

/// A kill between two objects of one batch: the journal has the batch until its last number has come, and the number of each is
/// one that none had before it.
#[test]
fn what_an_earlier_process_left_gets_numbers_that_are_free() {
    let check = |taken: u64, batches: &[u64], expected: &[u64]| {
        let config = Config { max_bytes: Size(200), ..Config::default() };
        let mut worker = worker(&config);
        worker.replay_from = taken;
        let mut numbers = Vec::new();
        for sequence in batches {
            let (mut table, mut batch) = (SeriesTable::default(), Batch::default());
            let ids: Vec<_> = ["a", "b", "c", "d", "e", "f"]
                .map(|name| table.insert([(METRIC_NAME, name)].into_iter(), MetricType::Gauge))
                .into();
            batch.add(&mut LineUp::new(&ids), Times::Same(TIME), &[1.0; 6]);
            worker.replay(*sequence, Found { batch, table, lost: 0 }, |object| {
                assert!(object.samples > 0);
                numbers.push(object.sequence);
            });
        }
        assert_eq!(numbers, expected, "{taken} {batches:?}");
        assert_eq!(worker.next_sequence(), batches.last().unwrap() + 1);
    };
    let last = PARTS_MAX - 1;
    check(0, &[last], &[0, last]);
    check(7, &[7 + last, 7 + last + PARTS_MAX], &[7, 7 + last, 8 + last, 7 + last + PARTS_MAX]);
    // One of them has come, or some other encoding gave the numbers.
    check(8, &[7 + last], &[8, 7 + last]);
    check(20, &[20, 21], &[20, 21]);
}
