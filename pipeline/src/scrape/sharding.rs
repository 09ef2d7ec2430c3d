//! `sharding`: which of several agents scrapes a target.
//!
//! Takes a target, gives whether this agent scrapes it. Every agent decides by itself, from the target alone, so that
//! nothing has to be agreed on; equal configurations give each target exactly one agent.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::model::labels::Labels;
use crate::model::target::{Discovered, Target};

/// More shards than this is a misprint.
const TOTAL_MAX: u32 = 1024;

/// Labels in which discovery says on which node a target runs.
const NODE_LABELS: [&str; 3] = [
    "__meta_kubernetes_pod_node_name",
    "__meta_kubernetes_endpointslice_endpoint_node_name",
    "__meta_kubernetes_endpoint_node_name",
];
/// The node itself, in the role `node`.
const NODE_ITSELF: &str = "__meta_kubernetes_node_name";

/// Section `sharding`: how several agents share the targets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sharding {
    /// How many agents share the targets; 1 is no sharding.
    pub total: u32,
    /// Which of them this one is, from 0. In the pod of a StatefulSet left out: the ordinal at the end of its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The node to whose targets this agent keeps itself, as in a DaemonSet; empty for all nodes.
    pub node: String,
}

impl Default for Sharding {
    fn default() -> Self {
        Self { total: 1, index: None, node: String::new() }
    }
}

impl Sharding {
    /// Problems between fields: path below the section, what is wrong and the remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut add = |path: &str, text: String| problems.push((path.to_owned(), text));
        let total = self.total;
        if !(1..=TOTAL_MAX).contains(&total) {
            add("total", format!("{total} is not between 1 and {TOTAL_MAX}"));
        }
        match self.index {
            None if total > 1 => add(
                "index",
                "is missing: the shard's number from 0 (the pods of a StatefulSet have it in their name, given as POD_NAME)"
                    .to_owned(),
            ),
            Some(index) if index >= total.max(1) => {
                add("index", format!("{index} is not below the total of {total}: count from 0"));
            }
            _ => {}
        }
        if total > 1 && !self.node.is_empty() {
            add(
                "node",
                "is set beside a total: an agent keeps to its node or to its share, not to both".to_owned(),
            );
        }
        problems
    }

    /// Whether there are, or may be, other agents that upload below the same prefix.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.total > 1 || !self.node.is_empty()
    }

    /// Whether this agent scrapes `target`, by what was discovered of it last.
    pub(super) fn is_mine(&self, target: &Target, discovered: &Discovered) -> bool {
        if !self.node.is_empty() {
            return node(&discovered.labels()) == Some(self.node.as_str());
        }
        let Some(index) = self.index.filter(|_| self.total > 1) else { return true };
        let hash = target.labels_hash ^ xxh3_64(target.url.as_bytes());
        jump(hash, self.total) == index
    }
}

/// The node that a target runs on, or is.
fn node(discovered: &Labels) -> Option<&str> {
    NODE_LABELS.into_iter().find_map(|label| discovered.get(label)).or_else(|| discovered.get(NODE_ITSELF))
}

/// Jump consistent hash (Lamping and Veach, 2014, figure 1): the bucket of `key` among `buckets`. One bucket more moves
/// one key in `buckets + 1`, and all of those to the new bucket, which is as few as there can be.
fn jump(mut key: u64, buckets: u32) -> u32 {
    let (mut bucket, mut next) = (0, 0_u64);
    while next < u64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        #[expect(clippy::cast_precision_loss, reason = "33 and 31 bits are exact in a float of 53")]
        let ratio = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a bucket below 2^32 times a ratio of at most 2^31"
        )]
        let forward = ((bucket + 1) as f64 * ratio) as u64;
        next = forward;
    }
    u32::try_from(bucket).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::target::Job;

    fn target(instance: &str) -> Target {
        let labels = Labels::from_pairs([("instance", instance), ("job", "j")]);
        let nothing = Discovered::from(Labels::default());
        Target::new(Arc::new(Job::default()), labels, nothing, format!("http://{instance}/m"))
    }

    fn shard(total: u32, index: u32) -> Sharding {
        Sharding { total, index: Some(index), node: String::new() }
    }

    /// Values that other implementations of the paper are tested with.
    #[test]
    fn the_hash_is_the_published_one() {
        for (key, buckets, expected) in
            [(1, 1, 0), (42, 57, 43), (0xdead_10cc, 1, 0), (0xdead_10cc, 666, 361), (256, 1024, 520)]
        {
            assert_eq!(jump(key, buckets), expected, "key {key}, {buckets} buckets");
        }
    }

    #[test]
    fn each_target_has_one_shard_and_growth_moves_only_to_the_new_one() {
        let targets: Vec<_> =
            (0..3000).map(|i| target(&format!("10.0.{}.{}:9100", i / 250, i % 250))).collect();
        let owner = |target: &Target, total| {
            let owners: Vec<u32> = (0..total)
                .filter(|index| shard(total, *index).is_mine(target, &Labels::default().into()))
                .collect();
            assert_eq!(owners.len(), 1, "{total} shards");
            owners[0]
        };
        for total in 1..6 {
            let mut moved = 0_u32;
            for target in &targets {
                let (before, after) = (owner(target, total), owner(target, total + 1));
                assert!(before == after || after == total, "moved from {before} to {after} of {}", total + 1);
                moved += u32::from(before != after);
            }
            // One in total + 1, give or take a fifth.
            let fair = 3000 / (total + 1);
            assert!(moved.abs_diff(fair) < fair / 5, "{moved} of 3000 moved to shard {total}");
        }
    }

    #[test]
    fn an_agent_of_a_node_keeps_to_it() {
        let own = Sharding { node: "n1".to_owned(), ..Sharding::default() };
        let check = |discovered: &[(&str, &str)], expected| {
            let labels = Labels::from_pairs(discovered.iter().copied());
            assert_eq!(own.is_mine(&target("a:1"), &labels.into()), expected, "{discovered:?}");
        };
        check(&[("__meta_kubernetes_pod_node_name", "n1")], true);
        check(&[("__meta_kubernetes_pod_node_name", "n2")], false);
        check(&[("__meta_kubernetes_endpointslice_endpoint_node_name", "n1")], true);
        check(&[("__meta_kubernetes_node_name", "n1")], true);
        // The node of the pod counts, and not a node attached for its labels.
        check(&[("__meta_kubernetes_pod_node_name", "n2"), ("__meta_kubernetes_node_name", "n1")], false);
        check(&[("__address__", "n1")], false);
    }

    #[test]
    fn each_problem_names_its_field() {
        let check = |sharding: Sharding, expected: &[&str]| {
            let found = sharding.check();
            assert_eq!(
                found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
                expected,
                "{found:?}"
            );
        };
        check(Sharding::default(), &[]);
        check(shard(3, 2), &[]);
        check(shard(3, 3), &["index"]);
        check(Sharding { total: 3, ..Sharding::default() }, &["index"]);
        check(Sharding { total: 0, ..Sharding::default() }, &["total"]);
        check(Sharding { node: "n".to_owned(), ..shard(3, 0) }, &["node"]);
        check(Sharding { node: "n".to_owned(), ..Sharding::default() }, &[]);
    }

    proptest! {
        #[test]
        fn a_bucket_is_one_of_them(key in any::<u64>(), buckets in 1_u32..2000) {
            prop_assert!(jump(key, buckets) < buckets);
        }
    }
}
