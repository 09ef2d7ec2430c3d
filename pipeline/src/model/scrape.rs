//! One scrape: what the asynchronous side hands to the worker, successful or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::target::Target;

/// The outcome of asking one target once.
#[derive(Debug)]
pub struct Scrape {
    /// Who was asked.
    pub target: Arc<Target>,
    /// When the scrape was due, milliseconds since the Unix epoch; the timestamp of its samples.
    pub time: i64,
    /// How long it took.
    pub duration: Duration,
    /// What came back.
    pub outcome: Result<Exposition, ScrapeError>,
}

/// A complete, uncompressed body.
#[derive(Debug)]
pub struct Exposition {
    /// The body.
    pub body: Bytes,
    /// The body's share of the memory that all bodies together may take; given back when it has been read.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Why a scrape failed as a whole. Data, not control flow: it is counted, shown and forgotten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScrapeError {
    /// Nothing listens at the address.
    #[error("connection refused")]
    Refused,
    /// Name resolution, connecting or TLS failed; the text holds the causes.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The scrape took longer than `scrape_timeout`.
    #[error("no complete answer within {0:?} (scrape_timeout)")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("server returned HTTP status {0}")]
    Status(u16),
    /// The connection broke in the middle of the answer.
    #[error("answer cut off: {0}")]
    Truncated(String),
    /// The body is larger than `body_size_limit`.
    #[error("body is larger than {0} bytes (body_size_limit)")]
    BodySize(u64),
    /// The body cannot be decompressed.
    #[error("cannot decompress the body: {0}")]
    Decompress(String),
    /// Credentials or certificates for the scrape cannot be read.
    #[error("cannot read the scrape's credentials: {0}")]
    Credentials(String),
    /// A limit of the job was exceeded; the text names it.
    #[error("{0}")]
    Limit(String),
    /// Not one line of the body could be read.
    #[error("not an exposition in text format: {0}")]
    Unreadable(String),
    /// More targets than `target_limit`.
    #[error("job has more targets than target_limit {0}")]
    TargetLimit(u64),
}

impl ScrapeError {
    /// The value of the `reason` label under which it is counted.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::Truncated(_) => "truncated",
            Self::BodySize(_) => "body_size_limit",
            Self::Decompress(_) => "decompress",
            Self::Credentials(_) => "credentials",
            Self::Limit(_) => "limit",
            Self::Unreadable(_) => "unreadable",
            Self::TargetLimit(_) => "target_limit",
        }
    }
}
