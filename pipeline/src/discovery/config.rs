//! `file_sd_configs`, `http_sd_configs` and `dns_sd_configs`: Prometheus' sections, verbatim.
//!
//! Takes what stands in the file, gives structs, and every problem with its path below the section.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::http::{Authorization, BasicAuth, ClientKeys, Headers, TlsConfig, join, join_client_paths};
use crate::model::secret::Secret;
use crate::model::units::Duration;
use crate::relabel::scalar;

/// One of `file_sd_configs`: files that list target groups in JSON or YAML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// Their paths; the last part of one may hold a `*`. They end in `.json`, `.yml` or `.yaml`.
    #[serde(deserialize_with = "scalar::texts")]
    pub files: Vec<String>,
    /// How often they are read again even if they look unchanged. 5m, as in Prometheus; a change is seen within seconds.
    pub refresh_interval: Duration,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self { files: Vec::new(), refresh_interval: Duration::from_secs(300) }
    }
}

/// One of `http_sd_configs`: a URL that lists target groups in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Where the list is.
    pub url: String,
    /// How often it is asked for. 1m, as in Prometheus.
    pub refresh_interval: Duration,
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
    /// Whom to trust and what to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// Additional request headers.
    #[serde(skip_serializing_if = "Headers::is_empty")]
    pub http_headers: Headers,
    /// Whether to follow redirects, at most ten.
    pub follow_redirects: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            refresh_interval: Duration::from_secs(60),
            authorization: None,
            bearer_token: None,
            bearer_token_file: None,
            basic_auth: None,
            tls_config: None,
            http_headers: Headers::new(),
            follow_redirects: true,
        }
    }
}

/// One of `dns_sd_configs`: names whose DNS entries become targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// The names that are asked for.
    #[serde(deserialize_with = "scalar::texts")]
    pub names: Vec<String>,
    /// The kind of entry: `SRV`, `A`, `AAAA`, `MX` or `NS`. `SRV`, as in Prometheus.
    #[serde(rename = "type")]
    pub kind: String,
    /// The port of the targets; `SRV` entries have their own.
    pub port: u16,
    /// How often they are asked for. 30s, as in Prometheus.
    pub refresh_interval: Duration,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { names: Vec::new(), kind: "SRV".to_owned(), port: 0, refresh_interval: Duration::from_secs(30) }
    }
}

type Problems = Vec<(String, String)>;

fn check_interval(problems: &mut Problems, interval: Duration) {
    if interval.0.is_zero() {
        problems.push(("refresh_interval".to_owned(), "is 0: write it like 30s or 5m".to_owned()));
    }
}

impl FileConfig {
    /// Takes the paths of the files to be relative to `directory`.
    pub(crate) fn join_paths(&mut self, directory: &Path) {
        self.files.iter_mut().for_each(|file| join(directory, Some(file)));
    }

    /// Every problem, with its path below the section.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Problems::new();
        if self.files.is_empty() {
            problems.push(("files".to_owned(), "is empty: name at least one file".to_owned()));
        }
        for (i, file) in self.files.iter().enumerate() {
            if !is_pattern(file) {
                let text = format!(
                    "{file:?} is no such file: end it in .json, .yml or .yaml, with at most one *, in its last part"
                );
                problems.push((format!("files[{i}]"), text));
            }
        }
        check_interval(&mut problems, self.refresh_interval);
        problems
    }
}

/// What Prometheus takes: `^[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)$`.
fn is_pattern(file: &str) -> bool {
    let Some((stem, extension)) = file.rsplit_once('.') else { return false };
    let known = ["json", "yml", "yaml", "JSON", "YML", "YAML"].contains(&extension);
    known && stem.split_once('*').is_none_or(|(_, rest)| !rest.contains('/'))
}

impl HttpConfig {
    /// Takes the paths of files that the section names to be relative to `directory`.
    pub(crate) fn join_paths(&mut self, directory: &Path) {
        join_client_paths(
            directory,
            self.authorization.as_mut(),
            self.bearer_token_file.as_mut(),
            self.basic_auth.as_mut(),
            self.tls_config.as_mut(),
            &mut self.http_headers,
        );
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

    /// Every problem, with its path below the section.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Problems::new();
        match url::Url::parse(&self.url) {
            _ if self.url.is_empty() => {
                problems.push(("url".to_owned(), "is missing: say where the list of targets is".to_owned()));
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                if !url.username().is_empty() || url.password().is_some() {
                    let text = "holds a user name or password: use basic_auth";
                    problems.push(("url".to_owned(), text.to_owned()));
                }
            }
            _ => {
                let text = "is not a URL of http or https: write it like http://10.0.0.1/targets";
                problems.push(("url".to_owned(), text.to_owned()));
            }
        }
        check_interval(&mut problems, self.refresh_interval);
        problems.extend(self.client_keys().check());
        problems
    }
}

impl DnsConfig {
    /// Every problem, with its path below the section.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Problems::new();
        if self.names.is_empty() {
            problems.push(("names".to_owned(), "is empty: name at least one".to_owned()));
        }
        if let Some(i) = self.names.iter().position(String::is_empty) {
            problems.push((format!("names[{i}]"), "is empty: write a name".to_owned()));
        }
        match self.kind.to_ascii_uppercase().as_str() {
            "SRV" => {}
            "A" | "AAAA" | "MX" | "NS" => {
                if self.port == 0 {
                    let text = "is missing: only SRV entries say which port the target has";
                    problems.push(("port".to_owned(), text.to_owned()));
                }
            }
            other => {
                let text = format!("{other:?} is not known: it can be SRV, A, AAAA, MX or NS");
                problems.push(("type".to_owned(), text));
            }
        }
        check_interval(&mut problems, self.refresh_interval);
        problems
    }
}
