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
    /// The last key that was given; all later ones are larger.
    pub last_key: Option<String>,
    /// The object that the last key was given to, until another gets one.
    pub in_flight: Option<InFlight>,
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
