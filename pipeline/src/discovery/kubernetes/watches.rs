//! All watches of the process: jobs that look at the same objects share one.
//!
//! Takes a server and a scope, gives the store of that watch, which is started at the first request for it and ends with
//! the last that reads it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::attached::{Job, Namespace, ReplicaSet};
use super::config::{KubernetesConfig, Role};
use super::endpoints::Endpoints;
use super::endpointslice::EndpointSlice;
use super::ingress::Ingress;
use super::look::Stores;
use super::node::Node;
use super::pod::Pod;
use super::service::Service;
use super::store::{Inbox, Kept, Store};
use crate::discovery::metrics::Metrics;
use crate::kubernetes::object::Object;
use crate::kubernetes::road::Road;
use crate::kubernetes::watch::{Counts, Scope, Watch, need};
use crate::kubernetes::{Permission, Server};

/// All watches of the process.
#[derive(Debug)]
pub(in crate::discovery) struct Watches {
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    roads: Vec<Arc<Road>>,
    pods: Shared<Pod>,
    services: Shared<Service>,
    endpoints: Shared<Endpoints>,
    slices: Shared<EndpointSlice>,
    nodes: Shared<Node>,
    ingresses: Shared<Ingress>,
    namespaces: Shared<Namespace>,
    replica_sets: Shared<ReplicaSet>,
    jobs: Shared<Job>,
}

/// The watches of one resource. They are few: one for each server, namespace and selector in the configuration.
type Shared<T> = Vec<(Arc<Road>, Scope, Weak<Store<T>>)>;

/// Who asks for watches.
struct Asker<'a> {
    road: &'a Arc<Road>,
    metrics: &'a Arc<Metrics>,
    inbox: &'a Arc<Inbox>,
}

impl Watches {
    pub(in crate::discovery) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), known: Mutex::default() }
    }

    /// What has to be permitted for all these watches, and by which server.
    pub(in crate::discovery) fn permissions(&self) -> Vec<(Server, Permission)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        need_all(&known.pods, &mut all);
        need_all(&known.services, &mut all);
        need_all(&known.endpoints, &mut all);
        need_all(&known.slices, &mut all);
        need_all(&known.nodes, &mut all);
        need_all(&known.ingresses, &mut all);
        need_all(&known.namespaces, &mut all);
        need_all(&known.replica_sets, &mut all);
        need_all(&known.jobs, &mut all);
        all
    }

    /// The way to `server`.
    pub(super) fn road(&self, server: &Server) -> Arc<Road> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(road) = known.roads.iter().find(|road| road.server() == server) {
            return Arc::clone(road);
        }
        let road = Arc::new(Road::new(server.clone()));
        known.roads.push(Arc::clone(&road));
        road
    }

    /// The stores that a section needs in one namespace, or in all of them. What is not watched yet is from now on; changes are
    /// told to `inbox`.
    pub(super) fn stores(
        &self,
        config: &KubernetesConfig,
        role: Role,
        namespace: Option<&str>,
        road: &Arc<Road>,
        inbox: &Arc<Inbox>,
    ) -> Stores {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let asker = Asker { road, metrics: &self.metrics, inbox };
        let selected = |role: Role, namespace: Option<&str>| {
            let selector = config.selectors.iter().find(|selector| selector.role == Some(role));
            let text = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
            Scope {
                namespace: namespace.map(str::to_owned),
                label: text(selector.and_then(|s| s.label.as_ref())),
                field: text(selector.and_then(|s| s.field.as_ref())),
            }
        };
        let plain = || Scope { namespace: namespace.map(str::to_owned), ..Scope::default() };
        let mut stores = Stores::default();
        match role {
            Role::Pod => {}
            Role::Service => {
                stores.services = Some(asker.get(&mut known.services, selected(role, namespace)));
            }
            Role::Endpoints => {
                stores.endpoints = Some(asker.get(&mut known.endpoints, selected(role, namespace)));
            }
            Role::EndpointSlice => {
                stores.slices = Some(asker.get(&mut known.slices, selected(role, namespace)));
            }
            Role::Node => stores.nodes = Some(asker.get(&mut known.nodes, selected(role, None))),
            Role::Ingress => {
                stores.ingresses = Some(asker.get(&mut known.ingresses, selected(role, namespace)));
            }
        }
        let attach = config.attach_metadata;
        let has_pods = matches!(role, Role::Pod | Role::Endpoints | Role::EndpointSlice);
        if has_pods {
            stores.pods = Some(asker.get(&mut known.pods, selected(Role::Pod, namespace)));
            if role != Role::Pod {
                stores.services = Some(asker.get(&mut known.services, selected(Role::Service, namespace)));
            }
            if attach.node {
                stores.nodes = Some(asker.get(&mut known.nodes, selected(Role::Node, None)));
            }
            if attach.deployment {
                stores.replica_sets = Some(asker.get(&mut known.replica_sets, plain()));
            }
            if attach.cronjob {
                stores.jobs = Some(asker.get(&mut known.jobs, plain()));
            }
        }
        if attach.namespace && role != Role::Node {
            stores.namespaces = Some(asker.get(&mut known.namespaces, Scope::default()));
        }
        stores
    }
}

fn need_all<T: Object>(watches: &Shared<T>, all: &mut Vec<(Server, Permission)>) {
    for (road, scope, _) in watches {
        need::<T>(road.server(), scope.namespace.as_deref(), all);
    }
}

fn counts<T: Object>(metrics: &Metrics) -> Counts {
    Counts {
        lists: metrics.lists.clone(),
        failures: metrics.failures.with_label_values(&["kubernetes"]),
        refused: metrics.refused.with_label_values(&["kubernetes"]),
        changes: metrics.changes.with_label_values(&[T::RESOURCE]),
        objects: metrics.objects.with_label_values(&[T::RESOURCE]),
    }
}

impl Asker<'_> {
    /// The store of a watch, which is started unless it is on already.
    fn get<T: Object>(&self, known: &mut Shared<T>, scope: Scope) -> Arc<Store<T>> {
        known.retain(|(_, _, store)| store.strong_count() > 0);
        let found = known.iter().find(|(road, of, _)| Arc::ptr_eq(road, self.road) && *of == scope);
        let store = found.and_then(|(_, _, store)| store.upgrade()).unwrap_or_else(|| {
            let store = Arc::new(Store::default());
            known.push((Arc::clone(self.road), scope.clone(), Arc::downgrade(&store)));
            let (kept, counts) = (Kept::new(&store), counts::<T>(self.metrics));
            store.fill_by(Watch::new(Arc::clone(self.road), scope, kept, counts).run());
            store
        });
        store.subscribe(self.inbox);
        store
    }
}
