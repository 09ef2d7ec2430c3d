//! Role `service`: each port of each service, by the service's name in DNS.

use std::sync::Arc;

use serde::Deserialize;

use super::labels::{ADDRESS, join_host_port, set, set_meta};
use super::look::Look;
use crate::kubernetes::object::{Meta, Object, or_default};
use crate::model::labels::LabelsBuilder;
use crate::model::target::TargetGroup;

/// A service, as far as labels are made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Whole")]
pub(super) struct Service {
    pub(super) meta: Meta,
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
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: Box<str>,
    #[serde(rename = "clusterIP", deserialize_with = "or_default")]
    cluster_ip: Box<str>,
    #[serde(deserialize_with = "or_default")]
    external_name: Box<str>,
    #[serde(rename = "loadBalancerIP", deserialize_with = "or_default")]
    load_balancer_ip: Box<str>,
    #[serde(deserialize_with = "or_default")]
    ip_families: Box<[Box<str>]>,
    #[serde(deserialize_with = "or_default")]
    ip_family_policy: Box<str>,
    #[serde(deserialize_with = "or_default")]
    ports: Box<[Port]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Port {
    #[serde(deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(rename = "port", deserialize_with = "or_default")]
    number: i32,
    #[serde(deserialize_with = "or_default")]
    protocol: Box<str>,
}

impl From<Whole> for Service {
    fn from(whole: Whole) -> Self {
        Self { meta: whole.metadata, spec: whole.spec }
    }
}

impl Object for Service {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Service";
    const RESOURCE: &'static str = "services";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl Service {
    /// Sets the labels that all targets of the service have.
    pub(super) fn set_labels(&self, labels: &mut LabelsBuilder) {
        set(labels, "namespace", &self.meta.namespace);
        set_meta(labels, "service", &self.meta);
    }

    /// Whether slices of this type of address repeat the endpoints of a service that has both families.
    pub(super) fn is_secondary(&self, address_type: &str) -> bool {
        let Spec { ip_families, ip_family_policy, .. } = &self.spec;
        let dual = matches!(&**ip_family_policy, "PreferDualStack" | "RequireDualStack");
        dual && ip_families.first().is_some_and(|primary| &**primary != address_type)
    }
}

/// The targets of a service.
pub(super) fn group(service: &Arc<Service>, look: &mut Look<'_>) -> TargetGroup {
    let Service { meta, spec } = &**service;
    let mut labels = LabelsBuilder::default();
    service.set_labels(&mut labels);
    look.attach_namespace(&mut labels, &meta.namespace);
    let host = format!("{}.{}.svc", meta.name, meta.namespace);
    let target = |port: &Port| {
        let mut target = LabelsBuilder::default();
        target.set(ADDRESS, &join_host_port(&host, port.number));
        set(&mut target, "service_port_name", &port.name);
        set(&mut target, "service_port_number", &port.number.to_string());
        set(&mut target, "service_port_protocol", &port.protocol);
        set(&mut target, "service_type", &spec.kind);
        match &*spec.kind {
            "ExternalName" => set(&mut target, "service_external_name", &spec.external_name),
            _ => set(&mut target, "service_cluster_ip", &spec.cluster_ip),
        }
        if &*spec.kind == "LoadBalancer" {
            set(&mut target, "service_loadbalancer_ip", &spec.load_balancer_ip);
        }
        target.build()
    };
    let targets = spec.ports.iter().map(target).collect();
    TargetGroup {
        source: format!("svc/{}", meta.key()),
        targets,
        labels: labels.build(),
        ..TargetGroup::default()
    }
}
