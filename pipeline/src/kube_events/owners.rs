//! Whose pods are: kept while they live and for a while after, since what ends a pod is told when it has gone.

use hashbrown::HashMap;

use super::pod::Pod;
use super::rows::Row;
use crate::kubernetes::object::{Name, NameRef};

/// Pods that are known at once; the owners of others stay empty.
const PODS_MAX: usize = 200_000;
/// How long a pod that has gone is known, milliseconds.
const KEPT: i64 = 15 * 60 * 1000;

#[derive(Debug)]
struct Known {
    uid: Box<str>,
    node: Box<str>,
    owner: (Box<str>, Box<str>),
    /// Which watch knows it, and how many lists that had begun when it was seen.
    scope: usize,
    list: u64,
    /// When it went.
    gone: Option<i64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<Name, Known>);

impl Owners {
    /// Takes a pod that came, changed, or stood in a list.
    pub(super) fn take(&mut self, pod: Pod, scope: usize, list: u64) {
        let Pod { meta, node, owner, .. } = pod;
        let key = meta.key();
        if self.0.len() >= PODS_MAX && !self.0.contains_key(&key) {
            return;
        }
        self.0.insert(key, Known { uid: meta.uid, node, owner, scope, list, gone: None });
    }

    pub(super) fn lose(&mut self, key: &Name, now: i64) {
        if let Some(known) = self.0.get_mut(key) {
            known.gone = known.gone.or(Some(now));
        }
    }

    /// A list is whole: what it lacked is gone.
    pub(super) fn end(&mut self, scope: usize, list: u64, now: i64) {
        let old = self.0.values_mut().filter(|known| known.scope == scope && known.list < list);
        old.for_each(|known| known.gone = known.gone.or(Some(now)));
    }

    /// Forgets those that went long ago.
    pub(super) fn forget(&mut self, now: i64) {
        self.0.retain(|_, known| known.gone.is_none_or(|gone| now.saturating_sub(gone) < KEPT));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds owner and node to a row about a pod; a row about anything else but a node is its owner's own.
    pub(super) fn complete(&self, row: &mut Row) {
        match &*row.kind {
            "" | "Node" => {}
            "Pod" => {
                let Some(known) = self.0.get(&NameRef(&row.namespace, &row.name)) else { return };
                // Another one of the same name, as a StatefulSet makes them.
                if !row.object_uid.is_empty() && row.object_uid != known.uid {
                    // Both are of one workload, and perhaps not of one node.
                    row.owner = known.owner.clone();
                    return;
                }
                row.owner = known.owner.clone();
                if row.node.is_empty() {
                    row.node.clone_from(&known.node);
                }
            }
            _ => row.owner = (row.kind.clone(), row.name.clone()),
        }
    }
}
