//! What can be wrong between the fields of `global` and of a scrape section.
//!
//! Takes the sections, gives every problem with its path below the section, the offending value and the remedy. Never
//! reads the files that a section names: they may appear later.

use std::collections::HashSet;

use hyper::header::{HeaderName, HeaderValue};

use super::config::{GlobalConfig, ScrapeConfig};
use super::http_config::{TlsConfig, TlsVersion};
use crate::model::labels::METRIC_NAME;
use crate::model::units::Duration;
use crate::relabel::{RelabelConfig, Rules};

/// Problems by path below the section, such as `relabel_configs[2].regex`.
type Problems = Vec<(String, String)>;

/// Headers that the scrape itself sets (Prometheus refuses the same; `prometheus/common/config`).
const RESERVED_HEADERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "user-agent",
    "x-prometheus-scrape-timeout-seconds",
];

fn say(problems: &mut Problems, path: impl Into<String>, problem: impl Into<String>) {
    problems.push((path.into(), problem.into()));
}

impl GlobalConfig {
    /// Problems of the section in itself.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Problems::new();
        check_times(&mut problems, Some(self.scrape_interval), self.scrape_timeout, self.scrape_interval);
        for name in self.external_labels.keys() {
            if let Some(problem) = label_problem(name) {
                say(&mut problems, format!("external_labels.{name}"), problem);
            }
        }
        problems
    }

    /// How long a scrape may take where the job does not say.
    pub(crate) fn timeout(&self) -> Duration {
        self.scrape_timeout.unwrap_or(Duration::from_secs(10).min(self.scrape_interval))
    }
}

impl ScrapeConfig {
    /// Problems of the section in itself and with `global`; job names are compared by [`check_names`].
    #[must_use]
    pub fn check(&self, global: &GlobalConfig) -> Vec<(String, String)> {
        let mut problems = Problems::new();
        if self.job_name.is_empty() {
            say(&mut problems, "job_name", "is missing: every job needs a name, which becomes its label job");
        }
        check_times(&mut problems, self.scrape_interval, self.scrape_timeout, self.interval(global));
        self.check_request(&mut problems);
        self.check_static(&mut problems);
        self.check_authentication(&mut problems);
        if let Some(tls) = &self.tls_config {
            check_tls(&mut problems, tls);
        }
        self.check_headers(&mut problems);
        check_rules(&mut problems, "relabel_configs", &self.relabel_configs);
        check_rules(&mut problems, "metric_relabel_configs", &self.metric_relabel_configs);
        problems
    }

    /// Secrets that stand in the file itself, by path, with the advice to name a file instead.
    #[must_use]
    pub fn warnings(&self) -> Vec<(String, String)> {
        let authorization = self.authorization.as_ref().and_then(|a| a.credentials.as_ref());
        let password = self.basic_auth.as_ref().and_then(|b| b.password.as_ref());
        let key = self.tls_config.as_ref().and_then(|t| t.key.as_ref());
        let inline = [
            ("authorization.credentials", authorization.is_some(), "authorization.credentials_file"),
            ("bearer_token", self.bearer_token.is_some(), "bearer_token_file"),
            ("basic_auth.password", password.is_some(), "basic_auth.password_file"),
            ("tls_config.key", key.is_some(), "tls_config.key_file"),
        ];
        let warning = |path: String, better: &str| {
            (path, format!("a secret stands in the configuration itself: name a file by {better} instead"))
        };
        let mut warnings: Problems = inline
            .into_iter()
            .filter(|(_, is_set, _)| *is_set)
            .map(|(path, _, better)| warning(path.to_owned(), better))
            .collect();
        for (name, header) in &self.http_headers {
            if !header.secrets.is_empty() {
                let path = format!("http_headers.{name}.secrets");
                warnings.push(warning(path, &format!("http_headers.{name}.files")));
            }
        }
        warnings
    }

    pub(crate) fn interval(&self, global: &GlobalConfig) -> Duration {
        self.scrape_interval.unwrap_or(global.scrape_interval)
    }

    pub(crate) fn timeout(&self, global: &GlobalConfig) -> Duration {
        self.scrape_timeout.unwrap_or(global.timeout().min(self.interval(global)))
    }

    fn check_request(&self, problems: &mut Problems) {
        if !self.metrics_path.starts_with('/') {
            let text =
                format!("{:?} is not a path: begin it with a slash, as in /metrics", self.metrics_path);
            say(problems, "metrics_path", text);
        }
        for protocol in self.scrape_protocols.iter().flatten() {
            if protocol != "PrometheusText0.0.4" {
                let text = format!(
                    "{protocol:?} is not supported yet: use PrometheusText0.0.4 or leave the key out"
                );
                say(problems, "scrape_protocols", text);
            }
        }
        if self.scrape_protocols.as_ref().is_some_and(Vec::is_empty) {
            say(problems, "scrape_protocols", "is empty: use PrometheusText0.0.4 or leave the key out");
        }
    }

    fn check_static(&self, problems: &mut Problems) {
        for (i, group) in self.static_configs.iter().enumerate() {
            // Prometheus, too, looks at the addresses only where no rule may still change them.
            for (j, address) in group.targets.iter().enumerate().filter(|_| self.relabel_configs.is_empty()) {
                if let Err(problem) = super::targets::check_address(address) {
                    say(problems, format!("static_configs[{i}].targets[{j}]"), problem);
                }
            }
            for name in group.labels.keys() {
                if let Some(problem) = label_problem(name) {
                    say(problems, format!("static_configs[{i}].labels.{name}"), problem);
                }
            }
        }
    }

    fn check_authentication(&self, problems: &mut Problems) {
        let ways = [
            ("authorization", self.authorization.is_some()),
            ("bearer_token", self.bearer_token.is_some()),
            ("bearer_token_file", self.bearer_token_file.is_some()),
            ("basic_auth", self.basic_auth.is_some()),
        ];
        let used: Vec<_> = ways.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect();
        if let [_, second, ..] = used.as_slice() {
            say(problems, *second, format!("only one of {} can be used: remove the others", used.join(", ")));
        }
        if let Some(authorization) = &self.authorization {
            let (inline, file) =
                (authorization.credentials.is_some(), authorization.credentials_file.is_some());
            only_one(problems, "authorization.credentials", inline, file);
            if authorization.kind.trim().eq_ignore_ascii_case("basic") {
                say(problems, "authorization.type", "cannot be Basic: use basic_auth");
            } else if HeaderValue::from_str(&authorization.kind).is_err()
                || authorization.kind.trim().is_empty()
            {
                let text = format!("{:?} is not an authentication type: use Bearer", authorization.kind);
                say(problems, "authorization.type", text);
            }
        }
        if let Some(basic) = &self.basic_auth {
            only_one(
                problems,
                "basic_auth.username",
                !basic.username.is_empty(),
                basic.username_file.is_some(),
            );
            only_one(
                problems,
                "basic_auth.password",
                basic.password.is_some(),
                basic.password_file.is_some(),
            );
        }
    }

    fn check_headers(&self, problems: &mut Problems) {
        for (name, header) in &self.http_headers {
            let path = format!("http_headers.{name}");
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                say(problems, path.clone(), format!("{name:?} is not a header name"));
            }
            if RESERVED_HEADERS.contains(&name.to_lowercase().as_str()) {
                say(problems, path.clone(), "is set by the scrape itself: remove it");
            }
            for (i, value) in header.values.iter().enumerate() {
                if HeaderValue::from_str(value).is_err() {
                    let text = format!("{value:?} holds characters that no header may hold");
                    say(problems, format!("{path}.values[{i}]"), text);
                }
            }
            for (i, secret) in header.secrets.iter().enumerate() {
                if HeaderValue::from_str(secret.expose()).is_err() {
                    say(problems, format!("{path}.secrets[{i}]"), "holds characters that no header may hold");
                }
            }
        }
    }
}

/// Job names that are used more than once, by position in `scrape_configs`.
#[must_use]
pub fn check_names(configs: &[ScrapeConfig]) -> Vec<(usize, String)> {
    let mut seen = HashSet::new();
    let mut problems = Vec::new();
    for (position, config) in configs.iter().enumerate() {
        let name = config.job_name.as_str();
        if !name.is_empty() && !seen.insert(name) {
            problems.push((
                position,
                format!("job_name {name:?} is used before: every job needs a name of its own"),
            ));
        }
    }
    problems
}

fn check_times(
    problems: &mut Problems,
    own: Option<Duration>,
    timeout: Option<Duration>,
    interval: Duration,
) {
    if own.is_some_and(|own| own.0.is_zero()) {
        say(problems, "scrape_interval", "is 0: write it like 15s or 1m");
    }
    match timeout {
        Some(timeout) if timeout.0.is_zero() => {
            say(problems, "scrape_timeout", "is 0: write it like 10s, or leave it out");
        }
        Some(timeout) if timeout > interval => say(
            problems,
            "scrape_timeout",
            format!("{timeout} is longer than the scrape_interval {interval}: make it shorter or equal"),
        ),
        _ => {}
    }
}

fn only_one(problems: &mut Problems, key: &str, inline: bool, file: bool) {
    if inline && file {
        say(problems, key, format!("only one of {key} and {key}_file can be used: remove one"));
    }
}

/// What is wrong with a label name that a person gives to targets or to all samples.
fn label_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("a label needs a name".to_owned())
    } else if name == METRIC_NAME {
        Some(format!("{METRIC_NAME} is the name of the metric and cannot be set here"))
    } else {
        None
    }
}

fn check_tls(problems: &mut Problems, tls: &TlsConfig) {
    only_one(problems, "tls_config.ca", tls.ca.is_some(), tls.ca_file.is_some());
    only_one(problems, "tls_config.cert", tls.cert.is_some(), tls.cert_file.is_some());
    only_one(problems, "tls_config.key", tls.key.is_some(), tls.key_file.is_some());
    let cert = tls.cert.is_some() || tls.cert_file.is_some();
    let key = tls.key.is_some() || tls.key_file.is_some();
    if cert && !key {
        say(problems, "tls_config.key_file", "is missing: a client certificate needs its private key");
    }
    if key && !cert {
        say(problems, "tls_config.cert_file", "is missing: a private key needs its certificate");
    }
    if tls.max_version.is_some_and(|max| max < TlsVersion::Tls12) {
        say(problems, "tls_config.max_version", "is too old: only TLS12 and TLS13 are spoken");
    }
    if let (Some(min), Some(max)) = (tls.min_version, tls.max_version)
        && min > max
    {
        say(problems, "tls_config.min_version", "is newer than max_version: exchange them");
    }
    if let Some(name) = &tls.server_name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        say(problems, "tls_config.server_name", format!("{name:?} is neither a host name nor an address"));
    }
}

fn check_rules(problems: &mut Problems, key: &str, rules: &[RelabelConfig]) {
    for (position, problem) in Rules::compile(rules).err().unwrap_or_default() {
        // The text starts with the key of the rule: `regex: ...`.
        let (field, text) = problem.split_once(": ").unwrap_or(("", &problem));
        let path = if field.is_empty() {
            format!("{key}[{position}]")
        } else {
            format!("{key}[{position}].{field}")
        };
        say(problems, path, text);
    }
}
