//! Objects on disk until they are delivered.
//!
//! Takes sealed objects, gives them out oldest first, and remembers across restarts who writes and which key was
//! given last. Bounded: when full, the oldest object goes, never the one in flight, and is counted. The directory
//! holds `lock`, `state.json` and one file per object, whose name says all that is needed of it.

mod claim;
mod contents;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pipeline::model::object::{Object, Writer};
use pipeline::model::units::Size;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::blocking::blocking;
use crate::clock;
use crate::metrics::{DropReason, Metrics};
use crate::status::SpoolStatus;
use crate::turn::Claim;
use contents::{Contents, Entry};
use files::Name;
pub(crate) use state::InFlight;

/// Section `spool`.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// The file.
    pub bytes: Bytes,
}

/// The spool. Cheap to share; never blocks the runtime.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: Arc<Path>,
    bytes_max: u64,
    metrics: Arc<Metrics>,
    contents: Mutex<Contents>,
    /// Woken when an object is added.
    added: Notify,
    /// Held by whoever reads, renames or removes an object's file.
    files: tokio::sync::Mutex<()>,
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
        let lock = files::lock(dir)?;
        let mut state = state::open(dir, now)?;
        if let Some(writer) = writer {
            writer.clone_into(&mut state.writer);
        }
        let (found, largest) = files::scan(dir).map_err(|e| Error::unusable(dir, "list the objects", &e))?;
        state.rise(largest.map_or(0, |n| n.saturating_add(1)));
        state::write(dir, &state).map_err(|e| Error::unusable(dir, "write the state", &e))?;
        let spool = Self {
            dir: dir.into(),
            bytes_max: config.max_bytes.0,
            metrics,
            contents: Mutex::new(Contents::new(state)),
            added: Notify::new(),
            files: tokio::sync::Mutex::default(),
        };
        spool.metrics.spool_bytes_max.set(i64::try_from(config.max_bytes.0).unwrap_or(i64::MAX));
        spool.adopt(found);
        Ok((spool, Lock(lock)))
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
            contents.insert(Entry { name, bytes, written });
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

    /// Writes an object, after making room for it. One that somebody else has scraped too is dropped and counted instead.
    ///
    /// # Errors
    /// When the disk refuses; the object is unchanged and may be tried again.
    pub(crate) async fn add(&self, object: &Object) -> io::Result<()> {
        let size = object.bytes.len() as u64;
        let Some(name) = self.name(object) else { return Ok(()) };
        if !self.make_room(size).await {
            self.drop_full(object.sequence, object.samples);
            self.lock().pass(object.sequence);
            return Ok(());
        }
        let (dir, bytes) = (Arc::clone(&self.dir), object.bytes.clone());
        blocking(move || files::write(&dir, &name.text(), &bytes)).await?;
        {
            let mut contents = self.lock();
            contents.insert(Entry { name, bytes: size, written: clock::wall() });
            self.measure(&contents);
        }
        self.added.notify_one();
        // It may have been decided while the disk was busy. Where nothing was claimed yet, nothing is decided.
        if name.undecided.is_some() && self.lock().claim != Claim::All {
            self.judge().await;
        }
        Ok(())
    }

    /// Drops the oldest objects, except the one in flight, until `size` more bytes fit. False where they cannot, and then
    /// nothing is dropped for it.
    async fn make_room(&self, size: u64) -> bool {
        {
            let contents = self.lock();
            let given =
                contents.given.and_then(|sequence| contents.objects.get(&sequence)).map_or(0, |e| e.bytes);
            if given.saturating_add(size) > self.bytes_max {
                return false;
            }
        }
        loop {
            let _files = self.files.lock().await;
            let oldest = {
                let mut contents = self.lock();
                if contents.bytes.saturating_add(size) <= self.bytes_max {
                    return true;
                }
                let given = contents.given;
                let oldest = contents.objects.keys().copied().find(|sequence| Some(*sequence) != given);
                let Some(entry) = oldest.and_then(|sequence| contents.remove(sequence)) else { return false };
                self.measure(&contents);
                entry
            };
            self.drop_full(oldest.name.sequence, oldest.name.samples);
            self.unlink(oldest.name).await;
        }
    }

    fn drop_full(&self, sequence: u64, samples: u64) {
        tracing::error!(
            sequence,
            samples,
            bytes_max = self.bytes_max,
            "spool is full, dropped the oldest object"
        );
        self.metrics.drop_objects(DropReason::SpoolFull, 1, samples);
    }

    /// Waits for an object, and gives the oldest: read back, verified, and safe from being dropped for space until
    /// [`Spool::delivered`] or [`Spool::discard`].
    ///
    /// # Errors
    /// When the disk refuses to read, which may pass. A file that cannot be what was written is set aside and
    /// counted instead, and the next one given.
    pub(crate) async fn oldest(&self) -> io::Result<SpooledObject> {
        loop {
            let added = self.added.notified();
            let files = self.files.lock().await;
            let Some(Entry { name, .. }) = self.give() else {
                drop(files);
                added.await;
                continue;
            };
            let path = self.dir.join(name.text());
            let read = move || std::fs::read(path).map(|bytes| (crc32fast::hash(&bytes), bytes));
            match blocking(read).await {
                Ok((crc32, bytes)) if crc32 == name.crc32 => {
                    let Name { sequence, samples, .. } = name;
                    return Ok(SpooledObject { sequence, samples, crc32, bytes: bytes.into() });
                }
                Ok(_) => {}
                Err(e) if is_lost(&e) => {}
                Err(e) => return Err(e),
            }
            drop(files);
            self.discard(name.sequence, DropReason::Corrupt).await;
        }
    }

    fn give(&self) -> Option<Entry> {
        let mut contents = self.lock();
        let entry = contents.deliverable().copied();
        contents.given = entry.map(|entry| entry.name.sequence);
        entry
    }

    /// The last key that was given.
    pub(crate) fn last_key(&self) -> Option<String> {
        self.lock().state.last_key.clone()
    }

    /// The object that the last key was given to; it may have been delivered since.
    pub(crate) fn in_flight(&self) -> Option<InFlight> {
        self.lock().state.in_flight.clone()
    }

    /// Remembers durably which key an object has. Returns when that would survive a loss of power.
    ///
    /// # Errors
    /// When the disk refuses; what was remembered before stands.
    pub(crate) async fn record(&self, in_flight: InFlight) -> io::Result<()> {
        let state = self.lock().recorded(in_flight);
        let dir = Arc::clone(&self.dir);
        let state = blocking(move || state::write(&dir, &state).map(|()| state)).await?;
        self.lock().state = state;
        Ok(())
    }

    /// Forgets an object that has arrived.
    pub(crate) async fn delivered(&self, sequence: u64) {
        let _files = self.files.lock().await;
        let removed = self.lock().remove(sequence);
        if let Some(entry) = removed {
            self.unlink(entry.name).await;
        }
        self.measure(&self.lock());
    }

    /// Sets an object aside under a name that says why, and counts it.
    pub(crate) async fn discard(&self, sequence: u64, reason: DropReason) {
        let _files = self.files.lock().await;
        let removed = self.lock().remove(sequence);
        let Some(Entry { name, .. }) = removed else { return };
        // Counted first: the end of our turn may break this off at the disk.
        self.metrics.drop_objects(reason, 1, name.samples);
        self.measure(&self.lock());
        let ending = if reason == DropReason::Rejected { files::REJECTED } else { files::CORRUPT };
        let dir = Arc::clone(&self.dir);
        let aside = blocking(move || files::set_aside(&dir, &name.text(), ending)).await;
        let file = format!("{}{ending}", name.text());
        tracing::error!(
            file,
            samples = name.samples,
            reason = reason.reason(),
            ?aside,
            "set an object aside"
        );
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

    async fn unlink(&self, name: Name) {
        let path = self.dir.join(name.text());
        if let Err(error) = blocking(move || std::fs::remove_file(path)).await {
            tracing::error!(file = name.text(), %error, "cannot remove a spooled object");
        }
    }

    fn measure(&self, contents: &Contents) {
        self.metrics.spool_objects.set(i64::try_from(contents.objects.len()).unwrap_or(i64::MAX));
        self.metrics.spool_bytes.set(i64::try_from(contents.bytes).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an object cannot be read now or later: the file is gone or the medium is bad.
fn is_lost(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
