//! Whose the objects are: kept while that is not known, dropped and counted once it is known that somebody else has
//! scraped the same.
//!
//! The name of an undecided object's file says what decides about it, so that a restart forgets nothing.

use std::sync::Arc;

use pipeline::model::object::{Object, Tenure};

use super::files::{self, Name, Undecided};
use super::{Entry, Spool};
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
        self.lock().objects.values().find_map(|entry| Some(entry.name.undecided?.tenure))
    }

    /// The name of a new object's file. `None` if it is not ours, which is counted.
    pub(super) fn name(&self, object: &Object) -> Option<Name> {
        let Object { sequence, samples, crc32, last_scrape, tenure, .. } = *object;
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
        Some(Name { sequence, samples, crc32, undecided })
    }

    /// Decides about undecided objects as far as the claim now allows. An object that has its key may have arrived, and is
    /// left to the upload.
    pub(super) async fn judge(&self) {
        let _files = self.files.lock().await;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        {
            let mut contents = self.lock();
            let claim = contents.claim;
            let sent = contents.state.in_flight.as_ref().map(|object| object.sequence);
            for Entry { name, .. } in contents.objects.values() {
                let Some(Undecided { tenure, last_scrape }) = name.undecided else { continue };
                match claim.judge_again(tenure, last_scrape) {
                    Verdict::Undecided(_) => {}
                    Verdict::Theirs if sent != Some(name.sequence) => theirs.push(*name),
                    Verdict::Ours | Verdict::Theirs => ours.push(*name),
                }
            }
            for name in &theirs {
                contents.remove(name.sequence);
            }
            self.measure(&contents);
        }
        if !theirs.is_empty() {
            let samples = theirs.iter().map(|name| name.samples).sum();
            self.drop_taken_over(theirs.len() as u64, samples);
        }
        for name in theirs {
            self.unlink(name).await;
        }
        for name in ours {
            let (dir, decided) = (Arc::clone(&self.dir), Name { undecided: None, ..name });
            match blocking(move || files::rename(&dir, &name.text(), &decided.text())).await {
                Ok(()) => {
                    if let Some(entry) = self.lock().objects.get_mut(&name.sequence) {
                        entry.name = decided;
                    }
                    self.added.notify_one();
                }
                // The next claim comes in seconds.
                Err(error) => tracing::error!(file = name.text(), %error, "cannot rename a spooled object"),
            }
        }
    }

    fn drop_taken_over(&self, objects: u64, samples: u64) {
        let text = "dropped what was scraped after somebody else had taken over and scraped the same";
        tracing::warn!(objects, samples, "{text}");
        self.metrics.drop_objects(DropReason::TakenOver, objects, samples);
    }
}
