//! Role `endpointslice`: each address and port of each endpoint slice.

use std::sync::Arc;

use serde::Deserialize;

use super::endpoints::{Reference, Targets, set_container};
use super::labels::{ADDRESS, join_host_port, sanitize, set, set_meta, yes_or_no};
use super::look::Look;
use crate::kubernetes::object::{Meta, Object, Pairs, or_default};
use crate::model::labels::LabelsBuilder;
use crate::model::target::TargetGroup;

/// The label in which a slice names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An endpoint slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointSlice {
    #[serde(rename = "metadata", deserialize_with = "or_default")]
    meta: Meta,
    #[serde(deserialize_with = "or_default")]
    address_type: Box<str>,
    #[serde(deserialize_with = "or_default")]
    endpoints: Box<[Endpoint]>,
    #[serde(deserialize_with = "or_default")]
    ports: Box<[Port]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    #[serde(deserialize_with = "or_default")]
    addresses: Box<[Box<str>]>,
    #[serde(deserialize_with = "or_default")]
    conditions: Conditions,
    hostname: Option<Box<str>>,
    node_name: Option<Box<str>>,
    zone: Option<Box<str>>,
    target_ref: Option<Reference>,
    #[serde(deserialize_with = "or_default")]
    deprecated_topology: Pairs,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<Box<str>>,
    protocol: Option<Box<str>>,
    #[serde(rename = "port")]
    number: Option<i32>,
    app_protocol: Option<Box<str>>,
}

impl Object for EndpointSlice {
    const GROUP: &'static str = "discovery.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "EndpointSlice";
    const RESOURCE: &'static str = "endpointslices";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// The targets of a slice.
pub(super) fn group(slice: &Arc<EndpointSlice>, look: &mut Look<'_>) -> TargetGroup {
    let EndpointSlice { meta, address_type, endpoints, ports } = &**slice;
    let mut labels = LabelsBuilder::default();
    set(&mut labels, "namespace", &meta.namespace);
    set(&mut labels, "endpointslice_address_type", address_type);
    set_meta(&mut labels, "endpointslice", meta);
    let service = meta.labels.get(SERVICE_NAME).and_then(|name| look.service(&meta.namespace, name));
    if let Some(service) = &service {
        service.set_labels(&mut labels);
    }
    look.attach_namespace(&mut labels, &meta.namespace);
    let mut targets = Targets::default();
    // Otherwise the endpoints of a service with two families would be there twice.
    if !service.is_some_and(|service| service.is_secondary(address_type)) {
        for endpoint in endpoints {
            for port in ports {
                for address in &endpoint.addresses {
                    add_target(&mut targets, address, endpoint, port, look);
                }
            }
        }
    }
    targets.into_group(format!("endpointslice/{}", meta.key()), labels.build(), look)
}

fn add_target(targets: &mut Targets, address: &str, endpoint: &Endpoint, port: &Port, look: &mut Look<'_>) {
    let mut labels = LabelsBuilder::default();
    match port.number {
        Some(number) => {
            labels.set(ADDRESS, &join_host_port(address, number));
            set(&mut labels, "endpointslice_port", &number.to_string());
        }
        None => labels.set(ADDRESS, address),
    }
    let texts = [
        ("endpointslice_port_name", &port.name),
        ("endpointslice_port_protocol", &port.protocol),
        ("endpointslice_port_app_protocol", &port.app_protocol),
        ("endpointslice_endpoint_hostname", &endpoint.hostname),
        ("endpointslice_endpoint_node_name", &endpoint.node_name),
        ("endpointslice_endpoint_zone", &endpoint.zone),
    ];
    for (name, value) in texts {
        set(&mut labels, name, value.as_deref().unwrap_or_default());
    }
    let Conditions { ready, serving, terminating } = endpoint.conditions;
    for (name, value) in [("ready", ready), ("serving", serving), ("terminating", terminating)] {
        let name = format!("endpointslice_endpoint_conditions_{name}");
        set(&mut labels, &name, value.map_or("", yes_or_no));
    }
    let reference = endpoint.target_ref.as_ref();
    if let Some(reference) = reference {
        set(&mut labels, "endpointslice_address_target_kind", &reference.kind);
        set(&mut labels, "endpointslice_address_target_name", &reference.name);
    }
    let mut name = String::new();
    for (key, value) in endpoint.deprecated_topology.iter() {
        for (part, value) in [("", value), ("present_", "true")] {
            name.clear();
            name.extend(["endpointslice_endpoint_topology_", part]);
            sanitize(key, &mut name);
            set(&mut labels, &name, value);
        }
    }
    if let Some(reference) = reference.filter(|reference| &*reference.kind == "Node") {
        look.attach_node(&mut labels, &reference.name);
    } else if let Some(node) = &endpoint.node_name {
        look.attach_node(&mut labels, node);
    }
    let pod = reference.and_then(|reference| reference.pod(look));
    if let Some(pod) = &pod {
        set_container(&mut labels, pod, port.number);
    }
    targets.add(labels, pod.as_ref(), port.number, look);
}
