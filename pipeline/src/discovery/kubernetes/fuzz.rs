//! The fuzz target of the watches; see `crate::fuzz`.

use std::collections::HashSet;
use std::sync::Arc;

use kube::api::WatchEvent;

use super::config::{AttachMetadata, Role};
use super::groups::Groups;
use super::look::Stores;
use super::store::{Inbox, Store};
use crate::kubernetes::object::{Object, Received};
use crate::model::target::TargetGroup;

const ROLES: [Role; 6] =
    [Role::Pod, Role::Service, Role::Endpoints, Role::EndpointSlice, Role::Node, Role::Ingress];

const EVERYTHING: AttachMetadata =
    AttachMetadata { node: true, namespace: true, deployment: true, job: true, cronjob: true };

/// What a watch says, one JSON text a line: targets that are made again as things change are those that are made of
/// everything at once.
pub fn watch(data: &[u8]) {
    let inbox = Arc::new(Inbox::default());
    let stores = Stores {
        pods: store(&inbox),
        services: store(&inbox),
        endpoints: store(&inbox),
        slices: store(&inbox),
        nodes: store(&inbox),
        ingresses: store(&inbox),
        namespaces: store(&inbox),
        replica_sets: store(&inbox),
        jobs: store(&inbox),
    };
    let groups = |role: Role| Groups::new(role, EVERYTHING, copy(&stores));
    let mut followed = ROLES.map(groups);
    for line in data.split(|byte| *byte == b'\n') {
        let is = |kind: &str| memchr::memmem::find(line, format!("\"{kind}\"").as_bytes()).is_some();
        match () {
            () if is("Service") => take(line, &stores.services),
            () if is("Endpoints") => take(line, &stores.endpoints),
            () if is("EndpointSlice") => take(line, &stores.slices),
            () if is("Ingress") => take(line, &stores.ingresses),
            () if is("Namespace") => take(line, &stores.namespaces),
            () if is("ReplicaSet") => take(line, &stores.replica_sets),
            () if is("Job") => take(line, &stores.jobs),
            () if is("Pod") => take(line, &stores.pods),
            () => take(line, &stores.nodes),
        }
        let changed = inbox.take();
        for groups in &mut followed {
            groups.update(&changed);
        }
    }
    for (role, followed) in ROLES.into_iter().zip(followed) {
        let mut fresh = groups(role);
        fresh.update(&HashSet::new());
        let all =
            |groups: &Groups| groups.iter().map(|group| (**group).clone()).collect::<Vec<TargetGroup>>();
        assert_eq!(all(&followed), all(&fresh), "{role:?}");
    }
}

fn store<T: Object>(inbox: &Arc<Inbox>) -> Option<Arc<Store<T>>> {
    let store = Arc::new(Store::default());
    store.replace(hashbrown::HashMap::new());
    store.subscribe(inbox);
    Some(store)
}

fn copy(stores: &Stores) -> Stores {
    Stores {
        pods: stores.pods.clone(),
        services: stores.services.clone(),
        endpoints: stores.endpoints.clone(),
        slices: stores.slices.clone(),
        nodes: stores.nodes.clone(),
        ingresses: stores.ingresses.clone(),
        namespaces: stores.namespaces.clone(),
        replica_sets: stores.replica_sets.clone(),
        jobs: stores.jobs.clone(),
    }
}

/// Takes one change, as `watch` does.
fn take<T: Object>(line: &[u8], store: &Option<Arc<Store<T>>>) {
    let (Some(store), Ok(change)) = (store, serde_json::from_slice::<WatchEvent<Received<T>>>(line)) else {
        return;
    };
    let (received, is_there) = match change {
        WatchEvent::Added(received) | WatchEvent::Modified(received) => (received, true),
        WatchEvent::Deleted(received) => (received, false),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => return,
    };
    let key = received.key();
    match received.object {
        Ok(object) if is_there => drop(store.apply(object)),
        _ => drop(store.delete(&key)),
    }
}
