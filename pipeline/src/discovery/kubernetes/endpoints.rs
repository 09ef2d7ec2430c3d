//! Role `endpoints`: each address and port of each Endpoints object; and what both kinds of endpoints do about pods.

use std::sync::Arc;

use serde::Deserialize;

use super::labels::{ADDRESS, join_host_port, set, set_meta, yes_or_no};
use super::look::Look;
use super::pod::{Pod, set_port};
use crate::kubernetes::object::{Meta, Object, or_default};
use crate::model::labels::{Labels, LabelsBuilder};
use crate::model::target::TargetGroup;

/// An Endpoints object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Endpoints {
    #[serde(rename = "metadata", deserialize_with = "or_default")]
    meta: Meta,
    #[serde(deserialize_with = "or_default")]
    subsets: Box<[Subset]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subset {
    #[serde(deserialize_with = "or_default")]
    addresses: Box<[Address]>,
    #[serde(deserialize_with = "or_default")]
    not_ready_addresses: Box<[Address]>,
    #[serde(deserialize_with = "or_default")]
    ports: Box<[Port]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Address {
    #[serde(deserialize_with = "or_default")]
    ip: Box<str>,
    #[serde(deserialize_with = "or_default")]
    hostname: Box<str>,
    node_name: Option<Box<str>>,
    target_ref: Option<Reference>,
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

/// The object behind an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Reference {
    #[serde(deserialize_with = "or_default")]
    pub(super) kind: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(super) namespace: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: Box<str>,
}

impl Reference {
    /// The pod, if it is one and is there.
    pub(super) fn pod(&self, look: &mut Look<'_>) -> Option<Arc<Pod>> {
        if &*self.kind == "Pod" { look.pod(&self.namespace, &self.name) } else { None }
    }
}

impl Object for Endpoints {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Endpoints";
    const RESOURCE: &'static str = "endpoints";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// The targets of endpoints on their way to a group, and the pods behind them.
#[derive(Default)]
pub(super) struct Targets {
    targets: Vec<Labels>,
    shared: Vec<Option<Arc<Labels>>>,
    /// Each pod, and which of its ports have a target.
    pods: Vec<(Arc<Pod>, Vec<i32>)>,
}

impl Targets {
    /// Adds the target of an endpoint with its pod, if it has one.
    pub(super) fn add(
        &mut self,
        mut labels: LabelsBuilder,
        pod: Option<&Arc<Pod>>,
        port: Option<i32>,
        look: &mut Look<'_>,
    ) {
        if let Some(pod) = pod {
            pod.set_makers(&mut labels, look);
            self.see(pod, port);
        }
        self.push(&labels, pod.map(|pod| &**pod));
    }

    fn push(&mut self, labels: &LabelsBuilder, pod: Option<&Pod>) {
        self.targets.push(labels.build());
        self.shared.push(pod.map(|pod| Arc::clone(&pod.labels)));
    }

    /// Notes that `port` of `pod` has a target.
    fn see(&mut self, pod: &Arc<Pod>, port: Option<i32>) {
        let same =
            |seen: &Pod| (&seen.meta.namespace, &seen.meta.name) == (&pod.meta.namespace, &pod.meta.name);
        match self.pods.iter_mut().find(|(seen, _)| same(seen)) {
            Some((_, ports)) => ports.extend(port),
            None => self.pods.push((Arc::clone(pod), port.into_iter().collect())),
        }
    }

    /// The group, with a target more for each port of the pods that no endpoint covers.
    pub(super) fn into_group(mut self, source: String, labels: Labels, look: &mut Look<'_>) -> TargetGroup {
        for (pod, covered) in std::mem::take(&mut self.pods) {
            let open = pod.ports().filter(|(_, port)| !pod.ip.is_empty() && !covered.contains(&port.number));
            for (container, port) in open {
                let mut labels = LabelsBuilder::default();
                labels.set(ADDRESS, &join_host_port(&pod.ip, port.number));
                set_port(&mut labels, container, port);
                pod.set_makers(&mut labels, look);
                self.push(&labels, Some(&pod));
            }
        }
        let shared_by_target = self.shared.into_boxed_slice();
        TargetGroup { source, targets: self.targets, labels, shared: None, shared_by_target }
    }
}

/// Sets the labels of the container that has a port.
pub(super) fn set_container(labels: &mut LabelsBuilder, pod: &Pod, port: Option<i32>) {
    for container in &pod.containers {
        let own = container.ports.iter().find(|own| Some(own.number) == port);
        if let Some(own) = own {
            set_port(labels, container, own);
        }
    }
}

/// The targets of an Endpoints object.
pub(super) fn group(endpoints: &Arc<Endpoints>, look: &mut Look<'_>) -> TargetGroup {
    let Endpoints { meta, subsets } = &**endpoints;
    let mut labels = LabelsBuilder::default();
    set(&mut labels, "namespace", &meta.namespace);
    if let Some(service) = look.service(&meta.namespace, &meta.name) {
        service.set_labels(&mut labels);
    }
    set_meta(&mut labels, "endpoints", meta);
    look.attach_namespace(&mut labels, &meta.namespace);
    let mut targets = Targets::default();
    for subset in subsets {
        for port in &subset.ports {
            let ready = subset.addresses.iter().map(|address| (address, true));
            let all = ready.chain(subset.not_ready_addresses.iter().map(|address| (address, false)));
            all.for_each(|(address, ready)| add_target(&mut targets, address, port, ready, look));
        }
    }
    targets.into_group(format!("endpoints/{}", meta.key()), labels.build(), look)
}

fn add_target(targets: &mut Targets, address: &Address, port: &Port, ready: bool, look: &mut Look<'_>) {
    let mut labels = LabelsBuilder::default();
    labels.set(ADDRESS, &join_host_port(&address.ip, port.number));
    set(&mut labels, "endpoint_port_name", &port.name);
    set(&mut labels, "endpoint_port_protocol", &port.protocol);
    set(&mut labels, "endpoint_ready", yes_or_no(ready));
    let reference = address.target_ref.as_ref();
    if let Some(reference) = reference {
        set(&mut labels, "endpoint_address_target_kind", &reference.kind);
        set(&mut labels, "endpoint_address_target_name", &reference.name);
    }
    set(&mut labels, "endpoint_node_name", address.node_name.as_deref().unwrap_or_default());
    set(&mut labels, "endpoint_hostname", &address.hostname);
    if let Some(node) = &address.node_name {
        look.attach_node(&mut labels, node);
    } else if let Some(reference) = reference.filter(|reference| &*reference.kind == "Node") {
        look.attach_node(&mut labels, &reference.name);
    }
    let pod = reference.and_then(|reference| reference.pod(look));
    if let Some(pod) = &pod {
        set_container(&mut labels, pod, Some(port.number));
        if !labels.get("__meta_kubernetes_pod_container_name").is_empty() {
            // Here Prometheus takes the protocol of the endpoint, in slices that of the container.
            set(&mut labels, "pod_container_port_protocol", &port.protocol);
        }
    }
    targets.add(labels, pod.as_ref(), Some(port.number), look);
}
