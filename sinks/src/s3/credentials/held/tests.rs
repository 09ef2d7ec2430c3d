//! The refresher with a scripted source, under paused time. Each test is something that its predecessor did wrong.

use std::collections::VecDeque;

use pipeline::model::secret::Secret;

use super::*;
use crate::s3::server_time::tests::told;
use crate::spool::tests::{NOW, metrics};

const INTERVAL: Duration = Duration::from_secs(45 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// Gives one answer after another, the last one for ever, and notes when it was asked.
struct Script {
    answers: Mutex<VecDeque<Result<i64, &'static str>>>,
    asked: Mutex<Vec<u64>>,
    started: Instant,
    /// How long an answer takes.
    takes: Duration,
    time: ServerTime,
}

impl Fetch for Script {
    async fn fetch(&self) -> Result<Grant, String> {
        self.asked.lock().unwrap().push(self.started.elapsed().as_secs());
        sleep(self.takes).await;
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] };
        answer.map(|lifetime| self.grant(lifetime)).map_err(str::to_owned)
    }

    fn interval(&self, _: &Grant) -> Duration {
        INTERVAL
    }
}

impl Script {
    /// A grant whose keys tell which one it is.
    fn grant(&self, lifetime: i64) -> Grant {
        let count = self.asked.lock().unwrap().len();
        Grant {
            access_key_id: format!("key {count}"),
            secret_access_key: Secret::new("hush".to_owned()),
            session_token: None,
            expires: self.time.seconds().map(|now| now + lifetime),
            bucket: Some("b".to_owned()),
            prefix: None,
            region: None,
        }
    }
}

/// Credentials that are kept fresh from a script while `body` looks at them.
async fn with<T>(
    answers: &[Result<i64, &'static str>],
    takes: Duration,
    body: impl AsyncFnOnce(&Credentials, &Script) -> T,
) -> T {
    let time = told(NOW);
    let script = Script {
        answers: Mutex::new(answers.iter().copied().collect()),
        asked: Mutex::default(),
        started: Instant::now(),
        takes,
        time: time.clone(),
    };
    let credentials = Credentials::new("cedana", time, metrics());
    tokio::select! {
        () = credentials.keep(&script) => panic!("it refreshes for ever"),
        done = body(&credentials, &script) => done,
    }
}

fn asked(script: &Script) -> Vec<u64> {
    script.asked.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_seconds_outage_costs_seconds() {
    let answers = [Err("no answer"), Err("no answer"), Ok(3600)];
    with(&answers, Duration::ZERO, async |credentials, script| {
        assert!(credentials.problem().is_some_and(|text| text.contains("no credentials yet")));
        credentials.valid().await;
        assert_eq!(asked(script).len(), 3);
        assert!(script.started.elapsed() <= Duration::from_secs(4), "{:?}", asked(script));
        assert_eq!(credentials.problem(), None);
        assert_eq!(credentials.metrics.credentials_refreshes.with_label_values(&["failure"]).get(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_is_asked_about_every_minute_at_most() {
    with(&[Err("no answer")], Duration::ZERO, async |credentials, script| {
        sleep(60 * MINUTE).await;
        let asked = asked(script);
        assert!((70..180).contains(&asked.len()), "{}", asked.len());
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] <= 60));
        assert_eq!(credentials.problem().as_deref(), Some("no credentials yet: no answer"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_lifetime_is_heeded_and_so_is_the_interval() {
    let check = async |lifetime: i64, expected: &[u64]| {
        with(&[Ok(lifetime)], Duration::ZERO, async |_, script| {
            sleep(Duration::from_millis(expected.last().unwrap() * 1000 + 500)).await;
            assert_eq!(asked(script), expected, "lifetime {lifetime}");
        })
        .await;
    };
    check(3600, &[0, 2700, 5400]).await;
    check(900, &[0, 675, 1350]).await;
    check(36_000, &[0, 2700, 5400]).await;
    check(1, &[0, 1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn old_ones_are_used_until_they_expire_then_it_is_unready_then_ready_again() {
    let answers: Vec<_> = [Ok(3600)].into_iter().chain([Err("no answer"); 400]).collect();
    with(&answers, Duration::ZERO, async |credentials, script| {
        credentials.valid().await;
        sleep(59 * MINUTE).await;
        assert_eq!(credentials.problem(), None, "refreshing fails, but they are good");
        sleep(2 * MINUTE).await;
        let problem = credentials.problem().unwrap();
        assert!(
            problem.contains("expired at 2026-11-22T13:00:00Z") && problem.contains("no answer"),
            "{problem}"
        );
        let waiting = tokio::time::timeout(MINUTE, credentials.valid()).await;
        assert!(waiting.is_err(), "expired ones are not valid");
        *script.answers.lock().unwrap() = [Ok(3600)].into();
        tokio::time::timeout(2 * MINUTE, credentials.valid()).await.unwrap();
        assert_eq!(credentials.problem(), None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn expired_ones_are_not_taken() {
    with(&[Ok(-1), Ok(0), Ok(3600)], Duration::ZERO, async |credentials, script| {
        tokio::task::yield_now().await;
        assert_eq!(credentials.grant(), None);
        let problem = credentials.problem().unwrap();
        assert!(problem.contains("no credentials yet") && problem.contains("expired 1 s ago"), "{problem}");
        credentials.valid().await;
        assert_eq!(asked(script).len(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_signature_uses_the_latest() {
    with(&[Ok(3600)], Duration::ZERO, async |credentials, _| {
        credentials.valid().await;
        let key = async || credentials.provide_credentials().await.unwrap().access_key_id().to_owned();
        assert_eq!(key().await, "key 1");
        assert!(credentials.force().await);
        assert_eq!(key().await, "key 2");
        sleep(50 * MINUTE).await;
        assert_eq!(key().await, "key 3");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forced_refreshes_are_a_minute_apart() {
    with(&[Ok(3600)], Duration::ZERO, async |credentials, script| {
        credentials.valid().await;
        assert!(credentials.force().await, "the first at once");
        assert!(!credentials.force().await);
        sleep(MINUTE - Duration::from_secs(1)).await;
        assert!(!credentials.force().await);
        sleep(Duration::from_secs(1)).await;
        assert!(credentials.force().await);
        assert_eq!(asked(script), [0, 0, 60]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_that_fails_says_so() {
    with(&[Ok(3600), Err("no answer")], Duration::ZERO, async |credentials, _| {
        credentials.valid().await;
        assert!(!credentials.force().await);
        assert_eq!(credentials.problem(), None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_while_a_fetch_runs_shares_it() {
    with(&[Ok(3600)], Duration::from_secs(10), async |credentials, script| {
        sleep(Duration::from_secs(1)).await;
        assert!(credentials.force().await);
        sleep(MINUTE).await;
        assert_eq!(asked(script), [0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_has_no_secret() {
    with(&[Ok(3600)], Duration::ZERO, async |credentials, _| {
        credentials.valid().await;
        let shown = format!("{credentials:?} {:?} {:?}", credentials.status(), credentials.problem());
        assert!(!shown.contains("hush"), "{shown}");
        let status = credentials.status();
        assert_eq!((status.source, status.expires, &status.failure), ("cedana", Some(NOW + 3600), &None));
        assert!(status.refreshed >= Some(NOW), "{status:?}");
        assert_eq!(credentials.metrics.credentials_expiry.get(), (NOW + 3600) as f64);
    })
    .await;
}
