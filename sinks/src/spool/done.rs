//! Objects that are done with, as long as a later process might still find their files.
//!
//! Delivered: the receipt is durable before the file goes, so that no crash between the two sends it again. Dropped: the file
//! goes at once. A file that cannot be removed is neither sent again nor forgotten; it is tried again.

use std::collections::{BTreeMap, BTreeSet};

use super::files::Name;

/// More stretches than this are written only after the directory was synced, which ends most of them.
pub(super) const STRETCHES_MAX: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Files that are there.
    left: BTreeMap<u64, Left>,
    /// Files that were removed, which a loss of power may undo until the directory is synced.
    gone: BTreeSet<u64>,
    /// Whether it was said that a file cannot be removed.
    said: bool,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    name: Name,
    /// Whether a later process would know that the object is done with.
    known: bool,
}

impl Done {
    /// Takes in an object that was delivered. Its file stays until that is known durably.
    pub(super) fn deliver(&mut self, name: Name) {
        self.left.insert(name.sequence, Left { name, known: false });
    }

    /// Takes in an object that was dropped and counted.
    pub(super) fn drop(&mut self, name: Name) {
        self.left.insert(name.sequence, Left { name, known: true });
    }

    /// All of them, as stretches of numbers that follow each other.
    pub(super) fn stretches(&self) -> Vec<(u64, u64)> {
        let all: BTreeSet<u64> = self.left.keys().chain(&self.gone).copied().collect();
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for sequence in all {
            match stretches.last_mut() {
                Some((_, to)) if to.checked_add(1) == Some(sequence) => *to = sequence,
                _ => stretches.push((sequence, sequence)),
            }
        }
        stretches
    }

    /// Whether a later process would know of them all.
    pub(super) fn is_known(&self) -> bool {
        self.left.values().all(|left| left.known)
    }

    /// Takes note that these stretches were written durably.
    pub(super) fn know(&mut self, stretches: &[(u64, u64)]) {
        for (from, to) in stretches {
            self.left.range_mut(from..=to).for_each(|(_, left)| left.known = true);
        }
    }

    /// The files that may be removed now.
    pub(super) fn removable(&self) -> Vec<Name> {
        self.left.values().filter(|left| left.known).map(|left| left.name).collect()
    }

    /// Takes note that a file was removed. True if it is the first after one that could not be.
    pub(super) fn remove(&mut self, sequence: u64) -> bool {
        if self.left.remove(&sequence).is_some() {
            self.gone.insert(sequence);
        }
        std::mem::take(&mut self.said)
    }

    /// Takes note that a file could not be removed. True if that is news.
    pub(super) fn keep(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// The objects whose files are gone.
    pub(super) fn gone(&self) -> BTreeSet<u64> {
        self.gone.clone()
    }

    /// Takes note that the directory was synced after these had gone.
    pub(super) fn forget(&mut self, gone: &BTreeSet<u64>) {
        self.gone.retain(|sequence| !gone.contains(sequence));
    }
}

#[cfg(test)]
mod tests {
    use pipeline::model::object::Format;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stretches_are_what_they_stand_for(sequences in proptest::collection::btree_set(0_u64..40, 0..30)) {
            let mut done = Done::default();
            for sequence in &sequences {
                done.drop(Name { sequence: *sequence, samples: 1, crc32: 0, format: Format::Parquet, undecided: None });
                if sequence % 3 == 0 {
                    done.remove(*sequence);
                }
            }
            let stretches = done.stretches();
            let again: Vec<u64> = stretches.iter().flat_map(|(from, to)| *from..=*to).collect();
            prop_assert_eq!(again, sequences.into_iter().collect::<Vec<_>>());
            prop_assert!(stretches.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", stretches);
        }
    }
}
