//! What the spool knows without looking at the disk: its objects, their sums, and which numbers have come.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::sync::watch;

use super::files::Name;
use super::state::{InFlight, State};
use crate::turn::Claim;

#[derive(Debug)]
pub(super) struct Contents {
    pub objects: BTreeMap<u64, Entry>,
    pub bytes: u64,
    pub samples: u64,
    /// Sequence number above all that were ever here.
    pub next_sequence: u64,
    /// Every object below it has come, or was dropped and counted. For whoever keeps them until then.
    pub taken: watch::Sender<u64>,
    /// The object that is being uploaded: never dropped for space.
    pub given: Option<u64>,
    pub state: State,
    /// Which objects are ours.
    pub claim: Claim,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub name: Name,
    pub bytes: u64,
    pub written: SystemTime,
}

impl Contents {
    /// Nothing yet, but what an earlier run remembers.
    pub(super) fn new(state: State) -> Self {
        Self {
            objects: BTreeMap::new(),
            bytes: 0,
            samples: 0,
            next_sequence: state.next_sequence,
            taken: watch::channel(state.taken()).0,
            given: state.in_flight.as_ref().map(|object| object.sequence),
            state,
            claim: Claim::All,
        }
    }

    /// What is to be remembered once an object has its key.
    pub(super) fn recorded(&self, in_flight: InFlight) -> State {
        State {
            writer: self.state.writer.clone(),
            next_sequence: self.next_sequence,
            taken: Some(*self.taken.borrow()),
            last_key: Some(in_flight.key.clone()),
            in_flight: Some(in_flight),
        }
    }

    /// The oldest object that is known to be ours.
    pub(super) fn deliverable(&self) -> Option<&Entry> {
        let all = self.claim == Claim::All;
        self.objects.values().find(|entry| all || entry.name.undecided.is_none())
    }

    /// Takes note that an object has come for good, whether or not it stays.
    pub(super) fn pass(&mut self, sequence: u64) {
        let next = sequence.saturating_add(1);
        self.next_sequence = self.next_sequence.max(next);
        self.taken.send_if_modified(|taken| {
            let is_more = *taken < next;
            *taken = (*taken).max(next);
            is_more
        });
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.pass(entry.name.sequence);
        self.bytes = self.bytes.saturating_add(entry.bytes);
        self.samples = self.samples.saturating_add(entry.name.samples);
        self.objects.insert(entry.name.sequence, entry);
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        let entry = self.objects.remove(&sequence)?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.samples = self.samples.saturating_sub(entry.name.samples);
        Some(entry)
    }
}
