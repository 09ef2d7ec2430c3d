//! Role `pod`: each container port of each pod; and the labels of pods, which endpoints have too.

use std::sync::Arc;

use serde::Deserialize;

use super::labels::{ADDRESS, join_host_port, set, set_meta, yes_or_no};
use super::look::Look;
use crate::kubernetes::object::{Meta, Object, or_default};
use crate::model::labels::{Labels, LabelsBuilder};
use crate::model::target::TargetGroup;

/// A pod, as far as labels are made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Whole")]
pub(super) struct Pod {
    /// Without labels and annotations, which are in `labels`.
    pub(super) meta: Meta,
    node: Box<str>,
    pub(super) ip: Box<str>,
    /// The labels that all targets of the pod have, as far as the pod itself knows them. They are most of what a pod costs,
    /// and so its targets share them.
    pub(super) labels: Arc<Labels>,
    /// Init containers last.
    pub(super) containers: Box<[Container]>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    name: Box<str>,
    image: Box<str>,
    /// As the node's runtime calls it; empty before it runs.
    id: Box<str>,
    is_init: bool,
    pub(super) ports: Box<[Port]>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Port {
    #[serde(deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(rename = "containerPort", deserialize_with = "or_default")]
    pub(super) number: i32,
    #[serde(deserialize_with = "or_default")]
    protocol: Box<str>,
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
    #[serde(deserialize_with = "or_default")]
    containers: Vec<SpecContainer>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<SpecContainer>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SpecContainer {
    #[serde(deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(deserialize_with = "or_default")]
    image: Box<str>,
    #[serde(deserialize_with = "or_default")]
    ports: Box<[Port]>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(rename = "podIP", deserialize_with = "or_default")]
    pod_ip: Box<str>,
    #[serde(rename = "hostIP", deserialize_with = "or_default")]
    host_ip: Box<str>,
    #[serde(deserialize_with = "or_default")]
    phase: Box<str>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    init_container_statuses: Vec<ContainerStatus>,
}

/// A condition of a pod or node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(super) status: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    #[serde(deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(rename = "containerID", deserialize_with = "or_default")]
    container_id: Box<str>,
}

impl From<Whole> for Pod {
    fn from(whole: Whole) -> Self {
        let Whole { metadata, spec, status } = whole;
        let container = |is_init: bool, statuses: &[ContainerStatus], container: SpecContainer| {
            let status = statuses.iter().find(|status| status.name == container.name);
            Container {
                id: status.map(|status| status.container_id.clone()).unwrap_or_default(),
                name: container.name,
                image: container.image,
                is_init,
                ports: container.ports,
            }
        };
        let ready = status.conditions.iter().find(|condition| &*condition.kind == "Ready");
        let main = spec.containers.into_iter().map(|one| container(false, &status.container_statuses, one));
        let init =
            spec.init_containers.into_iter().map(|one| container(true, &status.init_container_statuses, one));
        let mut labels = LabelsBuilder::default();
        set(&mut labels, "pod_ip", &status.pod_ip);
        set(
            &mut labels,
            "pod_ready",
            &ready.map_or("unknown".to_owned(), |ready| ready.status.to_lowercase()),
        );
        set(&mut labels, "pod_phase", &status.phase);
        set(&mut labels, "pod_node_name", &spec.node_name);
        set(&mut labels, "pod_host_ip", &status.host_ip);
        set(&mut labels, "pod_uid", &metadata.uid);
        set_meta(&mut labels, "pod", &metadata);
        if let Some((kind, name)) = metadata.controller.as_deref() {
            set(&mut labels, "pod_controller_kind", kind);
            set(&mut labels, "pod_controller_name", name);
        }
        Self {
            containers: main.chain(init).collect(),
            meta: metadata.without_labels(),
            node: spec.node_name,
            ip: status.pod_ip,
            labels: Arc::new(labels.build()),
        }
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

impl Pod {
    /// Sets the labels that say who made what made the pod, where that is wanted.
    pub(super) fn set_makers(&self, labels: &mut LabelsBuilder, look: &mut Look<'_>) {
        let Some((kind, name)) = self.meta.controller.as_deref() else { return };
        let namespace = &self.meta.namespace;
        match &**kind {
            "ReplicaSet" if look.attach.deployment => {
                if let Some(deployment) = look.deployment_of(namespace, name) {
                    set(labels, "pod_deployment_name", &deployment);
                }
            }
            "Job" => {
                if look.attach.job {
                    set(labels, "pod_job_name", name);
                }
                if look.attach.cronjob
                    && let Some(cronjob) = look.cronjob_of(namespace, name)
                {
                    set(labels, "pod_cronjob_name", &cronjob);
                }
            }
            _ => {}
        }
    }

    /// All ports, with their containers.
    pub(super) fn ports(&self) -> impl Iterator<Item = (&Container, &Port)> {
        self.containers.iter().flat_map(|container| container.ports.iter().map(move |port| (container, port)))
    }
}

/// Sets the labels of a container's port; its id only where Prometheus has it.
pub(super) fn set_port(labels: &mut LabelsBuilder, container: &Container, port: &Port) {
    set(labels, "pod_container_name", &container.name);
    set(labels, "pod_container_image", &container.image);
    set(labels, "pod_container_port_name", &port.name);
    set(labels, "pod_container_port_number", &port.number.to_string());
    set(labels, "pod_container_port_protocol", &port.protocol);
    set(labels, "pod_container_init", yes_or_no(container.is_init));
}

/// The targets of a pod.
pub(super) fn group(pod: &Arc<Pod>, look: &mut Look<'_>) -> TargetGroup {
    let source = format!("pod/{}", pod.meta.key());
    let empty = TargetGroup { source: source.clone(), ..TargetGroup::default() };
    // A pod has no address while it starts and after it was evicted.
    if pod.ip.is_empty() {
        return empty;
    }
    // A node that is not there was left out by a selector, and its pods with it.
    if look.attach.node && look.node(&pod.node).is_none() {
        return empty;
    }
    let mut labels = LabelsBuilder::default();
    pod.set_makers(&mut labels, look);
    set(&mut labels, "namespace", &pod.meta.namespace);
    look.attach_node(&mut labels, &pod.node);
    look.attach_namespace(&mut labels, &pod.meta.namespace);
    let mut targets = Vec::new();
    for container in &pod.containers {
        targets.extend(container_targets(pod, container));
    }
    let shared = Some(Arc::clone(&pod.labels));
    TargetGroup { source, targets, labels: labels.build(), shared, ..TargetGroup::default() }
}

/// One target for each port of a container; without ports one whose port a rule has to add.
fn container_targets(pod: &Pod, container: &Container) -> Vec<Labels> {
    let mut labels = LabelsBuilder::default();
    set(&mut labels, "pod_container_id", &container.id);
    if container.ports.is_empty() {
        labels.set(ADDRESS, &pod.ip);
        set(&mut labels, "pod_container_name", &container.name);
        set(&mut labels, "pod_container_image", &container.image);
        set(&mut labels, "pod_container_init", yes_or_no(container.is_init));
        return vec![labels.build()];
    }
    let target = |port: &Port| {
        labels.set(ADDRESS, &join_host_port(&pod.ip, port.number));
        set_port(&mut labels, container, port);
        labels.build()
    };
    container.ports.iter().map(target).collect()
}
