//! The configuration: loaded, expanded, checked, with every problem reported at once.
//!
//! Takes a file or a built-in configuration and the environment; gives a [`Config`] that is known to be sound, or
//! all problems with path, value and remedy. The environment is read here and nowhere else.

mod complaint;
mod decode;
mod effective;
mod environment;
mod expand;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod keys;
mod problem;
mod reveal;
mod sections;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use environment::Environment;
pub use problem::Problem;

use crate::{admin, lease, reload};

/// The complete configuration with every key commented, as `agent default-config` prints it.
pub const DEFAULT: &str = include_str!("../../../deploy/config.yaml");

/// What runs without a configuration outside Kubernetes.
const LOCAL: &str = include_str!("local.yaml");

/// What runs without a configuration inside Kubernetes, as `agent default-config --kubernetes` prints it.
pub const KUBERNETES: &str = include_str!("kubernetes.yaml");

/// What relaxes the one job of it that speaks TLS.
const KUBELET: &str =
    "the environment variable KUBELET_INSECURE_SKIP_VERIFY=true (chart: kubelet.insecureSkipVerify)";

/// The whole configuration. Every section belongs to the stage that it configures.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sections `global`, `scrape_configs`, `host_metrics`, `kubernetes_events`, `sharding`, `batch`, `encoding`, `parquet`,
    /// `vector_json` and `limits`.
    pub pipeline: pipeline::Config,
    /// Sections `spool`, `credentials` and `sink`.
    pub sinks: sinks::Config,
    /// `ingestion`.
    pub ingestion: Ingestion,
    /// Section `leader_election`.
    pub leader_election: lease::Config,
    /// Section `server`.
    pub server: admin::Config,
    /// Section `reload`.
    pub reload: reload::Config,
    /// Whether the agent's own metrics are shipped, as job `agent`.
    pub internal_metrics: bool,
    /// The column `cluster_id`, empty if nobody says.
    pub cluster_id: String,
}

impl Config {
    /// Whether this agent watches the Kubernetes events: of several that share the targets only the first does.
    #[must_use]
    pub fn watches_events(&self) -> bool {
        let sharding = &self.pipeline.sharding;
        let is_first = sharding.node.is_empty() && (sharding.total <= 1 || sharding.index == Some(0));
        self.pipeline.kubernetes_events.enabled && is_first
    }
}

/// `ingestion`: what is known of the queue table that reads the objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ingestion {
    /// It keeps one pointer, and so takes one writer.
    #[default]
    Plain,
    /// It keeps one pointer per writer.
    Partitioned,
}

/// What the configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Everything is needed.
    Run,
    /// Nothing is sent: credentials and a place to write to may be missing.
    DryRun,
}

impl Purpose {
    /// Whether a section has to be complete. Keys and types have to be right either way.
    fn needs(self, section: &str) -> bool {
        self == Self::Run || !["spool", "credentials", "sink", "server"].contains(&section)
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Built in: the usual exporters of this machine, objects in `./agent-data`.
    Local,
    /// Built in: the exporters of the cluster, objects in S3.
    Kubernetes,
}

impl Source {
    /// The file given on the command line, or by `AGENT_CONFIG`, or else what is built in.
    #[must_use]
    pub fn choose(file: Option<PathBuf>, environment: &Environment) -> Self {
        match file.or_else(|| environment.set("AGENT_CONFIG").map(PathBuf::from)) {
            Some(file) => Self::File(file),
            // Kubernetes sets it in every container.
            None if environment.set("KUBERNETES_SERVICE_HOST").is_some() => Self::Kubernetes,
            None => Self::Local,
        }
    }

    /// Reads the text, no more of it than is taken.
    pub(crate) fn text(&self) -> std::io::Result<String> {
        match self {
            Self::Local => Ok(LOCAL.to_owned()),
            Self::Kubernetes => Ok(KUBERNETES.to_owned()),
            Self::File(path) => {
                let mut text = String::new();
                let file = std::fs::File::open(path)?;
                file.take(yaml::FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
                Ok(text)
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Local => f.write_str("the built-in local configuration"),
            Self::Kubernetes => f.write_str("the built-in Kubernetes configuration"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration {path:?}: name another by --config or AGENT_CONFIG, or make one by \
             `agent default-config`"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something is wrong in it.
    #[error("{}", report(.origin, .problems))]
    Refused {
        /// Where it came from.
        origin: Source,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
}

/// All problems, one per line.
fn report(origin: &Source, problems: &[Problem]) -> String {
    let plural = if problems.len() == 1 { "problem" } else { "problems" };
    let mut report = format!("{} {plural} in {origin}", problems.len());
    for problem in problems {
        report.push_str("\n  ");
        report.push_str(&problem.to_string());
    }
    report
}

/// Tells one text of a configuration from another.
pub(crate) fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A sound configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed and yet better mended.
    pub warnings: Vec<Problem>,
    /// Where it came from.
    pub source: Source,
    /// Every key with the value in force, as YAML; what is or may be secret is starred.
    pub effective: String,
    /// Of the text as it was read.
    pub(crate) digest: u64,
    /// What variables were taken from.
    pub(crate) environment: Environment,
}

/// Loads the configuration.
///
/// # Errors
/// When it cannot be read, and when anything is wrong in it: then with every problem.
pub fn load(source: Source, environment: &Environment, purpose: Purpose) -> Result<Loaded, Error> {
    let text = source.text();
    load_text(text, source, environment, purpose)
}

/// Loads the configuration out of a text that was read from its source.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_text(
    text: std::io::Result<String>,
    source: Source,
    environment: &Environment,
    purpose: Purpose,
) -> Result<Loaded, Error> {
    let text = match (text, &source) {
        (Ok(text), _) => text,
        (Err(error), Source::File(path)) => return Err(Error::Read { path: path.clone(), source: error }),
        (Err(error), _) => return Err(Error::Read { path: PathBuf::new(), source: error }),
    };
    let (mut config, mut warnings, reveal) = match parse(&text, environment, purpose) {
        Ok(parsed) => parsed,
        Err(problems) => return Err(Error::Refused { origin: source, problems }),
    };
    leave_out_jobs(&mut config.pipeline);
    let left_out = leave_out_twin(&mut config.pipeline);
    if let Source::File(path) = &source {
        warnings.extend(left_out);
        join_paths(&mut config, path.parent().unwrap_or_else(|| Path::new("")));
    }
    if source == Source::Kubernetes {
        let tls = config.pipeline.scrape_configs.iter_mut().filter_map(|job| job.tls_config.as_mut());
        tls.for_each(|tls| tls.relaxed_by = Some(KUBELET));
    }
    if source == Source::Local {
        config.pipeline.scrape_configs.iter_mut().for_each(|job| job.optional = true);
    }
    let effective = effective::print(&config, &reveal);
    let (digest, environment) = (digest(&text), environment.clone());
    Ok(Loaded { config, warnings, source, effective, digest, environment })
}

/// Takes the files that the configuration reads secrets and certificates from to be relative to the configuration's own
/// directory, as Prometheus does. Directories that are written to stay relative to the working directory.
fn join_paths(config: &mut Config, directory: &Path) {
    for job in &mut config.pipeline.scrape_configs {
        job.join_paths(directory);
    }
    config.pipeline.kubernetes_events.join_paths(directory);
    if let Some(file) = &mut config.leader_election.kubeconfig_file {
        *file = directory.join(&*file);
    }
    let cedana = config.sinks.credentials.cedana.as_mut();
    if let Some(file) = cedana.and_then(|cedana| cedana.auth_token_file.as_mut()) {
        *file = directory.join(&*file);
    }
}

/// From text to configuration, with what of it may be shown; or everything that is wrong.
fn parse(
    text: &str,
    environment: &Environment,
    purpose: Purpose,
) -> Result<(Config, Vec<Problem>, reveal::Reveal), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut tree = yaml::parse(text, &mut problems);
    if tree.is_null() {
        if !problems.is_empty() {
            return Err(problems);
        }
        // An empty file says that every default will do.
        tree = Value::Object(serde_json::Map::new());
    }
    let expanded = expand::expand(&mut tree, environment);
    let Value::Object(mut tree) = tree else {
        let text = "the configuration is no mapping: begin it with a section such as `scrape_configs:`";
        problems.push(Problem::new(&problem::Path::default(), text));
        return Err(problems);
    };
    let unset = expanded.failed.iter().map(|(path, _)| path.clone()).collect();
    let needed = |path: &problem::Path| path.keys().first().is_none_or(|section| purpose.needs(section));
    problems.extend(
        expanded.failed.iter().filter(|(path, _)| needed(path)).map(|(path, text)| Problem::new(path, text)),
    );
    let variables = sections::fill_in(&mut tree, environment);
    let keys = sections::keys();
    let reveal = reveal::Reveal { expanded: expanded.changed, variables };
    let mut decoder = decode::Decoder::new(&keys, &reveal, unset);
    let mut config = sections::read(&mut tree, &mut decoder, purpose);
    problems.append(&mut decoder.problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    config.cluster_id = cluster_id(&config, environment);
    config.pipeline.own_labels = own_labels(environment);
    name_candidate(&mut config.leader_election, environment);
    name_writer(&mut config);
    let warnings = sections::warnings(&config, &reveal.variables);
    Ok((config, warnings, reveal))
}

/// Leaves out all jobs where Kubernetes events are to be watched and nothing else.
fn leave_out_jobs(pipeline: &mut pipeline::Config) {
    if pipeline.kubernetes_events.only {
        pipeline.scrape_configs.clear();
        pipeline.host_metrics.enabled = false;
    }
}

/// Leaves out the job that would scrape what the agent reads itself, and says which.
fn leave_out_twin(pipeline: &mut pipeline::Config) -> Option<Problem> {
    let (host, jobs) = (&pipeline.host_metrics, &mut pipeline.scrape_configs);
    let is_twin = |job: &pipeline::scrape::ScrapeConfig| host.enabled && job.job_name == host.job_name;
    let position = jobs.iter().position(is_twin)?;
    jobs.remove(position);
    let text = "is left out, since host_metrics has the same name and says the same: delete the job, or give one of the two \
                another job_name";
    Some(Problem::new(&problem::Path::root("scrape_configs").index(position).key("job_name"), text))
}

/// Where this process runs, as the pod's specification says it.
fn own_labels(environment: &Environment) -> BTreeMap<String, String> {
    let labels = [
        ("instance", "POD_NAME"),
        ("pod", "POD_NAME"),
        ("namespace", "POD_NAMESPACE"),
        ("node", "NODE_NAME"),
    ];
    let set =
        |(label, variable): (&str, &str)| Some((label.to_owned(), environment.set(variable)?.to_owned()));
    labels.into_iter().filter_map(set).collect()
}

/// A pod knows its name and namespace.
fn name_candidate(election: &mut lease::Config, environment: &Environment) {
    let set = |variable: &str| environment.set(variable).map(str::to_owned);
    election.identity = election.identity.take().or_else(|| set("POD_NAME"));
    election.lease_namespace = election.lease_namespace.take().or_else(|| set("POD_NAMESPACE"));
}

/// A shard is known by its number, wherever its spool is.
fn name_writer(config: &mut Config) {
    let sharding = &config.pipeline.sharding;
    if let (Some(s3), Some(index), 2..) = (&mut config.sinks.sink.s3, sharding.index, sharding.total) {
        s3.writer.get_or_insert_with(|| format!("w{index}"));
    }
}

/// The external label of that name, or else the credentials' cluster id.
fn cluster_id(config: &Config, environment: &Environment) -> String {
    let label = config.pipeline.global.external_labels.get("cluster_id").map(String::as_str);
    let credentials = config.sinks.credentials.cedana.as_ref().map(|cedana| cedana.cluster_id.as_str());
    let given = label.or(credentials).filter(|id| !id.is_empty());
    given.or_else(|| environment.set("CLUSTER_ID")).unwrap_or_default().to_owned()
}
