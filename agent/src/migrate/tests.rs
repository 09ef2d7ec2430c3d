//! Whole files: everything is accounted for, no secret is shown, and the agent takes what comes out.

use super::yaml::{self, Kind, Node};
use super::{Migration, Options, document, migrate};
use crate::config::{self, Environment, Purpose, Source};

const VALUES: &str = include_str!("testdata/values.yaml");
const PLAIN: &str = include_str!("testdata/plain.yaml");

fn run(file: &str, text: &str) -> Migration {
    migrate(text, &Options { file: file.to_owned(), ..Options::default() }).unwrap()
}

/// The agent's own loader takes the configuration.
fn check_loads(config: &str) -> config::Loaded {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("agent.yaml");
    std::fs::write(&file, config).unwrap();
    let environment = Environment::from_pairs([("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c")]);
    config::load(Source::File(file), &environment, Purpose::Run).unwrap_or_else(|e| panic!("{e}\n{config}"))
}

/// Every value of the configuration stands at or below a path of the report.
fn check_all_said(text: &str, migration: &Migration) {
    let root = yaml::parse(text).unwrap();
    let document = document::find(&root).unwrap();
    let mut leaves = Vec::new();
    collect(document.config, "", &mut leaves);
    for (line, path) in leaves {
        let is_said = |said: &str| {
            path == said || path.starts_with(&format!("{said}.")) || path.starts_with(&format!("{said}["))
        };
        let found = migration.report.findings.iter().any(|finding| is_said(&finding.path));
        assert!(found, "line {line}: nothing is said of {path}\n{}", migration.report);
    }
}

fn collect(node: &Node, path: &str, leaves: &mut Vec<(usize, String)>) {
    match &node.kind {
        Kind::Map(entries) => entries.iter().for_each(|entry| {
            let below = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            collect(&entry.value, &below, leaves);
        }),
        Kind::List(nodes) => {
            nodes.iter().enumerate().for_each(|(i, node)| collect(node, &format!("{path}[{i}]"), leaves));
        }
        _ => leaves.push((node.line, path.to_owned())),
    }
}

fn check_said(migration: &Migration, lines: &[&str]) {
    let report = migration.report.to_string();
    for line in lines {
        assert!(report.contains(line), "no {line:?} in\n{report}");
    }
}

#[test]
fn values_of_the_chart() {
    let migration = run("values.yaml", VALUES);
    check_all_said(VALUES, &migration);
    let loaded = check_loads(&migration.config);
    let names: Vec<_> =
        loaded.config.pipeline.scrape_configs.iter().map(|job| job.job_name.as_str()).collect();
    let expected = ["kube-state-metrics", "nodes", "dcgm", "cadvisor", "web", "web-2", "queue"];
    assert_eq!(names, expected);
    assert!(!migration.config.contains("hush") && !migration.config.contains("HUSH"), "{}", migration.config);
    let report = migration.report.to_string();
    assert!(!report.contains("hush") && !report.contains("HUSH"), "{report}");
    assert!(migration.report.needs_decision());
    check_said(
        &migration,
        &[
            "fixed: role: a pod on each node",
            "fixed: sources.nodes: was scraped and then discarded",
            "fixed: sources.gpu.scrape_timeout_secs: 40s is longer than the interval",
            "fixed: sources.kubelets.endpoints[0]: cAdvisor's metrics came through a Prometheus server",
            "fixed: sources.web: reaches the sink on several ways",
            "DECIDE: sources.web.auth: the password is a secret",
            "DECIDE: sources.own_host: a source of type \"host_metrics\" is not translated",
            "DECIDE: sources.pushed: ",
            "DECIDE: sources.pods: ",
            "not needed: # archive: commented out (type \"file\")",
            "fixed: transforms.gpu_tag.source: the column `node` is that of the target",
            "DECIDE: transforms.gpu_tag.source: not translated (the field .gauge.value): .tags.power",
            "DECIDE: transforms.cap: a transform of type \"tag_cardinality_limit\"",
            "DECIDE: transforms.big.condition: not translated (",
            "DECIDE: transforms.stamp.inputs: the input \"stat_tag\" does not exist, did you mean \"state_tag\"?",
            "not needed: transforms.stamp.source: the time is in the key",
            "DECIDE: transforms.kubelets_tag.source: the label \"rack\"",
            "DECIDE: sinks.bucket.acl: ",
            "DECIDE: sinks.second: one agent has one destination",
            "DECIDE: enrichment_tables: ",
            "DECIDE: hostNetwork: ",
        ],
    );
    for part in [
        "regex: kube_pod_owner|kube_pod_info|kube_job_.*",
        "prefix: team/metrics",
        "replacement: staging",
        "max_age: 30s",
    ] {
        assert!(migration.config.contains(part), "no {part:?} in\n{}", migration.config);
    }
}

#[test]
fn a_plain_file() {
    let migration = run("plain.yaml", PLAIN);
    check_all_said(PLAIN, &migration);
    let loaded = check_loads(&migration.config);
    assert_eq!(loaded.config.pipeline.scrape_configs.len(), 1);
    check_said(
        &migration,
        &[
            "plain.yaml:7: DECIDE: transforms.a: reads, by others, what it writes itself",
            "plain.yaml:9: DECIDE: transforms.c.inputs: the input \"nodes\" does not exist, did you mean \"node\"?",
            "plain.yaml:5: DECIDE: sources.loop.endpoints[0]: ",
            "plain.yaml:1: DECIDE: sinks: there is no sink of type aws_s3",
            "plain.yaml:11: DECIDE: sinks.out: ",
        ],
    );
}

#[test]
fn the_sink_is_chosen_by_name() {
    let options = Options { sink: Some("second".to_owned()), ..Options::default() };
    let migration = migrate(VALUES, &options).unwrap();
    assert!(migration.config.contains("bucket: other"), "{}", migration.config);
    check_loads(&migration.config);
    let options = Options { sink: Some("third".to_owned()), ..Options::default() };
    assert!(migrate(VALUES, &options).unwrap_err().contains("[\"bucket\", \"second\"]"));
}

#[test]
fn the_encoding_is_kept() {
    let kept = |text: &str| {
        let options = Options { keep_encoding: true, ..Options::default() };
        let migration = migrate(text, &options).unwrap();
        let loaded = check_loads(&migration.config);
        assert_eq!(loaded.config.pipeline.encoding, pipeline::encode::Encoding::VectorJson);
        assert!(!migration.config.contains("prefix_suffix"), "{}", migration.config);
        check_said(
            &migration,
            &[
                "translated: sinks.s.encoding: encoding: vector_json",
                "DECIDE: sinks.s.key_prefix: Vector and",
            ],
        );
        migration.config.contains("vector_json: { compression: gzip }")
    };
    let text = "sources: {a: {type: prometheus_scrape, endpoints: [\"http://a:9100/metrics\"]}}\n\
                sinks: {s: {type: aws_s3, inputs: [a], bucket: b, region: r, key_prefix: \"p/\", encoding: {codec: json}}}\n";
    // Vector's default.
    assert!(kept(text));
    assert!(!kept(&text.replace("bucket: b", "bucket: b, compression: none")));
}

#[test]
fn what_is_no_vector_configuration() {
    let check = |text: &str, part: &str| {
        let error = migrate(text, &Options::default()).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    check("", "is no Vector configuration");
    check("[sources.a]\ntype = \"file\"\n", "");
    check("global: {scrape_interval: 15s}", "is no Vector configuration");
    check("sources: {a: [}", "cannot read the YAML");
}

#[test]
fn all_that_is_translated_asks_for_nothing() {
    let text = "sources: {a: {type: prometheus_scrape, endpoints: ['http://h.example.com:1/metrics']}}\n\
                sinks: {s: {type: aws_s3, inputs: ['*'], bucket: b, region: r, encoding: {codec: json}}}\n";
    let migration = run("x", text);
    check_loads(&migration.config);
    check_all_said(text, &migration);
}
