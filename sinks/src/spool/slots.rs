//! The file `state`: two slots of a fixed size, written in turn and in place.
//!
//! A full disk cannot refuse it, as long as the file system writes in place: no upload begins before its key is here, and
//! uploading is what frees the disk. A write that is cut short leaves the other slot, which is what was true before it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state::State;
use super::{Error, files};

/// The file's name.
pub(super) const FILE: &str = "state";
/// The file of version 1, whole and replaced by a rename.
pub(super) const FILE_V1: &str = "state.json";
/// The layout that this code writes. Version 1 is read.
const VERSION: u32 = 2;
/// Room for a prefix of 1,024 bytes, the longest key of S3, and for everything else several times over.
pub(super) const SLOT_BYTES: usize = 8192;

/// Where the state is written to.
#[derive(Debug)]
pub(super) struct Slots {
    dir: PathBuf,
    /// Of the slot that was written last. The next one goes to the other.
    count: u64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub slots: Slots,
    pub state: State,
    /// Whether something later may have been written and lost: then the store has to be asked for the last key.
    pub doubtful: bool,
}

/// What a slot says, after its checksum.
#[derive(Deserialize, Serialize)]
struct Slot {
    version: u32,
    count: u64,
    state: State,
}

/// The part that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// A file of version 1.
#[derive(Deserialize)]
struct SealedV1 {
    version: u32,
    crc32: String,
    state: serde_json::Value,
}

/// What stands in a slot, or in a file of version 1.
enum Found {
    State(u64, State),
    /// It was never written.
    Blank,
    /// It cannot be what was written; why.
    Damaged(String),
    /// It was written by a later version.
    Later(u32),
}

/// The state of an earlier run, or a new one: a damaged one is set aside, and a new writer begins, because who may
/// have written what is no longer known.
///
/// # Errors
/// When the file cannot be read, or was written by a later version.
pub(super) fn open(dir: &Path, now: i64) -> Result<Opened, Error> {
    let slots = |count| Slots { dir: dir.to_owned(), count };
    let new = |doubtful| Opened { slots: slots(0), state: State::new(now), doubtful };
    let Some(content) = read(&dir.join(FILE))? else {
        return match read(&dir.join(FILE_V1))?.map(|content| parse_v1(&content)) {
            None | Some(Found::Blank) => Ok(new(false)),
            Some(Found::State(count, state)) => Ok(Opened { slots: slots(count), state, doubtful: false }),
            Some(Found::Later(found)) => Err(later(dir, FILE_V1, found)),
            Some(Found::Damaged(problem)) => {
                set_aside(dir, FILE_V1, &problem)?;
                Ok(new(true))
            }
        };
    };
    let (mut newest, mut problem): (Option<(u64, State)>, _) = (None, None);
    for slot in content.chunks(SLOT_BYTES).take(2) {
        match parse(slot) {
            Found::State(count, state) if newest.as_ref().is_none_or(|(known, _)| *known < count) => {
                newest = Some((count, state));
            }
            Found::State(..) | Found::Blank => {}
            Found::Damaged(what) => problem = Some(what),
            Found::Later(found) => return Err(later(dir, FILE, found)),
        }
    }
    let Some((count, state)) = newest else {
        set_aside(dir, FILE, problem.as_deref().unwrap_or("it is empty"))?;
        return Ok(new(true));
    };
    if let Some(problem) = &problem {
        tracing::warn!(file = FILE, problem, "one half of the spool's state was not written to its end");
    }
    Ok(Opened { slots: slots(count), state, doubtful: problem.is_some() })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::unusable(path, "read the state", &e)),
    }
}

fn set_aside(dir: &Path, file: &str, problem: &str) -> Result<(), Error> {
    files::set_aside(dir, file, files::CORRUPT)
        .map_err(|e| Error::unusable(dir, "set the damaged state aside", &e))?;
    tracing::error!(file, problem, "the spool's state is damaged, a new writer id begins");
    Ok(())
}

fn later(dir: &Path, file: &str, found: u32) -> Error {
    Error::Version { path: dir.join(file), found, known: VERSION }
}

/// `{crc32:08x} {JSON}`, and blanks to the end.
fn parse(slot: &[u8]) -> Found {
    let damaged = |problem: &str| Found::Damaged(problem.to_owned());
    let Ok(text) = std::str::from_utf8(slot.trim_ascii_end()) else { return damaged("it is no text") };
    if text.is_empty() {
        return Found::Blank;
    }
    let Some((crc32, json)) = text.split_once(' ') else { return damaged("it has no checksum") };
    if crc32 != checksum(json) {
        return damaged("its checksum does not match");
    }
    match serde_json::from_str(json) {
        Ok(Versioned { version }) if version != VERSION => return Found::Later(version),
        Ok(_) => {}
        Err(error) => return Found::Damaged(error.to_string()),
    }
    match serde_json::from_str(json) {
        Ok(Slot { count, state, .. }) => Found::State(count, state),
        Err(error) => Found::Damaged(error.to_string()),
    }
}

fn parse_v1(content: &[u8]) -> Found {
    let sealed: SealedV1 = match serde_json::from_slice(content) {
        Ok(sealed) => sealed,
        Err(error) => return Found::Damaged(error.to_string()),
    };
    if sealed.version != 1 {
        return Found::Later(sealed.version);
    }
    if checksum(&sealed.state.to_string()) != sealed.crc32 {
        return Found::Damaged("its checksum does not match".to_owned());
    }
    match serde_json::from_value(sealed.state) {
        Ok(state) => Found::State(0, state),
        Err(error) => Found::Damaged(error.to_string()),
    }
}

fn encode(count: u64, state: &State) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(&Slot { version: VERSION, count, state: state.clone() })?;
    let mut slot = format!("{} {json}", checksum(&json)).into_bytes();
    if slot.len() >= SLOT_BYTES {
        let problem = format!("the state of {} bytes does not fit in {SLOT_BYTES}", slot.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    slot.resize(SLOT_BYTES - 1, b' ');
    slot.push(b'\n');
    Ok(slot)
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

impl Slots {
    /// Writes the state durably into the slot that was not written last.
    ///
    /// # Errors
    /// When the disk refuses; what was written before stands, and the same slot is written next time.
    pub(super) fn write(&mut self, state: &State) -> io::Result<()> {
        let count = self.count + 1;
        let (slot, is_second) = (encode(count, state)?, count % 2 == 1);
        let at = if is_second { SLOT_BYTES } else { 0 };
        // By its name every time: it may have been taken away, and a file without a name outlives nothing.
        match File::options().write(true).open(self.dir.join(FILE)) {
            Ok(file) => {
                file.write_all_at(&slot, at as u64)?;
                file.sync_data()?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.create(is_second, &slot)?,
            Err(e) => return Err(e),
        }
        self.count = count;
        Ok(())
    }

    /// Makes the file with all its blocks, so that writing in place needs no more of them.
    fn create(&self, is_second: bool, slot: &[u8]) -> io::Result<()> {
        let blank = vec![b' '; SLOT_BYTES];
        let content = if is_second { [&blank, slot].concat() } else { [slot, &blank].concat() };
        files::write(&self.dir, FILE, &content)?;
        match std::fs::remove_file(self.dir.join(FILE_V1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}
