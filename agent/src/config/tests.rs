//! Whole files: `testdata/*.bad.yaml` with everything that has to be said about them, `*.good.yaml`, and what is built in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The environment that the files in `testdata` were written for.
fn environment() -> Environment {
    Environment::from_pairs([
        ("INTERVAL", "30s"),
        ("ROWS", "1000"),
        ("HOST", "db:9100\n- injected: true"),
        ("PASSWORD", "hunter2-from-a-variable"),
    ])
}

fn files(ending: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    assert!(files.len() > 1, "no {ending}");
    files
}

/// Every line that begins with `#! ` in a bad file is a problem that has to be reported, in this order, and nothing else.
#[test]
fn bad_files_are_refused_with_every_problem() {
    for path in files(".bad.yaml") {
        let text = fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#! ")).collect();
        let problems = parse(&text, &environment(), Purpose::Run).expect_err(&path.to_string_lossy());
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(!expected.is_empty(), "{} says no problem; found {problems:#?}", path.display());
        assert_eq!(problems, expected, "{}", path.display());
        let all = problems.join("\n");
        assert!(!all.contains("hunter2"), "a secret is shown: {all}");
    }
}

/// Every line that begins with `#? ` in a good file is a warning.
#[test]
fn good_files_are_taken() {
    for path in files(".good.yaml") {
        let text = fs::read_to_string(&path).unwrap();
        let (config, warnings, _) = parse(&text, &environment(), Purpose::Run)
            .unwrap_or_else(|problems| panic!("{}: {}", path.display(), report(&Source::Local, &problems)));
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#? ")).collect();
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, expected, "{}", path.display());
        let shown = format!("{config:?} {warnings:?}");
        assert!(!shown.contains("hunter2"), "a secret is shown: {shown}");
    }
}

#[test]
fn what_is_built_in_is_sound() {
    let check = |text: &str, variables: &[(&str, &str)]| {
        let environment = Environment::from_pairs(variables.iter().copied());
        let (config, warnings, _) = parse(text, &environment, Purpose::Run)
            .unwrap_or_else(|p| panic!("{}", report(&Source::Local, &p)));
        assert_eq!(warnings, []);
        config
    };
    let local = check(LOCAL, &[]);
    assert_eq!(local.pipeline.scrape_configs.len(), 3);
    assert!(local.pipeline.host_metrics.enabled && local.internal_metrics && local.sinks.sink.file.is_some());
    let cluster = check(KUBERNETES, &[("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c-1")]);
    assert_eq!((cluster.cluster_id.as_str(), cluster.server.listen.port()), ("c-1", 9598));
    assert!(cluster.sinks.credentials.cedana.as_ref().is_some_and(|cedana| cedana.auth_token.is_some()));
    assert!(cluster.watches_events());
    let keys = check(KUBERNETES, &[("S3_BUCKET", "b"), ("CLUSTER_ID", "c-1")]);
    assert!(keys.sinks.credentials.aws.is_some());
    assert_eq!(keys.sinks.sink.s3.unwrap().bucket.as_deref(), Some("b"));
}

#[test]
fn the_complete_file_says_what_the_defaults_are() {
    let (config, warnings, _) = parse(DEFAULT, &Environment::default(), Purpose::Run)
        .unwrap_or_else(|problems| panic!("{}", report(&Source::Local, &problems)));
    assert_eq!(warnings, []);
    assert_eq!(config.pipeline.batch, pipeline::batch::Config::default());
    assert_eq!(config.pipeline.encoding, pipeline::encode::Encoding::default());
    assert_eq!(config.pipeline.parquet, pipeline::encode::Config::default());
    assert_eq!(config.pipeline.vector_json, pipeline::encode::vector::Config::default());
    assert_eq!(config.pipeline.limits, pipeline::Limits::default());
    assert_eq!(config.pipeline.host_metrics, pipeline::host::Config::default());
    assert_eq!(config.server, admin::Config::default());
    assert_eq!(config.leader_election, lease::Config::default());
    assert_eq!(config.pipeline.kubernetes_events, pipeline::kube_events::Config::default());
    assert_eq!(format!("{:?}", config.sinks.spool), format!("{:?}", sinks::spool::Config::default()));
    let global = pipeline::scrape::GlobalConfig {
        // What is the default, written out.
        scrape_timeout: Some(pipeline::model::units::Duration::from_secs(10)),
        ..Default::default()
    };
    assert_eq!(config.pipeline.global, global);
    let job = pipeline::scrape::ScrapeConfig {
        job_name: "node-exporter".to_owned(),
        static_configs: config.pipeline.scrape_configs[0].static_configs.clone(),
        ..Default::default()
    };
    assert_eq!(config.pipeline.scrape_configs, [job]);
}

/// The keys that are commented out are switched on all at once: then every key of every section has to be there, and to
/// have a type that is taken.
#[test]
fn the_complete_file_has_every_key() {
    let on: String = DEFAULT
        .lines()
        .map(|line| {
            let code = line.trim_start();
            let key = code.strip_prefix('#').filter(|rest| !rest.starts_with(' ') || rest.starts_with("  "));
            let key = key.filter(|rest| !rest.starts_with('#'));
            let indent = " ".repeat(line.len() - code.len());
            key.map_or_else(|| line.replace("{}", ""), |key| format!("{indent}{key}")) + "\n"
        })
        .collect();
    let mut problems = Vec::new();
    let tree = yaml::parse(&on, &mut problems);
    assert_eq!(problems, [], "{on}");
    for (path, keys) in sections::keys().all() {
        for key in keys.iter().filter(|key| *key != "*") {
            assert!(holds(&tree, path, key), "{path:?} has no {key} in deploy/config.yaml:\n{on}");
        }
    }
    let allowed = ["sink", "credentials", "scrape_configs[0]"];
    let problems = parse(&on, &Environment::default(), Purpose::Run).unwrap_err();
    for problem in problems {
        // All alternatives at once contradict each other, and that is all that may be said.
        assert!(allowed.iter().any(|path| problem.path.starts_with(path)), "{problem}");
        assert!(!problem.text.contains("unknown") && !problem.text.contains("expected"), "{problem}");
    }
}

fn holds(tree: &Value, path: &[String], key: &str) -> bool {
    match (tree, path.split_first()) {
        (Value::Array(values), _) => values.iter().any(|value| holds(value, path, key)),
        (Value::Object(map), None) => map.contains_key(key),
        (Value::Object(map), Some((first, rest))) if first == "*" => {
            map.values().any(|v| holds(v, rest, key))
        }
        (Value::Object(map), Some((first, rest))) => map.get(first).is_some_and(|v| holds(v, rest, key)),
        _ => false,
    }
}

#[test]
fn the_environment_stands_in() {
    let check = |text: &str, variables: &[(&str, &str)], expected: Result<&str, &str>| {
        let environment = Environment::from_pairs(variables.iter().copied());
        match (parse(text, &environment, Purpose::Run), expected) {
            (Ok((config, _, _)), Ok(expected)) => {
                let cedana = config.sinks.credentials.cedana.unwrap();
                let s3 = config.sinks.sink.s3.unwrap();
                let interval = cedana.refresh_interval;
                let token = cedana.auth_token.is_some();
                let shown = format!(
                    "{} {} {interval} {token} {} {} {}",
                    cedana.url,
                    cedana.cluster_id,
                    s3.bucket.unwrap_or_default(),
                    s3.region.unwrap_or_default(),
                    config.cluster_id,
                );
                assert_eq!(shown, expected, "{text}");
            }
            (Err(problems), Err(expected)) => assert_eq!(problems[0].to_string(), expected, "{problems:?}"),
            (result, expected) => panic!("{text}: {result:?} is not {expected:?}"),
        }
    };
    let all = [
        ("CEDANA_URL", "http://api"),
        ("CEDANA_AUTH_TOKEN", "hunter2"),
        ("CLUSTER_ID", "c-1"),
        ("REFRESH_INTERVAL", "20m"),
        ("S3_BUCKET", "b"),
        ("AWS_REGION", "r"),
    ];
    check("sink: {s3: {}}", &all, Ok("http://api c-1 20m true b r c-1"));
    // Without a sink, the variables say where objects go.
    check("", &all, Ok("http://api c-1 20m true b r c-1"));
    let own = "global: {external_labels: {cluster_id: c-2}}\n\
               credentials: {cedana: {url: http://b, auth_token_file: /t, cluster_id: c-3}}\nsink: {s3: {bucket: x}}";
    check(own, &all, Ok("http://b c-3 20m false x r c-2"));
    // A file is the better of the two.
    let both = [all.as_slice(), &[("CEDANA_AUTH_TOKEN_FILE", "/t")]].concat();
    check("", &both, Ok("http://api c-1 20m false b r c-1"));
    check("credentials: {cedana: {auth_token: own}}", &both, Ok("http://api c-1 20m true b r c-1"));
    let bad = [("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c"), ("REFRESH_INTERVAL", "often")];
    let expected = "credentials.cedana.refresh_interval: \"often\" is not a duration: write it like 15s, 1m30s or \
                    250ms (from the environment variable REFRESH_INTERVAL)";
    check("", &bad, Err(expected));
    let bad = [("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c"), ("CEDANA_URL", "api.cedana.ai")];
    let expected = "credentials.cedana.url: is \"api.cedana.ai\", without a scheme: write https://api.cedana.ai (from \
                    the environment variable CEDANA_URL)";
    check("", &bad, Err(expected));
}

#[test]
fn a_dry_run_needs_no_credentials() {
    let text = "credentials: {cedana: {auth_token: '${TOKEN}'}}\nsink: {s3: {}}\nscrape_configs: []";
    assert!(parse(text, &Environment::default(), Purpose::DryRun).is_ok());
    assert!(parse(text, &Environment::default(), Purpose::Run).is_err());
    assert!(parse("sink: {s4: {}}", &Environment::default(), Purpose::DryRun).is_err());
}

#[test]
fn the_source_is_chosen() {
    let check = |file: Option<&str>, variables: &[(&str, &str)], expected: Source| {
        let environment = Environment::from_pairs(variables.iter().copied());
        assert_eq!(Source::choose(file.map(PathBuf::from), &environment), expected);
    };
    check(None, &[], Source::Local);
    check(None, &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], Source::Kubernetes);
    let all = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("AGENT_CONFIG", "b.yaml")];
    check(None, &all, Source::File("b.yaml".into()));
    check(Some("a.yaml"), &all, Source::File("a.yaml".into()));
}

#[test]
fn a_file_that_is_missing_or_too_large_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.yaml");
    let error = load(Source::File(path.clone()), &Environment::default(), Purpose::Run).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot read the configuration {path:?}: name another")));
    fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
    let error = load(Source::File(path), &Environment::default(), Purpose::Run).unwrap_err();
    assert!(error.to_string().contains("4194304 are the limit"), "{error}");
}

/// Pieces of YAML that mean something here, so that random files reach every part.
fn piece() -> impl Strategy<Value = String> {
    let keys: BTreeSet<String> =
        sections::keys().all().flat_map(|(_, keys)| keys.iter().cloned()).collect::<BTreeSet<_>>();
    let keys = proptest::sample::select(keys.into_iter().collect::<Vec<_>>());
    let indent = proptest::sample::select(vec!["", "  ", "    ", "- ", "  - ", "    - "]);
    let value = prop_oneof![
        Just(String::new()),
        Just("15s".to_owned()),
        Just("[a, 1, {b: c}]".to_owned()),
        Just("${PASSWORD}".to_owned()),
        ".{0,12}",
    ];
    (indent, keys, value).prop_map(|(indent, key, value)| format!("{indent}{key}: {value}\n"))
}

proptest! {
    #[test]
    fn no_file_makes_it_panic_or_tell(pieces in proptest::collection::vec(piece(), 0..12)) {
        let text = pieces.concat();
        if let Err(problems) = parse(&text, &environment(), Purpose::Run) {
            prop_assert!(!problems.is_empty());
            let shown = report(&Source::Local, &problems);
            prop_assert!(!shown.contains("hunter2"), "{}", shown);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = parse(&text, &environment(), Purpose::Run);
    }
}

#[test]
fn files_are_relative_to_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("agent.yaml");
    let text = "scrape_configs: [{job_name: a, bearer_token_file: token, static_configs: [{targets: [\"a:1\"]}]}]\n\
                credentials: {cedana: {auth_token_file: /run/token, cluster_id: c}}\n\
                sink: {s3: {}}\n";
    std::fs::write(&file, text).unwrap();
    let loaded = load(Source::File(file), &Environment::default(), Purpose::Run).unwrap();
    let job = &loaded.config.pipeline.scrape_configs[0];
    let expected = directory.path().join("token").display().to_string();
    assert_eq!(job.bearer_token_file.as_deref(), Some(expected.as_str()));
    let cedana = loaded.config.sinks.credentials.cedana.unwrap();
    assert_eq!(cedana.auth_token_file, Some(PathBuf::from("/run/token")));
}

#[test]
fn the_host_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("agent.yaml");
    let check = |text: &str, expected: &[&str], warning: Option<&str>| {
        fs::write(&file, format!("{text}\nsink: {{file: {{dir: x}}}}\n")).unwrap();
        let environment = Environment::from_pairs([("NODE_NAME", "n1")]);
        let loaded = load(Source::File(file.clone()), &environment, Purpose::Run).unwrap();
        let jobs = loaded.config.pipeline.jobs(None).unwrap();
        assert_eq!(jobs.iter().map(|job| job.job.name.as_str()).collect::<Vec<_>>(), expected, "{text}");
        let paths: Vec<_> = loaded.warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(paths, Vec::from_iter(warning), "{text}");
        jobs.into_iter().next_back().unwrap()
    };
    let jobs = "scrape_configs: [{job_name: a}, {job_name: node-exporter}]";
    check(jobs, &["a", "node-exporter"], None);
    let both = format!("{jobs}\nhost_metrics: {{enabled: true}}");
    let job = check(&both, &["a", "node-exporter"], Some("scrape_configs[1].job_name"));
    let labels = &job.static_groups[0].labels;
    assert_eq!((labels.value("instance"), labels.value("node")), ("n1", "n1"));
    let other = format!("{jobs}\nhost_metrics: {{enabled: true, job_name: host}}");
    check(&other, &["a", "node-exporter", "host"], None);
    // The built-in one has the job for those who do not read the host, and says nothing of it.
    let cluster = [("HOST_METRICS", "true"), ("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c")];
    let loaded = load(Source::Kubernetes, &Environment::from_pairs(cluster), Purpose::Run).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.pipeline.host_metrics.procfs, Path::new("/host/proc"));
    let jobs = loaded.config.pipeline.jobs(None).unwrap();
    assert_eq!(jobs.iter().filter(|job| job.job.name == "node-exporter").count(), 1);
}

#[test]
fn a_host_that_cannot_be_read_is_refused() {
    let check = |section: &str, expected: &[&str]| {
        let text = format!("sink: {{file: {{dir: x}}}}\nhost_metrics: {{enabled: true, {section}}}");
        let problems = match parse(&text, &Environment::default(), Purpose::Run) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|problem| problem.path).collect(),
        };
        assert_eq!(problems, expected, "{section}");
    };
    check("", &[]);
    check("job_name: ''", &["host_metrics.job_name"]);
    check("scrape_interval: 5s, scrape_timeout: 6s", &["host_metrics.scrape_timeout"]);
    check("collectors: [cpu, wifi]", &["host_metrics.collectors[1]"]);
    check("netstat: {fields: '['}", &["host_metrics.netstat.fields"]);
    check(
        "metric_relabel_configs: [{action: drop, regex: '('}]",
        &["host_metrics.metric_relabel_configs[0].regex"],
    );
    check("procfs: host/proc", &["host_metrics.procfs"]);
    check("wifi: {}", &["host_metrics.wifi"]);
}

#[test]
fn a_shard_takes_its_number_from_its_pod() {
    let check = |text: &str, pod: &str, expected: Option<u32>| {
        let environment =
            Environment::from_pairs([("POD_NAME", pod), ("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c")]);
        let text = format!("{text}\ningestion: partitioned");
        let (config, _, _) = parse(&text, &environment, Purpose::Run)
            .unwrap_or_else(|p| panic!("{}", report(&Source::Local, &p)));
        assert_eq!(config.pipeline.sharding.index, expected);
        let writer = config.sinks.sink.s3.unwrap().writer;
        assert_eq!(writer, expected.map(|index| format!("w{index}")));
        assert_eq!(config.pipeline.own_labels["instance"], pod);
    };
    check("sharding: {total: 3}", "agent-2", Some(2));
    check("sharding: {total: 3, index: 1}", "agent-2", Some(1));
    check("sharding: {total: 1}", "agent-7", None);
    check("sharding: {node: n1}", "agent-x7f2p", None);
}

#[test]
fn several_writers_need_a_table_that_knows_them() {
    let check = |text: &str, expected: &[&str]| {
        let environment = Environment::from_pairs([("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c")]);
        let paths: Vec<String> = match parse(text, &environment, Purpose::Run) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|problem| problem.path).collect(),
        };
        assert_eq!(paths, expected, "{text}");
    };
    check("sharding: {total: 2, index: 0}", &["ingestion"]);
    check("sharding: {node: n1}", &["ingestion"]);
    check("sharding: {node: n1}\ningestion: partitioned", &[]);
    check("sharding: {total: 2, index: 2}\ningestion: partitioned", &["sharding.index"]);
    check("sharding: {total: 2}\ningestion: partitioned", &["sharding.index"]);
    check("ingestion: partition", &["ingestion"]);
    check("encoding: vector_json\nvector_json: {compression: gzip, max_bytes: 5MiB}", &[]);
    check("encoding: vector\nvector_json: {compression: zstd}", &["encoding", "vector_json.compression"]);
    check("vector_json: {max_bytes: 1KiB}", &["vector_json.max_bytes"]);
    check("sharding: {total: 2, index: 0}\nsink: {file: {dir: x}}", &[]);
}

#[test]
fn agents_take_turns_or_share_the_targets() {
    let file = |text: &str| format!("{text}\nsink: {{file: {{dir: x}}}}\nscrape_configs: []\n");
    let environment = Environment::from_pairs([("POD_NAME", "agent-5"), ("POD_NAMESPACE", "monitoring")]);
    let (config, _, _) =
        parse(&file("leader_election: {enabled: true}"), &environment, Purpose::Run).unwrap();
    assert_eq!(config.leader_election.identity("w"), "agent-5_w");
    assert_eq!(config.leader_election.lease_namespace.as_deref(), Some("monitoring"));
    let both =
        file("leader_election: {enabled: true, lease_name: A}\nsharding: {total: 7}\ningestion: partitioned");
    let problems = parse(&both, &environment, Purpose::Run).unwrap_err();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["leader_election.lease_name", "leader_election.enabled"], "{problems:?}");
}

#[test]
fn one_agent_watches_events() {
    let check = |variables: &[(&str, &str)], watches: bool, jobs: usize, said: Option<&str>| {
        let all =
            [&[("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c"), ("INGESTION", "partitioned")], variables]
                .concat();
        let (config, said_of) = match load(Source::Kubernetes, &Environment::from_pairs(all), Purpose::Run) {
            Ok(loaded) => (Some(loaded.config), loaded.warnings),
            Err(Error::Refused { problems, .. }) => (None, problems),
            Err(error) => panic!("{error}"),
        };
        let paths: Vec<_> = said_of.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, Vec::from_iter(said), "{variables:?}");
        let found = config.map(|config| (config.watches_events(), config.pipeline.jobs(None).unwrap().len()));
        assert_eq!(found.unwrap_or_default(), (watches, jobs), "{variables:?}");
    };
    check(&[], true, 5, None);
    check(&[("KUBERNETES_EVENTS", "false")], false, 5, None);
    check(&[("LEADER_ELECTION", "true"), ("POD_NAME", "a"), ("POD_NAMESPACE", "m")], true, 5, None);
    check(&[("SHARDS", "2"), ("POD_NAME", "a-0")], true, 5, None);
    check(&[("SHARDS", "2"), ("POD_NAME", "a-1")], false, 5, None);
    let node = ("SHARD_NODE", "n1");
    check(&[node], false, 5, Some("kubernetes_events.enabled"));
    check(&[node, ("KUBERNETES_EVENTS", "false")], false, 5, None);
    // The one beside the agents of a DaemonSet.
    let only = ("KUBERNETES_EVENTS_ONLY", "true");
    check(&[only], true, 0, None);
    check(&[only, ("HOST_METRICS", "true")], true, 0, None);
    check(&[only, node], false, 0, Some("kubernetes_events.only"));
    check(&[only, ("KUBERNETES_EVENTS", "false")], false, 0, Some("kubernetes_events.only"));
}

/// A key without a value is as good as absent, if it is a key.
#[test]
fn a_key_without_a_value_has_to_be_known() {
    let rest = "sink: {file: {dir: x}}\n";
    let sound = "global: {scrape_interval: , external_labels: }\nscrape_configs: [{job_name: a, params: , sample_limit: }]\n";
    assert!(parse(&format!("{sound}{rest}"), &Environment::default(), Purpose::Run).is_ok());
    let text = "spool: {dir: /a,b/c}\nscrape_configs: [{job_name: a, static_configs: [{tragets: }]}]\nsink: {file: {dir: x}}\n";
    let problems = parse(text, &Environment::default(), Purpose::Run).unwrap_err();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["scrape_configs[0].static_configs[0].tragets", "spool.b/c"], "{problems:?}");
}
