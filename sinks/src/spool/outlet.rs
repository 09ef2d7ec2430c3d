//! Out of the spool: an object is given out, has its key recorded, and is done with.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use super::contents::{Contents, Entry};
use super::done::STRETCHES_MAX;
use super::files::{self, Name};
use super::{InFlight, Spool, SpooledObject};
use crate::blocking::blocking;
use crate::metrics::{DropReason, Metrics};

impl Spool {
    /// Gives the next object: read back, verified, and safe from being dropped for space until [`Spool::delivered`] or
    /// [`Spool::discard`]. `None` if there is none, and where it cannot be what was written: then that was set aside and
    /// counted.
    ///
    /// # Errors
    /// When the disk refuses to read, which may pass.
    pub(crate) async fn oldest(&self) -> io::Result<Option<SpooledObject>> {
        let files = self.files.lock().await;
        let Some(Entry { name, written, .. }) = self.give() else { return Ok(None) };
        let dir = Arc::clone(&self.dir);
        match blocking(move || files::read(&dir, &name.text())).await {
            Ok(Some((crc32, bytes))) if crc32 == name.crc32 => {
                let Name { sequence, samples, format, .. } = name;
                return Ok(Some(SpooledObject {
                    sequence,
                    samples,
                    crc32,
                    format,
                    bytes: bytes.into(),
                    written,
                }));
            }
            Ok(_) => {}
            Err(error) => {
                self.metrics.spool_read_errors.inc();
                return Err(error);
            }
        }
        drop(files);
        self.discard(name.sequence, DropReason::Corrupt).await;
        Ok(None)
    }

    fn give(&self) -> Option<Entry> {
        let mut contents = self.lock();
        let entry = contents.deliverable().copied();
        contents.given = entry.map(|entry| entry.name.sequence);
        entry
    }

    /// Waits until something may have become deliverable.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// The last key that was given.
    pub(crate) fn last_key(&self) -> Option<String> {
        self.lock().state.last_key.clone()
    }

    /// The object that the last key was given to; it may have been delivered since.
    pub(crate) fn in_flight(&self) -> Option<InFlight> {
        self.lock().state.in_flight.clone()
    }

    /// Remembers durably which key an object has, and which objects are done with. Returns when that would survive a loss
    /// of power.
    ///
    /// # Errors
    /// When the disk refuses; what was remembered before stands.
    pub(crate) async fn record(&self, in_flight: InFlight) -> io::Result<()> {
        self.remember(Some(in_flight)).await
    }

    /// Forgets an object that has arrived. Its receipt is recorded before the file is removed: with the next key where
    /// another object waits, and at once where none does.
    pub(crate) async fn delivered(&self, sequence: u64) {
        let is_last = {
            let _files = self.files.lock().await;
            let mut contents = self.lock();
            if let Some(entry) = contents.remove(sequence) {
                contents.done.deliver(entry.name);
            }
            self.measure(&contents);
            contents.deliverable().is_none()
        };
        if is_last {
            self.record_receipts().await;
        }
    }

    /// Records the receipts that wait for the next key, because it may not come soon.
    pub(crate) async fn record_receipts(&self) {
        if self.lock().done.is_known() {
            return;
        }
        if let Err(error) = self.remember(None).await {
            // Until then the recorded key tells a later process where to look.
            self.metrics.spool_write_errors.inc();
            tracing::error!(%error, "cannot record receipts in the spool, it is tried with the next key");
        }
    }

    /// Writes the state, then removes the files of which a later process would now know that they are done with. Goes on
    /// to its end even if nobody waits for it any more, and one after the other.
    async fn remember(&self, in_flight: Option<InFlight>) -> io::Result<()> {
        let mut slots = Arc::clone(&self.slots).lock_owned().await;
        let (dir, contents) = (Arc::clone(&self.dir), Arc::clone(&self.contents));
        let metrics = Arc::clone(&self.metrics);
        blocking(move || {
            let mut state = super::lock(&contents).to_remember(in_flight);
            if state.done.len() > STRETCHES_MAX {
                let gone = super::lock(&contents).done.gone();
                files::sync(&dir)?;
                let mut contents = super::lock(&contents);
                contents.done.forget(&gone);
                state.done = contents.done.stretches();
            }
            slots.write(&state)?;
            {
                let mut contents = super::lock(&contents);
                contents.done.know(&state.done);
                contents.state = state;
            }
            sweep(&dir, &contents, &metrics);
            Ok(())
        })
        .await
    }

    /// Removes files that are done with; `files` is the right to.
    pub(super) async fn sweep(&self, files: OwnedMutexGuard<()>) {
        let (dir, contents) = (Arc::clone(&self.dir), Arc::clone(&self.contents));
        let metrics = Arc::clone(&self.metrics);
        blocking(move || {
            sweep(&dir, &contents, &metrics);
            drop(files);
        })
        .await;
    }

    /// Sets the object that was given out aside, because the medium does not give it back.
    pub(crate) async fn give_up(&self) {
        let given = self.lock().given;
        if let Some(sequence) = given {
            self.discard(sequence, DropReason::Corrupt).await;
        }
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
}

/// Removes the files that are done with. One that stays is said once and tried again with the next.
pub(super) fn sweep(dir: &Path, contents: &Mutex<Contents>, metrics: &Metrics) {
    let removable = super::lock(contents).done.removable();
    for name in removable {
        match std::fs::remove_file(dir.join(name.text())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                metrics.spool_write_errors.inc();
                if super::lock(contents).done.keep() {
                    let file = name.text();
                    tracing::error!(file, %error, "cannot remove a spooled object that is done with, trying again");
                }
            }
            _ => {
                if super::lock(contents).done.remove(name.sequence) {
                    tracing::info!("spooled objects can be removed again");
                }
            }
        }
    }
}
