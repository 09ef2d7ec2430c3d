//! Section `leader_election`.

use std::path::PathBuf;

use pipeline::kubernetes::Server;
use serde::{Deserialize, Serialize};

/// Whether several agents take turns, and by which Lease.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether several agents run, of which one works.
    pub enabled: bool,
    /// The Lease's name; the same for all of them.
    pub lease_name: String,
    /// The Lease's namespace. By default the agent's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_namespace: Option<String>,
    /// This agent's name, unlike those of the others. By default the pod's name, or the host's. The writer's id is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How to reach the API server. By default as a pod does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            lease_name: "cedana-agent".to_owned(),
            lease_namespace: None,
            identity: None,
            kubeconfig_file: None,
        }
    }
}

impl Config {
    /// Problems between fields: path below the section, what is wrong and the remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let names =
            [("lease_name", Some(&self.lease_name)), ("lease_namespace", self.lease_namespace.as_ref())];
        for (key, name) in names {
            if name.is_some_and(|name| !is_name(name)) {
                let text = "is no name of Kubernetes: a-z, 0-9, - and ., at most 253, letters or digits at both ends";
                problems.push((key.to_owned(), text.to_owned()));
            }
        }
        if self.identity.as_ref().is_some_and(|identity| identity.is_empty() || identity.contains(' ')) {
            let text = "is empty or has a space: leave it out to take the pod's name";
            problems.push(("identity".to_owned(), text.to_owned()));
        }
        problems
    }

    /// Where the API server is.
    #[must_use]
    pub fn server(&self) -> Server {
        self.kubeconfig_file.clone().map_or(Server::InCluster, Server::Kubeconfig)
    }

    /// Who takes part: the name, and the writer's id, which is the spool's. So a process that comes back to its spool is
    /// known, and two that share a name by mistake are not taken for one.
    #[must_use]
    pub fn identity(&self, writer: &str) -> String {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("{}_{writer}", self.identity.clone().unwrap_or_else(host))
    }
}

/// RFC 1123, as Kubernetes wants it of most objects.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let inner = part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_completed() {
        let check = |config: Config, expected: &[&str]| {
            let paths: Vec<_> = config.check().into_iter().map(|(path, _)| path).collect();
            assert_eq!(paths, expected);
        };
        let (default, some) = (Config::default, |text: &str| Some(text.to_owned()));
        check(default(), &[]);
        check(
            Config { lease_name: "A".to_owned(), lease_namespace: some("-a"), ..default() },
            &["lease_name", "lease_namespace"],
        );
        check(Config { identity: some("a b"), ..default() }, &["identity"]);
        assert_eq!(Config { identity: some("pod-1"), ..default() }.identity("ab12"), "pod-1_ab12");
        assert!(default().identity("ab12").ends_with("_ab12"));
    }
}
