//! The spool's memory across restarts: `state.json`.

use std::io;
use std::path::Path;

use pipeline::model::object::Tenure;
use serde::{Deserialize, Serialize};

use super::{Error, files};

/// The file's name.
pub(super) const FILE: &str = "state.json";
/// The layout that this code reads and writes.
const VERSION: u32 = 1;

/// What must not be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The writer's id, made once per spool.
    pub writer: String,
    /// Above every sequence number that may have been delivered.
    pub next_sequence: u64,
    /// Every object below this has come to the spool. Left out by earlier versions, for which it was `next_sequence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<u64>,
    /// The last key that was given; all later ones are larger.
    pub last_key: Option<String>,
    /// The object that the last key was given to, until another gets one.
    pub in_flight: Option<InFlight>,
}

impl State {
    /// Of a new spool, which knows of no number that was ever used.
    fn new(now: i64) -> Self {
        let next_sequence = u64::try_from(now).unwrap_or_default();
        Self { writer: new_writer(), next_sequence, taken: Some(0), last_key: None, in_flight: None }
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
}

/// The file: the state with its checksum.
#[derive(Deserialize, Serialize)]
struct Sealed {
    version: u32,
    crc32: String,
    state: serde_json::Value,
}

/// What was found where the state should be.
pub(super) enum Read {
    /// The state.
    State(State),
    /// Nothing: a new spool.
    Missing,
    /// Something that cannot be the state; the text says why.
    Damaged(String),
}

/// The state of an earlier run, or a new one: a damaged one is set aside, and a new writer begins, because who may
/// have written what is no longer known.
pub(super) fn open(dir: &Path, now: i64) -> Result<State, Error> {
    match read(dir)? {
        Read::State(state) => return Ok(state),
        Read::Missing => {}
        Read::Damaged(problem) => {
            files::set_aside(dir, FILE, files::CORRUPT)
                .map_err(|e| Error::unusable(dir, "set the damaged state aside", &e))?;
            tracing::error!(file = FILE, problem, "the spool's state is damaged, a new writer id begins");
        }
    }
    Ok(State::new(now))
}

/// Ten random characters of `[a-z0-9]`: 3.6e15 ids, so that two spools never share one by chance.
fn new_writer() -> String {
    let digit = || char::from_digit(fastrand::u32(..36), 36).unwrap_or('0');
    std::iter::repeat_with(digit).take(10).collect()
}

/// Reads the state.
///
/// # Errors
/// When the file cannot be read, or was written by a later version.
pub(super) fn read(dir: &Path) -> Result<Read, Error> {
    let path = dir.join(FILE);
    let content = match std::fs::read(&path) {
        Ok(content) => content,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Read::Missing),
        Err(e) => return Err(Error::unusable(&path, "read the state", &e)),
    };
    let sealed: Sealed = match serde_json::from_slice(&content) {
        Ok(sealed) => sealed,
        Err(e) => return Ok(Read::Damaged(e.to_string())),
    };
    if sealed.version != VERSION {
        return Err(Error::Version { path, found: sealed.version, known: VERSION });
    }
    if checksum(&sealed.state) != sealed.crc32 {
        return Ok(Read::Damaged("its checksum does not match".to_owned()));
    }
    Ok(serde_json::from_value(sealed.state).map_or_else(|e| Read::Damaged(e.to_string()), Read::State))
}

/// Writes the state durably.
pub(super) fn write(dir: &Path, state: &State) -> io::Result<()> {
    let state = serde_json::to_value(state)?;
    let sealed = Sealed { version: VERSION, crc32: checksum(&state), state };
    files::write(dir, FILE, &serde_json::to_vec_pretty(&sealed)?)
}

fn checksum(state: &serde_json::Value) -> String {
    format!("{:08x}", crc32fast::hash(state.to_string().as_bytes()))
}
