//! The credentials in force, and the one task that keeps them fresh.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials as Signing;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::{Fetch, Grant};
use crate::metrics::Metrics;
use crate::retry::{Backoff, Budget, Policy};
use crate::s3::server_time::ServerTime;
use crate::status::CredentialsStatus;

/// Forced refreshes are at least this far apart, beyond the first: a refused signature must not become a storm.
const FORCED_APART: Duration = Duration::from_secs(60);
/// Whatever a lifetime says, the source is not asked more often than this.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// However often fetching is due or asked for: ten at once, then one every six seconds.
const FETCHES_BURST: u32 = 10;
const FETCHES_APART: Duration = Duration::from_secs(6);
/// How often it is looked whether the credentials have expired, while someone waits for valid ones.
const LOOK: Duration = Duration::from_secs(1);

/// The credentials in force. Asked by the SDK before every signature, refreshed by [`Credentials::keep`].
#[derive(Debug)]
pub(crate) struct Credentials {
    source: &'static str,
    time: ServerTime,
    metrics: Arc<Metrics>,
    policy: Policy,
    state: watch::Sender<State>,
    /// Wakes the task before its time.
    wake: Notify,
    /// When the last forced refresh was allowed.
    forced: Mutex<Option<Instant>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    grant: Option<Arc<Grant>>,
    /// When it was obtained, Unix seconds.
    refreshed: Option<i64>,
    /// Why the last attempt failed; `None` after a success.
    failure: Option<String>,
    /// Attempts that have ended.
    attempts: u64,
    /// Whether someone asked for an attempt that has not begun.
    wanted: bool,
}

impl Credentials {
    pub(crate) fn new(source: &'static str, time: ServerTime, metrics: Arc<Metrics>) -> Self {
        let (state, _) = watch::channel(State::default());
        let (wake, forced) = (Notify::new(), Mutex::new(None));
        Self { source, time, metrics, policy: Policy::default(), state, wake, forced }
    }

    /// Fetches and refreshes for ever. The only place that fetches, so that no two fetches run at once.
    pub(crate) async fn keep<F: Fetch>(&self, source: &F) {
        let mut backoff = Backoff::new(self.policy);
        let budget = Budget::new(FETCHES_BURST, FETCHES_APART);
        loop {
            sleep(budget.take()).await;
            let delay = match source.fetch().await.and_then(|grant| self.check(grant)) {
                Ok(grant) => {
                    backoff.reset();
                    let delay = self.delay(&grant, source.interval(&grant));
                    self.accept(grant);
                    delay
                }
                Err(problem) => {
                    self.refuse(problem);
                    backoff.next()
                }
            };
            tokio::select! {
                () = sleep(delay) => {}
                () = self.wanted() => {}
            }
        }
    }

    /// Whatever the source: a grant that has expired is none.
    fn check(&self, grant: Grant) -> Result<Grant, String> {
        let now = self.time.seconds_or_local();
        match grant.expires {
            Some(expires) if expires <= now => {
                Err(format!("the credentials of {} expired {} s ago", self.source, now.abs_diff(expires)))
            }
            _ => Ok(grant),
        }
    }

    /// Until the next refresh: the interval, or three quarters of the lifetime, whichever is shorter.
    fn delay(&self, grant: &Grant, interval: Duration) -> Duration {
        let Some(expires) = grant.expires else { return interval };
        let lifetime = expires.saturating_sub(self.time.seconds_or_local());
        let lifetime = Duration::from_secs(u64::try_from(lifetime).unwrap_or_default());
        interval.min(lifetime * 3 / 4).max(DELAY_MIN)
    }

    fn accept(&self, grant: Grant) {
        self.metrics.credentials_refreshes.with_label_values(&["success"]).inc();
        #[expect(clippy::cast_precision_loss, reason = "seconds of this age stay below 2^53")]
        self.metrics.credentials_expiry.set(grant.expires.unwrap_or_default() as f64);
        let expires = grant.expires.map(date).unwrap_or_default();
        let (bucket, prefix) = (grant.bucket.as_deref(), grant.prefix.as_deref());
        // Credentials that last are read every minute; only changes of them are news.
        let news = grant.expires.is_some()
            || self.grant().as_deref() != Some(&grant)
            || self.state.borrow().failure.is_some();
        if news {
            tracing::info!(source = self.source, expires, bucket, prefix, "credentials refreshed");
        }
        let refreshed = Some(self.time.seconds_or_local());
        self.state.send_modify(|state| {
            *state = State {
                grant: Some(Arc::new(grant)),
                refreshed,
                failure: None,
                attempts: state.attempts + 1,
                wanted: false,
            };
        });
    }

    fn refuse(&self, problem: String) {
        self.metrics.credentials_refreshes.with_label_values(&["failure"]).inc();
        self.state.send_modify(|state| {
            if state.failure.as_ref() != Some(&problem) {
                let error = problem.as_str();
                tracing::warn!(source = self.source, error, "cannot refresh the credentials, trying again");
            }
            state.failure = Some(problem);
            state.attempts += 1;
            state.wanted = false;
        });
    }

    /// Until someone asks for a refresh that the last attempt has not answered.
    async fn wanted(&self) {
        loop {
            self.wake.notified().await;
            if self.state.borrow().wanted {
                return;
            }
        }
    }

    /// Gets new credentials now. False when that failed, or was done less than a minute ago.
    pub(crate) async fn force(&self) -> bool {
        if !self.may_force() {
            return false;
        }
        let mut state = self.state.subscribe();
        let before = state.borrow().attempts;
        self.state.send_modify(|state| state.wanted = true);
        self.wake.notify_one();
        let ended = state.wait_for(|state| state.attempts > before).await;
        ended.is_ok_and(|state| state.failure.is_none())
    }

    fn may_force(&self) -> bool {
        let mut forced = self.forced.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = forced.is_none_or(|last| last.elapsed() >= FORCED_APART);
        if allowed {
            *forced = Some(Instant::now());
        }
        allowed
    }

    /// Returns when there are credentials that have not expired.
    pub(crate) async fn valid(&self) {
        let mut state = self.state.subscribe();
        while !self.is_valid() {
            tokio::select! {
                _ = state.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Returns when the first attempt to get them has ended; whether it gave any.
    pub(crate) async fn settled(&self) -> bool {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| state.grant.is_some() || state.failure.is_some()).await;
        settled.is_ok_and(|state| state.grant.is_some())
    }

    /// Whether there never were any, and the last attempt to get them has failed.
    pub(crate) fn are_hopeless(&self) -> bool {
        let state = self.state.borrow();
        state.grant.is_none() && state.failure.is_some()
    }

    fn is_valid(&self) -> bool {
        self.grant().is_some_and(|grant| grant.expires.is_none_or(|at| at > self.time.seconds_or_local()))
    }

    /// The last good ones, expired or not.
    pub(crate) fn grant(&self) -> Option<Arc<Grant>> {
        self.state.borrow().grant.clone()
    }

    /// Why nothing can be signed now.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = self.state.borrow().clone();
        let failure = state.failure.as_deref().unwrap_or("not asked yet");
        let now = self.time.seconds_or_local();
        match state.grant.and_then(|grant| grant.expires.or(Some(i64::MAX))) {
            None => Some(format!("no credentials yet: {failure}")),
            Some(expires) if expires <= now => {
                Some(format!("credentials expired at {}: {failure}", date(expires)))
            }
            Some(_) => None,
        }
    }

    pub(crate) fn status(&self) -> CredentialsStatus {
        let State { grant, refreshed, failure, .. } = self.state.borrow().clone();
        let expires = grant.and_then(|grant| grant.expires);
        CredentialsStatus { source: self.source, expires, refreshed, failure }
    }
}

/// The SDK asks here before every signature. It is told of no expiry, because it would judge it by its own rules.
impl ProvideCredentials for Credentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let grant = self.grant().ok_or_else(|| CredentialsError::not_loaded("there are no credentials yet"));
        future::ProvideCredentials::ready(grant.map(|grant| {
            let token = grant.session_token.as_ref().map(|token| token.expose().to_owned());
            Signing::new(
                grant.access_key_id.clone(),
                grant.secret_access_key.expose(),
                token,
                None,
                self.source,
            )
        }))
    }
}

/// RFC 3339, for people.
fn date(unix: i64) -> String {
    Timestamp::from_second(unix).map(|time| time.to_string()).unwrap_or_default()
}
