//! Section `kubernetes_events`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::kubernetes::Server;
use crate::model::units::Duration;
use crate::relabel::scalar;

/// Whether the Kubernetes events of a cluster are shipped, and within which limits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether they are watched at all.
    pub enabled: bool,
    /// Whether nothing else is done: no job is scraped, and no host is read.
    pub only: bool,
    /// A kubeconfig file, used by its current context; without it the cluster that this process runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig_file: Option<PathBuf>,
    /// Which namespaces are looked at; all of them if none is named.
    pub namespaces: Namespaces,
    /// Age of the oldest row, at which rows become an object.
    pub max_object_age: Duration,
    /// Rows of one object; as many more may wait for it.
    pub max_object_rows: usize,
    /// Series of `kube_events_total`. What is beyond goes to one whose labels all say `other`, and is counted.
    pub max_counter_series: usize,
    /// Kubernetes events and ends of containers of which it is remembered that they were shipped. 64 bytes each.
    pub max_remembered: usize,
}

/// `namespaces`: which are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Namespaces {
    /// Namespaces by name.
    #[serde(deserialize_with = "scalar::texts", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            only: false,
            kubeconfig_file: None,
            namespaces: Namespaces::default(),
            max_object_age: Duration(std::time::Duration::from_secs(15)),
            max_object_rows: 2_000,
            max_counter_series: 2_000,
            max_remembered: 200_000,
        }
    }
}

impl Config {
    /// Takes the path of the kubeconfig to be relative to `directory`.
    pub fn join_paths(&mut self, directory: &Path) {
        if let Some(file) = &mut self.kubeconfig_file {
            *file = directory.join(&*file);
        }
    }

    /// Where the API server is.
    #[must_use]
    pub fn server(&self) -> Server {
        self.kubeconfig_file.clone().map_or(Server::InCluster, Server::Kubeconfig)
    }

    /// The namespaces to look at; `None` stands for all of them.
    pub(crate) fn scopes(&self) -> Vec<Option<String>> {
        let mut names: Vec<_> = self.namespaces.names.iter().cloned().map(Some).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { vec![None] } else { names }
    }

    /// Problems between fields: path below the section, what is wrong and the remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut say = |path: &str, text: &str| problems.push((path.to_owned(), text.to_owned()));
        if let Some(i) = self.namespaces.names.iter().position(String::is_empty) {
            say(&format!("namespaces.names[{i}]"), "is empty: a namespace needs a name");
        }
        let ages = std::time::Duration::from_millis(100)..=std::time::Duration::from_secs(600);
        if !ages.contains(&self.max_object_age.0) {
            say("max_object_age", "is not between 100ms and 10m: 15s is the default");
        }
        if !(1..=100_000).contains(&self.max_object_rows) {
            say("max_object_rows", "is not between 1 and 100000: 2000 is the default");
        }
        if !(1..=100_000).contains(&self.max_counter_series) {
            say("max_counter_series", "is not between 1 and 100000: 2000 is the default");
        }
        if !(1_000..=10_000_000).contains(&self.max_remembered) {
            say("max_remembered", "is not between 1000 and 10000000: 200000 is the default");
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_limited() {
        let check = |config: Config, expected: &[&str]| {
            let paths: Vec<_> = config.check().into_iter().map(|(path, _)| path).collect();
            assert_eq!(paths, expected);
        };
        check(Config::default(), &[]);
        let names = Namespaces { names: vec!["a".into(), String::new()] };
        check(
            Config { namespaces: names, max_object_rows: 0, ..Config::default() },
            &["namespaces.names[1]", "max_object_rows"],
        );
        let config = Config {
            max_object_age: Duration::from_secs(0),
            max_counter_series: 0,
            max_remembered: 1,
            ..Config::default()
        };
        check(config, &["max_object_age", "max_counter_series", "max_remembered"]);
    }
}
