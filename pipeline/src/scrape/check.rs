//! What can be wrong between the fields of `global` and of a scrape section.
//!
//! Takes the sections, gives every problem with its path below the section, the offending value and the remedy. Never
//! reads the files that a section names: they may appear later.

use std::collections::HashSet;

use super::config::{GlobalConfig, ScrapeConfig};
use crate::model::labels::METRIC_NAME;
use crate::model::units::Duration;
use crate::relabel::{RelabelConfig, Rules};

/// Problems by path below the section, such as `relabel_configs[2].regex`.
type Problems = Vec<(String, String)>;

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
        self.check_discovery(&mut problems);
        problems.extend(self.client_keys().check());
        check_rules(&mut problems, "relabel_configs", &self.relabel_configs);
        check_rules(&mut problems, "metric_relabel_configs", &self.metric_relabel_configs);
        problems
    }

    /// Secrets that stand in the file itself, by path, with the advice to name a file instead.
    #[must_use]
    pub fn warnings(&self) -> Vec<(String, String)> {
        let mut warnings = self.client_keys().warnings();
        let below = |key: &str, i: usize, found: Problems| {
            found
                .into_iter()
                .map(move |(path, text)| (format!("{key}[{i}].{path}"), text))
                .collect::<Vec<_>>()
        };
        for (i, section) in self.kubernetes_sd_configs.iter().enumerate() {
            warnings.extend(below("kubernetes_sd_configs", i, section.client_keys().warnings()));
        }
        for (i, section) in self.http_sd_configs.iter().enumerate() {
            warnings.extend(below("http_sd_configs", i, section.client_keys().warnings()));
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

    fn check_discovery(&self, problems: &mut Problems) {
        let mut add = |key: &str, i: usize, found: Problems| {
            problems.extend(found.into_iter().map(|(path, text)| (format!("{key}[{i}].{path}"), text)));
        };
        for (i, section) in self.kubernetes_sd_configs.iter().enumerate() {
            add("kubernetes_sd_configs", i, section.check());
        }
        for (i, section) in self.file_sd_configs.iter().enumerate() {
            add("file_sd_configs", i, section.check());
        }
        for (i, section) in self.http_sd_configs.iter().enumerate() {
            add("http_sd_configs", i, section.check());
        }
        for (i, section) in self.dns_sd_configs.iter().enumerate() {
            add("dns_sd_configs", i, section.check());
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
