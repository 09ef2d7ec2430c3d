//! Credentials from the Cedana API.
//!
//! `POST {url}/v2/monitoring/credentials` with a bearer token and `{"cluster_id": ..}` gives STS credentials and the
//! place to write to. The answer is not trusted: its size is bounded, every field checked, and nothing of it repeated
//! in a message.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use pipeline::model::secret::Secret;
use reqwest::header::{CONTENT_TYPE, DATE};
use serde::Deserialize;

use super::{Cedana, Fetch, Grant, config};
use crate::blocking::blocking;
use crate::s3::server_time::{ServerTime, Source};

/// For the whole exchange, the body included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A real answer is about 2 KiB.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A real token is below 4 KiB.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// The client of the API.
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: String,
    token: Token,
    cluster_id: String,
    interval: Duration,
    time: ServerTime,
}

#[derive(Clone)]
enum Token {
    File(PathBuf),
    Inline(Secret),
}

/// The answer as it comes. What must not be missing is checked in `grant`, so that a message can name it.
#[derive(Deserialize)]
struct Answer {
    access_key_id: Option<Secret>,
    secret_access_key: Option<Secret>,
    session_token: Option<Secret>,
    expiration: Option<String>,
    bucket: Option<String>,
    prefix: Option<String>,
    region: Option<String>,
}

impl Client {
    pub(crate) fn new(config: &Cedana, version: &str, time: ServerTime) -> Result<Self, String> {
        let endpoint =
            config::endpoint(&config.url).map_err(|problem| format!("credentials.cedana.url {problem}"))?;
        let token = match (&config.auth_token_file, &config.auth_token) {
            (Some(file), None) => Token::File(file.clone()),
            (None, Some(token)) => Token::Inline(token.clone()),
            _ => {
                return Err(
                    "credentials.cedana needs exactly one of auth_token_file and auth_token".to_owned()
                );
            }
        };
        let http = http(&endpoint, version)?;
        let interval = config.refresh_interval.0;
        Ok(Self { http, endpoint, token, cluster_id: config.cluster_id.clone(), interval, time })
    }

    async fn exchange(&self) -> Result<Grant, String> {
        let token = self.token.read().await?;
        let request = self
            .http
            .post(&self.endpoint)
            .bearer_auth(token.expose())
            .header(CONTENT_TYPE, "application/json")
            .body(serde_json::json!({ "cluster_id": self.cluster_id }).to_string());
        let mut answer =
            request.send().await.map_err(|e| format!("no answer from {}: {}", self.endpoint, causes(&e)))?;
        if let Some(date) = answer.headers().get(DATE).and_then(|date| date.to_str().ok()) {
            self.time.observe(Source::Api, date);
        }
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(format!("{} answered with status {status}: {}", self.endpoint, remedy(status)));
        }
        let mut body = Vec::new();
        loop {
            let chunk = answer.chunk().await;
            let Some(chunk) =
                chunk.map_err(|e| format!("answer of {} cut off: {}", self.endpoint, causes(&e)))?
            else {
                break;
            };
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(format!(
                    "answer of {} is larger than {BODY_BYTES_MAX} bytes: is it the API?",
                    self.endpoint
                ));
            }
            body.extend_from_slice(&chunk);
        }
        read(&body, self.time.seconds_or_local())
            .map_err(|problem| format!("answer of {} {problem}", self.endpoint))
    }
}

impl Fetch for Client {
    async fn fetch(&self) -> Result<Grant, String> {
        let exchanged = tokio::time::timeout(TIMEOUT, self.exchange()).await;
        exchanged
            .unwrap_or_else(|_| Err(format!("no complete answer from {} within {TIMEOUT:?}", self.endpoint)))
    }

    fn interval(&self, _: &Grant) -> Duration {
        self.interval
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cedana::Client {{ endpoint: {:?}, cluster_id: {:?} }}", self.endpoint, self.cluster_id)
    }
}

impl Token {
    /// The token as it is now: a rotated file is in force with the next refresh.
    async fn read(&self) -> Result<Secret, String> {
        let file = match self {
            Self::Inline(token) => return Ok(token.clone()),
            Self::File(file) => file.clone(),
        };
        let shown = file.display().to_string();
        let read = blocking(move || {
            use std::io::Read as _;
            let mut text = String::new();
            std::fs::File::open(file)?
                .take(TOKEN_BYTES_MAX)
                .read_to_string(&mut text)
                .map(|_| Secret::new(text))
        });
        let text = read.await.map_err(|e| format!("cannot read auth_token_file {shown}: {e}"))?;
        let token = text.expose().trim();
        if token.is_empty() || token.chars().any(char::is_whitespace) {
            return Err(format!(
                "auth_token_file {shown} does not hold a token: it is empty or has blanks inside"
            ));
        }
        Ok(Secret::new(token.to_owned()))
    }
}

fn http(endpoint: &str, version: &str) -> Result<reqwest::Client, String> {
    // An error means that the process has chosen its provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(format!("cedana-agent/{version}"))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .timeout(TIMEOUT);
    // Without TLS no certificates are needed, and a machine that has none will do.
    let builder = if endpoint.starts_with("http://") { builder.tls_certs_only([]) } else { builder };
    builder
        .build()
        .map_err(|e| format!("cannot make an HTTP client, are there CA certificates? {}", causes(&e)))
}

/// An error with its causes, but without the address, which the message has already.
fn causes(error: &reqwest::Error) -> String {
    let text = crate::s3::causes(std::error::Error::source(error));
    if text.is_empty() && error.is_timeout() { format!("timed out after {TIMEOUT:?}") } else { text }
}

fn remedy(status: u16) -> &'static str {
    match status {
        300..=399 => "redirects are not followed, correct credentials.cedana.url",
        401 | 403 => "the token is refused, renew it (auth_token_file or CEDANA_AUTH_TOKEN)",
        404 => "check credentials.cedana.url and cluster_id",
        429 => "too many requests, trying again later",
        500.. => "the API is in trouble, trying again later",
        _ => "check credentials.cedana: url, cluster_id",
    }
}

/// Reads and checks an answer. Messages name fields and never their values.
pub(in crate::s3) fn read(body: &[u8], now: i64) -> Result<Grant, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|e| describe(body, &e))?;
    answer.grant(now)
}

/// What is wrong with a body that is not an answer; serde's own message would repeat values.
fn describe(body: &[u8], error: &serde_json::Error) -> String {
    if body.trim_ascii_start().starts_with(b"<") {
        return "is HTML and not JSON: is there a proxy or a login page in the way?".to_owned();
    }
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => {
            format!("has a value of the wrong type at line {line} column {column}")
        }
        serde_json::error::Category::Eof => "is not complete".to_owned(),
        _ => format!("is not JSON, at line {line} column {column}"),
    }
}

impl Answer {
    fn grant(self, now: i64) -> Result<Grant, String> {
        let required = |name: &str, value: Option<Secret>| {
            let filled = value.filter(|value| !value.expose().trim().is_empty());
            filled.ok_or_else(|| format!("has no {name}"))
        };
        let expiration = self.expiration.ok_or("has no expiration")?;
        let expires = expiration
            .parse::<Timestamp>()
            .map_err(|_| "has an expiration that is not RFC 3339")?
            .as_second();
        if expires <= now {
            return Err(format!("has an expiration that passed {} s ago", now.abs_diff(expires)));
        }
        let filled = |value: Option<String>| value.filter(|value| !value.is_empty());
        Ok(Grant {
            access_key_id: required("access_key_id", self.access_key_id)?.expose().to_owned(),
            secret_access_key: required("secret_access_key", self.secret_access_key)?,
            session_token: Some(required("session_token", self.session_token)?),
            expires: Some(expires),
            bucket: filled(self.bucket),
            prefix: filled(self.prefix),
            region: filled(self.region),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::s3::server_time::tests::told;
    use crate::test_server::{Server, http_answer};

    const GOOD: &str = r#"{"access_key_id": "AKIA1", "secret_access_key": "hush", "session_token": "tok",
        "expiration": "2026-11-22T13:00:00Z", "bucket": "b", "prefix": "org-1/v2/vector/data", "region": "eu-west-1"}"#;
    /// 2026-11-22T12:00:00Z
    const NOW: i64 = 1_795_348_800;

    #[test]
    fn a_good_answer_is_a_grant() {
        let grant = read(GOOD.as_bytes(), NOW).unwrap();
        assert_eq!((grant.access_key_id.as_str(), grant.expires), ("AKIA1", Some(NOW + 3600)));
        assert_eq!((grant.bucket.as_deref(), grant.region.as_deref()), (Some("b"), Some("eu-west-1")));
        let shown = format!("{grant:?}");
        assert!(!shown.contains("hush") && !shown.contains("tok") && !shown.contains("AKIA1"), "{shown}");
    }

    #[test]
    fn a_bad_answer_is_an_error_that_says_so() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(GOOD.contains(from));
            let problem = read(GOOD.replace(from, to).as_bytes(), NOW).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
            assert!(!problem.contains("hush") && !problem.contains("AKIA1"), "{problem}");
        };
        check(r#""AKIA1""#, r#""""#, "has no access_key_id");
        check(r#""hush""#, r#"" ""#, "has no secret_access_key");
        check(r#""tok""#, "null", "has no session_token");
        check(r#""hush""#, "17", "wrong type");
        check("13:00:00Z", "11:59:00Z", "expiration that passed 60 s ago");
        check("2026-11-22T13:00:00Z", "tomorrow", "not RFC 3339");
        check(r#""expiration""#, r#""expires""#, "has no expiration");
        check(r#""eu-west-1"}"#, "", "is not complete");
        let html = read(b"  <!DOCTYPE html><p>hush</p>", NOW).unwrap_err();
        assert!(html.contains("HTML") && !html.contains("hush"), "{html}");
        assert!(read(b"hush", NOW).unwrap_err().contains("not JSON"));
    }

    #[tokio::test]
    async fn the_token_file_is_read_afresh() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let token = Token::File(file.clone());
        assert!(token.read().await.unwrap_err().contains("token"));
        for text in ["first", "second\n"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(token.read().await.unwrap().expose(), text.trim());
        }
        for bad in ["", " \n", "two words"] {
            std::fs::write(&file, bad).unwrap();
            let problem = token.read().await.unwrap_err();
            assert!(problem.contains("does not hold a token") && !problem.contains("words"), "{problem}");
        }
    }

    async fn fetch(answer: Vec<u8>) -> (Result<Grant, String>, String) {
        let server = Server::start().await;
        let config = Cedana {
            url: server.url(),
            auth_token: Some(Secret::new("bearer-secret".to_owned())),
            cluster_id: "c1".to_owned(),
            ..Cedana::default()
        };
        let client = Client::new(&config, "1.2.3", told(NOW)).unwrap();
        let (fetched, requests) = tokio::join!(client.fetch(), server.answer([answer]));
        (fetched, requests.concat())
    }

    #[tokio::test]
    async fn the_request_is_what_the_api_expects() {
        let (fetched, request) = fetch(http_answer("200 OK", "", GOOD)).await;
        assert_eq!(fetched.unwrap().prefix.as_deref(), Some("org-1/v2/vector/data"));
        let lower = request.to_lowercase();
        assert!(request.starts_with("POST /v2/monitoring/credentials HTTP/1.1"), "{request}");
        for part in [
            "authorization: bearer bearer-secret",
            "user-agent: cedana-agent/1.2.3",
            "content-type: application/json",
        ] {
            assert!(lower.contains(part), "{part}: {request}");
        }
        assert!(request.ends_with(r#"{"cluster_id":"c1"}"#), "{request}");
    }

    #[tokio::test]
    async fn other_answers_are_errors_that_repeat_nothing() {
        let check = async |answer: Vec<u8>, expected: &str| {
            let (fetched, _) = fetch(answer).await;
            let problem = fetched.unwrap_err();
            assert!(problem.contains(expected), "{problem}");
            assert!(!problem.contains("hush") && !problem.contains("bearer-secret"), "{problem}");
        };
        check(http_answer("500 Internal Server Error", "", "hush"), "status 500").await;
        check(http_answer("401 Unauthorized", "", "hush"), "the token is refused").await;
        check(
            http_answer("302 Found", "location: http://127.0.0.1:1/hush\r\n", ""),
            "redirects are not followed",
        )
        .await;
        check(http_answer("200 OK", "", &"x".repeat(BODY_BYTES_MAX + 1)), "larger than 1048576 bytes").await;
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec(), "cut off").await;
        check(Vec::new(), "no answer from").await;
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _ = read(&bytes, NOW);
        }

        #[test]
        fn any_flipped_byte_is_read_without_harm(at in 0..GOOD.len(), byte: u8) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            if let Err(problem) = read(&bytes, NOW) {
                prop_assert!(!problem.contains("hush"));
            }
        }
    }
}
