//! The journal: what was scraped is on disk within a second, long before its object is.
//!
//! ```text
//! worker { ... batch > scribe } ==entries==> disk: {sequence}.samples, {generation}.series
//! ```
//!
//! Takes what each scrape adds to the open batch, as columns: a series' labels once, then numbers. `scribe` makes bytes of it
//! and is a plain function of the worker; `disk` is a thread that writes and syncs them together, twice a second unless
//! configured. A batch that will become the object of sequence number N stands in the file of that number, so
//! that the rename by which the object becomes durable says at the same time that this file is not needed any more. After a
//! kill, files whose object never came are read back (`left`, `read`) and become that object: the same batch, the same number,
//! the same bytes.

mod disk;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod left;
mod metrics;
mod number;
mod read;
mod scribe;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::model::units::Duration;

pub(crate) use disk::Disk;
pub(crate) use left::{Found, Left};
pub(crate) use metrics::Metrics;
pub(crate) use scribe::{Entry, Scribe};

/// Entries that wait for the disk.
const ENTRIES_MAX: usize = 1024;
/// Bytes that wait for the disk, or one entry that is larger.
pub const PENDING_BYTES_MAX: u32 = 32 << 20;
/// Bytes that wait beyond which they are written at once, and synced in their time: at first sight series come with their labels,
/// which makes several megabytes of the first scrapes of all targets.
const WAITING_BYTES: usize = 1 << 20;

/// Section `journal`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long what was scraped may wait to be written and synced. It bounds what a kill or a loss of power costs; each sync
    /// is a write of the disk's own.
    pub commit_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { commit_interval: Duration(std::time::Duration::from_millis(500)) }
    }
}

impl Config {
    /// Problems between fields: path below the section, what is wrong and the remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let range = std::time::Duration::from_millis(10)..=std::time::Duration::from_secs(60);
        if range.contains(&self.commit_interval.0) {
            return Vec::new();
        }
        let text = format!("{} is not between 10ms and 1m: 500ms is the default", self.commit_interval);
        vec![("commit_interval".to_owned(), text)]
    }
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} at {}: {problem}; the journal needs a directory that the agent may write to", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    problem: io::Error,
}

/// The opened journal: what an earlier process left, where entries go, and the thread that writes them.
pub(crate) struct Opened {
    pub(crate) left: Left,
    pub(crate) journal: Journal,
    pub(crate) disk: Disk,
}

/// Opens the directory and looks at what is there. Objects below `taken` were in the spool before; a batch may become
/// `objects_max` objects. Blocks on the disk.
pub(crate) fn open(
    dir: &Path,
    config: &Config,
    taken: u64,
    objects_max: u64,
    metrics: Arc<Metrics>,
) -> Result<Opened, Error> {
    let failed = |action, problem| Error { action, path: dir.to_owned(), problem };
    std::fs::create_dir_all(dir).map_err(|e| failed("make the directory", e))?;
    // A directory whose own name is not durable keeps nothing.
    if let Some(parent) = dir.parent() {
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(|e| failed("sync what is above", e))?;
    }
    let mut left = Left::find(dir, taken).map_err(|e| failed("list the files", e))?;
    left.make_room(objects_max).map_err(|e| failed("rename the files", e))?;
    let (sender, entries) = mpsc::channel(ENTRIES_MAX);
    let (sender_of_problem, problem) = watch::channel(None);
    let journal = Journal {
        entries: sender,
        room: Arc::new(Semaphore::new(PENDING_BYTES_MAX as usize)),
        hurry: Arc::default(),
        problem,
        is_lost: Arc::default(),
        metrics,
    };
    let disk = Disk::new(dir, config.commit_interval.0, entries, &journal, sender_of_problem, &left);
    Ok(Opened { left, journal, disk })
}

/// An entry on its way to the disk, with its share of the memory that all of them may take.
#[derive(Debug)]
struct Pending {
    entry: Entry,
    _room: Option<OwnedSemaphorePermit>,
}

/// Where the worker gives its entries.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: mpsc::Sender<Pending>,
    room: Arc<Semaphore>,
    /// Wakes the thread before its time.
    hurry: Arc<Notify>,
    problem: Problem,
    is_lost: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

/// Why the journal cannot be written at the moment; `None` while it can.
pub type Problem = watch::Receiver<Option<String>>;

impl Journal {
    /// Gives an entry to the disk at once. Gives it back where there is no room for it, see [`Self::append`].
    pub(crate) fn try_append(&self, entry: Entry) -> Result<(), Entry> {
        let bytes = self.bytes(&entry);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let (Ok(room), Ok(place)) = (room, self.entries.try_reserve()) else { return Err(entry) };
        self.send(place, entry, Some(room));
        Ok(())
    }

    /// Gives an entry to the disk; waits while too much is on its way there. False where the disk refuses, and then the entry
    /// is gone.
    pub(crate) async fn append(&self, entry: Entry) -> bool {
        let send = async {
            let room = Arc::clone(&self.room).acquire_many_owned(self.bytes(&entry));
            // The semaphore is never closed, and the thread that receives ends after the worker only.
            let room = room.await.ok();
            let place = self.entries.reserve().await;
            place.is_ok_and(|place| {
                self.send(place, entry, room);
                true
            })
        };
        tokio::select! {
            biased;
            () = self.failed() => false,
            given = send => given,
        }
    }

    /// What an entry takes of the room. Wakes the disk where that leaves little.
    fn bytes(&self, entry: &Entry) -> u32 {
        let bytes = u32::try_from(entry.bytes()).unwrap_or(u32::MAX);
        let room = self.room.available_permits().saturating_sub(bytes as usize);
        if room < PENDING_BYTES_MAX as usize - WAITING_BYTES || self.entries.capacity() < ENTRIES_MAX / 2 {
            self.hurry.notify_one();
        }
        bytes.min(PENDING_BYTES_MAX)
    }

    fn send(&self, place: mpsc::Permit<'_, Pending>, entry: Entry, room: Option<OwnedSemaphorePermit>) {
        self.metrics.pending_bytes.add(i64::try_from(entry.bytes()).unwrap_or(i64::MAX));
        place.send(Pending { entry, _room: room });
    }

    /// Says that series may be missing from the files, so that the next batch writes them again.
    pub(crate) fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
    }

    /// Whether series may be missing, or may have been forgotten by the system.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// The same, once.
    pub(crate) fn was_lost(&self) -> bool {
        self.is_lost() && self.is_lost.swap(false, Ordering::AcqRel)
    }

    /// Whether the disk refuses at the moment.
    pub(crate) fn is_failing(&self) -> bool {
        self.problem.borrow().is_some()
    }

    /// Waits until the disk refuses.
    pub(crate) async fn failed(&self) {
        if self.problem().wait_for(Option::is_some).await.is_err() {
            // The thread has ended, which it does after the worker only.
            std::future::pending::<()>().await;
        }
    }

    /// For whoever shows it.
    pub(crate) fn problem(&self) -> Problem {
        self.problem.clone()
    }
}
