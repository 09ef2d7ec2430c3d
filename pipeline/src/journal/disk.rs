//! The thread that writes the journal: what came since the last time, and then one sync for all of it.
//!
//! Takes entries, appends them to two files, and removes files whose objects have come to the spool. Between two syncs it
//! sleeps, whatever comes, since to be woken costs more than to write. A disk that refuses is asked again and again; meanwhile
//! the worker is told, and what an object holds by then need not be written any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::left::{SAMPLES, SERIES, file};
use super::{Entry, Journal, Left, Metrics, Pending};
use crate::clock;

/// How long to wait before a disk that refused is asked again; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// What is written to see whether the disk takes anything at all.
const PROBE: &str = "probe.tmp";
/// How long the end waits for the spool, which mostly takes milliseconds.
const END_MAX: Duration = Duration::from_secs(1);
/// Room for an object and some scrapes.
const PROBE_BYTES: usize = 256 << 10;

/// A file that is being appended to.
#[derive(Debug)]
struct Open {
    number: u64,
    file: File,
    /// Bytes of complete entries; what may stand behind them is written over.
    length: u64,
    is_dirty: bool,
}

impl Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.file.sync_data()?;
            self.is_dirty = false;
        }
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    commit_interval: Duration,
    entries: mpsc::Receiver<Pending>,
    /// Told when much waits here.
    hurry: Arc<Notify>,
    /// Entries that are written before anything else.
    at_hand: usize,
    /// Whether a sync follows them.
    is_closing: bool,
    problem: watch::Sender<Option<String>>,
    is_lost: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    series: Option<Open>,
    samples: Option<Open>,
    /// Files of samples that are complete but not synced yet.
    complete: Vec<Open>,
    /// Whether a file was made since the directory was synced.
    is_dir_dirty: bool,
    /// When the first entry was written that is not synced yet.
    since: Option<Instant>,
    /// All objects below are in the spool or were counted.
    taken: u64,
    /// Files of samples that are there.
    batches: BTreeSet<u64>,
    /// Files of series that are there, and the last batch that needs each.
    generations: BTreeMap<u32, u64>,
}

/// What the thread does next.
enum Next {
    Entry(Pending),
    Commit,
    Taken,
    End,
}

impl Disk {
    pub(super) fn new(
        dir: &std::path::Path,
        commit_interval: Duration,
        entries: mpsc::Receiver<Pending>,
        journal: &Journal,
        problem: watch::Sender<Option<String>>,
        left: &Left,
    ) -> Self {
        let last = left.batches.last().copied().unwrap_or_default();
        Self {
            dir: dir.to_owned(),
            commit_interval,
            entries,
            hurry: Arc::clone(&journal.hurry),
            at_hand: 0,
            is_closing: false,
            problem,
            is_lost: Arc::clone(&journal.is_lost),
            metrics: Arc::clone(&journal.metrics),
            series: None,
            samples: None,
            complete: Vec::new(),
            is_dir_dirty: false,
            since: None,
            taken: 0,
            batches: left.batches.iter().chain(&left.done).copied().collect(),
            generations: left.generations.iter().map(|generation| (*generation, last)).collect(),
        }
    }

    /// Runs until nobody has entries any more. `taken`: all objects below it are in the spool or were counted.
    /// Once everything is `stopping`, a disk that refuses is not waited for.
    pub(crate) fn run(
        mut self,
        mut taken: watch::Receiver<u64>,
        stopping: &CancellationToken,
        runtime: &Handle,
    ) {
        self.sweep(&mut taken);
        loop {
            let failed = match runtime.block_on(self.next(&mut taken, stopping)) {
                Next::Entry(pending) => {
                    if taken.has_changed().unwrap_or_default() {
                        self.sweep(&mut taken);
                    }
                    let bytes = i64::try_from(pending.entry.bytes()).unwrap_or_default();
                    let written = self.write(&pending.entry).is_ok();
                    let recovered =
                        written || self.recover(Some(&pending.entry), &mut taken, stopping, runtime);
                    self.metrics.pending_bytes.sub(bytes);
                    !recovered
                }
                Next::Commit => !self.commit_or_recover(&mut taken, stopping, runtime),
                Next::Taken => {
                    self.sweep(&mut taken);
                    false
                }
                Next::End => {
                    // The spool may take the last object late.
                    let _ = self.commit();
                    true
                }
            };
            if failed {
                break;
            }
        }
        runtime.block_on(self.end(taken));
    }

    /// All batches are sealed: waits a moment for their objects to come to the spool, so that nothing is left here.
    async fn end(mut self, mut taken: watch::Receiver<u64>) {
        let swept = async {
            while !self.batches.is_empty() {
                changed(&mut taken).await;
                self.sweep(&mut taken);
            }
        };
        let _ = tokio::time::timeout(END_MAX, swept).await;
    }

    fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.commit_interval)
    }

    async fn next(&mut self, taken: &mut watch::Receiver<u64>, stopping: &CancellationToken) -> Next {
        loop {
            if self.at_hand > 0 {
                self.at_hand -= 1;
                match self.entries.try_recv() {
                    Ok(pending) => return Next::Entry(pending),
                    Err(_) => self.at_hand = 0,
                }
            }
            if std::mem::take(&mut self.is_closing) {
                return Next::Commit;
            }
            let due = self.due();
            let is_resting = due.is_some() && !stopping.is_cancelled();
            tokio::select! {
                biased;
                () = clock::until(due) => (self.at_hand, self.is_closing) = (self.entries.len(), true),
                pending = self.entries.recv(), if !is_resting => return pending.map_or(Next::End, Next::Entry),
                () = self.hurry.notified(), if is_resting => self.at_hand = self.entries.len(),
                () = stopping.cancelled(), if is_resting => {}
                () = changed(taken) => return Next::Taken,
            }
        }
    }

    /// Appends an entry. Where it fails, nothing of the entry counts as written.
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let written = self.try_write(entry);
        match &written {
            Ok(()) => {
                self.metrics.bytes.inc_by(entry.bytes() as u64);
                self.since.get_or_insert_with(Instant::now);
            }
            Err(error) => self.fail(error),
        }
        written
    }

    fn try_write(&mut self, entry: &Entry) -> io::Result<()> {
        let generation = u64::from(entry.generation);
        // Its object is there already; its series may be needed by later ones.
        let is_needed = entry.sequence >= self.taken;
        if self.series.as_ref().is_none_or(|open| open.number != generation) {
            // Samples of the batch before may still need what is not synced there.
            self.series.as_mut().map_or(Ok(()), Open::sync)?;
            self.series = Some(self.create(generation, SERIES)?);
        }
        self.generations.insert(entry.generation, entry.sequence);
        if is_needed && self.samples.as_ref().is_none_or(|open| open.number != entry.sequence) {
            let open = self.create(entry.sequence, SAMPLES)?;
            self.complete.extend(self.samples.replace(open));
            self.batches.insert(entry.sequence);
        }
        // Samples whose series are not there could not be read, so those come first. Both count as written or none: an entry
        // that is tried again is written over what is there.
        let Some(series) = &mut self.series else { return Ok(()) };
        let length = series.length;
        series.append(&entry.series)?;
        let samples = self.samples.as_mut().filter(|_| is_needed);
        samples
            .map_or(Ok(()), |samples| samples.append(&entry.samples))
            .inspect_err(|_| series.length = length)
    }

    fn create(&mut self, number: u64, ending: &str) -> io::Result<Open> {
        let path = self.dir.join(file(number, ending));
        // Nothing could be read of a file that is still there, and a copy of it may have been kept.
        fs::remove_file(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let file = File::create_new(path)?;
        self.is_dir_dirty = true;
        Ok(Open { number, file, length: 0, is_dirty: false })
    }

    /// Makes everything written so far survive a loss of power.
    fn commit(&mut self) -> io::Result<()> {
        let timer = self.metrics.commit_seconds.start_timer();
        let files = self.series.iter_mut().chain(&mut self.complete).chain(&mut self.samples);
        let mut synced = Ok(());
        for open in files {
            synced = synced.and_then(|()| open.sync());
        }
        if self.is_dir_dirty {
            synced = synced.and_then(|()| File::open(&self.dir)?.sync_all());
        }
        match &synced {
            Ok(()) => {
                timer.observe_duration();
                self.metrics.commits.inc();
                self.is_dir_dirty = false;
                self.since = None;
                self.complete.clear();
            }
            Err(error) => {
                timer.stop_and_discard();
                // The system may have forgotten pages that it could not write (fsync(2), EIO), so that all series are written
                // again.
                self.is_lost.store(true, Ordering::Release);
                self.fail(error);
            }
        }
        synced
    }

    /// False where it is not worth trying any more.
    fn commit_or_recover(
        &mut self,
        taken: &mut watch::Receiver<u64>,
        stopping: &CancellationToken,
        runtime: &Handle,
    ) -> bool {
        self.commit().is_ok() || self.recover(None, taken, stopping, runtime)
    }

    /// Takes note of a failure: scraping pauses, and the worker seals what is open, since an object is another way to make it
    /// durable.
    fn fail(&mut self, error: &io::Error) {
        self.metrics.errors.inc();
        let text = format!("the journal cannot be written: {error}");
        self.problem.send_if_modified(|problem| {
            let is_new = problem.is_none();
            if is_new {
                tracing::error!(dir = %self.dir.display(), %error, "the journal cannot be written, scraping pauses");
                *problem = Some(text);
            }
            is_new
        });
    }

    /// Waits until the disk takes data again, `entry` first. False where everything stops meanwhile: the worker makes objects of
    /// all batches then.
    fn recover(
        &mut self,
        mut entry: Option<&Entry>,
        taken: &mut watch::Receiver<u64>,
        stopping: &CancellationToken,
        runtime: &Handle,
    ) -> bool {
        let mut pause = PAUSE_MIN;
        loop {
            runtime.block_on(async {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = changed(taken) => {}
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                }
            });
            // Removing files may be what makes room.
            self.sweep(taken);
            let written = match entry {
                Some(entry) => self.probe().and_then(|()| self.write(entry)),
                None => self.probe(),
            };
            entry = entry.filter(|_| written.is_err());
            if written.and_then(|()| self.commit()).is_ok() {
                tracing::info!(dir = %self.dir.display(), "the journal can be written again");
                self.problem.send_replace(None);
                return true;
            }
            if stopping.is_cancelled() {
                return false;
            }
        }
    }

    /// Whether the disk takes as much as is needed to go on.
    fn probe(&mut self) -> io::Result<()> {
        let path = self.dir.join(PROBE);
        let written = File::create(&path).and_then(|file| {
            file.write_all_at(&[1; PROBE_BYTES], 0)?;
            file.sync_data()
        });
        let removed = fs::remove_file(&path);
        let outcome = written.and(removed);
        if let Err(error) = &outcome {
            self.metrics.errors.inc();
            if error.kind() == io::ErrorKind::NotFound && fs::create_dir_all(&self.dir).is_ok() {
                // What is open has no name any more.
                (self.series, self.samples) = (None, None);
                self.is_lost.store(true, Ordering::Release);
            }
        }
        outcome
    }

    /// Removes the files of batches that became objects, and of series that no batch needs any more.
    fn sweep(&mut self, taken: &mut watch::Receiver<u64>) {
        let taken = *taken.borrow_and_update();
        self.taken = taken;
        self.complete.retain(|open| open.number >= taken);
        if self.samples.as_ref().is_some_and(|open| open.number < taken) {
            self.samples = None;
        }
        let current = self.series.as_ref().map(|open| open.number);
        let (dir, metrics) = (&self.dir, &self.metrics);
        self.batches.retain(|sequence| *sequence >= taken || !remove(dir, *sequence, SAMPLES, metrics));
        self.generations.retain(|generation, last| {
            let number = u64::from(*generation);
            let is_needed = *last >= taken || current == Some(number);
            is_needed || !remove(dir, number, SERIES, metrics)
        });
    }
}

/// Removes a file; true if it is gone.
fn remove(dir: &std::path::Path, number: u64, ending: &str, metrics: &Metrics) -> bool {
    match fs::remove_file(dir.join(file(number, ending))) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::debug!(%error, number, "cannot remove a file of the journal, trying again later");
            metrics.errors.inc();
            false
        }
    }
}

/// Waits until `taken` changes; for ever if it never will again.
async fn changed(taken: &mut watch::Receiver<u64>) {
    if taken.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Opened, WAITING_BYTES, open};
    use super::*;

    fn opened(dir: &tempfile::TempDir) -> (Journal, Disk) {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let Opened { journal, disk, .. } = open(dir.path(), &Config::default(), 0, 1, metrics).unwrap();
        (journal, disk)
    }

    #[tokio::test]
    async fn much_that_waits_is_written_before_its_sync_is_due() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, mut disk) = opened(&dir);
        let (_taken, mut taken) = watch::channel(0);
        let stopping = CancellationToken::new();
        (disk.commit_interval, disk.since) = (Duration::from_secs(3600), Some(Instant::now()));
        assert!(journal.append(Entry::default()).await);
        let next = disk.next(&mut taken, &stopping);
        assert!(tokio::time::timeout(Duration::ZERO, next).await.is_err(), "little waits for the sync");
        let series = vec![0; WAITING_BYTES + 1];
        assert!(journal.append(Entry { series, ..Entry::default() }).await);
        for _ in 0..2 {
            let next = tokio::time::timeout(Duration::from_secs(10), disk.next(&mut taken, &stopping));
            assert!(matches!(next.await, Ok(Next::Entry(_))));
        }
    }

    #[tokio::test]
    async fn a_sync_that_is_due_takes_all_that_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, mut disk) = opened(&dir);
        for _ in 0..3 {
            assert!(journal.append(Entry::default()).await);
        }
        let (_taken, mut taken) = watch::channel(0);
        let stopping = CancellationToken::new();
        // What was written before waits for its sync since long ago.
        (disk.commit_interval, disk.since) = (Duration::ZERO, Some(Instant::now()));
        for _ in 0..3 {
            assert!(matches!(disk.next(&mut taken, &stopping).await, Next::Entry(_)));
        }
        assert!(matches!(disk.next(&mut taken, &stopping).await, Next::Commit));
    }
}
