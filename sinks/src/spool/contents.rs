//! What the spool knows without looking at the disk: its objects, their sums, and which numbers have come.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::sync::watch;

use super::done::Done;
use super::files::{Name, Undecided};
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
    /// The object that was given out to be uploaded: never dropped for space.
    pub given: Option<u64>,
    /// As it was written last.
    pub state: State,
    pub done: Done,
    /// Which objects are ours.
    pub claim: Claim,
    /// Whether names on disk are behind what was decided, and that was said.
    pub names_lag: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Of its file, as it is on disk.
    pub name: Name,
    /// Set while it is not known whose the object is.
    pub undecided: Option<Undecided>,
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
            given: None,
            state,
            done: Done::default(),
            claim: Claim::All,
            names_lag: false,
        }
    }

    /// What is to be remembered now, or once this object has its key.
    pub(super) fn to_remember(&self, in_flight: Option<InFlight>) -> State {
        let doubtful = self.state.doubtful && in_flight.is_none();
        let last_key = in_flight.as_ref().map(|object| object.key.clone());
        State {
            writer: self.state.writer.clone(),
            next_sequence: self.next_sequence,
            taken: Some(*self.taken.borrow()),
            last_key: last_key.or_else(|| self.state.last_key.clone()),
            in_flight: in_flight.or_else(|| self.state.in_flight.clone()),
            done: self.done.stretches(),
            doubtful,
        }
    }

    /// The object that has its key: what it was sent under may be stored, so that it goes first and is never dropped.
    fn in_flight(&self) -> Option<&Entry> {
        self.objects.get(&self.state.in_flight.as_ref()?.sequence)
    }

    /// The next object to be delivered: the one that has its key, else the oldest that is known to be ours.
    pub(super) fn deliverable(&self) -> Option<&Entry> {
        let all = self.claim == Claim::All;
        let oldest = || self.objects.values().find(|entry| all || entry.undecided.is_none());
        self.in_flight().or_else(oldest)
    }

    /// Whether an object may have been sent, or is being.
    fn is_fixed(&self, sequence: u64) -> bool {
        self.given == Some(sequence)
            || self.state.in_flight.as_ref().is_some_and(|object| object.sequence == sequence)
    }

    /// The oldest object that may be dropped for space.
    pub(super) fn droppable(&self) -> Option<u64> {
        self.objects.keys().copied().find(|sequence| !self.is_fixed(*sequence))
    }

    /// Bytes of the objects that may not be dropped.
    pub(super) fn bytes_fixed(&self) -> u64 {
        let fixed = self.objects.iter().filter(|(sequence, _)| self.is_fixed(**sequence));
        fixed.fold(0, |sum, (_, entry)| sum.saturating_add(entry.bytes))
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

    pub(super) fn insert(&mut self, name: Name, bytes: u64, written: SystemTime) {
        self.pass(name.sequence);
        self.bytes = self.bytes.saturating_add(bytes);
        self.samples = self.samples.saturating_add(name.samples);
        self.objects.insert(name.sequence, Entry { name, undecided: name.undecided, bytes, written });
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        let entry = self.objects.remove(&sequence)?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.samples = self.samples.saturating_sub(entry.name.samples);
        Some(entry)
    }
}
