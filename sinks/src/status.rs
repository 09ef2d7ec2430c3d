//! What the sinks look like from outside: for `/readyz` and for people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock;
use crate::metrics::Metrics;
use crate::run::StoreKind;
use crate::spool::Spool;

/// An object that waits longer is overdue: twenty times the usual batch, and longer than a store's bad minute.
const OVERDUE: Duration = Duration::from_secs(300);

/// A snapshot; cheap, and free of secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// Why objects would not get through now; empty means ready.
    pub not_ready: Vec<String>,
    /// The writer's id.
    pub writer: String,
    /// What waits on disk.
    pub spool: SpoolStatus,
    /// The last key that was given, without the prefix.
    pub last_key: Option<String>,
    /// Unix second of the last delivery since the start.
    pub last_upload: Option<i64>,
    /// The credentials; `None` for `sink.file`.
    pub credentials: Option<CredentialsStatus>,
    /// Why the last attempt to upload failed; `None` after a success.
    pub trouble: Option<String>,
    /// Where objects go; `None` until known.
    pub place: Option<Place>,
    /// The servers' time less the local one, seconds; `None` until known.
    pub clock_offset: Option<f64>,
}

/// What waits on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SpoolStatus {
    /// Objects.
    pub objects: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Samples of all objects.
    pub samples: u64,
    /// Seconds since the oldest was written.
    pub oldest_age: Option<f64>,
}

/// Credentials without what must stay secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CredentialsStatus {
    /// `cedana` or `aws`.
    pub source: &'static str,
    /// Unix second; `None` for credentials that do not expire, and before the first.
    pub expires: Option<i64>,
    /// Unix second at which they were obtained; `None` before the first.
    pub refreshed: Option<i64>,
    /// Why the last attempt to refresh them failed; `None` after a success.
    pub failure: Option<String>,
}

/// Where objects go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The bucket, or the directory of `sink.file`.
    pub bucket: String,
    /// What keys start with, without slashes at the ends.
    pub prefix: String,
    /// The bucket's region.
    pub region: String,
}

impl Status {
    /// Whether objects would get through now.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.not_ready.is_empty()
    }
}

/// Gives snapshots for as long as anyone wants them, also after the sinks have ended.
#[derive(Clone, Debug)]
pub struct StatusHandle(Arc<Sources>);

/// Where a snapshot is made from; each part owns what it knows.
#[derive(Debug)]
pub(crate) struct Sources {
    pub spool: Arc<Spool>,
    pub progress: Arc<Progress>,
    pub store: StoreKind,
    pub metrics: Arc<Metrics>,
    /// When the sinks were opened, Unix seconds.
    pub opened: i64,
}

/// How uploading goes, written by the upload.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Inner>);

#[derive(Clone, Debug, Default)]
struct Inner {
    last_key: Option<String>,
    last_upload: Option<i64>,
    stopped: Option<String>,
    trouble: Option<String>,
}

impl Progress {
    pub(crate) fn set_last_key(&self, key: &str) {
        self.lock().last_key = Some(key.to_owned());
    }

    pub(crate) fn set_last_upload(&self, now: i64) {
        self.lock().last_upload = Some(now);
    }

    pub(crate) fn set_stopped(&self, reason: Option<String>) {
        self.lock().stopped = reason;
    }

    pub(crate) fn set_trouble(&self, text: Option<String>) {
        self.lock().trouble = text;
    }

    #[cfg(test)]
    pub(crate) fn stopped(&self) -> Option<String> {
        self.lock().stopped.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatusHandle {
    pub(crate) fn new(sources: Sources) -> Self {
        if let Some(key) = sources.spool.last_key() {
            sources.progress.set_last_key(&key);
        }
        Self(Arc::new(sources))
    }

    /// Brings the gauges that change with time alone up to date.
    pub(crate) fn write_gauges(&self) {
        self.0.metrics.spool_oldest_age.set(self.0.spool.status().oldest_age.unwrap_or_default());
    }

    /// The state of affairs now.
    #[must_use]
    pub fn get(&self) -> Status {
        self.at(clock::wall_seconds())
    }

    fn at(&self, now: i64) -> Status {
        let Sources { spool, progress, store, opened, .. } = &*self.0;
        let (progress, spool_status) = (progress.lock().clone(), spool.status());
        let mut not_ready: Vec<String> = store.problem().into_iter().collect();
        not_ready.extend(progress.stopped.clone());
        not_ready.extend(overdue(now, *opened, &progress, &spool_status));
        Status {
            not_ready,
            writer: spool.writer().id,
            spool: spool_status,
            last_key: progress.last_key,
            last_upload: progress.last_upload,
            trouble: progress.trouble,
            credentials: store.credentials(),
            place: store.place(),
            clock_offset: store.clock_offset(),
        }
    }
}

/// Whether the oldest object should have been delivered long ago: since it was written, since the last delivery,
/// and since the start, all of which would be reasons to be patient.
fn overdue(now: i64, opened: i64, progress: &Inner, spool: &SpoolStatus) -> Option<String> {
    let waited = Duration::from_secs_f64(spool.oldest_age?).as_secs();
    let patience_since = progress.last_upload.unwrap_or(opened).max(opened);
    let quiet = u64::try_from(now.saturating_sub(patience_since)).unwrap_or_default();
    if waited.min(quiet) <= OVERDUE.as_secs() {
        return None;
    }
    let trouble = progress.trouble.as_deref().unwrap_or("no attempt has ended");
    Some(format!(
        "upload is overdue: the oldest object waits for {waited} s, the last delivery was {quiet} s ago: {trouble}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overdue_is_what_waits_and_could_have_gone() {
        let check = |opened: i64, last_upload: Option<i64>, oldest_age: Option<f64>, expected: bool| {
            let progress = Inner { last_upload, ..Inner::default() };
            let spool = SpoolStatus { oldest_age, ..SpoolStatus::default() };
            let reason = overdue(10_000, opened, &progress, &spool);
            assert_eq!(reason.is_some(), expected, "{opened} {last_upload:?} {oldest_age:?}: {reason:?}");
        };
        check(0, None, None, false);
        check(0, None, Some(301.0), true);
        check(0, None, Some(300.0), false);
        // Just started on an old spool, or catching up.
        check(9_900, None, Some(5_000.0), false);
        check(0, Some(9_900), Some(5_000.0), false);
        check(0, Some(9_000), Some(5_000.0), true);
    }
}
