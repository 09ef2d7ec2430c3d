//! The HTTP server: the page, `/api/v1`, `/metrics`, `/healthz`, `/readyz`, `/targets`, `/-/reload`.
//!
//! Takes requests, gives what the views say at that moment; holds no secret and changes nothing, but that it may be told to ask for
//! a reload. Bounded in
//! connections, header bytes, lists under way and time, so that nobody can hold up the agent through it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use pipeline::scrape::JobTargets;
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::problems::RecentProblems;
use crate::{api, page, reload, targets, telemetry};

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

/// Lists of targets and answers of the API that are being made or sent at the same time. Some take a moment and a few MiB,
/// while `/healthz` and `/metrics` wait for nobody.
const LISTS_MAX: usize = 4;

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
    /// The targets of every job.
    pub targets: Box<dyn Fn() -> Vec<Arc<JobTargets>> + Send + Sync>,
    /// How delivery goes.
    pub sinks: Box<dyn Fn() -> sinks::Status + Send + Sync>,
    /// The configuration in force, without secrets.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
    /// Where the configuration comes from.
    pub source: String,
    /// What the log warned of last.
    pub problems: RecentProblems,
    /// `/-/reload`, if it is served.
    pub reload: Option<reload::Requests>,
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
    let lists = Arc::new(Semaphore::new(LISTS_MAX));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            // The semaphore is never closed, so that this is never an error.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (views, lists) = (Arc::clone(&views), Arc::clone(&lists));
                    connections.spawn(async move {
                        connection(stream, &views, &lists).await;
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

async fn connection(stream: TcpStream, views: &Arc<Views>, lists: &Arc<Semaphore>) {
    // Held until the answer is sent, which ends the connection.
    let turn = OnceLock::new();
    let turn = &turn;
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, views, lists, turn).await) });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    let serving = server.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(TIME_MAX, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended early"),
        Err(_) => tracing::debug!("connection took too long"),
    }
}

/// What is served, for whoever asks for something else.
const INDEX: &str = "\
agent, which ships Prometheus metrics as objects

/          the page: targets, the pipeline, credentials, problems, configuration
/api/v1/   the same as JSON: targets, status, status/config, status/buildinfo, status/problems
/metrics   the agent's own metrics, for Prometheus
/healthz   200 while the process turns
/readyz    200 while objects get through or another agent works, otherwise 503 and why not
/targets   what is scraped, and how the last scrapes went (JSON)
/-/reload  takes up a changed configuration (POST; if reload.enable_lifecycle says so)
";

/// Prometheus' path.
const RELOAD: &str = "/-/reload";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Nothing but our own scripts, styles and answers: what a label holds can at most be read.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every answer says beside its own.
const HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

type Turn = OnceLock<OwnedSemaphorePermit>;

async fn answer<B>(
    request: &Request<B>,
    views: &Arc<Views>,
    lists: &Arc<Semaphore>,
    turn: &Turn,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let mut response = if path == RELOAD {
        reload(request.method(), views).await
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        refuse_method(path)
    } else if let Some(file) = page::file(path) {
        serve_file(&file, request)
    } else if path == "/targets" || path.starts_with("/api/") {
        serve_list(request, views, lists, turn).await
    } else {
        serve_text(path, views)
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What is said is true at this moment only; a file of the page may be kept and asked for again.
    let caching = if headers.contains_key(ETAG) { "no-cache" } else { "no-store" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

/// As Prometheus answers it.
async fn reload(method: &Method, views: &Views) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::POST | Method::PUT) {
        let text = format!("only POST and PUT are served at {RELOAD}\n");
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, PUT"));
        return response;
    }
    let Some(reload) = &views.reload else {
        let text = "not enabled: set reload.enable_lifecycle, or send SIGHUP\n".to_owned();
        return respond(StatusCode::FORBIDDEN, TEXT, text);
    };
    match reload.reload().await {
        Ok(()) => respond(StatusCode::OK, TEXT, "reloaded\n".to_owned()),
        Err(why) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("not reloaded: {why}\n")),
    }
}

fn refuse_method(path: &str) -> Response<Full<Bytes>> {
    let text = "only GET and HEAD are served here";
    let mut response = if path.starts_with("/api/") {
        let refusal = api::refusal(StatusCode::METHOD_NOT_ALLOWED, "bad_data", text);
        respond(refusal.status, JSON, refusal.body)
    } else {
        respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("{text}\n"))
    };
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn serve_file<B>(file: &page::File, request: &Request<B>) -> Response<Full<Bytes>> {
    let etag = file.etag();
    let is_known =
        request.headers().get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut response = if is_known {
        respond(StatusCode::NOT_MODIFIED, file.kind, String::new())
    } else {
        let mut response = Response::new(Full::new(Bytes::from_static(file.text.as_bytes())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
        response
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// What takes a moment to make: away from the thread that all scrapes share, and a few at a time.
async fn serve_list<B>(
    request: &Request<B>,
    views: &Arc<Views>,
    lists: &Arc<Semaphore>,
    turn: &Turn,
) -> Response<Full<Bytes>> {
    // The semaphore is never closed, and a turn is taken once.
    if let Ok(permit) = Arc::clone(lists).acquire_owned().await {
        let _ = turn.set(permit);
    }
    let (uri, views) = (request.uri().clone(), Arc::clone(views));
    let made = tokio::task::spawn_blocking(move || {
        if uri.path() == "/targets" {
            return (StatusCode::OK, format!("{:#}\n", targets::view(&(views.targets)())));
        }
        let api::Answer { status, body } = api::answer(uri.path(), uri.query(), &views);
        (status, body)
    });
    match made.await {
        Ok((status, body)) => respond(status, JSON, body),
        Err(error) => {
            tracing::error!(%error, "cannot answer a request, which is a defect");
            let refusal = api::refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer failed");
            respond(refusal.status, JSON, refusal.body)
        }
    }
}

fn serve_text(path: &str, views: &Views) -> Response<Full<Bytes>> {
    match path {
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
mod tests;
