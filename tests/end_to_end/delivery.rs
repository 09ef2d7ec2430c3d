//! From exporters to objects, when nothing goes wrong: every sample arrives once, as it was exposed.

use std::collections::BTreeMap;

use bytes::Bytes;
use support::clock::machine_millis;
use support::exporter::{Exporter, Serve, gzip};
use support::exposition::Exposition;
use support::generate;

use crate::world::{World, body};

#[test]
fn every_sample_arrives_once() {
    let world = World::new();
    let exporter = Exporter::limited(4, body);
    let mut agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(4);
    agent.wait_for_ready(200);
    world.finish_even(agent, &[&exporter]);
    assert_eq!(world.cedana.issued(), 1, "credentials that live an hour are fetched once");
}

#[test]
fn objects_look_as_their_readers_expect() {
    let world = World::new();
    let exporter = Exporter::limited(3, body);
    let agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(3);
    world.finish_even(agent, &[&exporter]);
    let files = world.files();
    for (file, stored) in files.iter().zip(world.s3.objects()) {
        let names: Vec<_> = file.columns.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "timestamp",
            "metric",
            "type",
            "cluster_id",
            "job",
            "instance",
            "namespace",
            "pod",
            "container",
            "node",
            "uid",
            "labels",
            "value",
        ];
        assert_eq!(names, expected);
        assert_eq!(file.nullable, Vec::<String>::new(), "every column is required");
        assert_eq!(file.row_groups, 1);
        let metadata = |key: &str| {
            let found = file.metadata.iter().find(|(name, _)| name.ends_with(key));
            found.map(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no {key}: {:?}", file.metadata))
        };
        assert_eq!(metadata("samples").parse::<usize>().expect("a number"), file.rows.len());
        assert_eq!(
            metadata("sequence").parse::<u64>().expect("a number"),
            crate::world::sequence(&stored.key)
        );
        assert_eq!(metadata("cluster_id"), world.account.cluster_id);
        assert!(stored.key.contains(&metadata("writer")), "{:?}", file.metadata);
        for row in &file.rows {
            assert_eq!(row.label("cluster_id"), world.account.cluster_id);
            assert_eq!(row.label("job"), "job0");
            assert!((machine_millis() - row.timestamp).abs() < 60_000, "{row:?}");
        }
    }
    let rows: Vec<_> = files.into_iter().flat_map(|file| file.rows).collect();
    let kind =
        |metric: &str| rows.iter().find(|row| row.metric == metric).map_or("", |row| &row.kind).to_owned();
    let kinds = ["requests_total", "temperature_celsius", "latency_seconds_bucket", "limit", "up"].map(kind);
    assert_eq!(kinds, ["counter", "gauge", "histogram", "unknown", "gauge"]);
    let promoted = rows.iter().find(|row| row.metric == "limit").expect("a row");
    assert_eq!((promoted.label("pod"), promoted.labels.len()), ("app-1", 0));
    let awkward = rows.iter().find(|row| row.metric == "floor").expect("a row");
    assert_eq!(awkward.labels["type"], "x", "a label named like a fixed column stays in the map");
}

#[test]
fn every_scrape_is_reported_also_the_failed_ones() {
    let world = World::new();
    let exporter = Exporter::limited(3, body);
    let agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(4);
    world.finish_even(agent, &[&exporter]);
    let rows = world.rows();
    let mut reports: BTreeMap<i64, BTreeMap<String, f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.metric == "up" || row.metric.starts_with("scrape_")) {
        reports.entry(row.timestamp).or_default().insert(row.metric.clone(), row.value);
    }
    let reports: Vec<_> = reports.into_values().collect();
    assert!(reports.len() >= 4, "{reports:?}");
    let samples = body(0).samples.len();
    for (n, report) in reports.iter().enumerate() {
        assert_eq!(report.len(), 6, "{report:?}");
        let good = n < 3;
        let check = |name: &str, expected: usize| {
            assert_eq!(
                report[name],
                f64::from(u32::try_from(expected).expect("small")),
                "{name} of scrape {n}"
            );
        };
        check("up", usize::from(good));
        check("scrape_samples_scraped", if good { samples } else { 0 });
        check("scrape_samples_post_metric_relabeling", if good { samples } else { 0 });
        check("scrape_series_added", if n == 0 { samples } else { 0 });
        if good {
            check("scrape_body_size_bytes", body(n).text.len());
        }
    }
}

#[test]
fn a_mixed_cluster_and_gzip_and_own_timestamps() {
    let world = World::new();
    let big = |text: String| {
        let parsed =
            prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).expect("parsable");
        let mut exposition = Exposition::new();
        for line in text.lines().filter(|line| line.starts_with('#')) {
            exposition = exposition.line(line);
        }
        for sample in parsed.samples {
            let value = match sample.value {
                prometheus_parse::Value::Counter(v)
                | prometheus_parse::Value::Gauge(v)
                | prometheus_parse::Value::Untyped(v) => v,
                other => panic!("{other:?}"),
            };
            let labels: Vec<_> =
                sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            exposition.push(&sample.metric, &labels, value, None);
        }
        exposition
    };
    // Made before anybody asks: parsing them takes longer than a scrape may.
    let nodes = [0, 1].map(|n| big(generate::node(1, n)));
    let pods = [0, 1].map(|n| big(generate::kube_state(20, n)));
    let node = Exporter::limited(2, move |n| nodes[n].clone());
    let kube = Exporter::start(move |n| match pods.get(n) {
        Some(body) => Serve::Gzip(body.clone()),
        None => Serve::Status(503, String::new()),
    });
    let own = Exporter::limited(2, |n| {
        let time = machine_millis() - 5000 + i64::try_from(n).expect("small");
        Exposition::new().sample_at("container_cpu_usage_seconds_total", &[("id", "/a")], 7.0, time)
    });
    let agent = world.start(&[&node, &kube, &own]);
    for exporter in [&node, &kube, &own] {
        exporter.wait_for_scrapes_after(2);
    }
    world.finish_even(agent, &[&node, &kube, &own]);
}

/// A body of a megabyte is read while it still arrives. One that breaks off half way has brought series by then that nobody
/// had seen before, and leaves nothing of them.
#[test]
fn large_bodies_count_whole_or_not_at_all() {
    let world = World::new();
    let large = |n: usize| {
        let mut exposition = Exposition::new().declare("pod_info", "gauge");
        for pod in 0..8_000 {
            let (name, uid) = (format!("pod-{n}-{pod}"), format!("{pod:0100}"));
            exposition.push("pod_info", &[("pod", &name), ("owner", &uid)], f64::from(pod), None);
        }
        exposition
    };
    let plain = Exporter::start(move |n| match n {
        0 | 2 => Serve::Good(large(n)),
        1 => Serve::Truncated(large(n).text),
        _ => Serve::Status(503, String::new()),
    });
    let compressed = Exporter::start(move |n| match n {
        0 | 2 => Serve::Gzip(large(n)),
        1 => {
            let whole = Bytes::from(gzip(large(n).text.as_bytes()));
            Serve::SaidGzip(whole.slice(..whole.len() / 2))
        }
        _ => Serve::Status(503, String::new()),
    });
    let [one, other] = [&plain, &compressed].map(Exporter::address);
    // Time enough for a machine that is busy with other things.
    let global = "global: {scrape_interval: 4s, scrape_timeout: 4s}\nscrape_configs:\n";
    let jobs = format!("- {{job_name: job, static_configs: [{{targets: [\"{one}\", \"{other}\"]}}]}}\n");
    let mut agent = world.start_with(&format!("{global}{jobs}{}", world.rest()));
    for exporter in [&plain, &compressed] {
        exporter.wait_for_scrapes_after(3);
    }
    for result in ["truncated", "decompress"] {
        assert_eq!(agent.metric("agent_scrapes_total", &[("result", result)]), 1.0, "{result}");
    }
    world.finish_even(agent, &[&plain, &compressed]);
    let rows = world.rows();
    assert!(!rows.iter().any(|row| row.label("pod").starts_with("pod-1-")), "half a body was shipped");
    for address in [one, other] {
        let mut ups: Vec<_> =
            rows.iter().filter(|row| row.metric == "up" && row.label("instance") == address).collect();
        ups.sort_by_key(|row| row.timestamp);
        let ups: Vec<_> = ups.iter().map(|row| row.value).take(4).collect();
        assert_eq!(ups, [1.0, 0.0, 1.0, 0.0], "{address}");
    }
}
