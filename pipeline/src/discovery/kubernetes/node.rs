//! Role `node`: each node, at its kubelet's port.

use std::sync::Arc;

use serde::Deserialize;

use super::labels::{ADDRESS, join_host_port, sanitize, set, set_meta};
use super::pod::Condition;
use crate::kubernetes::object::{Meta, Object, or_default};
use crate::model::labels::LabelsBuilder;
use crate::model::target::TargetGroup;

/// The kinds of address, best first.
const ADDRESS_KINDS: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

/// A node, as far as labels are made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Whole")]
pub(super) struct Node {
    pub(super) meta: Meta,
    provider_id: Box<str>,
    conditions: Box<[Condition]>,
    addresses: Box<[Address]>,
    kubelet_port: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: Box<str>,
    #[serde(deserialize_with = "or_default")]
    address: Box<str>,
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
#[serde(default)]
struct Spec {
    #[serde(rename = "providerID", deserialize_with = "or_default")]
    provider_id: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    conditions: Box<[Condition]>,
    #[serde(deserialize_with = "or_default")]
    addresses: Box<[Address]>,
    #[serde(deserialize_with = "or_default")]
    daemon_endpoints: DaemonEndpoints,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DaemonEndpoints {
    #[serde(deserialize_with = "or_default")]
    kubelet_endpoint: DaemonEndpoint,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DaemonEndpoint {
    #[serde(rename = "Port", deserialize_with = "or_default")]
    port: i32,
}

impl From<Whole> for Node {
    fn from(whole: Whole) -> Self {
        let Whole { metadata, spec, status } = whole;
        Self {
            meta: metadata,
            provider_id: spec.provider_id,
            conditions: status.conditions,
            addresses: status.addresses,
            kubelet_port: status.daemon_endpoints.kubelet_endpoint.port,
        }
    }
}

impl Object for Node {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Node";
    const RESOURCE: &'static str = "nodes";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl Node {
    /// The first address of a kind.
    fn address(&self, kind: &str) -> Option<&str> {
        self.addresses.iter().find(|address| &*address.kind == kind).map(|address| &*address.address)
    }
}

/// The target of a node; none without an address.
pub(super) fn group(node: &Arc<Node>) -> TargetGroup {
    let source = format!("node/{}", node.meta.name);
    let Some(host) = ADDRESS_KINDS.into_iter().find_map(|kind| node.address(kind)) else {
        return TargetGroup { source, ..TargetGroup::default() };
    };
    let mut labels = LabelsBuilder::default();
    set(&mut labels, "node_provider_id", &node.provider_id);
    let mut name = String::new();
    for condition in &node.conditions {
        name.clear();
        name.push_str("node_condition_");
        sanitize(&condition.kind.to_lowercase(), &mut name);
        set(&mut labels, &name, &condition.status.to_lowercase());
    }
    set_meta(&mut labels, "node", &node.meta);
    let mut target = LabelsBuilder::default();
    target.set(ADDRESS, &join_host_port(host, node.kubelet_port));
    target.set("instance", &node.meta.name);
    // The first of each kind.
    for address in node.addresses.iter().rev() {
        name.clear();
        name.push_str("node_address_");
        sanitize(&address.kind, &mut name);
        set(&mut target, &name, &address.address);
    }
    TargetGroup { source, targets: vec![target.build()], labels: labels.build(), ..TargetGroup::default() }
}
