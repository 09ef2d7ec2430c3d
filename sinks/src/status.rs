//! What the sinks look like from outside: for `/readyz` and for people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

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
    /// The credentials in use; `None` before the first and for `sink.file`.
    pub credentials: Option<CredentialsStatus>,
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
    /// Unix second; `None` for credentials that do not expire.
    pub expires: Option<i64>,
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
#[derive(Clone, Debug, Default)]
pub struct StatusHandle(Arc<Mutex<Status>>);

impl StatusHandle {
    /// The state of affairs now.
    #[must_use]
    pub fn get(&self) -> Status {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
