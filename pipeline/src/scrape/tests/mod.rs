//! Tests of scraping against scripted servers on loopback, and what they share.

mod config;
mod fetch;
mod hostile;
mod limits;
mod pool;
mod reload;
mod targets;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::{IntCounter, Registry};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::body::{Memory, Outlet};
use super::fetch::{Client, Fetcher};
use super::{GlobalConfig, Metrics, ResolvedJob, ScrapeConfig};
use crate::model::labels::Labels;
use crate::model::scrape::{Arrival, Part, ScrapeError};
use crate::model::target::Target;
use crate::model::units::Size;
use crate::rest::Rest;

/// Long enough for anything on loopback, on a busy machine too.
const LONG: Duration = Duration::from_secs(20);
/// For scrapes that are meant to time out.
const SHORT: Duration = Duration::from_millis(150);

/// What the server does with one request.
#[derive(Clone)]
enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes, then more and more until the client has had enough.
    Endless(Vec<u8>),
    /// Sends these bytes, then nothing more.
    Silence(Vec<u8>),
}

/// A server that follows a script: for each connection, what to do with its requests; then it closes. The last script
/// is repeated for all further connections.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The requests of each connection, as they came.
    requests: Arc<Mutex<Vec<Vec<String>>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let seen = Arc::clone(&requests);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let script = scripts[usize::min(number, scripts.len() - 1)].clone();
                seen.lock().unwrap().push(Vec::new());
                connections.spawn(follow(stream, script, Arc::clone(&seen), number));
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    /// A server that answers each request on each connection with `answer`.
    async fn always(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(vec![vec![Step::Send(answer); 100]]).await
    }

    fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    fn connections(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// All requests, in order of their connections.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().flatten().cloned().collect()
    }
}

async fn follow(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Vec<Step>,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
    number: usize,
) {
    for step in script {
        let Some(request) = request(&mut stream).await else { return };
        seen.lock().unwrap()[number].push(request);
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Endless(bytes) => {
                let _ = stream.write_all(&bytes).await;
                while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
                return;
            }
            Step::Silence(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.read(&mut [0; 16]).await;
                return;
            }
        }
    }
}

/// The head of a request; `None` when the client closed.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// An answer with status 200 and a length.
fn ok(body: &str) -> Vec<u8> {
    ok_with("", body.as_bytes())
}

/// The same with more headers, each ended by CRLF.
fn ok_with(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn config(yaml: &str) -> ScrapeConfig {
    serde_norway::from_str(yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"))
}

/// The job of a scrape section.
fn job(yaml: &str) -> ResolvedJob {
    let config = config(&format!("{{job_name: test, {yaml}}}"));
    config.resolve(&GlobalConfig::default()).unwrap_or_else(|e| panic!("{yaml}: {e:?}"))
}

fn memory(size: u64) -> (Memory, IntCounter) {
    let waits = IntCounter::new("waits", "waits").unwrap();
    (Memory::new(Size(size), waits.clone(), Rest::default()), waits)
}

/// A fetcher whose bodies are put together again, parts and rest.
struct Asker {
    fetcher: Fetcher,
    parts: mpsc::Receiver<Arrival>,
}

impl Asker {
    fn new(job: &ResolvedJob, url: &str, timeout: Duration, memory: &Memory) -> Self {
        let (outlet, parts) = outlet();
        Self { fetcher: Fetcher::new(job, &Client::new(job), url, timeout, memory, outlet), parts }
    }

    async fn ask(&mut self) -> Result<Vec<u8>, ScrapeError> {
        let mut body = Vec::new();
        let fetched = self.fetcher.fetch();
        tokio::pin!(fetched);
        let last = loop {
            tokio::select! {
                biased;
                Some(part) = self.parts.recv() => add(&mut body, part),
                outcome = &mut fetched => break outcome?,
            }
        };
        assert_eq!(last.before, body.len() as u64, "a part is missing");
        last.pieces.iter().for_each(|piece| body.extend_from_slice(piece));
        Ok(body)
    }
}

/// Adds a part to what has come of a body.
fn add(body: &mut Vec<u8>, part: Arrival) {
    let Arrival::Part(Part { exposition, .. }) = part else { panic!("{part:?}") };
    assert_eq!(exposition.before, body.len() as u64, "a part is missing");
    exposition.pieces.iter().for_each(|piece| body.extend_from_slice(piece));
}

/// Somebody's outlet, and what comes out.
fn outlet() -> (Outlet, mpsc::Receiver<Arrival>) {
    let target =
        Target::new(Arc::default(), Labels::default(), Labels::default().into(), "http://a/".to_owned());
    let (queue, parts) = mpsc::channel(64);
    (Outlet::new(&Arc::new(target), &queue), parts)
}

/// Asks `url` by the settings of a scrape section.
fn fetcher(yaml: &str, url: &str, timeout: Duration) -> Asker {
    let (memory, _) = memory(128 << 20);
    Asker::new(&job(yaml), url, timeout, &memory)
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&Registry::new()).unwrap())
}
