//! Role `ingress`: each path of each ingress, for those who probe from outside.

use std::sync::Arc;

use serde::Deserialize;

use super::labels::{ADDRESS, set, set_meta};
use super::look::Look;
use crate::kubernetes::object::{Meta, Object, or_default};
use crate::model::labels::{Labels, LabelsBuilder};
use crate::model::target::TargetGroup;

/// An ingress, as far as labels are made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Whole")]
pub(super) struct Ingress {
    meta: Meta,
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Whole {
    #[serde(deserialize_with = "or_default")]
    metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    ingress_class_name: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    tls: Box<[Tls]>,
    #[serde(deserialize_with = "or_default")]
    rules: Box<[Rule]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Tls {
    #[serde(deserialize_with = "or_default")]
    hosts: Box<[Box<str>]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Rule {
    #[serde(deserialize_with = "or_default")]
    host: Box<str>,
    http: Option<Http>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Http {
    #[serde(deserialize_with = "or_default")]
    paths: Box<[HttpPath]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct HttpPath {
    #[serde(deserialize_with = "or_default")]
    path: Box<str>,
}

impl From<Whole> for Ingress {
    fn from(whole: Whole) -> Self {
        Self { meta: whole.metadata, spec: whole.spec }
    }
}

impl Object for Ingress {
    const GROUP: &'static str = "networking.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Ingress";
    const RESOURCE: &'static str = "ingresses";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// The targets of an ingress.
pub(super) fn group(ingress: &Arc<Ingress>, look: &mut Look<'_>) -> TargetGroup {
    let Ingress { meta, spec } = &**ingress;
    let mut labels = LabelsBuilder::default();
    set(&mut labels, "namespace", &meta.namespace);
    set(&mut labels, "ingress_class_name", spec.ingress_class_name.as_deref().unwrap_or_default());
    set_meta(&mut labels, "ingress", meta);
    look.attach_namespace(&mut labels, &meta.namespace);
    let targets = spec.rules.iter().flat_map(|rule| rule_targets(rule, &spec.tls)).collect();
    TargetGroup {
        source: format!("ingress/{}", meta.key()),
        targets,
        labels: labels.build(),
        ..TargetGroup::default()
    }
}

fn rule_targets(rule: &Rule, tls: &[Tls]) -> Vec<Labels> {
    let encrypted = tls.iter().flat_map(|tls| &tls.hosts).any(|pattern| matches_host(pattern, &rule.host));
    let target = |path: &str| {
        let mut target = LabelsBuilder::default();
        target.set(ADDRESS, &rule.host);
        set(&mut target, "ingress_scheme", if encrypted { "https" } else { "http" });
        set(&mut target, "ingress_host", &rule.host);
        set(&mut target, "ingress_path", if path.is_empty() { "/" } else { path });
        target.build()
    };
    match &rule.http {
        None => vec![target("/")],
        Some(http) => http.paths.iter().map(|path| target(&path.path)).collect(),
    }
}

/// Whether a host is meant by a host of `tls`, whose first part may be a `*`.
fn matches_host(pattern: &str, host: &str) -> bool {
    let beyond_first = |text: &str| text.split_once('.').map(|(_, rest)| rest.to_owned());
    let wild = pattern.split('.').next() == Some("*");
    pattern == host
        || (wild && beyond_first(pattern).is_some() && beyond_first(pattern) == beyond_first(host))
}
