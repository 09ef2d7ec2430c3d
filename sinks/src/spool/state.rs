//! What must not be forgotten across restarts: who writes, which key was given last, and which objects are done with.

use pipeline::model::object::Tenure;
use serde::{Deserialize, Serialize};

use crate::store::Location;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The writer's id, made once per spool.
    pub writer: String,
    /// Above every sequence number that may have been delivered.
    pub next_sequence: u64,
    /// Every object below this has come to the spool. Left out by version 1, for which it was `next_sequence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<u64>,
    /// The last key that was given; all later ones are larger.
    pub last_key: Option<String>,
    /// The object that the last key was given to, until another gets one.
    pub in_flight: Option<InFlight>,
    /// Objects that were delivered, or dropped and counted, and whose files may still be there: from, to and with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<(u64, u64)>,
    /// Whether a later key may have been recorded and lost: then the store has to be asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubtful: bool,
}

/// An object that has its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InFlight {
    /// The object.
    pub sequence: u64,
    /// Its key, for every attempt.
    pub key: String,
    /// Whether it is known that another writer's object has this key, so that nothing of ours was stored there.
    pub conflict: bool,
    /// The turn in which the key was given; `None` for a single agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenure: Option<Tenure>,
    /// Where the key was given. Version 1 left it out: where objects went then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

impl State {
    /// Of a new spool, which knows of no number that was ever used.
    pub(super) fn new(now: i64) -> Self {
        let next_sequence = u64::try_from(now).unwrap_or_default();
        Self {
            writer: new_writer(),
            next_sequence,
            taken: Some(0),
            last_key: None,
            in_flight: None,
            done: Vec::new(),
            doubtful: false,
        }
    }

    /// Every object below this has come to the spool.
    pub(super) fn taken(&self) -> u64 {
        self.taken.unwrap_or(self.next_sequence)
    }

    /// Takes note that every object below `sequence` has come, which the files tell.
    pub(super) fn rise(&mut self, sequence: u64) {
        self.taken = Some(self.taken().max(sequence));
        self.next_sequence = self.next_sequence.max(sequence);
    }

    /// Whether the object was delivered, or dropped and counted.
    pub(super) fn is_done(&self, sequence: u64) -> bool {
        self.done.iter().any(|(from, to)| (*from..=*to).contains(&sequence))
    }
}

/// Ten random characters of `[a-z0-9]`: 3.6e15 ids, so that two spools never share one by chance.
fn new_writer() -> String {
    let digit = || char::from_digit(fastrand::u32(..36), 36).unwrap_or('0');
    std::iter::repeat_with(digit).take(10).collect()
}
