//! Into the spool: an object is written, after room was made for it.

use std::io;
use std::sync::Arc;

use pipeline::model::object::Object;

use super::{Spool, files};
use crate::blocking::blocking;
use crate::clock;
use crate::metrics::DropReason;
use crate::turn::Claim;

impl Spool {
    /// Writes an object, after making room for it. One that somebody else has scraped too is dropped and counted instead.
    ///
    /// # Errors
    /// When the disk refuses; the object is unchanged and may be tried again.
    pub(crate) async fn add(&self, object: &Object) -> io::Result<()> {
        let size = object.bytes.len() as u64;
        let Some(name) = self.name(object) else { return Ok(()) };
        // Files that only wait for their receipts take no room from it.
        self.record_receipts().await;
        if !self.make_room(size).await {
            self.drop_full(object.sequence, object.samples);
            self.lock().pass(object.sequence);
            return Ok(());
        }
        let gone = self.lock().done.gone();
        let (dir, bytes) = (Arc::clone(&self.dir), object.bytes.clone());
        let written = blocking(move || {
            let file = name.text();
            files::write(&dir, &file, &bytes).inspect_err(|_| {
                // It may be there already. The next attempt may give it another name, and there must not be two.
                let _ = std::fs::remove_file(dir.join(file));
            })
        });
        written.await?;
        {
            let mut contents = self.lock();
            // The directory was synced with it.
            contents.done.forget(&gone);
            contents.insert(name, size, clock::wall());
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
        if self.lock().bytes_fixed().saturating_add(size) > self.bytes_max {
            return false;
        }
        loop {
            let files = Arc::clone(&self.files).lock_owned().await;
            let oldest = {
                let mut contents = self.lock();
                if contents.bytes.saturating_add(size) <= self.bytes_max {
                    return true;
                }
                let oldest = contents.droppable().and_then(|sequence| contents.remove(sequence));
                let Some(entry) = oldest else { return false };
                contents.done.drop(entry.name);
                self.measure(&contents);
                entry
            };
            self.drop_full(oldest.name.sequence, oldest.name.samples);
            self.sweep(files).await;
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
}
