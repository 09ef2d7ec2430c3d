//! The reading half, for the commands that look at what lies in a bucket: lists it page by page, and gets one object whole.
//!
//! Bucket and key are the caller's; region, endpoint and credentials are those of the store. Unlike the store it tries a few
//! times by itself, because nobody stands behind it.

use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::{Bytes, BytesMut};
use tokio::time::sleep;

use super::{BYTES_PER_SECOND_MIN, Request, S3, TIMEOUT, classify};
use crate::retry::{Backoff, Policy};
use crate::status::Place;
use crate::store::{Error, Next};

/// How long credentials are waited for.
const CREDENTIALS_MAX: Duration = Duration::from_secs(30);
/// Attempts at one request.
const ATTEMPTS: usize = 4;
/// The first wait is short: someone sits before it.
const POLICY: Policy = Policy { first: Duration::from_millis(500), max: Duration::from_secs(5) };

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its whole key.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// Up to a thousand objects in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects.
    pub objects: Vec<Listed>,
    /// Whether more follow.
    pub is_more: bool,
}

impl S3 {
    /// Returns when there are credentials. [`S3::keep_credentials`] has to run beside it.
    ///
    /// # Errors
    /// When there are none; the text says why.
    pub async fn readable(&self) -> Result<(), String> {
        let problem = || self.problem().unwrap_or_else(|| "there are no credentials".to_owned());
        match tokio::time::timeout(CREDENTIALS_MAX, self.credentials.settled()).await {
            Ok(true) => Ok(()),
            _ => Err(problem()),
        }
    }

    /// Objects whose keys start with `prefix` and sort above `after`.
    ///
    /// # Errors
    /// When the last of a few attempts has failed.
    pub async fn page(&self, bucket: &str, prefix: &str, after: &str) -> Result<Page, Error> {
        self.persist(async || {
            let request = self.reading("s3:ListBucket", bucket, prefix)?;
            let client = self.clients.get(&request.place.region);
            let after = Some(after.to_owned()).filter(|after| !after.is_empty());
            let list = client.list_objects_v2().bucket(bucket).prefix(prefix).set_start_after(after);
            let page = request.send(TIMEOUT, list.send()).await?;
            let listed = page.contents().iter().filter_map(|object| {
                let size = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                Some(Listed { key: object.key()?.to_owned(), size })
            });
            Ok(Page { objects: listed.collect(), is_more: page.is_truncated() == Some(true) })
        })
        .await
    }

    /// One object, unless it is larger than `bytes_max`.
    ///
    /// # Errors
    /// When the last of a few attempts has failed, or the object is too large.
    pub async fn get(&self, bucket: &str, key: &str, bytes_max: u64) -> Result<Bytes, Error> {
        self.persist(async || self.get_once(bucket, key, bytes_max).await).await
    }

    async fn get_once(&self, bucket: &str, key: &str, bytes_max: u64) -> Result<Bytes, Error> {
        let request = self.reading("s3:GetObject", bucket, key)?;
        let client = self.clients.get(&request.place.region);
        let get = client.get_object().bucket(bucket).key(key);
        let answer = match tokio::time::timeout(TIMEOUT, get.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(of_key(&request, &error)),
            Err(_) => return Err(request.error(classify::TIMEOUT, &format!("no answer within {TIMEOUT:?}"))),
        };
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        let large = || Error {
            next: Next::Reject,
            class: "large",
            text: format!("more than {bytes_max} bytes, which is no object of a shipper: {key}"),
        };
        if size > bytes_max {
            return Err(large());
        }
        let mut stream = answer.body;
        let collect = async {
            let mut body = BytesMut::new();
            while let Some(piece) = stream.next().await {
                let cut = |_| request.error(classify::CONNECTION, "the body was cut off");
                body.extend_from_slice(&piece.map_err(cut)?);
                if body.len() as u64 > bytes_max {
                    return Err(large());
                }
            }
            Ok(body.freeze())
        };
        let patience = TIMEOUT + Duration::from_secs(size / BYTES_PER_SECOND_MIN);
        tokio::time::timeout(patience, collect).await.unwrap_or_else(|_| {
            Err(request.error(classify::TIMEOUT, &format!("no end of the body within {patience:?}")))
        })
    }

    /// A request's subject outside the store's own place.
    fn reading(&self, action: &'static str, bucket: &str, key: &str) -> Result<Request, Error> {
        self.granted()?;
        let place = Place { bucket: bucket.to_owned(), prefix: String::new(), region: self.region() };
        Ok(Request { action, place, prefix: String::new(), key: key.to_owned() })
    }

    /// Tries again what may go well the next time.
    async fn persist<T>(&self, attempt: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
        let mut backoff = Backoff::new(POLICY);
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            let error = match attempt().await {
                Err(error) if left > 0 => error,
                ended => return ended,
            };
            match error.next {
                Next::Unknown | Next::Clock => {}
                Next::Wait if error.class == "throttled" => {}
                Next::Refresh if self.credentials.force().await => {}
                _ => return Err(error),
            }
            sleep(backoff.next()).await;
        }
    }
}

/// A refusal of one key: where it is not there, the bucket is not to blame.
fn of_key<E>(request: &Request, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if error.code() == Some("NoSuchKey") {
        let text = format!("there is no object s3://{}/{}", request.place.bucket, request.key);
        return Error { next: Next::Reject, class: "absent", text };
    }
    request.failed(error)
}
