//! One scrape: what the asynchronous side hands to the worker, successful or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::target::Target;

/// What comes through the queue of scrapes.
#[derive(Debug)]
pub enum Arrival {
    /// More of a body that is not complete yet.
    Part(Part),
    /// A scrape that is over.
    Scrape(Scrape),
}

/// What has come so far of a body that is too large to be held as a whole. Its scrape follows, and says whether the body counts;
/// where none follows, it does not.
#[derive(Debug)]
pub struct Part {
    /// Whose body it is.
    pub target: Arc<Target>,
    /// The pieces that follow those of the part before.
    pub exposition: Exposition,
    /// Says to the one who receives that this part has been read.
    pub turn: Option<OwnedSemaphorePermit>,
}

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

/// An uncompressed body, or what is left of it after its parts.
#[derive(Debug, Default)]
pub struct Exposition {
    /// Bytes of the body that went before, in parts. Where there are none, what went before belongs to a scrape that was given
    /// up.
    pub before: u64,
    /// In order, and cut anywhere. Each takes its share of the memory of all bodies until it is dropped.
    pub pieces: Vec<Bytes>,
}

impl Exposition {
    /// A body in one piece.
    #[must_use]
    pub fn whole(body: Bytes) -> Self {
        Self { before: 0, pieces: vec![body] }
    }

    /// Bytes of the body up to the end of these pieces.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.before + self.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()
    }
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
