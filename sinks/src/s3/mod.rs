//! `Store` on S3.
//!
//! Takes relative keys and puts in front what the configuration or the credentials say. One attempt per call: the
//! SDK's own retries, identity cache and clock correction are off, because there is one layer of each: `upload`,
//! `credentials` and `server_time`. Where the grant names another bucket or prefix later, new attempts go there; who
//! gives keys is told by [`Store::location`].

mod classify;
mod client;
mod config;
pub mod credentials;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod read;
mod server_time;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ChecksumMode, ServerSideEncryption, StorageClass};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::base64;
use pipeline::model::object::Format;

pub use config::Config;
pub use read::{Listed, Page};

use crate::branch::EVENTS;
use crate::key::Key;
use crate::metrics::Metrics;
use crate::probe::{Below, Written};
use crate::status::{CredentialsStatus, Place};
use crate::store::{Body, Condition, Error, Location, Receipt, Store, Stored};
use classify::{Verdict, classify};
use client::Clients;
use credentials::{Credentials, Grant, Source};
use server_time::ServerTime;

/// How long any answer may take, beside the time for the bytes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A link that carries less is taken for broken, bytes per second.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;
/// Where neither the configuration nor the credentials name a region.
const REGION: &str = "us-east-1";
/// Sorts below every key that is ever given, so that it cannot hide one.
const PROBE_KEY: &str = "0000000000/probe";
/// Pages of 1000 keys that are read to find the largest: more than an hour of a hundred writers.
const PAGES_MAX: usize = 100;

/// A bucket of an S3.
#[derive(Debug)]
pub struct S3 {
    config: Config,
    clients: Clients,
    credentials: Arc<Credentials>,
    source: Source,
    time: ServerTime,
}

/// Prepares the store and the source of its credentials; nothing is sent yet. Whoever uses the store by itself also
/// runs [`S3::keep_credentials`] beside it.
///
/// # Errors
/// When the configuration of the credentials is unusable; the text says how.
pub fn open(
    config: &Config,
    credentials: &credentials::Config,
    version: &str,
    metrics: &Arc<Metrics>,
) -> Result<S3, String> {
    let time = ServerTime::new(Arc::clone(metrics));
    let http = client::http();
    let source = Source::new(credentials, config.region.as_deref(), version, &time, &http)?;
    let held = Arc::new(Credentials::new(source.name(), time.clone(), Arc::clone(metrics)));
    let clients = Clients::new(config, http, Arc::clone(&held), time.clone());
    Ok(S3 { config: config.clone(), clients, credentials: held, source, time })
}

impl S3 {
    /// Fetches and refreshes the credentials, for ever.
    pub async fn keep_credentials(&self) {
        self.credentials.keep(&self.source).await;
    }

    /// Where objects go; `None` while neither the configuration nor the credentials name a bucket.
    pub(crate) fn place(&self) -> Option<Place> {
        let grant = self.credentials.grant();
        let granted =
            |field: fn(&Grant) -> &Option<String>| grant.as_deref().and_then(|grant| field(grant).clone());
        Some(Place {
            bucket: self.config.bucket.clone().or_else(|| granted(|grant| &grant.bucket))?,
            prefix: self.config.prefix(granted(|grant| &grant.prefix).as_deref()),
            region: self.region(),
        })
    }

    fn region(&self) -> String {
        let granted = || self.credentials.grant().and_then(|grant| grant.region.clone());
        self.config.region.clone().or_else(granted).unwrap_or(REGION.to_owned())
    }

    /// Why nothing could be uploaded now.
    pub(crate) fn problem(&self) -> Option<String> {
        self.credentials.problem()
    }

    pub(crate) fn credentials_status(&self) -> CredentialsStatus {
        self.credentials.status()
    }

    pub(crate) fn clock_offset(&self) -> Option<f64> {
        self.time.offset()
    }

    /// The request's subject, for the request and for messages.
    fn request(&self, action: &'static str, key: &str) -> Result<Request, Error> {
        // Without a grant the prefix may not be known.
        self.granted()?;
        let place =
            self.place().ok_or_else(|| unable("the credentials name no bucket: set sink.s3.bucket"))?;
        let prefix = if place.prefix.is_empty() { String::new() } else { format!("{}/", place.prefix) };
        Ok(Request { action, key: format!("{prefix}{key}"), prefix, place })
    }

    /// Whether anything can be signed.
    fn granted(&self) -> Result<(), Error> {
        self.credentials.grant().map(drop).ok_or_else(|| unable("there are no credentials yet"))
    }

    /// Everything of an upload but the object itself.
    fn put_request(&self, request: &Request) -> PutObjectFluentBuilder {
        let client = self.clients.get(&request.place.region);
        let format = Format::of_name(&request.key).unwrap_or_default();
        client
            .put_object()
            .bucket(&request.place.bucket)
            .key(&request.key)
            .content_type(format.content_type())
            .set_content_encoding(format.content_encoding().map(str::to_owned))
            .set_server_side_encryption(
                self.config.server_side_encryption.as_deref().map(ServerSideEncryption::from),
            )
            .set_ssekms_key_id(self.config.kms_key_id.clone())
            .set_storage_class(self.config.storage_class.as_deref().map(StorageClass::from))
    }

    /// Whether these credentials may write: by an empty object with a checksum that is deliberately wrong, which a store
    /// refuses after it has allowed the request (API Reference, "Error responses": `BadDigest`). Where one stores it all
    /// the same, its key sorts below every other.
    pub(crate) async fn try_write(&self) -> Result<Written, Error> {
        let request = self.request("s3:PutObject", PROBE_KEY)?;
        let put = self.put_request(&request).content_md5(base64::encode([0; 16])).body(ByteStream::default());
        match tokio::time::timeout(TIMEOUT, put.send()).await {
            Ok(Ok(_)) => Ok(Written::Empty(request.key)),
            Ok(Err(error)) if matches!(error.code(), Some("BadDigest" | "InvalidDigest")) => {
                Ok(Written::Nothing)
            }
            Ok(Err(error)) => Err(request.failed(&error)),
            Err(_) => Err(request.error(classify::TIMEOUT, &format!("no answer within {TIMEOUT:?}"))),
        }
    }

    /// What lies below the prefix, as far as one page tells.
    pub(crate) async fn below(&self) -> Result<Below, Error> {
        let request = self.request("s3:ListBucket", "")?;
        let client = self.clients.get(&request.place.region);
        let list = client.list_objects_v2().bucket(&request.place.bucket).prefix(&request.prefix);
        let page = request.send(TIMEOUT, list.send()).await?;
        let relative = |key: &str| key.strip_prefix(&request.prefix).unwrap_or(key).to_owned();
        let keys: Vec<String> = page.contents().iter().filter_map(|o| o.key()).map(relative).collect();
        let is_ours = |key: &str| {
            let relative = key.strip_prefix(EVENTS).unwrap_or(key);
            key == PROBE_KEY || relative.parse().is_ok_and(|key: Key| key.is_of_agent())
        };
        let foreign = keys.iter().find(|key| !is_ours(key)).cloned();
        Ok(Below { objects: keys.len(), foreign })
    }

    async fn list(&self, request: &Request, after: &str, pages: usize) -> Result<Option<String>, Error> {
        let client = self.clients.get(&request.place.region);
        let mut largest: Option<String> = None;
        let mut after = format!("{}{after}", request.prefix);
        for _ in 0..pages {
            let list = client
                .list_objects_v2()
                .bucket(&request.place.bucket)
                .prefix(&request.prefix)
                .start_after(&after);
            let page = request.send(TIMEOUT, list.send()).await?;
            let keys = page.contents().iter().filter_map(|object| object.key());
            for key in keys {
                let relative = key.strip_prefix(&request.prefix).unwrap_or(key);
                if relative.as_bytes().first().is_some_and(|first| *first > b'9') {
                    let remedy = "an S3Queue in ordered mode that sees it reads nothing below: move it out of the prefix";
                    tracing::warn!(key, remedy, "something below the prefix sorts above all objects");
                    return Ok(largest);
                }
                if relative.parse::<Key>().is_ok() {
                    largest = largest.max(Some(relative.to_owned()));
                }
            }
            match page.contents().last().and_then(|object| object.key()) {
                Some(last) if page.is_truncated() == Some(true) => last.clone_into(&mut after),
                _ => break,
            }
        }
        Ok(largest)
    }
}

impl Store for S3 {
    async fn ready(&self) {
        self.credentials.valid().await;
    }

    fn location(&self) -> Option<Location> {
        self.place().map(|Place { bucket, prefix, .. }| Location { bucket, prefix })
    }

    fn is_hopeless(&self) -> bool {
        self.credentials.are_hopeless()
    }

    async fn server_time(&self) -> Result<i64, Error> {
        if let Some(now) = self.time.seconds() {
            return Ok(now);
        }
        // Any answer has a `Date`, a refusal too.
        let request = self.request("s3:ListBucket", "")?;
        let asked = self.list(&request, "", 1).await;
        match (self.time.seconds(), asked) {
            (Some(now), _) => Ok(now),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => {
                let text = "the store's answer has no Date header, so that the time is not known".to_owned();
                Err(Error { next: classify::LOCAL.next, class: "clock", text })
            }
        }
    }

    async fn put(&self, key: &str, body: &Body, condition: Condition) -> Result<Receipt, Error> {
        let request = self.request("s3:PutObject", key)?;
        let put = self
            .put_request(&request)
            .checksum_crc32(base64::encode(body.crc32.to_be_bytes()))
            .set_if_none_match((condition == Condition::Absent).then(|| "*".to_owned()))
            .body(ByteStream::new(SdkBody::from(body.bytes.clone())));
        let transfer = Duration::from_secs(body.bytes.len() as u64 / BYTES_PER_SECOND_MIN);
        let answer = request.send(TIMEOUT + transfer, put.send()).await?;
        Ok(Receipt { etag: answer.e_tag().map(str::to_owned) })
    }

    async fn head(&self, key: &str) -> Result<Option<Stored>, Error> {
        let request = self.request("s3:GetObject", key)?;
        let client = self.clients.get(&request.place.region);
        let head = client
            .head_object()
            .bucket(&request.place.bucket)
            .key(&request.key)
            .checksum_mode(ChecksumMode::Enabled);
        let sent = tokio::time::timeout(TIMEOUT, head.send()).await;
        match sent {
            Ok(Ok(answer)) => {
                let size = answer.content_length().and_then(|n| u64::try_from(n).ok());
                let no_size = || request.error(classify::CONNECTION, "an answer that does not say the size");
                let size = size.ok_or_else(no_size)?;
                let modified = answer.last_modified().map(|time| time.secs());
                Ok(Some(Stored { size, crc32: answer.checksum_crc32().and_then(crc32), modified }))
            }
            Ok(Err(error)) if error.as_service_error().is_some_and(|e| e.is_not_found()) => Ok(None),
            Ok(Err(SdkError::ServiceError(refusal))) if refusal.raw().status().as_u16() == 400 => {
                // Without a body it cannot say that the credentials have expired.
                Err(request.error(classify(403, ""), "status 400"))
            }
            Ok(Err(error)) => Err(request.failed(&error)),
            Err(_) => Err(request.error(classify::TIMEOUT, &format!("no answer within {TIMEOUT:?}"))),
        }
    }

    async fn largest_key_in(&self, folder: &str, after: &str) -> Result<Option<String>, Error> {
        let mut request = self.request("s3:ListBucket", "")?;
        request.prefix.push_str(folder);
        self.list(&request, after, PAGES_MAX).await
    }

    async fn refresh(&self) -> bool {
        self.credentials.force().await
    }
}

/// A request that cannot be made.
fn unable(text: &str) -> Error {
    let Verdict { next, class } = classify::LOCAL;
    Error { next, class, text: text.to_owned() }
}

/// A request's subject.
struct Request {
    action: &'static str,
    place: Place,
    /// With a slash at its end, unless empty.
    prefix: String,
    /// The whole key.
    key: String,
}

impl Request {
    /// Waits for the answer, but not longer than `timeout`.
    async fn send<T, E>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(self.error(classify::TIMEOUT, &format!("no answer within {timeout:?}"))),
        }
    }

    fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(refusal) => {
                let status = refusal.raw().status().as_u16();
                let code = refusal.err().code().unwrap_or_default();
                self.error(classify(status, code), &format!("status {status} {}", shown(code)))
            }
            SdkError::ResponseError(answer) => {
                let status = answer.raw().status().as_u16();
                let verdict = if status < 400 { classify::CONNECTION } else { classify(status, "") };
                self.error(verdict, &format!("status {status} with an answer that cannot be read"))
            }
            SdkError::TimeoutError(_) => self.error(classify::TIMEOUT, "no answer in time"),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                self.error(classify::TIMEOUT, "no connection in time")
            }
            SdkError::DispatchFailure(failure) => {
                let why = failure.as_connector_error().and_then(std::error::Error::source);
                self.error(classify::CONNECTION, &format!("the connection failed: {}", causes(why)))
            }
            _ => self.error(classify::LOCAL, &causes(Some(error))),
        }
    }

    fn error(&self, verdict: Verdict, what: &str) -> Error {
        let remedy =
            classify::remedy(verdict, self.action, &self.place.bucket, &self.place.region, &self.key);
        Error { next: verdict.next, class: verdict.class, text: format!("{what}: {remedy}") }
    }
}

/// An error code as it is shown: a word, or else it is a part of a body that nobody needs in a log.
fn shown(code: &str) -> &str {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    if code.len() <= 64 && code.chars().all(is_word) { code } else { "with a code that is none" }
}

/// The start of a text from outside.
/// An error and its causes, each said once, in one line.
fn causes(mut error: Option<&(dyn std::error::Error + 'static)>) -> String {
    let mut text = String::new();
    while let Some(cause) = error {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = if text.is_empty() { more } else { format!("{text}: {more}") };
        }
        error = cause.source();
    }
    shorten(&text)
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// S3 writes a CRC-32 as Base64 of its big-endian bytes.
fn crc32(text: &str) -> Option<u32> {
    let bytes = base64::decode(text).ok()?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}
