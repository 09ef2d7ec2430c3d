//! Targets that a Kubernetes cluster knows: `kubernetes_sd_configs`.
//!
//! Takes a section, publishes the groups of its role, one per object, whenever something changes. Jobs that look at the same
//! objects share the watch. Labels are those of Prometheus 3.

mod attached;
mod config;
mod endpoints;
mod endpointslice;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod groups;
mod ingress;
mod labels;
mod look;
mod node;
mod pod;
mod selectors;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod watches;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use self::config::{AttachMetadata, KubernetesConfig, Namespaces, Role, Selector};
pub(super) use self::watches::Watches;

use self::groups::Groups;
use self::store::Inbox;
use super::outlet::Outlet;
use crate::kubernetes::delay::Delay;
use crate::kubernetes::road::Road;

/// How long changes are gathered before targets are made of them: a rollout is many changes, and a second is all that a
/// change may take.
const GATHER: Duration = Duration::from_millis(200);

/// Looks for the targets of one section; panics when a watch has, which is a defect.
pub(super) async fn run(config: KubernetesConfig, watches: Arc<Watches>, outlet: Outlet) {
    // `check` has refused a section without a role.
    let Some(role) = config.role else { return };
    let road = watches.road(&config.server());
    let namespaces = namespaces(&config, role, &road, &outlet).await;
    let inbox = Arc::new(Inbox::default());
    let mut all: Vec<Groups> = namespaces
        .iter()
        .map(|namespace| {
            let stores = watches.stores(&config, role, namespace.as_deref(), &road, &inbox);
            Groups::new(role, config.attach_metadata, stores)
        })
        .collect();
    loop {
        inbox.wait().await;
        tokio::time::sleep(GATHER).await;
        if all.iter().any(Groups::have_ended) {
            // It has said why; whoever waits for this search must know, too.
            std::panic::resume_unwind(Box::new("a watch has ended"));
        }
        let changed = inbox.take();
        let problems: BTreeSet<String> = all.iter().flat_map(Groups::problems).collect();
        let mut different = false;
        for groups in all.iter_mut().filter(|groups| groups.are_known()) {
            different |= groups.update(&changed);
        }
        let is_complete = all.iter().all(Groups::are_known);
        let found = || all.iter().flat_map(Groups::iter).map(Arc::clone).collect();
        outlet.publish(different, found, is_complete, problems.into_iter().collect());
    }
}

/// The namespaces to look at; `None` stands for all of them. Waits for the client only where its own is asked for.
async fn namespaces(
    config: &KubernetesConfig,
    role: Role,
    road: &Road,
    outlet: &Outlet,
) -> Vec<Option<String>> {
    let mut names: Vec<Option<String>> = config.namespaces.names.iter().cloned().map(Some).collect();
    if role == Role::Node || (names.is_empty() && !config.namespaces.own_namespace) {
        return vec![None];
    }
    if config.namespaces.own_namespace {
        names.push(Some(own_namespace(road, outlet).await));
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The namespace that this process runs in. Waits for as long as nobody says.
async fn own_namespace(road: &Road, outlet: &Outlet) -> String {
    let mut delay = Delay::default();
    loop {
        match road.client().await {
            Ok(client) => return client.own_namespace().to_owned(),
            Err(error) => {
                road.fail(&error).await;
                outlet.fail(error.to_string());
                tokio::time::sleep(delay.next()).await;
            }
        }
    }
}
