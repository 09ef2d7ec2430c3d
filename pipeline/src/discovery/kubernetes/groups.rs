//! The target groups of a section in one namespace: made once, and made again when what they depend on changes.
//!
//! Takes the stores and the marks of what changed, gives groups; one whose content stays the same stays the same `Arc`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::config::{AttachMetadata, Role};
use super::look::{Look, Stores};
use super::store::Store;
use super::{endpoints, endpointslice, ingress, node, pod, service};
use crate::kubernetes::object::{Name, Object, mark};
use crate::model::target::TargetGroup;

/// The groups of a section in one namespace.
#[derive(Debug)]
pub(super) struct Groups {
    role: Role,
    attach: AttachMetadata,
    stores: Stores,
    made: BTreeMap<Name, Made>,
}

/// One group, and what it was made of besides its own object.
#[derive(Debug)]
struct Made {
    group: Arc<TargetGroup>,
    marks: Box<[u64]>,
    /// In which round its object was last seen.
    round: u64,
}

impl Groups {
    pub(super) fn new(role: Role, attach: AttachMetadata, stores: Stores) -> Self {
        Self { role, attach, stores, made: BTreeMap::new() }
    }

    /// Whether every watch has its first list.
    pub(super) fn are_known(&self) -> bool {
        let Stores { pods, services, endpoints, slices, nodes, ingresses, namespaces, replica_sets, jobs } =
            &self.stores;
        is_synced(pods)
            && is_synced(services)
            && is_synced(endpoints)
            && is_synced(slices)
            && is_synced(nodes)
            && is_synced(ingresses)
            && is_synced(namespaces)
            && is_synced(replica_sets)
            && is_synced(jobs)
    }

    /// Whether a watch has ended, which is a defect.
    pub(super) fn have_ended(&self) -> bool {
        let Stores { pods, services, endpoints, slices, nodes, ingresses, namespaces, replica_sets, jobs } =
            &self.stores;
        has_ended(pods)
            || has_ended(services)
            || has_ended(endpoints)
            || has_ended(slices)
            || has_ended(nodes)
            || has_ended(ingresses)
            || has_ended(namespaces)
            || has_ended(replica_sets)
            || has_ended(jobs)
    }

    /// What keeps watches from going on.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        let Stores { pods, services, endpoints, slices, nodes, ingresses, namespaces, replica_sets, jobs } =
            &self.stores;
        [
            problem(pods),
            problem(services),
            problem(endpoints),
            problem(slices),
            problem(nodes),
            problem(ingresses),
            problem(namespaces),
            problem(replica_sets),
            problem(jobs),
        ]
        .into_iter()
        .flatten()
    }

    /// The groups that have targets, in order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<TargetGroup>> {
        self.made.values().map(|made| &made.group).filter(|group| !group.targets.is_empty())
    }

    /// Makes what is new or changed, forgets what is gone. Returns whether anything became different.
    pub(super) fn update(&mut self, changed: &HashSet<u64>) -> bool {
        let Self { role, attach, stores, made } = self;
        let round = made.values().next().map_or(0, |made| made.round) + 1;
        let mut update = Update { changed, made, look: Look::new(stores, *attach), round, different: false };
        match role {
            Role::Pod => update.all(stores.pods.as_ref(), pod::group),
            Role::Service => update.all(stores.services.as_ref(), service::group),
            Role::Endpoints => update.all(stores.endpoints.as_ref(), endpoints::group),
            Role::EndpointSlice => update.all(stores.slices.as_ref(), endpointslice::group),
            Role::Node => update.all(stores.nodes.as_ref(), |node, _| node::group(node)),
            Role::Ingress => update.all(stores.ingresses.as_ref(), ingress::group),
        }
        let different = update.different;
        let before = made.len();
        made.retain(|_, made| made.round == round);
        different || made.len() != before
    }
}

fn is_synced<T: Object>(store: &Option<Arc<Store<T>>>) -> bool {
    store.as_ref().is_none_or(|store| store.is_synced())
}

fn has_ended<T: Object>(store: &Option<Arc<Store<T>>>) -> bool {
    store.as_ref().is_some_and(|store| store.has_ended())
}

fn problem<T: Object>(store: &Option<Arc<Store<T>>>) -> Option<String> {
    store.as_ref()?.problem()
}

/// One round.
struct Update<'a> {
    changed: &'a HashSet<u64>,
    made: &'a mut BTreeMap<Name, Made>,
    look: Look<'a>,
    round: u64,
    different: bool,
}

impl Update<'_> {
    fn all<T: Object>(
        &mut self,
        store: Option<&Arc<Store<T>>>,
        make: impl Fn(&Arc<T>, &mut Look<'_>) -> TargetGroup,
    ) {
        let mut stale = Vec::new();
        let Some(store) = store else { return };
        store.for_each(|name, object| {
            let own = mark(T::RESOURCE, &name.namespace, &name.name);
            let is_changed = |marks: &[u64]| {
                self.changed.contains(&own) || marks.iter().any(|mark| self.changed.contains(mark))
            };
            match self.made.get_mut(name) {
                Some(made) if !is_changed(&made.marks) => made.round = self.round,
                _ => stale.push((name.clone(), Arc::clone(object))),
            }
        });
        // Looking others up locks stores, this one among them perhaps.
        for (name, object) in stale {
            let group = make(&object, &mut self.look);
            let marks = self.look.take_marks();
            let known = self.made.get(&name).filter(|known| *known.group == group);
            self.different |= known.is_none();
            let group = known.map_or_else(|| Arc::new(group), |known| Arc::clone(&known.group));
            self.made.insert(name, Made { group, marks, round: self.round });
        }
    }
}
