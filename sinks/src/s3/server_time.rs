//! The servers' time: the local clock corrected by the `Date` headers of answers.
//!
//! Keys, signatures and expirations go by it, so that a machine whose clock is an hour off still uploads, and
//! under the right keys. Between answers it runs on by the monotonic clock: setting the wall clock changes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_async::time::TimeSource;
use aws_smithy_types::date_time::{DateTime, Format};
use tokio::time::Instant;

use crate::clock;
use crate::metrics::Metrics;

/// A clock that is wrong by more than this is reported, seconds.
const OFFSET_MAX: f64 = 300.0;
/// Dates outside are no server's: 2020-01-01 to the last ten-digit Unix second, which a key can hold.
const PLAUSIBLE: std::ops::RangeInclusive<i64> = 1_577_836_800..=9_999_999_999;

/// Whose `Date` it was. The store's word, once it was heard, is not overruled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The credential API's.
    Api,
    /// S3's.
    Store,
}

/// The servers' time as far as it is known. Cheap to share.
#[derive(Clone, Debug)]
pub(crate) struct ServerTime {
    anchor: Arc<Mutex<Option<Anchor>>>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    source: Source,
    /// What the server said, Unix seconds.
    server: i64,
    /// When it said so.
    at: Instant,
    /// Server less local, seconds.
    offset: f64,
}

impl Anchor {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> i64 {
        let elapsed = i64::try_from(self.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.server.saturating_mul(1000).saturating_add(elapsed)
    }
}

impl ServerTime {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { anchor: Arc::default(), metrics }
    }

    /// Takes note of a `Date` header (RFC 9110, section 5.6.7). What cannot be one is ignored.
    pub(crate) fn observe(&self, source: Source, date: &str) {
        self.observe_at(source, date, clock::wall());
    }

    fn observe_at(&self, source: Source, date: &str, wall: SystemTime) {
        let Ok(date) = DateTime::from_str(date, Format::HttpDate) else { return };
        let server = date.secs();
        if !PLAUSIBLE.contains(&server) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age stay below 2^53")]
        let offset = (server * 1000 - clock::unix_millis(wall)) as f64 / 1000.0;
        let mut anchor = self.lock();
        if anchor.is_some_and(|known| known.source > source) {
            return;
        }
        let was_off = anchor.is_some_and(|known| known.offset.abs() > OFFSET_MAX);
        let is_off = offset.abs() > OFFSET_MAX;
        *anchor = Some(Anchor { source, server, at: Instant::now(), offset });
        drop(anchor);
        self.metrics.clock_offset.set(offset);
        if is_off && !was_off {
            let remedy =
                "set this machine's clock, with NTP for example; uploads go by the servers' time meanwhile";
            tracing::warn!(offset_seconds = offset, remedy, "local clock is wrong");
        } else if was_off && !is_off {
            tracing::info!(offset_seconds = offset, "local clock is right again");
        }
    }

    /// Unix seconds; `None` before the first answer.
    pub(crate) fn seconds(&self) -> Option<i64> {
        self.lock().as_ref().map(|anchor| anchor.now() / 1000)
    }

    /// Unix seconds by the local clock before the first answer.
    pub(crate) fn seconds_or_local(&self) -> i64 {
        self.seconds().unwrap_or_else(clock::wall_seconds)
    }

    /// Server less local, seconds; `None` before the first answer.
    pub(crate) fn offset(&self) -> Option<f64> {
        self.lock().as_ref().map(|anchor| anchor.offset)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Anchor>> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signatures are made for the servers' time.
impl TimeSource for ServerTime {
    fn now(&self) -> SystemTime {
        let millis = self.lock().as_ref().and_then(|anchor| u64::try_from(anchor.now()).ok());
        millis.map_or_else(clock::wall, |millis| UNIX_EPOCH + Duration::from_millis(millis))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const NOON: &str = "Sun, 22 Nov 2026 12:00:00 GMT";
    const NOON_UNIX: u64 = 1_795_348_800;

    fn server_time() -> ServerTime {
        ServerTime::new(Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap()))
    }

    /// A server time that has been told `unix` by a store.
    pub(crate) fn told(unix: i64) -> ServerTime {
        let time = server_time();
        let date = DateTime::from_secs(unix).fmt(Format::HttpDate).unwrap();
        time.observe(Source::Store, &date);
        time
    }

    #[tokio::test(start_paused = true)]
    async fn it_runs_on_by_the_monotonic_clock() {
        let time = server_time();
        assert_eq!(time.seconds(), None);
        let an_hour_fast = UNIX_EPOCH + Duration::from_secs(NOON_UNIX + 3600);
        time.observe_at(Source::Store, NOON, an_hour_fast);
        assert_eq!(time.offset(), Some(-3600.0));
        assert_eq!(time.metrics.clock_offset.get(), -3600.0);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(time.seconds(), Some(NOON_UNIX as i64 + 90));
        assert_eq!(TimeSource::now(&time), UNIX_EPOCH + Duration::from_secs(NOON_UNIX + 90));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stores_word_is_not_overruled() {
        let time = server_time();
        let wall = UNIX_EPOCH + Duration::from_secs(NOON_UNIX);
        time.observe_at(Source::Api, "Sun, 22 Nov 2026 13:00:00 GMT", wall);
        assert_eq!(time.seconds(), Some(NOON_UNIX as i64 + 3600));
        time.observe_at(Source::Store, NOON, wall);
        time.observe_at(Source::Api, "Sun, 22 Nov 2026 13:00:00 GMT", wall);
        assert_eq!(time.seconds(), Some(NOON_UNIX as i64));
    }

    #[test]
    fn what_cannot_be_a_date_is_ignored() {
        for date in [
            "",
            "noon",
            "2026-11-22T12:00:00Z",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            let time = server_time();
            time.observe(Source::Store, date);
            assert_eq!(time.seconds(), None, "{date}");
        }
    }
}
