//! A fake Cedana API: hands out STS-like keys that the fake S3 knows, checks the request, takes faults as a script.
//!
//! `POST /v2/monitoring/credentials` with a bearer token and `{"cluster_id": ..}`, as the issuer of the real one demands.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Value, json};

use crate::s3::{Grant, REGION, Registry};
use crate::server::{Answer, Piece, Pieces, Reserved, Server};
use crate::wait;

/// What one request gets. Scripts are consumed one step per request; after the last step keys are issued.
#[derive(Clone, Debug)]
pub enum Reply {
    /// New keys.
    Issue,
    /// New keys that live this many seconds; negative: that expired before.
    IssueFor(i64),
    /// The fields of a good answer, changed by this function.
    Changed(fn(&mut Value)),
    /// This status with this body.
    Status(u16, &'static str),
    /// 200 with this body.
    Body(&'static str),
    /// 200 with a body of this many bytes, valid JSON with keys that would work.
    Padded(usize),
    /// 200 with a body that never ends.
    Endless,
    /// Never answered.
    Hang,
    /// The connection cut.
    Cut,
}

/// One request, without its token.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When, milliseconds since the Unix epoch by the server's clock.
    pub time_millis: i64,
    /// Whether the token was the right one.
    pub token_ok: bool,
    /// The body, as text.
    pub body: String,
    /// The status answered; 0 where none was.
    pub status: u16,
}

struct State {
    token: String,
    cluster_id: String,
    bucket: String,
    prefix: String,
    lifetime: i64,
    issued: u32,
    script: VecDeque<Reply>,
    asked: Vec<Asked>,
    tokens_used: Vec<String>,
}

/// What the fake answers for.
#[derive(Clone, Debug)]
pub struct Account {
    /// The bearer token.
    pub token: String,
    /// The cluster.
    pub cluster_id: String,
    /// The bucket named in the answer.
    pub bucket: String,
    /// The prefix named in the answer, to which the keys are confined.
    pub prefix: String,
}

impl Account {
    /// An account that writes below `org-1/v2/vector/data` of `bucket`.
    #[must_use]
    pub fn new(bucket: &str) -> Self {
        Self {
            token: "tok-1f0e9d8c7b6a59483726".to_owned(),
            cluster_id: "cluster-1".to_owned(),
            bucket: bucket.to_owned(),
            prefix: "org-1/v2/vector/data".to_owned(),
        }
    }
}

/// The running fake.
pub struct Cedana {
    server: Server,
    state: Arc<Mutex<State>>,
    registry: Registry,
}

impl Cedana {
    /// Starts the fake; keys live an hour unless told otherwise, and work at the server that `registry` belongs to.
    #[must_use]
    pub fn start(account: &Account, registry: &Registry) -> Self {
        Self::start_at(Reserved::new(), account, registry)
    }

    /// The same at a reserved address.
    #[must_use]
    pub fn start_at(address: Reserved, account: &Account, registry: &Registry) -> Self {
        let state = Arc::new(Mutex::new(State {
            token: account.token.clone(),
            cluster_id: account.cluster_id.clone(),
            bucket: account.bucket.clone(),
            prefix: account.prefix.clone(),
            lifetime: 3600,
            issued: 0,
            script: VecDeque::new(),
            asked: Vec::new(),
            tokens_used: vec![account.token.clone()],
        }));
        let server = address.serve({
            let (state, registry) = (Arc::clone(&state), registry.clone());
            move |request| {
                let (state, registry) = (Arc::clone(&state), registry.clone());
                Box::pin(async move { answer(&state, &registry, request).await })
            }
        });
        Self { server, state, registry: registry.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// While down, every connection is cut.
    pub fn set_down(&self, down: bool) {
        self.server.set_down(down);
    }

    /// Scripts the next requests, after what is scripted already.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.lock().script.extend(replies);
    }

    /// Keys issued from now on live this many seconds.
    pub fn set_lifetime(&self, seconds: i64) {
        self.lock().lifetime = seconds;
    }

    /// Only this token is accepted from now on.
    pub fn set_token(&self, token: &str) {
        let mut state = self.lock();
        state.token = token.to_owned();
        state.tokens_used.push(token.to_owned());
    }

    /// Every request so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// How many keys were issued.
    #[must_use]
    pub fn issued(&self) -> u32 {
        self.lock().issued
    }

    /// Waits until there were `count` requests.
    ///
    /// # Panics
    /// When there are not within 20 seconds.
    pub fn wait_for_requests(&self, count: usize) {
        wait::until(&format!("{count} requests for credentials"), Duration::from_secs(20), || {
            self.asked().len() >= count
        });
    }

    /// Every token, secret key and session token there ever was, to look for where none may be.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.registry.secrets();
        secrets.extend(self.lock().tokens_used.clone());
        secrets
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(state: &Mutex<State>, registry: &Registry, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Answer::Cut };
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (at, refused, reply) = {
        let mut state = lock(state);
        let token_ok = text("authorization").strip_prefix("Bearer ") == Some(state.token.as_str());
        let time_millis = registry.clock.now_millis();
        state.asked.push(Asked { time_millis, token_ok, body: body.clone(), status: 0 });
        let refused = if parts.method != "POST" || parts.uri.path() != "/v2/monitoring/credentials" {
            Some((404, "{\"error\":\"no such page\"}"))
        } else if !token_ok {
            Some((401, "{\"error\":\"invalid token\"}"))
        } else if text("content-type") != "application/json" {
            Some((415, "{\"error\":\"content type\"}"))
        } else if serde_json::from_str::<Value>(&body).ok() != Some(json!({"cluster_id": state.cluster_id})) {
            Some((404, "{\"error\":\"no such cluster\"}"))
        } else {
            None
        };
        let reply = state.script.pop_front().unwrap_or(Reply::Issue);
        (state.asked.len() - 1, refused, reply)
    };
    let reply = refused.map_or(reply, |(status, body)| Reply::Status(status, body));
    let (status, body): (u16, Pieces) = match reply {
        Reply::Issue => {
            let lifetime = lock(state).lifetime;
            (200, issue(state, registry, lifetime).to_string().into())
        }
        Reply::IssueFor(seconds) => (200, issue(state, registry, seconds).to_string().into()),
        Reply::Changed(change) => {
            let lifetime = lock(state).lifetime;
            let mut fields = issue(state, registry, lifetime);
            change(&mut fields);
            (200, fields.to_string().into())
        }
        Reply::Status(status, body) => (status, body.into()),
        Reply::Body(body) => (200, body.into()),
        Reply::Padded(size) => {
            let body = issue(state, registry, 3600).to_string();
            (200, format!("{body}{}", " ".repeat(size.saturating_sub(body.len()))).into())
        }
        Reply::Endless => (200, Pieces::new([Piece::Endless(Bytes::from(vec![b' '; 16 << 10]))])),
        Reply::Hang => std::future::pending().await,
        Reply::Cut => return Answer::Cut,
    };
    lock(state).asked[at].status = status;
    let answer = Response::builder()
        .status(status)
        .header("date", registry.clock.http_date())
        .header("content-type", "application/json");
    Answer::Response(answer.body(body).expect("an answer made of valid parts"))
}

/// Makes keys that work at the fake S3 for `seconds`, and the answer that hands them out.
fn issue(state: &Mutex<State>, registry: &Registry, seconds: i64) -> Value {
    let mut state = lock(state);
    state.issued += 1;
    let number = state.issued;
    let grant = Grant {
        access_key_id: format!("ASIAFAKE{number:012}"),
        secret_access_key: format!("secretKey/{number:08}/bm90LWEtcmVhbC1rZXk"),
        session_token: Some(format!("sessionToken//{number:08}//{}", "IQoJb3JpZ2luX2VjE".repeat(8))),
        expires: Some(registry.clock.now() + seconds),
        prefix: format!("{}/", state.prefix),
    };
    registry.grant(grant.clone());
    json!({
        "access_key_id": grant.access_key_id,
        "secret_access_key": grant.secret_access_key,
        "session_token": grant.session_token,
        "expiration": registry.clock.rfc3339(seconds),
        "bucket": state.bucket,
        "prefix": state.prefix,
        "region": REGION,
    })
}
