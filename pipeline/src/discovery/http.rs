//! `http_sd_configs`: target groups listed by a server, in JSON.
//!
//! Takes the section, asks once per look, gives the whole set. A server that fails keeps the groups it gave last.
//! Source: Prometheus' documentation, "HTTP SD".

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode};
use url::{Position, Url};

use super::config::HttpConfig;
use super::list::{Format, Found, parse};
use crate::http::{Connection, Origin, RequestHeaders, Tls, USER_AGENT_VALUE, chain};
use crate::model::target::TargetGroup;

/// The longest list, bytes: hundreds of thousands of targets.
const BODY_BYTES_MAX: usize = 32 << 20;
/// The longest wait for an answer; shorter intervals wait no longer than the interval.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 10;
/// The label that names the server.
const URL: &str = "__meta_url";
/// Tells the server how often it is asked.
const INTERVAL_HEADER: HeaderName = HeaderName::from_static("x-prometheus-refresh-interval-seconds");

/// A server that lists targets.
pub(super) struct Server {
    config: HttpConfig,
    tls: Tls,
    known: Vec<Arc<TargetGroup>>,
}

impl Server {
    pub(super) fn new(config: &HttpConfig) -> Self {
        Self { config: config.clone(), tls: Tls::new(config.tls_config.as_ref()), known: Vec::new() }
    }

    /// Until the next look.
    pub(super) fn interval(&self) -> Duration {
        self.config.refresh_interval.0
    }

    /// Asks for the list.
    pub(super) async fn look(&mut self) -> Found {
        let timeout = TIMEOUT_MAX.min(self.interval());
        let asked = tokio::time::timeout(timeout, self.ask()).await;
        let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        let url = self.config.url.as_str();
        let problem = match answer.and_then(|body| parse(&body, Format::Json, url, (URL, url))) {
            Ok(groups) => {
                if groups != self.known {
                    self.known = groups;
                }
                None
            }
            Err(problem) => Some(format!("{url}: {problem}")),
        };
        Found { groups: self.known.clone(), problems: problem.into_iter().collect() }
    }

    /// One list, redirects followed.
    async fn ask(&self) -> Result<Vec<u8>, String> {
        let mut public = HeaderMap::new();
        public.insert(ACCEPT, HeaderValue::from_static("application/json"));
        public.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        let seconds = self.interval().as_secs_f64().to_string();
        public.extend(HeaderValue::from_str(&seconds).map(|seconds| (INTERVAL_HEADER, seconds)));
        let headers = RequestHeaders::new(&self.config.client_keys(), public).map_err(|e| e.to_string())?;
        let mut url = Url::parse(&self.config.url).map_err(|e| e.to_string())?;
        let home = url.origin();
        for _ in 0..=REDIRECTS_MAX {
            // Secrets are for the server that the configuration names.
            let sent = if url.origin() == home {
                headers.all().await.map_err(|e| e.to_string())?
            } else {
                headers.public()
            };
            match self.get(&url, sent).await? {
                Answer::Body(body) => return Ok(body),
                Answer::Elsewhere(location) => {
                    let next = url.join(&location);
                    url = next.map_err(|_| "redirected to something that is no URL".to_owned())?;
                }
            }
        }
        Err(format!("redirected more than {REDIRECTS_MAX} times"))
    }

    async fn get(&self, url: &Url, headers: HeaderMap) -> Result<Answer, String> {
        let origin = Origin::of(url).ok_or("redirected to something that is not of http")?;
        let mut request = Request::new(Empty::<Bytes>::new());
        let path = url[Position::BeforePath..Position::AfterQuery].parse();
        *request.uri_mut() = path.map_err(|_| "the URL has a path that cannot be asked for")?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
        request.headers_mut().insert(HOST, host.map_err(|_| "the URL has a host that cannot be asked")?);
        let mut connection = Connection::open(&origin, &self.tls).await.map_err(|e| e.to_string())?;
        let response = connection.send(request).await.map_err(|e| chain(&e))?;
        let status = response.status();
        if status.is_redirection() && self.config.follow_redirects {
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            return location.map(|l| Answer::Elsewhere(l.to_owned())).ok_or(format!("status {status}"));
        }
        if status != StatusCode::OK {
            return Err(format!("status {status}"));
        }
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !is_json(kind) {
            return Err(format!("content type {kind:?}: it has to be application/json"));
        }
        let mut whole = Vec::new();
        let mut body = response.into_body();
        while let Some(data) = connection.data(&mut body).await {
            whole.extend_from_slice(&data.map_err(|e| chain(&e))?);
            if whole.len() > BODY_BYTES_MAX {
                return Err(format!("the list is longer than {BODY_BYTES_MAX} bytes"));
            }
        }
        Ok(Answer::Body(whole))
    }
}

enum Answer {
    Body(Vec<u8>),
    Elsewhere(String),
}

/// Prometheus' `^(?i:application\/json(;\s*charset=("utf-8"|utf-8))?)$`.
fn is_json(kind: &str) -> bool {
    let kind = kind.trim().to_ascii_lowercase();
    let (kind, parameter) = kind.split_once(';').unwrap_or((&kind, ""));
    kind == "application/json" && matches!(parameter.trim(), "" | "charset=utf-8" | "charset=\"utf-8\"")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server that gives `answers`, one to each request; what was found each time, and the requests.
    async fn looks(yaml: &str, answers: &[&str]) -> (Vec<Found>, Vec<String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/targets?a=b", listener.local_addr().unwrap());
        let mut config: HttpConfig = serde_norway::from_str(yaml).unwrap();
        config.url.clone_from(&url);
        let mut server = Server::new(&config);
        let mut requests = Vec::new();
        let serve = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                requests.push(String::from_utf8_lossy(&request[..length]).to_lowercase());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let mut found = Vec::new();
        let ask = async {
            let redirects = answers.iter().filter(|answer| answer.contains(" 302 ")).count();
            for _ in 0..answers.len() - redirects {
                found.push(server.look().await);
            }
        };
        tokio::join!(serve, ask);
        (found, requests, url)
    }

    fn json(body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn a_list_is_asked_for_and_kept_over_failures() {
        let one = json(r#"[{"targets": ["a:1"], "labels": {"l": "v"}}]"#);
        let text = one.replace("application/json; charset=utf-8", "text/html");
        let refused = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let answers = [&one, refused, &text, &json("[{"), &json("[]")];
        let yaml = "{refresh_interval: 90s, authorization: {credentials: hush}}";
        let (found, requests, url) = looks(yaml, &answers.map(|answer| answer as &str)).await;
        let group = &found[0].groups[0];
        assert_eq!(group.targets[0].value("__address__"), "a:1");
        assert_eq!((group.labels.value(URL), group.labels.value("l")), (url.as_str(), "v"));
        for part in
            ["get /targets?a=b", "x-prometheus-refresh-interval-seconds: 90", "authorization: bearer hush"]
        {
            assert!(requests[0].contains(part), "{requests:?}");
        }
        for (found, part) in found[1..4].iter().zip(["503", "text/html", "EOF"]) {
            assert_eq!(found.groups, std::slice::from_ref(group));
            assert!(found.problems[0].contains(part) && !found.problems[0].contains("hush"), "{found:?}");
        }
        assert_eq!(found[4], Found::default());
    }

    #[tokio::test]
    async fn redirects_are_followed() {
        let elsewhere =
            "HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (found, requests, _) = looks("{}", &[elsewhere, &json("[]")]).await;
        assert!(requests[1].starts_with("get /other "), "{requests:?}");
        assert_eq!(found, [Found::default()]);
    }

    #[tokio::test]
    async fn a_server_that_nobody_vouches_for_is_asked_nothing() {
        let server = crate::scrape::tests::tls::start(false).await;
        let yaml = format!("{{url: 'https://{}/', authorization: {{credentials: hush}}}}", server.address);
        let found = Server::new(&serde_norway::from_str(&yaml).unwrap()).look().await;
        assert!(found.problems[0].contains("UnknownIssuer"), "{found:?}");
        assert_eq!(server.requests(), Vec::<String>::new());
    }

    /// The list may lie elsewhere; who we are is for the server that the configuration names.
    #[tokio::test]
    async fn secrets_do_not_follow_to_another_server() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = format!("http://{}/list", other.local_addr().unwrap());
        let away = format!(
            "HTTP/1.1 307 x\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let serve = async {
            let (mut stream, _) = other.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(json("[]").as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        };
        let yaml = "{authorization: {credentials: hush}, http_headers: {X-Key: {secrets: [hush]}}}";
        let answers = [away.as_str()];
        let (elsewhere, (_, requests, _)) = tokio::join!(serve, looks(yaml, &answers));
        assert!(requests[0].contains("authorization: bearer hush") && requests[0].contains("x-key: hush"));
        assert!(elsewhere.starts_with("get /list") && !elsewhere.contains("hush"), "{elsewhere}");
    }

    #[test]
    fn kinds_of_content() {
        for (kind, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=\"utf-8\"", true),
            ("application/json;charset=latin1", false),
            ("text/json", false),
            ("", false),
        ] {
            assert_eq!(is_json(kind), expected, "{kind}");
        }
    }
}
