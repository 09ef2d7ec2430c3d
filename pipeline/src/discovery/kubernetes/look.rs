//! Looking other objects up while targets are made of one, and keeping in mind which.
//!
//! Takes the stores of the watches, gives objects; afterwards it is known which objects, there or not, the result depends
//! on, so that it is made anew when one of them changes and not otherwise.

use std::sync::Arc;

use super::attached::{Job, Namespace, ReplicaSet};
use super::config::AttachMetadata;
use super::endpoints::Endpoints;
use super::endpointslice::EndpointSlice;
use super::ingress::Ingress;
use super::labels::{set_labels_and_annotations, set_meta};
use super::node::Node;
use super::pod::Pod;
use super::service::Service;
use super::store::Store;
use crate::kubernetes::object::{Object, mark};
use crate::model::labels::LabelsBuilder;

/// The stores that one source reads; only those that its role needs.
#[derive(Debug, Default)]
pub(super) struct Stores {
    pub(super) pods: Option<Arc<Store<Pod>>>,
    pub(super) services: Option<Arc<Store<Service>>>,
    pub(super) endpoints: Option<Arc<Store<Endpoints>>>,
    pub(super) slices: Option<Arc<Store<EndpointSlice>>>,
    pub(super) nodes: Option<Arc<Store<Node>>>,
    pub(super) ingresses: Option<Arc<Store<Ingress>>>,
    pub(super) namespaces: Option<Arc<Store<Namespace>>>,
    pub(super) replica_sets: Option<Arc<Store<ReplicaSet>>>,
    pub(super) jobs: Option<Arc<Store<Job>>>,
}

/// Looks objects up and notes which.
#[derive(Debug)]
pub(super) struct Look<'a> {
    stores: &'a Stores,
    pub(super) attach: AttachMetadata,
    /// Marks of all objects that were looked for, there or not.
    marks: Vec<u64>,
}

impl<'a> Look<'a> {
    pub(super) fn new(stores: &'a Stores, attach: AttachMetadata) -> Self {
        Self { stores, attach, marks: Vec::new() }
    }

    /// What was looked for since the last time, each once.
    pub(super) fn take_marks(&mut self) -> Box<[u64]> {
        let mut marks = std::mem::take(&mut self.marks);
        marks.sort_unstable();
        marks.dedup();
        marks.into_boxed_slice()
    }

    fn find<T: Object>(
        &mut self,
        store: Option<&Arc<Store<T>>>,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<T>> {
        self.marks.push(mark(T::RESOURCE, namespace, name));
        store?.get(namespace, name)
    }

    pub(super) fn pod(&mut self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.find(self.stores.pods.as_ref(), namespace, name)
    }

    pub(super) fn service(&mut self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.find(self.stores.services.as_ref(), namespace, name)
    }

    pub(super) fn node(&mut self, name: &str) -> Option<Arc<Node>> {
        self.find(self.stores.nodes.as_ref(), "", name)
    }

    /// The Deployment that controls a ReplicaSet.
    pub(super) fn deployment_of(&mut self, namespace: &str, replica_set: &str) -> Option<Box<str>> {
        let found = self.find(self.stores.replica_sets.as_ref(), namespace, replica_set)?;
        let (kind, name) = found.meta.controller.as_deref()?;
        (&**kind == "Deployment").then(|| name.clone())
    }

    /// The CronJob that controls a Job.
    pub(super) fn cronjob_of(&mut self, namespace: &str, job: &str) -> Option<Box<str>> {
        let found = self.find(self.stores.jobs.as_ref(), namespace, job)?;
        let (kind, name) = found.meta.controller.as_deref()?;
        (&**kind == "CronJob").then(|| name.clone())
    }

    /// Sets name, labels and annotations of a node, where that is wanted.
    pub(super) fn attach_node(&mut self, labels: &mut LabelsBuilder, name: &str) {
        if self.attach.node
            && let Some(node) = self.node(name)
        {
            set_meta(labels, "node", &node.meta);
        }
    }

    /// Sets labels and annotations of a namespace, where that is wanted.
    pub(super) fn attach_namespace(&mut self, labels: &mut LabelsBuilder, name: &str) {
        if self.attach.namespace
            && let Some(namespace) = self.find(self.stores.namespaces.as_ref(), "", name)
        {
            set_labels_and_annotations(labels, "namespace", &namespace.meta);
        }
    }
}
