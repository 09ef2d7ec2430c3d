//! What an earlier turn left: a key whose upload had an unknown outcome, before somebody else may have written.
//!
//! Its key must not be used again blindly. Larger keys of somebody else's may be there by now, and what sorts below them is
//! never read. So it is found out whether the object had arrived in time; if not, it gets a new key.

use tokio::time::Instant;

use super::{Trouble, Uploader};
use crate::spool::{InFlight, SpooledObject};
use crate::store::{Body, Store};

/// An object that is stored later than this after the end of its turn may already be below another's, seconds. Nobody else
/// begins within four.
const LATE: i64 = 2;

/// A key with an unknown outcome.
#[derive(Clone, Debug)]
pub(super) struct Left {
    recorded: InFlight,
    /// When its turn ended; `None` if an earlier process had it, which ended before it could send anything late.
    ended: Option<Instant>,
}

impl Left {
    /// `None` where it is known that nothing of ours was stored under the key.
    pub(super) fn new(recorded: InFlight, ended: Option<Instant>) -> Option<Self> {
        (!recorded.conflict).then_some(Self { recorded, ended })
    }

    pub(super) fn sequence(&self) -> u64 {
        self.recorded.sequence
    }

    pub(super) fn key(&self) -> &str {
        &self.recorded.key
    }
}

impl<S: Store> Uploader<S> {
    /// Whether the object had arrived under the key that an earlier turn gave it, in time to be read.
    ///
    /// Who may look, looks. Who may not cannot know whether it came in time, and gives it a new key: should both be read,
    /// ClickHouse drops the second as a block that it has had (by its ETag), while what comes too late is never read.
    pub(super) async fn has_arrived(&mut self, left: &Left, object: &SpooledObject) -> bool {
        let body = Body { bytes: object.bytes.clone(), crc32: object.crc32 };
        let key = left.key();
        let mut trouble = Trouble::new(self);
        let arrived = match trouble.stored(key).await {
            Ok(Some(stored)) => stored.is(&body) && !self.is_late(left, stored.modified).await,
            Ok(None) | Err(_) => false,
        };
        trouble.over();
        if arrived {
            tracing::info!(key, "what an earlier turn had sent has arrived");
            self.metrics.uploads_confirmed_late.inc();
        } else {
            tracing::info!(
                key,
                "what an earlier turn had sent is not known to have arrived in time, it gets a new key"
            );
        }
        arrived
    }

    /// Whether an object was stored only after its turn, when larger keys may have been there.
    async fn is_late(&self, left: &Left, modified: Option<i64>) -> bool {
        let (Some(modified), Some(ended)) = (modified, left.ended) else { return false };
        let since = i64::try_from(ended.elapsed().as_secs()).unwrap_or(i64::MAX);
        modified > self.now().await.saturating_sub(since).saturating_add(LATE)
    }
}
