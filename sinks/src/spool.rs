//! Objects on disk until they are delivered.
//!
//! Takes sealed objects, gives them out oldest first, and remembers across restarts who writes and which key was
//! given last. Bounded: when full, the oldest object goes, never the one in flight, and is counted. The directory
//! holds `lock`, `state` and one file per object, whose name says all that is needed of it.

mod claim;
mod contents;
mod done;
mod files;
mod first;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod intake;
mod outlet;
mod slots;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use pipeline::model::object::{Format, Writer};
use pipeline::model::units::Size;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::clock;
use crate::metrics::{DropReason, Metrics};
use crate::status::SpoolStatus;
use contents::{Contents, Entry};
use slots::Slots;
pub(crate) use state::InFlight;

/// Section `spool`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory; one agent at a time. It is made when it is missing.
    pub dir: PathBuf,
    /// When objects exceed this, the oldest are dropped and counted. 2GiB holds 20 hours of a cluster of
    /// 300,000 series.
    pub max_bytes: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self { dir: PathBuf::from("agent-data/spool"), max_bytes: Size(2 << 30) }
    }
}

impl Config {
    /// Problems in the relations between fields.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.dir.as_os_str().is_empty() {
            let text = "is empty: name the directory that keeps objects until they are delivered";
            problems.push(("dir".into(), text.into()));
        }
        if self.max_bytes.0 == 0 {
            let text = "is 0, so that nothing could be kept: 2GiB is the default";
            problems.push(("max_bytes".into(), text.into()));
        }
        problems
    }
}

/// Why the spool cannot be opened. Each ends the process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the lock.
    #[error("spool {} is in use by another process: stop it, or give each its own spool.dir", dir.display())]
    Locked {
        /// The spool's directory.
        dir: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {action} at {}: {problem}; spool.dir needs a directory that the agent may write to", path.display())]
    Unusable {
        /// What was attempted.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// The state is of another version.
    #[error("{} has version {found}, this agent knows {known}: use the agent that wrote it, or another spool.dir", path.display())]
    Version {
        /// The state file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version of this code.
        known: u32,
    },
}

impl Error {
    fn unusable(path: &Path, action: &'static str, error: &io::Error) -> Self {
        Self::Unusable { action, path: path.to_owned(), problem: error.to_string() }
    }
}

/// The lock on the directory; another process can have it when this is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its lock, which ends with it")] File);

/// An object read back from disk and found to be what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpooledObject {
    /// Given when it was sealed.
    pub sequence: u64,
    /// Samples in it.
    pub samples: u64,
    /// CRC-32 of `bytes`, as computed at sealing.
    pub crc32: u32,
    /// What `bytes` are.
    pub format: Format,
    /// The file.
    pub bytes: Bytes,
    /// When it came to the spool, which is when it was sealed.
    pub written: SystemTime,
}

/// The spool. Cheap to share; never blocks the runtime.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: Arc<Path>,
    bytes_max: u64,
    metrics: Arc<Metrics>,
    contents: Arc<Mutex<Contents>>,
    /// Woken when an object is added or decided about.
    added: Notify,
    /// Held by whoever reads or renames an object's file, or removes it from the contents.
    files: Arc<tokio::sync::Mutex<()>>,
    /// Held by whoever writes the state, until that has ended.
    slots: Arc<tokio::sync::Mutex<Slots>>,
}

impl Spool {
    /// Opens the directory, takes its lock, and finds what the last process left. Blocks on the disk.
    ///
    /// `writer` overrides the id that was made with the spool; `now` is the second that a new spool's sequence
    /// starts with.
    ///
    /// # Errors
    /// When another process has the lock, or the directory cannot be used.
    pub(crate) fn open(
        config: &Config,
        writer: Option<&str>,
        now: i64,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Lock), Error> {
        let dir = config.dir.as_path();
        let held = files::lock(dir)?;
        let slots::Opened { mut slots, mut state, doubtful } = slots::open(dir, now)?;
        if let Some(writer) = writer {
            writer.clone_into(&mut state.writer);
        }
        let (found, largest) = files::scan(dir).map_err(|e| Error::unusable(dir, "list the objects", &e))?;
        state.doubtful |= doubtful;
        state.rise(largest.map_or(0, |n| n.saturating_add(1)));
        let (done, mut found): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| state.is_done(found.name.sequence));
        let contents = Mutex::new(Contents::new(state));
        done.iter().for_each(|found| lock(&contents).done.drop(found.name));
        // A loss of power may undo what was removed until this is done; the state is going to know it no more.
        files::sync(dir).map_err(|e| Error::unusable(dir, "sync the directory", &e))?;
        first::write(dir, &contents, &mut found, &metrics, |state| slots.write(state))
            .map_err(|e| Error::unusable(dir, "write the state", &e))?;
        outlet::sweep(dir, &contents, &metrics);
        let spool = Self {
            dir: dir.into(),
            bytes_max: config.max_bytes.0,
            metrics,
            contents: Arc::new(contents),
            added: Notify::new(),
            files: Arc::default(),
            slots: Arc::new(tokio::sync::Mutex::new(slots)),
        };
        spool.metrics.spool_bytes_max.set(i64::try_from(config.max_bytes.0).unwrap_or(i64::MAX));
        spool.adopt(found);
        Ok((spool, Lock(held)))
    }

    /// Takes in the objects that were found at the start. Of two with one number the second is set aside.
    fn adopt(&self, found: Vec<files::Found>) {
        let mut contents = self.lock();
        for files::Found { name, bytes, written } in found {
            if contents.objects.contains_key(&name.sequence) {
                let aside = files::set_aside(&self.dir, &name.text(), files::CORRUPT);
                tracing::error!(
                    file = name.text(),
                    ?aside,
                    "two spooled objects have one number, set one aside"
                );
                self.metrics.drop_objects(DropReason::Corrupt, 1, name.samples);
                continue;
            }
            contents.insert(name, bytes, written);
        }
        if let (Some(oldest), count) = (contents.objects.keys().next(), contents.objects.len()) {
            tracing::info!(
                objects = count,
                bytes = contents.bytes,
                oldest,
                "found objects of an earlier run"
            );
        }
        self.measure(&contents);
    }

    /// Who writes, the next sequence number, and which ones have come.
    pub(crate) fn writer(&self) -> Writer {
        let contents = self.lock();
        let (next_sequence, taken) = (contents.next_sequence, *contents.taken.borrow());
        Writer { id: contents.state.writer.clone(), next_sequence, taken }
    }

    /// Says that every object below this number is on disk durably, or was dropped and counted. Objects come in order.
    pub(crate) fn taken(&self) -> watch::Receiver<u64> {
        self.lock().taken.subscribe()
    }

    /// Whether a later key may have been recorded than what was found at the start; until the next one is.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.lock().state.doubtful
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().objects.is_empty()
    }

    /// Whether nothing waits that is known to be ours.
    pub(crate) fn is_drained(&self) -> bool {
        self.lock().deliverable().is_none()
    }

    /// How full it is.
    pub(crate) fn status(&self) -> SpoolStatus {
        let contents = self.lock();
        let age =
            |entry: &Entry| clock::wall().duration_since(entry.written).unwrap_or_default().as_secs_f64();
        SpoolStatus {
            objects: contents.objects.len() as u64,
            bytes: contents.bytes,
            samples: contents.samples,
            oldest_age: contents.objects.values().next().map(age),
        }
    }

    fn measure(&self, contents: &Contents) {
        self.metrics.spool_objects.set(i64::try_from(contents.objects.len()).unwrap_or(i64::MAX));
        self.metrics.spool_bytes.set(i64::try_from(contents.bytes).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }
}

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}
