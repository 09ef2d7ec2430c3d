//! What is kept of a pod: whose it is, where it runs, and how its containers ended.
//!
//! A kubelet says in a pod's status that a container was killed for its memory (`OOMKilled`), or with which code it ended, and
//! makes no Kubernetes event of it. Source: Kubernetes' API reference, "ContainerStateTerminated".

use serde::Deserialize;

use super::object::{cut, millis};
use crate::kubernetes::object::{Meta, Object, or_default};

/// The longest name and the longest text that are kept.
const NAME_BYTES_MAX: usize = 253;
const TEXT_BYTES_MAX: usize = 512;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Whole")]
pub(crate) struct Pod {
    pub(super) meta: Meta,
    pub(super) node: Box<str>,
    /// Kind and name of the workload; empty for a pod that nobody owns.
    pub(super) owner: (Box<str>, Box<str>),
    pub(super) ends: Vec<End>,
}

/// How one run of a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) container: Box<str>,
    /// Which run it was, from 1.
    pub(super) run: u64,
    pub(super) reason: Box<str>,
    pub(super) exit_code: i32,
    /// Milliseconds since the Unix epoch.
    pub(super) time: i64,
    pub(super) text: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Whole {
    #[serde(deserialize_with = "or_default")]
    metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    node_name: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    #[serde(deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(deserialize_with = "or_default")]
    restart_count: u64,
    #[serde(deserialize_with = "or_default")]
    state: State,
    #[serde(deserialize_with = "or_default")]
    last_state: State,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State {
    #[serde(deserialize_with = "or_default")]
    terminated: Option<Terminated>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    #[serde(deserialize_with = "or_default")]
    reason: Box<str>,
    #[serde(deserialize_with = "or_default")]
    exit_code: i32,
    #[serde(deserialize_with = "or_default")]
    message: Box<str>,
    #[serde(deserialize_with = "or_default")]
    finished_at: Box<str>,
}

impl ContainerStatus {
    /// The ends that it tells of: of the run before, and of the present one.
    fn ends(self) -> impl Iterator<Item = End> {
        let Self { name, restart_count, state, last_state } = self;
        let runs = [(last_state, restart_count), (state, restart_count.saturating_add(1))];
        runs.into_iter().filter_map(move |(state, run)| {
            let Terminated { reason, exit_code, message, finished_at } = state.terminated?;
            let reason = cut(if reason.is_empty() { "Terminated" } else { &reason }, NAME_BYTES_MAX);
            let time = millis(&finished_at)?;
            // A run before the first is none.
            (run > 0).then(|| End {
                container: cut(&name, NAME_BYTES_MAX),
                run,
                reason,
                exit_code,
                time,
                text: cut(&message, TEXT_BYTES_MAX),
            })
        })
    }
}

impl From<Whole> for Pod {
    fn from(whole: Whole) -> Self {
        let Whole { metadata, spec, status } = whole;
        let all =
            [status.init_container_statuses, status.container_statuses, status.ephemeral_container_statuses];
        let ends = all.into_iter().flatten().flat_map(ContainerStatus::ends).collect();
        let owner = owner(&metadata);
        let Meta { namespace, name, uid, .. } = &metadata;
        let [namespace, name, uid] = [namespace, name, uid].map(|text| cut(text, NAME_BYTES_MAX));
        let meta = Meta { namespace, name, uid, ..Meta::default() };
        Self { meta, node: cut(&spec.node_name, NAME_BYTES_MAX), owner, ends }
    }
}

/// The workload: the owner that controls the pod. A ReplicaSet that a Deployment made is named after it and the hash of the
/// pod's template, which the pod has as a label (Kubernetes' documentation, "Deployments", "Pod-template-hash label"), so that
/// nothing else has to be looked at. What owns a Job is not looked at.
fn owner(meta: &Meta) -> (Box<str>, Box<str>) {
    let Some((kind, name)) = meta.controller.as_deref() else { return Default::default() };
    let hash = meta.labels.get("pod-template-hash").filter(|_| &**kind == "ReplicaSet");
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    match deployment {
        Some(deployment) if !deployment.is_empty() => ("Deployment".into(), cut(deployment, NAME_BYTES_MAX)),
        _ => (cut(kind, NAME_BYTES_MAX), cut(name, NAME_BYTES_MAX)),
    }
}

impl Object for Pod {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Pod";
    const RESOURCE: &'static str = "pods";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pods_workload_is_found_without_asking_anybody() {
        let check = |kind: &str, name: &str, labels: Value, expected: (&str, &str)| {
            let owner = json!({"kind": kind, "name": name, "controller": true});
            let metadata =
                json!({"name": "p", "namespace": "a", "ownerReferences": [owner], "labels": labels});
            let pod: Pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            assert_eq!((&*pod.owner.0, &*pod.owner.1), expected);
        };
        let hash = json!({"pod-template-hash": "5d4f8c7b9"});
        check("ReplicaSet", "web-5d4f8c7b9", hash.clone(), ("Deployment", "web"));
        check("ReplicaSet", "web-other", hash.clone(), ("ReplicaSet", "web-other"));
        check("ReplicaSet", "-5d4f8c7b9", hash.clone(), ("ReplicaSet", "-5d4f8c7b9"));
        check("ReplicaSet", "alone", json!({}), ("ReplicaSet", "alone"));
        check("StatefulSet", "db-5d4f8c7b9", hash, ("StatefulSet", "db-5d4f8c7b9"));
        check("Job", "train", json!({}), ("Job", "train"));
        check("PyTorchJob", "llm", json!({}), ("PyTorchJob", "llm"));
        let alone: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        assert_eq!(alone.owner, Default::default());
    }

    /// The end of a run keeps its number when the next one begins.
    #[test]
    fn ends_of_runs_are_told_apart() {
        let ends = |restarts: u64, state: Value, last: Value| {
            let status = json!({"name": "c", "restartCount": restarts, "state": state, "lastState": last});
            let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            pod.ends.iter().map(|end| (end.run, end.reason.to_string(), end.exit_code)).collect::<Vec<_>>()
        };
        let ended = |reason: &str, code: i32| json!({"terminated": {"reason": reason, "exitCode": code, "finishedAt": "2026-11-22T10:00:00Z"}});
        assert_eq!(ends(0, json!({"running": {}}), json!({})), []);
        let oom = (1, "OOMKilled".to_owned(), 137);
        assert_eq!(ends(0, ended("OOMKilled", 137), json!({})), std::slice::from_ref(&oom));
        assert_eq!(ends(1, json!({"running": {}}), ended("OOMKilled", 137)), std::slice::from_ref(&oom));
        assert_eq!(ends(1, ended("", 2), ended("OOMKilled", 137)), [oom, (2, "Terminated".to_owned(), 2)]);
    }
}
