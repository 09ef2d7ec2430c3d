//! A job of the agent, before it is written.

use pipeline::relabel::RelabelConfig;

use super::endpoint::Service;

/// One of `scrape_configs`.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    pub(super) name: String,
    /// Sentences above it.
    pub(super) comments: Vec<String>,
    pub(super) interval: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) targets: Targets,
    pub(super) scheme: String,
    pub(super) path: String,
    pub(super) params: Vec<(String, Vec<String>)>,
    pub(super) honor_labels: bool,
    /// Keys of authentication and encryption, as they are written.
    pub(super) client: Vec<Written>,
    /// Whether the label `node` is wanted.
    pub(super) node: bool,
    /// The names that it keeps, where it keeps just these.
    pub(super) names: Vec<String>,
    pub(super) relabel: Vec<Entry>,
    pub(super) metric_relabel: Vec<Entry>,
}

/// What a job scrapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Targets {
    /// The endpoints of services, each once.
    Services(Vec<Service>),
    Addresses(Vec<String>),
    /// `/metrics/cadvisor` of every kubelet.
    Kubelets,
}

impl Default for Targets {
    fn default() -> Self {
        Self::Addresses(Vec::new())
    }
}

/// A line of the section: depth below it, key, value; no value begins a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written(pub(super) usize, pub(super) &'static str, pub(super) Option<String>);

/// One of `metric_relabel_configs`, or what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Rule(RelabelConfig),
    Comment(String),
}
