//! Whose the objects are: kept while that is not known, dropped and counted once it is known that somebody else has
//! scraped the same.
//!
//! The name of an undecided object's file says what decides about it, so that a restart forgets nothing.

use std::io;
use std::sync::Arc;

use pipeline::model::object::{Object, Tenure};

use tokio::sync::OwnedMutexGuard;

use super::Spool;
use super::contents::Entry;
use super::files::{self, Name, Undecided};
use crate::blocking::blocking;
use crate::metrics::DropReason;
use crate::turn::{Claim, Verdict};

impl Spool {
    /// Says which objects are ours, those that are here and those to come.
    pub(crate) async fn claim(&self, claim: Claim) {
        self.lock().claim = claim;
        self.judge().await;
    }

    /// The turn that the undecided objects were scraped in; there is one at most.
    pub(crate) fn undecided(&self) -> Option<Tenure> {
        self.lock().objects.values().find_map(|entry| Some(entry.undecided?.tenure))
    }

    /// The name of a new object's file. `None` if it is not ours, which is counted.
    pub(super) fn name(&self, object: &Object) -> Option<Name> {
        let Object { sequence, samples, crc32, format, last_scrape, tenure, .. } = *object;
        let verdict = self.lock().claim.judge_new(tenure, last_scrape);
        let undecided = match verdict {
            Verdict::Ours => None,
            Verdict::Undecided(tenure) => Some(Undecided { tenure, last_scrape }),
            Verdict::Theirs => {
                self.drop_taken_over(1, samples);
                self.lock().pass(sequence);
                return None;
            }
        };
        Some(Name { sequence, samples, crc32, format, undecided })
    }

    /// Decides about undecided objects as far as the claim now allows. An object that has its key may have arrived, and is
    /// left to the upload.
    pub(super) async fn judge(&self) {
        let files = Arc::clone(&self.files).lock_owned().await;
        let theirs: Vec<Name> = {
            let mut contents = self.lock();
            let claim = contents.claim;
            let sent = contents.state.in_flight.as_ref().map(|object| object.sequence);
            let mut theirs = Vec::new();
            for (sequence, entry) in &mut contents.objects {
                let Some(Undecided { tenure, last_scrape }) = entry.undecided else { continue };
                match claim.judge_again(tenure, last_scrape) {
                    Verdict::Undecided(_) => {}
                    Verdict::Theirs if sent != Some(*sequence) => theirs.push(entry.name),
                    Verdict::Ours | Verdict::Theirs => {
                        entry.undecided = None;
                        self.added.notify_one();
                    }
                }
            }
            for name in &theirs {
                contents.remove(name.sequence);
                contents.done.drop(*name);
            }
            self.measure(&contents);
            theirs
        };
        if !theirs.is_empty() {
            let samples = theirs.iter().map(|name| name.samples).sum();
            self.drop_taken_over(theirs.len() as u64, samples);
        }
        self.follow_on_disk(!theirs.is_empty(), files).await;
    }

    /// Brings the names on disk up to what was decided. Where the disk refuses, uploading goes by what is in memory, and the
    /// next claim, which comes in seconds, tries again.
    async fn follow_on_disk(&self, sweep: bool, files: OwnedMutexGuard<()>) {
        let lagging: Vec<Name> = {
            let contents = self.lock();
            let lags = |entry: &&Entry| entry.name.undecided.is_some() && entry.undecided.is_none();
            contents.objects.values().filter(lags).map(|entry| entry.name).collect()
        };
        if lagging.is_empty() && !self.lock().names_lag {
            if sweep {
                self.sweep(files).await;
            }
            return;
        }
        let (dir, contents) = (Arc::clone(&self.dir), Arc::clone(&self.contents));
        let renamed = blocking(move || {
            for name in lagging {
                let decided = Name { undecided: None, ..name };
                std::fs::rename(dir.join(name.text()), dir.join(decided.text()))?;
                if let Some(entry) = super::lock(&contents).objects.get_mut(&name.sequence) {
                    entry.name = decided;
                }
            }
            files::sync(&dir)?;
            drop(files);
            Ok(())
        });
        let renamed: io::Result<()> = renamed.await;
        let lagged = std::mem::replace(&mut self.lock().names_lag, renamed.is_err());
        match renamed {
            Err(error) => {
                self.metrics.spool_write_errors.inc();
                if !lagged {
                    tracing::error!(%error, "cannot rename spooled objects, trying again");
                }
            }
            Ok(()) if lagged => tracing::info!("spooled objects can be renamed again"),
            Ok(()) => {}
        }
        if sweep {
            self.sweep(Arc::clone(&self.files).lock_owned().await).await;
        }
    }

    fn drop_taken_over(&self, objects: u64, samples: u64) {
        let text = "dropped what was scraped after somebody else had taken over and scraped the same";
        tracing::warn!(objects, samples, "{text}");
        self.metrics.drop_objects(DropReason::TakenOver, objects, samples);
    }
}
