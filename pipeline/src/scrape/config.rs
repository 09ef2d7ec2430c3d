//! `global` and `scrape_configs`: Prometheus' sections, verbatim as far as they are supported.
//!
//! Takes what stands in the file, gives structs with every default filled in where Prometheus fills it in. `check.rs`
//! judges the relations between the fields, `job.rs` makes of a section what the loops need.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::discovery::{DnsConfig, FileConfig, HttpConfig, KubernetesConfig};
use crate::http::{Authorization, BasicAuth, ClientKeys, Headers, TlsConfig, join_client_paths};
use crate::model::secret::Secret;
use crate::model::units::{Duration, Size};
use crate::relabel::{RelabelConfig, scalar};

/// Prometheus has no limit here. Ours is there because everything is bounded: an endpoint that never stops answering
/// must not take the memory of all others. The largest body met in practice is kube-state-metrics' 10 MB.
const BODY_SIZE_LIMIT: Size = Size(64 << 20);

/// `global`: defaults for all jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlobalConfig {
    /// How often a target is scraped. 1m, as in Prometheus.
    pub scrape_interval: Duration,
    /// How long one scrape may take, body included. 10s, or the interval where that is shorter, as in Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_timeout: Option<Duration>,
    /// Labels for every sample that does not have them; `cluster_id` is one that has a column.
    #[serde(deserialize_with = "scalar::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub external_labels: BTreeMap<String, String>,
    /// The largest body, uncompressed. 64MiB; 0 leaves only `limits.max_body_bytes`. Prometheus has no limit: see
    /// `BODY_SIZE_LIMIT` for ours.
    pub body_size_limit: Size,
    /// The most samples of one scrape after metric relabelling, 0 for no limit.
    pub sample_limit: u64,
    /// The most labels of one sample, 0 for no limit.
    pub label_limit: u64,
    /// The longest label name in bytes, 0 for no limit.
    pub label_name_length_limit: u64,
    /// The longest label value in bytes, 0 for no limit.
    pub label_value_length_limit: u64,
    /// The most targets of one job, 0 for no limit. One more, and all of them fail.
    pub target_limit: u64,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: None,
            external_labels: BTreeMap::new(),
            body_size_limit: BODY_SIZE_LIMIT,
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            target_limit: 0,
        }
    }
}

/// One of `scrape_configs`: a job, its targets and how to scrape them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    /// The job's name, which becomes the label `job`. Required, and unique.
    #[serde(deserialize_with = "scalar::text")]
    pub job_name: String,
    /// Targets that are named right here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_configs: Vec<StaticConfig>,
    /// Targets that a Kubernetes cluster knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_sd_configs: Vec<KubernetesConfig>,
    /// Targets that files list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_sd_configs: Vec<FileConfig>,
    /// Targets that a web server lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_sd_configs: Vec<HttpConfig>,
    /// Targets that DNS lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_sd_configs: Vec<DnsConfig>,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// The path of the exposition.
    pub metrics_path: String,
    /// URL parameters.
    #[serde(deserialize_with = "scalar::map_of_texts", skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Vec<String>>,
    /// How often; `global.scrape_interval` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_interval: Option<Duration>,
    /// How long at most; `global.scrape_timeout` if absent, or the interval where that is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_timeout: Option<Duration>,
    /// Whether labels of the exposition win over the target's, which otherwise rename them to `exported_...`.
    pub honor_labels: bool,
    /// Whether timestamps of the exposition are kept.
    pub honor_timestamps: bool,
    /// The header `Authorization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// The old spelling of `authorization.credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// The old spelling of `authorization.credentials_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<String>,
    /// User name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Whom to trust and what to show when `scheme` is `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// The most samples of one scrape; 0 or absent takes `global`'s.
    pub sample_limit: u64,
    /// The most labels of one sample; 0 or absent takes `global`'s.
    pub label_limit: u64,
    /// The longest label name in bytes; 0 or absent takes `global`'s.
    pub label_name_length_limit: u64,
    /// The longest label value in bytes; 0 or absent takes `global`'s.
    pub label_value_length_limit: u64,
    /// The largest body, uncompressed; 0 or absent takes `global`'s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_size_limit: Option<Size>,
    /// The most targets of this job; 0 or absent takes `global`'s.
    pub target_limit: u64,
    /// Whether to ask for gzip. False, where Prometheus has true: on a node or in a LAN compressing costs the exporter
    /// and the agent more CPU than it saves anyone. A gzip answer is understood either way.
    pub enable_compression: bool,
    /// Whether to follow redirects, at most ten.
    pub follow_redirects: bool,
    /// Additional request headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_headers: Headers,
    /// Rules for the labels of targets, applied before the scrape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules for the labels of samples, applied after the scrape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// What to ask for; only `PrometheusText0.0.4` so far, which is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_protocols: Option<Vec<String>>,
    /// Not in the file: whether a target that nothing listens on is merely "not running here" (the built-in local
    /// configuration).
    #[serde(skip)]
    pub optional: bool,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            job_name: String::new(),
            static_configs: Vec::new(),
            kubernetes_sd_configs: Vec::new(),
            file_sd_configs: Vec::new(),
            http_sd_configs: Vec::new(),
            dns_sd_configs: Vec::new(),
            scheme: Scheme::Http,
            metrics_path: "/metrics".to_owned(),
            params: BTreeMap::new(),
            scrape_interval: None,
            scrape_timeout: None,
            honor_labels: false,
            honor_timestamps: true,
            authorization: None,
            bearer_token: None,
            bearer_token_file: None,
            basic_auth: None,
            tls_config: None,
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            body_size_limit: None,
            target_limit: 0,
            enable_compression: false,
            follow_redirects: true,
            http_headers: Headers::new(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            scrape_protocols: None,
            optional: false,
        }
    }
}

impl ScrapeConfig {
    /// Takes the paths of files that the section names to be relative to `directory`, the configuration file's own, as
    /// Prometheus does.
    pub fn join_paths(&mut self, directory: &Path) {
        join_client_paths(
            directory,
            self.authorization.as_mut(),
            self.bearer_token_file.as_mut(),
            self.basic_auth.as_mut(),
            self.tls_config.as_mut(),
            &mut self.http_headers,
        );
        self.kubernetes_sd_configs.iter_mut().for_each(|section| section.join_paths(directory));
        self.file_sd_configs.iter_mut().for_each(|section| section.join_paths(directory));
        self.http_sd_configs.iter_mut().for_each(|section| section.join_paths(directory));
    }

    /// How to authenticate and encrypt.
    #[must_use]
    pub fn client_keys(&self) -> ClientKeys<'_> {
        ClientKeys {
            authorization: self.authorization.as_ref(),
            bearer_token: self.bearer_token.as_ref(),
            bearer_token_file: self.bearer_token_file.as_ref(),
            basic_auth: self.basic_auth.as_ref(),
            tls_config: self.tls_config.as_ref(),
            http_headers: &self.http_headers,
        }
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Not encrypted.
    #[default]
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The name as it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One of `static_configs`: addresses and the labels they share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaticConfig {
    /// `host:port`, or just the host for the scheme's own port.
    #[serde(deserialize_with = "scalar::texts")]
    pub targets: Vec<String>,
    /// Labels that all these targets get.
    #[serde(deserialize_with = "scalar::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}
