//! A fake S3 endpoint that checks what the real one checks: signature, session token, expiry, clock, prefix policy,
//! conditional writes and checksums. Keeps every object in order of arrival and every request it saw.
//!
//! Path-style addresses only; `PUT`, `GET`, `HEAD` and `ListObjectsV2`. What it does not know is answered `NotImplemented`.

mod answers;
mod auth;
mod operations;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;

pub use self::auth::Grant;
use crate::clock::Clock;
use crate::server::{Answer, Reserved, Server};
use crate::wait;

/// What happens to one `PUT`. Scripts are consumed one step per `PUT`; after the last step all pass.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Carried out as it should be.
    Pass,
    /// Answered with this status and error code; nothing is stored.
    Status(u16, &'static str),
    /// Stored, and the connection cut before the answer.
    StoreThenReset,
    /// Stored, and never answered.
    StoreThenHang,
    /// The connection cut before the body was read.
    ResetBeforeBody,
    /// Never answered.
    Hang,
    /// Carried out after this long.
    Delay(Duration),
    /// Another writer stores other bytes under this key first; then carried out.
    Overtaken,
}

/// How `If-None-Match: *` is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conditional {
    /// As S3 does: 412 when the key is taken.
    #[default]
    Supported,
    /// As servers that do not know it do: 501.
    NotImplemented,
}

/// One request, without its secrets.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `PUT`, `GET`, `HEAD`; `LIST` for a listing.
    pub method: String,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// Decoded query.
    pub query: BTreeMap<String, String>,
    /// All headers but `authorization` and `x-amz-security-token`.
    pub headers: BTreeMap<String, String>,
    /// The access key id that signed.
    pub access_key_id: String,
    /// When it came, milliseconds since the Unix epoch by the server's clock.
    pub time_millis: i64,
    /// The status answered; 0 where the connection was cut or nothing was answered.
    pub status: u16,
    /// The error code answered, or nothing.
    pub code: String,
}

/// One stored object.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The key, prefix included.
    pub key: String,
    /// The content.
    pub bytes: Bytes,
    /// `Content-Type`.
    pub content_type: String,
    /// When it was stored, milliseconds since the Unix epoch by the server's clock.
    pub time_millis: i64,
    /// Not put there by a request, but by the test or by [`Fault::Overtaken`].
    pub foreign: bool,
}

#[derive(Default)]
struct State {
    bucket: String,
    region: String,
    grants: Vec<Grant>,
    objects: Vec<Stored>,
    script: VecDeque<Fault>,
    seen: Vec<Seen>,
    conditional: Conditional,
    listing_denied: bool,
    head_denied: bool,
    all_allowed: bool,
    puts_in_flight: usize,
    puts_in_flight_max: usize,
}

/// Shared with the Cedana fake, which hands out keys here. Clones are the same server's state.
#[derive(Clone)]
pub struct Registry {
    state: Arc<Mutex<State>>,
    /// The clock of the servers.
    pub clock: Clock,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets these keys sign from now on.
    pub fn grant(&self, mut grant: Grant) {
        let mut state = self.lock();
        if state.all_allowed {
            grant.prefix.clear();
        }
        state.grants.push(grant);
    }

    /// Makes all keys handed out so far expire now.
    pub fn expire_all(&self) {
        let now = self.clock.now();
        for grant in &mut self.lock().grants {
            grant.expires = Some(now);
        }
    }

    /// Forgets all keys handed out so far, so that they are `InvalidAccessKeyId`.
    pub fn revoke_all(&self) {
        self.lock().grants.clear();
    }

    /// Lets every key that is granted, now or later, read and write the whole bucket.
    pub fn allow_all(&self) {
        let mut state = self.lock();
        state.all_allowed = true;
        state.grants.iter_mut().for_each(|grant| grant.prefix.clear());
    }

    /// Every secret key and session token ever granted, to look for where none may be.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let of = |grant: &Grant| [Some(grant.secret_access_key.clone()), grant.session_token.clone()];
        self.lock().grants.iter().flat_map(of).flatten().collect()
    }
}

/// The running fake.
pub struct S3 {
    server: Server,
    registry: Registry,
}

impl S3 {
    /// A server with one empty bucket in region `eu-north-1`, and no keys that may sign.
    #[must_use]
    pub fn start(bucket: &str) -> Self {
        Self::start_at(Reserved::new(), bucket, Clock::default())
    }

    /// The same at a reserved address, with this clock.
    #[must_use]
    pub fn start_at(address: Reserved, bucket: &str, clock: Clock) -> Self {
        let state = State { bucket: bucket.to_owned(), region: REGION.to_owned(), ..State::default() };
        let registry = Registry { state: Arc::new(Mutex::new(state)), clock };
        let answering = registry.clone();
        let server = address.serve(move |request| {
            let registry = answering.clone();
            Box::pin(async move { answer(&registry, request).await })
        });
        Self { server, registry }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The server's clock; its `Date` header and its judgement of expiry follow it.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.registry.clock
    }

    /// The keys that may sign.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// While down, every connection is cut.
    pub fn set_down(&self, down: bool) {
        self.server.set_down(down);
    }

    /// Scripts the next `PUT`s, after what is scripted already.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.registry.lock().script.extend(faults);
    }

    /// Steps of the script not consumed yet.
    #[must_use]
    pub fn script_left(&self) -> usize {
        self.registry.lock().script.len()
    }

    /// Renames the bucket, so that the old name is `NoSuchBucket`.
    pub fn rename_bucket(&self, bucket: &str) {
        self.registry.lock().bucket = bucket.to_owned();
    }

    /// How `If-None-Match` is taken from now on.
    pub fn set_conditional(&self, conditional: Conditional) {
        self.registry.lock().conditional = conditional;
    }

    /// Whether listing is `AccessDenied`.
    pub fn deny_listing(&self, denied: bool) {
        self.registry.lock().listing_denied = denied;
    }

    /// Whether `HEAD` and `GET` are forbidden: `PutObject` alone is allowed.
    pub fn deny_head(&self, denied: bool) {
        self.registry.lock().head_denied = denied;
    }

    /// Stores an object as another writer would.
    pub fn put_foreign(&self, key: &str, bytes: impl Into<Bytes>) {
        let time_millis = self.registry.clock.now_millis();
        let content_type = String::new();
        let stored =
            Stored { key: key.to_owned(), bytes: bytes.into(), content_type, time_millis, foreign: true };
        self.registry.lock().objects.push(stored);
    }

    /// Objects that requests stored, in order of arrival.
    #[must_use]
    pub fn objects(&self) -> Vec<Stored> {
        self.registry.lock().objects.iter().filter(|stored| !stored.foreign).cloned().collect()
    }

    /// Every request so far that was answered, cut, or is being left to hang; in order of arrival.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.registry.lock().seen.clone()
    }

    /// Every `PUT` so far.
    #[must_use]
    pub fn puts(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.method == "PUT").collect()
    }

    /// Waits until `count` objects are stored.
    ///
    /// # Panics
    /// When they are not within 20 seconds.
    pub fn wait_for_objects(&self, count: usize) {
        let deadline = Duration::from_secs(20);
        let met = wait::for_some(deadline, || (self.objects().len() >= count).then_some(()));
        assert!(
            met.is_some(),
            "{} of {count} objects after {deadline:?}; seen: {:#?}",
            self.objects().len(),
            self.seen()
        );
    }

    /// The most `PUT`s that were ever in flight at once.
    #[must_use]
    pub fn max_concurrent_puts(&self) -> usize {
        self.registry.lock().puts_in_flight_max
    }

    /// Checks what an ordered reader demands: each key is above all before it, and no two `PUT`s were in flight at once.
    ///
    /// # Panics
    /// When one of them does not hold.
    pub fn check_order(&self) {
        let keys: Vec<_> = self.objects().into_iter().map(|stored| stored.key).collect();
        for two in keys.windows(2) {
            assert!(two[0] < two[1], "{} arrived after {}", two[1], two[0]);
        }
        assert!(
            self.max_concurrent_puts() <= 1,
            "{} PUTs were in flight at once",
            self.max_concurrent_puts()
        );
    }
}

/// The region of every fake.
pub const REGION: &str = "eu-north-1";

async fn answer(registry: &Registry, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let is_put = parts.method == hyper::Method::PUT;
    let _in_flight = is_put.then(|| InFlight::new(registry));
    let fault = if is_put { registry.lock().script.pop_front() } else { None }.unwrap_or(Fault::Pass);
    let at = operations::note(registry, &parts);
    if matches!(fault, Fault::ResetBeforeBody) {
        return Answer::Cut;
    }
    let Ok(body) = body.collect().await else { return Answer::Cut };
    let body = body.to_bytes();
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Delay(time) => tokio::time::sleep(time).await,
        Fault::Overtaken => operations::overtake(registry, &parts),
        _ => {}
    }
    let outcome = match fault {
        Fault::Status(status, code) => Err(answers::Refusal::new(status, code, "as scripted")),
        _ => operations::carry_out(registry, &parts, &body),
    };
    match fault {
        Fault::StoreThenReset => return Answer::Cut,
        Fault::StoreThenHang => std::future::pending().await,
        _ => {}
    }
    Answer::Response(operations::response(registry, at, parts.method == hyper::Method::HEAD, outcome))
}

/// Counts a `PUT` while it lasts, however it ends.
struct InFlight(Registry);

impl InFlight {
    fn new(registry: &Registry) -> Self {
        let mut state = registry.lock();
        state.puts_in_flight += 1;
        state.puts_in_flight_max = state.puts_in_flight_max.max(state.puts_in_flight);
        drop(state);
        Self(registry.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().puts_in_flight -= 1;
    }
}
