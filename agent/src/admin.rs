//! The read-only HTTP server: `/metrics`, `/healthz`, `/readyz`, `/targets`.
//!
//! Takes requests, gives what the views say at that moment; changes nothing and holds no secret. Bounded in
//! connections, header bytes and time, so that nobody can hold up the agent through it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// Section `server`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the agent's own HTTP server listens. Loopback, because it needs no password; in a cluster 0.0.0.0:9598.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
}

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is not an IP address with a port: write it like 127.0.0.1:9598"
        ))
    })
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9598)) }
    }
}

/// Connections served at the same time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;

/// One request and its answer, seconds; each connection serves one.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8192;

/// The wait after a failure to accept, such as running out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server shows.
pub struct Views {
    /// `/metrics`.
    pub registry: Registry,
    /// `/readyz`: why the agent is not ready; empty for ready.
    pub not_ready: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// `/readyz`: what a ready agent does, if that is not plain.
    pub doing: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// `/targets`.
    pub targets: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: choose another address in server.listen")]
pub struct Error {
    listen: SocketAddr,
    source: std::io::Error,
}

/// Takes the address.
///
/// # Errors
/// When it is in use or not ours.
pub async fn bind(config: &Config) -> Result<TcpListener, Error> {
    let listen = config.listen;
    TcpListener::bind(listen).await.map_err(|source| Error { listen, source })
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, views: Arc<Views>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            // The semaphore is never closed, so that this is never an error.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let views = Arc::clone(&views);
                    connections.spawn(async move {
                        connection(stream, &views).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    };
    let _ = stop.run_until_cancelled(accepting).await;
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, views: &Views) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, views)) });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    let serving = server.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(TIME_MAX, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended early"),
        Err(_) => tracing::debug!("connection took too long"),
    }
}

const INDEX: &str = "\
agent, which ships Prometheus metrics as Parquet objects

/metrics   the agent's own metrics, for Prometheus
/healthz   200 while the process turns
/readyz    200 while objects get through or another agent works, otherwise 503 and why not
/targets   what is scraped, and how the last scrapes went (JSON)
";

const TEXT: &str = "text/plain; charset=utf-8";

fn answer<B>(request: &Request<B>, views: &Views) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET is served here\n".to_owned();
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => respond(StatusCode::OK, TEXT, INDEX.to_owned()),
        "/metrics" => {
            // Text format 0.0.4: prometheus.io/docs/instrumenting/exposition_formats.
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            respond(StatusCode::OK, kind, telemetry::render(&views.registry))
        }
        "/healthz" => respond(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => {
            let reasons = (views.not_ready)();
            if reasons.is_empty() {
                let doing = (views.doing)().map_or(String::new(), |doing| doing + "\n");
                return respond(StatusCode::OK, TEXT, format!("ready\n{doing}"));
            }
            let lines: String = reasons.iter().map(|reason| format!("not ready: {reason}\n")).collect();
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)
        }
        "/targets" => respond(StatusCode::OK, "application/json", format!("{:#}\n", (views.targets)())),
        _ => respond(StatusCode::NOT_FOUND, TEXT, format!("nothing is served here\n\n{INDEX}")),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Runs a server for as long as `test` lasts. What the test gives is kept until the server has stopped, which takes less
    /// than a connection may last.
    async fn with_server<F: Future>(not_ready: &'static [&'static str], test: impl FnOnce(SocketAddr) -> F) {
        let listener = bind(&Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }).await.unwrap();
        let address = listener.local_addr().unwrap();
        let views = Views {
            registry: telemetry::registry().unwrap(),
            not_ready: Box::new(|| not_ready.iter().map(|reason| (*reason).to_owned()).collect()),
            doing: Box::new(|| None),
            targets: Box::new(|| serde_json::json!({"active": []})),
        };
        let stop = CancellationToken::new();
        let serving = serve(listener, Arc::new(views), stop.clone());
        let testing = async {
            let kept = test(address).await;
            stop.cancel();
            kept
        };
        let both = async { tokio::join!(serving, testing) };
        tokio::time::timeout(TIME_MAX - Duration::from_secs(2), both).await.expect("the server stops");
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses a request may reset the connection behind its answer.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn paths_and_methods() {
        with_server(&["no credentials yet"], async |address| {
            let check = async |line: &str, status: &str, parts: &[&str]| {
                let answer = ask(address, &format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
                for part in parts {
                    assert!(answer.contains(part), "{line}: {answer}");
                }
            };
            check("GET /", "200", &["/readyz"]).await;
            check("GET /healthz", "200", &["\r\n\r\nok\n"]).await;
            check("HEAD /healthz", "200", &["content-length: 3"]).await;
            check("GET /readyz", "503", &["\r\n\r\nnot ready: no credentials yet\n"]).await;
            check("GET /targets?x", "200", &["application/json", "\"active\": []"]).await;
            check("GET /metrics", "200", &["version=0.0.4", "\nagent_build_info{"]).await;
            check("GET /nothing", "404", &["nothing is served here"]).await;
            for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
                check(&format!("{method} /metrics"), "405", &["allow: GET, HEAD"]).await;
            }
            check("nonsense", "400", &[]).await;
            check(&format!("GET /{}", "x".repeat(2 * HEAD_BYTES_MAX)), "4", &[]).await;
        })
        .await;
    }

    #[tokio::test]
    async fn ready_without_reasons() {
        with_server(&[], async |address| {
            let answer = ask(address, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ready\n"), "{answer}");
        })
        .await;
    }

    #[tokio::test]
    async fn silent_connections_do_not_block_the_stop() {
        with_server(&[], async |address| {
            let mut silent = Vec::new();
            for _ in 0..CONNECTIONS_MAX - 1 {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            let answer = ask(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(answer.ends_with("ok\n"), "{answer}");
            silent
        })
        .await;
    }

    /// Whoever sends a request byte by byte, or never reads the answer, has as long as anybody.
    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_cut_off() {
        let listener = bind(&Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }).await.unwrap();
        let address = listener.local_addr().unwrap();
        let views = Views {
            registry: telemetry::registry().unwrap(),
            not_ready: Box::new(Vec::new),
            doing: Box::new(|| None),
            targets: Box::new(|| serde_json::json!({})),
        };
        let stop = CancellationToken::new();
        let slow = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let start = tokio::time::Instant::now();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
            let drip = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if stream.write_all(b"a: b\r\n").await.is_err() {
                        return;
                    }
                }
            };
            let cut = tokio::time::timeout(3 * TIME_MAX, drip).await;
            assert!(cut.is_ok(), "still connected after {:?}", start.elapsed());
            stop.cancel();
        };
        tokio::join!(serve(listener, Arc::new(views), stop.clone()), slow);
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let listener = bind(&Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }).await.unwrap();
        let listen = listener.local_addr().unwrap();
        let error = bind(&Config { listen }).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {listen}: choose another address in server.listen")
        );
        assert!(std::error::Error::source(&error).is_some());
    }
}
