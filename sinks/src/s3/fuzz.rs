//! Fuzz targets of the answers that S3 and the Cedana API give; see `crate::fuzz`.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use pipeline::model::secret::Secret;

use super::client::Clients;
use super::credentials::{Credentials, Fetch, Grant, Source, read_answer};
use super::server_time::ServerTime;
use super::{Config, S3, credentials};
use crate::metrics::Metrics;
use crate::store::{Body, Condition, Error, Store};

/// No text that is shown may hold it.
const HUSH: &str = "hush-hush";

/// An answer of the Cedana API: a grant that has not expired, or words without a value of it.
pub fn grant(data: &[u8]) {
    /// 2026-11-22T12:00:00Z
    const NOW: i64 = 1_795_348_800;
    match read_answer(data, NOW) {
        Ok(grant) => {
            assert!(grant.expires.is_some_and(|expires| expires > NOW), "{grant:?}");
            let keys = [Some(&grant.secret_access_key), grant.session_token.as_ref()];
            assert!(keys.iter().all(|key| key.is_some_and(|key| !key.expose().trim().is_empty())));
            let shown = Grant { bucket: None, prefix: None, region: None, ..grant };
            assert!(!format!("{shown:?}").contains(HUSH), "a secret is shown");
        }
        Err(problem) => assert!(!problem.contains(HUSH), "a value is shown: {problem}"),
    }
}

/// An answer of S3 (its status, headers one a line, an empty line, the body) to each request that the store makes: objects
/// are delivered by a success only, and no body is repeated.
pub fn answer(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|part| part == b"\n\n") {
        Some(end) => (data.get(..end), data.get(end + 2..)),
        None => (Some(data), None),
    };
    let Ok(head) = std::str::from_utf8(head.unwrap_or_default()) else { return };
    let mut lines = head.lines();
    let Some(status) = lines.next().and_then(|line| line.trim().parse::<u16>().ok()) else { return };
    if !(200..600).contains(&status) {
        return; // hyper hands out no others: lower ones are not final.
    }
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect();
    let prepared = Prepared { status, headers, body: Bytes::copy_from_slice(body.unwrap_or_default()) };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let Some(s3) = store(prepared) else { return };
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = s3.credentials.keep(&Fixed) => {}
            () = s3.ready() => {}
        }
        check(&s3, status).await;
    });
}

async fn check(s3: &S3, status: u16) {
    let object = Body { bytes: "PAR1".into(), crc32: 1 };
    let key = "1795303367/w0-0000000001.parquet";
    match s3.put(key, &object, Condition::Absent).await {
        Ok(_) => assert!((200..300).contains(&status), "delivered with status {status}"),
        Err(error) => shown(&error),
    }
    match s3.head(key).await {
        Ok(Some(stored)) => assert!((200..300).contains(&status), "{stored:?} with status {status}"),
        Ok(None) => assert_eq!(status, 404, "said to be missing"),
        Err(error) => shown(&error),
    }
    match s3.list(&s3.request("s3:ListBucket", "").unwrap_or_else(|_| unreachable!()), "", 2).await {
        Ok(Some(key)) => assert!(key.parse::<crate::key::Key>().is_ok(), "{key:?} is no key"),
        Ok(None) => {}
        Err(error) => shown(&error),
    }
    if let Err(error) = s3.server_time().await {
        shown(&error);
    }
}

fn shown(error: &Error) {
    assert!(!error.text.contains(HUSH), "a body or secret is repeated: {}", error.text);
    assert!(error.text.len() < 4096, "{} bytes of text", error.text.len());
    assert!(!error.text.chars().any(char::is_control), "{:?}", error.text);
}

/// A store whose requests all get one answer.
fn store(prepared: Prepared) -> Option<S3> {
    let config = Config { bucket: Some("b".to_owned()), ..Config::default() };
    let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).ok()?);
    let time = ServerTime::new(Arc::clone(&metrics));
    let http = SharedHttpClient::new(prepared);
    let aws = credentials::Config { aws: Some(credentials::Aws {}), cedana: None };
    let source = Source::new(&aws, None, "0", &time, &http).ok()?;
    let held = Arc::new(Credentials::new("fuzz", time.clone(), metrics));
    let clients = Clients::new(&config, http, Arc::clone(&held), time.clone());
    Some(S3 { config, clients, credentials: held, source, time })
}

/// Credentials that do not expire.
struct Fixed;

impl Fetch for Fixed {
    async fn fetch(&self) -> Result<Grant, String> {
        Ok(Grant {
            access_key_id: "AKIA1".to_owned(),
            secret_access_key: Secret::new(HUSH.to_owned()),
            session_token: Some(Secret::new(HUSH.to_owned())),
            expires: None,
            bucket: None,
            prefix: Some("p".to_owned()),
            region: None,
        })
    }

    fn interval(&self, _: &Grant) -> Duration {
        Duration::from_secs(3600)
    }
}

/// The one answer.
#[derive(Clone, Debug)]
struct Prepared {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl HttpClient for Prepared {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Prepared {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let status = self.status.try_into().unwrap_or_else(|_| unreachable!());
        let mut response = HttpResponse::new(status, SdkBody::from(self.body.clone()));
        for (name, value) in &self.headers {
            // What no HTTP client hands out, the SDK need not take.
            let _ = response.headers_mut().try_append(name.clone(), value.clone());
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}
