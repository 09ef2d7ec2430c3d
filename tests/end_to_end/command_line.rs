//! The command line is a contract: scripts rely on its output and its exit codes.

use std::collections::BTreeMap;

use serde_json::Value;
use support::agent::{Agent, Outcome};
use support::exporter::{Exporter, Serve};
use support::exposition::{Exposed, NAN};
use support::objects;
use support::server::Reserved;
use support::wait;

use crate::world::{World, body};

fn run(arguments: &[&str]) -> Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    Agent::new(directory.path(), arguments).run()
}

fn dry_run(addresses: &[String], more: &[&str]) -> (Outcome, World) {
    let world = World::new();
    let config = world.config(addresses);
    let agent =
        more.iter().fold(Agent::with_config(world.dir.path(), &config).arg("--dry-run"), |a, arg| a.arg(arg));
    (agent.run(), world)
}

/// The samples of a dry run, without reports, as they would stand in the ledger.
fn lines(stdout: &str) -> Vec<(Value, Exposed)> {
    let mut samples = Vec::new();
    for line in stdout.lines() {
        let sample: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields: Vec<_> = sample.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(fields, ["timestamp", "metric", "labels", "value", "type"]);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let value = match &sample["value"] {
            Value::Number(number) => number.as_f64().expect("a number"),
            Value::String(name) => match name.as_str() {
                "NaN" => NAN,
                "+Inf" => f64::INFINITY,
                "-Inf" => f64::NEG_INFINITY,
                other => panic!("{other} is no value"),
            },
            other => panic!("{other} is no value"),
        };
        let labels = sample["labels"].as_object().expect("labels");
        let labels: BTreeMap<_, _> = labels.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let exposed = Exposed { metric: text(&sample["metric"]), labels, value, timestamp: None };
        samples.push((sample, exposed));
    }
    samples
}

#[test]
fn a_dry_run_prints_every_sample_as_json_and_sends_nothing() {
    let exporter = Exporter::start(|n| Serve::Good(body(n)));
    let (outcome, world) = dry_run(&[exporter.address()], &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let timestamp = regex::Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").expect("a pattern");
    let found = lines(&outcome.stdout);
    for (sample, exposed) in &found {
        assert!(timestamp.is_match(sample["timestamp"].as_str().expect("a text")), "{sample}");
        assert_eq!(exposed.labels.get("job").map(String::as_str), Some("job0"), "all labels are there");
        assert_eq!(exposed.labels.get("instance"), Some(&exporter.address()));
    }
    assert_eq!(exporter.scrapes().len(), 1, "each target is scraped once");
    let strip = |mut exposed: Exposed| {
        exposed.labels.retain(|name, _| !matches!(name.as_str(), "job" | "instance" | "cluster_id"));
        (exposed.metric, exposed.labels, exposed.value.to_bits())
    };
    let mut samples: Vec<_> = found.into_iter().map(|(_, exposed)| strip(exposed)).collect();
    let reports = samples.extract_if(.., |s| s.0 == "up" || s.0.starts_with("scrape_")).count();
    let mut expected: Vec<_> = body(0).samples.into_iter().map(strip).collect();
    samples.sort();
    expected.sort();
    assert_eq!(samples, expected);
    assert_eq!(reports, 6);
    for part in ["job0", &exporter.address(), ".parquet", "rows", "bytes"] {
        assert!(outcome.stderr.contains(part), "no {part:?} for people:\n{}", outcome.stderr);
    }
    assert_eq!(
        (world.s3.seen().len(), world.cedana.asked().len()),
        (0, 0),
        "it needs no credentials and sends nothing"
    );
    assert!(!world.spool().exists(), "it writes nothing");
}

#[test]
fn a_dry_run_prints_exposition_text_that_others_can_read() {
    let exporter = Exporter::start(|n| Serve::Good(body(n)));
    let (outcome, _) = dry_run(&[exporter.address()], &["--format", "prometheus"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let lines = outcome.stdout.lines().map(|line| Ok(line.to_owned()));
    let parsed = prometheus_parse::Scrape::parse(lines).expect("to be read by prometheus-parse");
    let find = |metric: &str| parsed.samples.iter().find(|sample| sample.metric == metric).expect("a sample");
    let requests = find("requests_total");
    assert!(matches!(requests.value, prometheus_parse::Value::Counter(_)), "{requests:?}");
    assert_eq!(requests.labels.get("job"), Some("job0"));
    assert!(matches!(find("limit").value, prometheus_parse::Value::Untyped(v) if v == f64::INFINITY));
    assert!(outcome.stdout.contains("path=\"/a\\\"b\\\\c\\nd\""), "escapes are kept:\n{}", outcome.stdout);
}

#[test]
fn exit_codes_of_a_dry_run() {
    let exporter = Exporter::start(|n| Serve::Good(body(n)));
    let refusing = Reserved::new();
    let (outcome, _) = dry_run(&[exporter.address(), refusing.address().to_string()], &[]);
    assert_eq!(outcome.code, Some(1), "some did not answer: {}", outcome.stderr);
    assert!(outcome.stderr.contains("connection refused"), "{}", outcome.stderr);
    assert!(
        lines(&outcome.stdout).iter().any(|(_, s)| s.metric == "requests_total"),
        "the others are printed"
    );
    let directory = tempfile::tempdir().expect("a directory");
    let outcome = Agent::with_config(directory.path(), "scrape_config: []\n").arg("--dry-run").run();
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
}

#[test]
fn check_reports_every_problem_with_its_path_and_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let check = |config: &str, code: i32, said: &[&str]| {
        let outcome = Agent::with_config(directory.path(), config).arg("check").run();
        let all = outcome.stdout + &outcome.stderr;
        assert_eq!(outcome.code, Some(code), "{all}");
        for part in said {
            assert!(all.contains(part), "no {part:?} in\n{all}");
        }
    };
    let sink = "sink: {file: {dir: out}}\n";
    check(
        &format!("scrape_configs:\n- job_name: a\n  static_configs: [{{targets: ['h:1']}}]\n{sink}"),
        0,
        &[],
    );
    check(
        &format!(
            "scrape_configs:\n- job_name: a\n  scrape_intervall: 15s\n- job_name: b\n  scrape_interval: 15\n\
             batch: {{max_age: soon}}\nspool: {{max_bytes: 10}}\n{sink}"
        ),
        2,
        &[
            "scrape_configs[0].scrape_intervall",
            "scrape_interval",
            "scrape_configs[1].scrape_interval",
            "15",
            "batch.max_age",
            "soon",
            "spool.max_bytes",
        ],
    );
    check(
        &format!(
            "scrape_configs:\n- job_name: a\n  proxy_url: http://p\n  native_histogram_bucket_limit: 3\n{sink}"
        ),
        2,
        &["proxy_url", "native_histogram_bucket_limit", "not supported yet"],
    );
    check(
        "sink: {s3: {}}\ncredentials: {cedana: {url: api.cedana.ai}}\n",
        2,
        &["credentials.cedana.url", "scheme"],
    );
    check("scrape_configs: [\n", 2, &["line"]);
}

#[test]
fn targets_are_listed_after_relabelling() {
    let world = World::new();
    let config = "scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['h1:1', 'h2:2'], labels: {zone: z}}]\n  \
                  relabel_configs:\n  - {source_labels: [__address__], regex: 'h2:.*', action: drop}\n";
    let outcome =
        Agent::with_config(world.dir.path(), &format!("{config}{}", world.rest())).arg("targets").run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let targets: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let text = targets.to_string();
    for part in
        ["http://h1:1/metrics", "\"zone\":\"z\"", "\"instance\":\"h1:1\"", "__address__", "h2:2", "dropped"]
    {
        assert!(text.contains(part), "no {part:?} in {targets:#}");
    }
}

#[test]
fn the_rest_of_the_contract() {
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(
        regex::Regex::new(r"\d+\.\d+\.\d+.*[0-9a-f]{7}|unknown")
            .expect("a pattern")
            .is_match(&version.stdout)
    );
    for arguments in
        [&["--help"] as &[&str], &["check", "--help"], &["targets", "--help"], &["schema", "--help"]]
    {
        let help = run(arguments);
        assert_eq!(help.code, Some(0), "{arguments:?}");
        assert!(help.stdout.contains("Usage"), "{arguments:?}: {}", help.stdout);
    }
    let unknown = run(&["--frobnicate"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    let missing = run(&["--config", "/nonexistent/file.yaml"]);
    assert_eq!(missing.code, Some(2), "{}", missing.stderr);
    assert!(missing.stderr.contains("/nonexistent/file.yaml"), "{}", missing.stderr);
}

#[test]
fn the_default_configuration_is_accepted_and_the_schema_follows_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let printed = run(&["default-config"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let environment = |agent: Agent| agent.env("CEDANA_AUTH_TOKEN", "tok-5566").env("CLUSTER_ID", "c");
    let outcome = environment(Agent::with_config(directory.path(), &printed.stdout).arg("check")).run();
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    assert!(!(outcome.stdout + &outcome.stderr).contains("tok-5566"), "the token is shown");
    let config = "parquet: {promote: [image]}\nsink: {file: {dir: out}}\n";
    let schema = Agent::with_config(directory.path(), config).arg("schema").run();
    assert_eq!(schema.code, Some(0), "{}", schema.stderr);
    for part in ["CREATE TABLE", "`cluster_id`", "`image`", "Map("] {
        assert!(schema.stdout.contains(part), "no {part:?} in\n{}", schema.stdout);
    }
}

/// Without a configuration and outside Kubernetes: the machine, the agent's own metrics, and objects below `./agent-data`.
#[test]
fn a_bare_machine_needs_no_configuration() {
    let directory = tempfile::tempdir().expect("a directory");
    let outcome = Agent::new(directory.path(), ["--dry-run"]).run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let found = lines(&outcome.stdout);
    assert!(found.iter().any(|(_, sample)| sample.metric == "agent_build_info"), "{}", outcome.stdout);
    let host: Vec<_> = found
        .iter()
        .filter(|(_, sample)| sample.labels.get("job").map(String::as_str) == Some("node-exporter"))
        .collect();
    let metrics = ["node_memory_MemTotal_bytes", "node_cpu_seconds_total", "node_load1", "up"];
    for metric in metrics.into_iter().filter(|metric| *metric == "up" || cfg!(target_os = "linux")) {
        assert!(host.iter().any(|(_, sample)| sample.metric == metric), "no {metric} in {}", outcome.stdout);
    }
    assert!(!directory.path().join("agent-data").exists(), "a dry run writes nothing");
}

/// The sink that is a directory, with the agent's own metrics in it.
#[test]
fn objects_land_in_a_directory() {
    let world = World::new();
    let exporter = Exporter::limited(2, body);
    let config = world.config(&[exporter.address()]);
    let kept: Vec<_> =
        config.lines().filter(|line| !line.starts_with("sink") && !line.starts_with("credentials")).collect();
    let config = kept.join("\n").replace("internal_metrics: false", "internal_metrics: true");
    let config = format!("{config}\nsink: {{file: {{dir: \"{}/out\"}}}}\n", world.dir.path().display());
    let agent = world.start_with(&config);
    exporter.wait_for_scrapes_after(2);
    let out = world.dir.path().join("out");
    wait::until("an object", std::time::Duration::from_secs(20), || !parquet_files(&out).is_empty());
    let outcome = agent.terminate();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let files = parquet_files(&out);
    let read = |path: &std::path::PathBuf| {
        objects::read(&std::fs::read(path).expect("a file").into()).expect("Parquet")
    };
    let rows: Vec<_> = files.iter().map(read).flat_map(|file| file.rows).collect();
    support::ledger::Ledger::of(&exporter.exposed(), &rows, &exporter.address()).check();
    let own: Vec<_> = rows.iter().filter(|row| row.label("job") == "agent").collect();
    assert!(own.iter().any(|row| row.metric == "agent_build_info"), "the agent ships its own metrics");
    assert_eq!((world.s3.seen().len(), world.cedana.asked().len()), (0, 0));
}

fn parquet_files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}
