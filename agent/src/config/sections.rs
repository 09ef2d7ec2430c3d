//! The sections of the file: which there are, what is read from the environment for them, how they are checked.
//!
//! Takes the expanded tree, gives the configuration, problems and warnings.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::decode::Decoder;
use super::environment::Environment;
use super::keys::Keys;
use super::problem::{Path, Problem};
use super::{Config, Ingestion, Purpose};
use crate::{admin, lease, reload};

/// All sections, in the order of the data.
pub(crate) const SECTIONS: [&str; 19] = [
    "global",
    "scrape_configs",
    "host_metrics",
    "kubernetes_events",
    "sharding",
    "leader_election",
    "batch",
    "journal",
    "encoding",
    "parquet",
    "vector_json",
    "limits",
    "spool",
    "credentials",
    "sink",
    "ingestion",
    "server",
    "reload",
    "internal_metrics",
];

/// Sections of Prometheus that have no meaning here, and what to do instead.
const FOREIGN: [(&str, &str); 10] = [
    ("alerting", "alerts are for whoever reads the samples"),
    ("otlp", "nothing is pushed to the agent"),
    ("remote_read", "the agent answers no queries"),
    ("remote_write", "objects go where the section `sink` says"),
    ("rule_files", "rules are for whoever reads the samples"),
    ("rules", "rules are for whoever reads the samples"),
    ("runtime", "it sets Prometheus' own Go runtime"),
    ("scrape_config_files", "put what is in those files under `scrape_configs`"),
    ("storage", "what is kept on disk is in the section `spool`"),
    ("tracing", "the agent sends no traces"),
];

/// Values that the environment gives where the file says nothing: the path, and the variable.
const FROM_ENVIRONMENT: [(&[&str], &str); 7] = [
    (&["credentials", "cedana", "url"], "CEDANA_URL"),
    // Before the token itself: a file is read again at each refresh.
    (&["credentials", "cedana", "auth_token_file"], "CEDANA_AUTH_TOKEN_FILE"),
    (&["credentials", "cedana", "auth_token"], "CEDANA_AUTH_TOKEN"),
    (&["credentials", "cedana", "cluster_id"], "CLUSTER_ID"),
    (&["credentials", "cedana", "refresh_interval"], "REFRESH_INTERVAL"),
    (&["sink", "s3", "bucket"], "S3_BUCKET"),
    (&["sink", "s3", "region"], "AWS_REGION"),
];

/// Every key of the file.
pub(crate) fn keys() -> Keys {
    let mut keys = Keys::default();
    for section in SECTIONS {
        keys.add_key(&[], section);
    }
    keys.add::<pipeline::scrape::GlobalConfig>(&["global"]);
    keys.add::<pipeline::scrape::ScrapeConfig>(&["scrape_configs"]);
    keys.add::<pipeline::host::Config>(&["host_metrics"]);
    keys.add::<pipeline::kube_events::Config>(&["kubernetes_events"]);
    keys.add::<pipeline::scrape::Sharding>(&["sharding"]);
    keys.add::<lease::Config>(&["leader_election"]);
    keys.add::<pipeline::batch::Config>(&["batch"]);
    keys.add::<pipeline::journal::Config>(&["journal"]);
    keys.add::<pipeline::encode::Config>(&["parquet"]);
    keys.add::<pipeline::encode::vector::Config>(&["vector_json"]);
    keys.add::<pipeline::Limits>(&["limits"]);
    keys.add::<sinks::spool::Config>(&["spool"]);
    keys.add::<sinks::credentials::Config>(&["credentials"]);
    keys.add::<sinks::SinkConfig>(&["sink"]);
    keys.add::<admin::Config>(&["server"]);
    keys.add::<reload::Config>(&["reload"]);
    keys
}

/// Adds to the tree what the environment says and the file does not. Returns the paths of what was added, with the
/// variable.
pub(crate) fn fill_in(tree: &mut Map<String, Value>, environment: &Environment) -> Vec<(Path, &'static str)> {
    // `aws:` without a value is the choice of aws, and not the absence of a choice.
    for section in ["credentials", "sink"] {
        if let Some(Value::Object(choices)) = tree.get_mut(section) {
            choices.values_mut().filter(|choice| choice.is_null()).for_each(|choice| *choice = object());
        }
    }
    let token =
        ["CEDANA_AUTH_TOKEN", "CEDANA_AUTH_TOKEN_FILE"].iter().any(|name| environment.set(name).is_some());
    if is_absent(tree, "sink") && (token || environment.set("S3_BUCKET").is_some()) {
        tree.insert("sink".to_owned(), Value::Object(Map::from_iter([("s3".to_owned(), object())])));
    }
    let to_s3 = tree.get("sink").is_some_and(|sink| sink.get("s3").is_some());
    if to_s3 && is_absent(tree, "credentials") {
        let source = if token { "cedana" } else { "aws" };
        let section = Map::from_iter([(source.to_owned(), object())]);
        tree.insert("credentials".to_owned(), Value::Object(section));
    }
    let mut added = Vec::new();
    added.extend(fill_in_index(tree, environment));
    for (path, variable) in FROM_ENVIRONMENT {
        let (Some(value), [section, choice, key]) = (environment.set(variable), path) else { continue };
        let chosen = tree.get_mut(*section).and_then(|section| section.get_mut(*choice));
        let Some(Value::Object(chosen)) = chosen else { continue };
        let other = match *key {
            "auth_token" => "auth_token_file",
            "auth_token_file" => "auth_token",
            _ => key,
        };
        if chosen.get(*key).is_none_or(Value::is_null) && chosen.get(other).is_none_or(Value::is_null) {
            chosen.insert((*key).to_owned(), value.into());
            added.push((Path::root(section).key(choice).key(key), variable));
        }
    }
    added
}

/// The pods of a StatefulSet are numbered at the end of their names, which are also their host names.
fn fill_in_index(tree: &mut Map<String, Value>, environment: &Environment) -> Option<(Path, &'static str)> {
    let sharding = tree.get_mut("sharding")?.as_object_mut()?;
    let total = sharding.get("total")?;
    let is_one = total.as_u64() == Some(1) || total.as_str() == Some("1");
    if is_one || !is_absent(sharding, "index") {
        return None;
    }
    let (variable, pod) = ["POD_NAME", "HOSTNAME"].iter().find_map(|v| Some((*v, environment.set(v)?)))?;
    let (_, ordinal) = pod.rsplit_once('-')?;
    sharding.insert("index".to_owned(), ordinal.parse::<u32>().ok()?.into());
    Some((Path::root("sharding").key("index"), variable))
}

fn object() -> Value {
    Value::Object(Map::new())
}

fn is_absent(tree: &Map<String, Value>, section: &str) -> bool {
    tree.get(section).is_none_or(Value::is_null)
}

/// Reads all sections and checks them, alone and against each other.
pub(crate) fn read(tree: &mut Map<String, Value>, decoder: &mut Decoder<'_>, purpose: Purpose) -> Config {
    unknown_sections(tree, decoder);
    decoder.unsupported = pipeline::scrape::UNSUPPORTED_GLOBAL_KEYS;
    let global = section(tree, decoder, "global");
    decoder.unsupported = pipeline::scrape::UNSUPPORTED_KEYS;
    let jobs = jobs(tree, decoder);
    decoder.unsupported = &[];
    let mut config = Config {
        pipeline: pipeline::Config {
            global,
            scrape_configs: Vec::new(),
            host_metrics: section(tree, decoder, "host_metrics"),
            sharding: section(tree, decoder, "sharding"),
            own_labels: BTreeMap::new(),
            batch: section(tree, decoder, "batch"),
            journal: section(tree, decoder, "journal"),
            encoding: section(tree, decoder, "encoding"),
            parquet: section(tree, decoder, "parquet"),
            vector_json: section(tree, decoder, "vector_json"),
            limits: section(tree, decoder, "limits"),
            kubernetes_events: section(tree, decoder, "kubernetes_events"),
        },
        sinks: sinks::Config {
            spool: section(tree, decoder, "spool"),
            sink: section(tree, decoder, "sink"),
            credentials: section(tree, decoder, "credentials"),
        },
        ingestion: section(tree, decoder, "ingestion"),
        leader_election: section(tree, decoder, "leader_election"),
        server: section(tree, decoder, "server"),
        reload: section(tree, decoder, "reload"),
        internal_metrics: tree
            .remove("internal_metrics")
            .filter(|value| !value.is_null())
            .and_then(|value| decoder.read(&Path::root("internal_metrics"), value))
            .unwrap_or(true),
        cluster_id: String::new(),
    };
    check(&config, &jobs, decoder, purpose);
    config.pipeline.scrape_configs = jobs.into_iter().map(|(_, job)| job).collect();
    config
}

/// Reads one section; its defaults where it is absent or unreadable.
fn section<T: DeserializeOwned + Default>(
    tree: &mut Map<String, Value>,
    decoder: &mut Decoder<'_>,
    name: &str,
) -> T {
    let value = tree.remove(name).filter(|value| !value.is_null());
    value.and_then(|value| decoder.read(&Path::root(name), value)).unwrap_or_default()
}

type Jobs = Vec<(usize, pipeline::scrape::ScrapeConfig)>;

/// Reads each job by itself; gives them with their positions in the file.
fn jobs(tree: &mut Map<String, Value>, decoder: &mut Decoder<'_>) -> Jobs {
    let path = Path::root("scrape_configs");
    match tree.remove("scrape_configs") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => {
            let read = |(i, value)| Some((i, decoder.read(&path.index(i), value)?));
            values.into_iter().enumerate().filter_map(read).collect()
        }
        Some(_) => {
            decoder
                .problems
                .push(Problem::new(&path, "expected a list of jobs: begin each with `- job_name:`"));
            Vec::new()
        }
    }
}

fn unknown_sections(tree: &Map<String, Value>, decoder: &mut Decoder<'_>) {
    for key in tree.keys().filter(|key| !SECTIONS.contains(&key.as_str())) {
        let path = Path::root(key);
        let foreign = FOREIGN.iter().find(|(name, _)| name == key);
        let text = match foreign {
            Some((_, instead)) => {
                format!("a section of Prometheus that the agent does not have: delete it ({instead})")
            }
            // Editors' and operators' conventions for a place to put anchors.
            None if key.starts_with("x-") => continue,
            None => decoder.unknown(&path, key),
        };
        decoder.problems.push(Problem::new(&path, text));
    }
}

/// The relations between fields, which each section knows itself.
fn check(config: &Config, jobs: &Jobs, decoder: &mut Decoder<'_>, purpose: Purpose) {
    let mut say = |section: Path, problems: Vec<(String, String)>| {
        for (below, text) in problems {
            let joint = if section.0.is_empty() || below.is_empty() { "" } else { "." };
            let path = format!("{section}{joint}{below}");
            let needed = purpose.needs(path.split('.').next().unwrap_or_default());
            if needed && decoder.can_judge(&section, &path, &text) {
                let problem = decoder.reveal.relation(path, &text);
                decoder.problems.push(problem);
            }
        }
    };
    say(Path::root("global"), config.pipeline.global.check());
    for (position, job) in jobs {
        say(Path::root("scrape_configs").index(*position), job.check(&config.pipeline.global));
    }
    let named: Vec<_> = jobs.iter().map(|(_, job)| job.clone()).collect();
    for (i, text) in pipeline::scrape::check_names(&named) {
        let position = jobs.get(i).map_or(i, |(position, _)| *position);
        say(Path::root("scrape_configs").index(position), vec![("job_name".to_owned(), text)]);
    }
    say(Path::root("host_metrics"), config.pipeline.host_metrics.check());
    say(Path::root("host_metrics"), config.pipeline.host_section().check(&config.pipeline.global));
    say(Path::root("kubernetes_events"), config.pipeline.kubernetes_events.check());
    say(Path::root("kubernetes_events"), watched_at_least(config));
    say(Path::root("sharding"), config.pipeline.sharding.check());
    say(Path::root("ingestion"), several_writers(config));
    say(Path::root("leader_election"), config.leader_election.check());
    say(Path::root("leader_election"), turns_or_shards(config));
    say(Path::root("batch"), config.pipeline.batch.check());
    say(Path::root("journal"), config.pipeline.journal.check());
    say(Path::root("parquet"), config.pipeline.parquet.check());
    say(Path::root("vector_json"), config.pipeline.vector_json.check());
    say(Path::root("limits"), config.pipeline.limits.check());
    say(Path::default(), config.sinks.check());
}

/// A plain queue table keeps one pointer, under which several writers hide each other's objects (README, "Ingest").
fn several_writers(config: &Config) -> Vec<(String, String)> {
    let several = config.pipeline.sharding.is_on() && config.sinks.sink.s3.is_some();
    if !several || config.ingestion == Ingestion::Partitioned {
        return Vec::new();
    }
    let text = "is plain, and sharding makes several writers, whose objects an S3Queue table with one pointer would skip \
                silently: make one that keeps a pointer per writer (`agent schema` prints its settings), then write \
                `ingestion: partitioned`";
    vec![(String::new(), text.to_owned())]
}

/// An agent for Kubernetes events alone has to be one that watches them.
fn watched_at_least(config: &Config) -> Vec<(String, String)> {
    if !config.pipeline.kubernetes_events.only || config.watches_events() {
        return Vec::new();
    }
    let text = "is true, and this agent does not watch, so that nothing would be done: set `enabled: true` and leave out \
                `sharding`";
    vec![("only".to_owned(), text.to_owned())]
}

/// Agents either take turns at all targets, or share them.
fn turns_or_shards(config: &Config) -> Vec<(String, String)> {
    if !config.leader_election.enabled || !config.pipeline.sharding.is_on() {
        return Vec::new();
    }
    let text = "is true, and sharding gives each agent targets of its own, so that those who stand by would leave theirs \
                alone: keep one of the two";
    vec![("enabled".to_owned(), text.to_owned())]
}

/// What is allowed and yet better mended.
pub(crate) fn warnings(config: &Config, from_environment: &[(Path, &'static str)]) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (i, job) in config.pipeline.scrape_configs.iter().enumerate() {
        let path = Path::root("scrape_configs").index(i);
        warnings.extend(job.warnings().into_iter().map(|(below, text)| Problem {
            path: format!("{path}.{below}"),
            value: None,
            text,
        }));
    }
    let token = Path::root("credentials").key("cedana").key("auth_token");
    let inline = config.sinks.credentials.cedana.as_ref().is_some_and(|cedana| cedana.auth_token.is_some());
    if inline && !from_environment.iter().any(|(path, _)| *path == token) {
        let text = "a secret stands in the configuration itself: name a file by auth_token_file instead";
        warnings.push(Problem::new(&token, text));
    }
    if config.pipeline.kubernetes_events.enabled && !config.pipeline.sharding.node.is_empty() {
        let text = "is true, and sharding by node knows no first agent, so that none watches: write false here, and run one \
                    more agent with `only: true` (the chart does both)";
        warnings.push(Problem::new(&Path::root("kubernetes_events").key("enabled"), text));
    }
    let is_idle = config.pipeline.scrape_configs.is_empty() && !config.pipeline.host_metrics.enabled;
    if is_idle && !config.watches_events() {
        let text = "there is nothing to scrape but the agent itself: add a job";
        warnings.push(Problem::new(&Path::root("scrape_configs"), text));
    }
    if config.sinks.sink.s3.is_some() && config.cluster_id.is_empty() {
        let text =
            "no cluster_id, so that the column of that name stays empty: add it here or set CLUSTER_ID";
        warnings.push(Problem::new(&Path::root("global").key("external_labels"), text));
    }
    warnings
}
