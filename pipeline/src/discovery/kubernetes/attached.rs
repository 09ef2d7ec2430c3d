//! Objects that only lend their labels or owners to others: namespaces, replica sets, jobs.

use serde::Deserialize;

use crate::kubernetes::object::{Meta, Object, or_default};

/// A namespace, for its labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Namespace {
    #[serde(rename = "metadata", deserialize_with = "or_default")]
    pub(super) meta: Meta,
}

/// What a Deployment makes, and what makes pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "OnlyMeta")]
pub(super) struct ReplicaSet {
    pub(super) meta: Meta,
}

/// What a CronJob makes, and what makes pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "OnlyMeta")]
pub(super) struct Job {
    pub(super) meta: Meta,
}

/// Only the owner is of interest; there may be thousands of them.
#[derive(Deserialize, Default)]
#[serde(default)]
struct OnlyMeta {
    #[serde(deserialize_with = "or_default")]
    metadata: Meta,
}

impl From<OnlyMeta> for ReplicaSet {
    fn from(whole: OnlyMeta) -> Self {
        Self { meta: whole.metadata.without_labels() }
    }
}

impl From<OnlyMeta> for Job {
    fn from(whole: OnlyMeta) -> Self {
        Self { meta: whole.metadata.without_labels() }
    }
}

impl Object for Namespace {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Namespace";
    const RESOURCE: &'static str = "namespaces";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl Object for ReplicaSet {
    const GROUP: &'static str = "apps";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "ReplicaSet";
    const RESOURCE: &'static str = "replicasets";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl Object for Job {
    const GROUP: &'static str = "batch";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Job";
    const RESOURCE: &'static str = "jobs";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}
