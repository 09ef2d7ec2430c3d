//! The `Store`: where objects are delivered.
//!
//! Keys are relative: a store puts its own prefix in front. A store makes one attempt and says what to do next;
//! retrying is not its business.

pub mod conformance;

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A destination of objects. Two exist: S3 and a directory.
pub trait Store: Send + Sync {
    /// Returns when there is a point in asking for the rest: credentials are there and have not expired.
    fn ready(&self) -> impl Future<Output = ()> + Send;

    /// Where objects go now; `None` while that is not known. It may change with the credentials.
    fn location(&self) -> Option<Location>;

    /// Whether there is no point in waiting until it is [`Store::ready`]: it never was, and the last attempt to change that
    /// has failed.
    fn is_hopeless(&self) -> bool;

    /// The server's time, Unix seconds. Asks the server only when no answer of it has been seen yet.
    fn server_time(&self) -> impl Future<Output = Result<i64, Error>> + Send;

    /// Writes one object. With [`Condition::Absent`], refused with [`Next::Exists`] if the key is there already.
    fn put(
        &self,
        key: &str,
        body: &Body,
        condition: Condition,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// What is stored under a key, if anything is.
    fn head(&self, key: &str) -> impl Future<Output = Result<Option<Stored>, Error>> + Send;

    /// The largest key of a folder, without the folder, that sorts above `after` and is an object's (see
    /// [`crate::key::Key`]). The folder has a slash at its end; the empty one is that of metrics.
    fn largest_key_in(
        &self,
        folder: &str,
        after: &str,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send;

    /// The same of the store's own folder.
    fn largest_key(&self, after: &str) -> impl Future<Output = Result<Option<String>, Error>> + Send {
        self.largest_key_in("", after)
    }

    /// Gets new credentials, unless that was done within the last minute; whether it happened.
    fn refresh(&self) -> impl Future<Output = bool> + Send;
}

/// Where objects go: keys are ordered, and told apart, within one place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// The bucket, or the directory.
    pub bucket: String,
    /// What keys start with, without slashes at the ends.
    pub prefix: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}", self.bucket, self.prefix)
    }
}

/// The bytes of an object with the checksum computed when it was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The file.
    pub bytes: Bytes,
    /// CRC-32 (IEEE) of `bytes`.
    pub crc32: u32,
}

/// Under which condition an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Only if the key is not there yet (`If-None-Match: *`).
    Absent,
    /// In any case, for stores that know no conditions.
    None,
}

/// Proof that an object has arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The store's version of it, for people.
    pub etag: Option<String>,
}

/// What a store says of an object it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// CRC-32 (IEEE), where the store keeps it.
    pub crc32: Option<u32>,
    /// When it was stored, Unix seconds of the server's time, where the store says so.
    pub modified: Option<i64>,
}

impl Stored {
    /// Whether this can be `body`. A store that keeps no checksum is believed by the size.
    #[must_use]
    pub fn is(&self, body: &Body) -> bool {
        self.size == body.bytes.len() as u64 && self.crc32.is_none_or(|crc| crc == body.crc32)
    }
}

/// A failed attempt: what to do next, and what to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// What the caller does now.
    pub next: Next,
    /// The label `class` under which it is counted, such as `timeout`.
    pub class: &'static str,
    /// What failed, with what, and the remedy; free of bodies and secrets.
    pub text: String,
}

impl Error {
    /// Whether the store does not let us do this at all, so that we go on without.
    pub(crate) fn forbids(&self) -> bool {
        matches!(self.next, Next::Denied | Next::Reject | Next::Unconditional)
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is known of the outcome: wait, then try the same again.
    Unknown,
    /// Refused for a reason that time or a person changes: wait, then try the same again.
    Wait,
    /// The key is there already (412).
    Exists,
    /// The credentials are not good (any more): get new ones and sign the same again.
    Refresh,
    /// Not permitted: try new credentials once, then wait.
    Denied,
    /// The clock was off and has been corrected: sign the same again.
    Clock,
    /// The store knows no conditions (501): the same again without one.
    Unconditional,
    /// Refused because of this object alone: set it aside and go on.
    Reject,
}
