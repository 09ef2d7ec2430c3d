//! A scripted exporter: serves what a function gives for each scrape, and keeps what it served.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::exposition::{Exposed, Exposition};
use crate::server::{Answer, Piece, Pieces, Server};
use crate::wait;

/// What one scrape gets.
#[derive(Clone, Debug)]
pub enum Serve {
    /// A good exposition; its samples go to the ledger.
    Good(Exposition),
    /// The same, compressed with gzip.
    Gzip(Exposition),
    /// This status and text.
    Status(u16, String),
    /// A body as it is, with this content type.
    Body(&'static str, Bytes),
    /// These bytes, said to be gzip.
    SaidGzip(Bytes),
    /// These bytes again and again, for ever.
    Endless(Bytes),
    /// Half of this text, then the connection is cut although `Content-Length` promised all.
    Truncated(String),
    /// This text after a wait in the middle.
    Slow(Duration, String),
    /// The connection is cut before a word.
    Cut,
}

/// One scrape, seen from the exporter.
#[derive(Clone, Debug)]
pub struct Scraped {
    /// Path and query asked for.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// What was served and must be accounted for.
    pub samples: Vec<Exposed>,
}

type Scrapes = Arc<Mutex<Vec<Scraped>>>;

/// The running exporter.
pub struct Exporter {
    server: Server,
    scrapes: Scrapes,
}

impl Exporter {
    /// Serves what `serve` gives for the number of the scrape, which starts at 0.
    pub fn start(serve: impl Fn(usize) -> Serve + Send + Sync + 'static) -> Self {
        let scrapes: Scrapes = Arc::default();
        let server = Server::start({
            let scrapes = Arc::clone(&scrapes);
            move |request| {
                let answer = answer(&scrapes, &request, &serve);
                Box::pin(std::future::ready(answer))
            }
        });
        Self { server, scrapes }
    }

    /// Serves `count` expositions, then 503 for ever: from then on the ledger stands still and can be closed.
    pub fn limited(count: usize, serve: impl Fn(usize) -> Exposition + Send + Sync + 'static) -> Self {
        Self::start(move |scrape| {
            if scrape < count {
                Serve::Good(serve(scrape))
            } else {
                Serve::Status(503, "enough\n".to_owned())
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Scraped>> {
        lock(&self.scrapes)
    }

    /// `127.0.0.1:port`, as `__address__` wants it.
    #[must_use]
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// While down, every connection is cut.
    pub fn set_down(&self, down: bool) {
        self.server.set_down(down);
    }

    /// Every scrape so far.
    #[must_use]
    pub fn scrapes(&self) -> Vec<Scraped> {
        self.lock().clone()
    }

    /// Every sample served so far, by scrape.
    #[must_use]
    pub fn exposed(&self) -> Vec<Vec<Exposed>> {
        self.lock().iter().map(|scraped| scraped.samples.clone()).collect()
    }

    /// Waits until there were more than `count` scrapes, which means that `count` are over.
    ///
    /// # Panics
    /// When there are not within 20 seconds.
    pub fn wait_for_scrapes_after(&self, count: usize) {
        wait::until(&format!("more than {count} scrapes"), Duration::from_secs(20), || {
            self.lock().len() > count
        });
    }
}

fn lock(scrapes: &Mutex<Vec<Scraped>>) -> MutexGuard<'_, Vec<Scraped>> {
    scrapes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(
    scrapes: &Mutex<Vec<Scraped>>,
    request: &Request<Incoming>,
    serve: &impl Fn(usize) -> Serve,
) -> Answer {
    let mut scrapes = lock(scrapes);
    let serve = serve(scrapes.len());
    let samples = match &serve {
        Serve::Good(exposition) | Serve::Gzip(exposition) => exposition.samples.clone(),
        _ => Vec::new(),
    };
    let headers = request.headers().iter();
    let headers = headers.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
    scrapes.push(Scraped { path: request.uri().to_string(), headers: headers.collect(), samples });
    drop(scrapes);
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let ok = || Response::builder().status(200).header("content-type", TEXT);
    let response = match serve {
        Serve::Good(exposition) => ok().body(exposition.text.into()),
        Serve::Gzip(exposition) => {
            ok().header("content-encoding", "gzip").body(gzip(exposition.text.as_bytes()).into())
        }
        Serve::SaidGzip(bytes) => ok().header("content-encoding", "gzip").body(bytes.into()),
        Serve::Status(status, text) => Response::builder().status(status).body(text.into()),
        Serve::Body(content_type, bytes) => {
            Response::builder().status(200).header("content-type", content_type).body(bytes.into())
        }
        Serve::Endless(bytes) => ok().body(Pieces::new([Piece::Endless(bytes)])),
        Serve::Truncated(text) => {
            let half = Bytes::from(text.clone()).slice(..text.len() / 2);
            ok().header("content-length", text.len()).body(Pieces::new([Piece::Bytes(half), Piece::Cut]))
        }
        Serve::Slow(time, text) => {
            let (first, second) = (Bytes::from(text.clone()).slice(..text.len() / 2), Bytes::from(text));
            let second = second.slice(first.len()..);
            ok().body(Pieces::new([Piece::Bytes(first), Piece::Wait(time), Piece::Bytes(second)]))
        }
        Serve::Cut => return Answer::Cut,
    };
    Answer::Response(response.expect("an answer made of valid parts"))
}

/// Compresses as exporters do.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("to write to memory");
    encoder.finish().expect("to write to memory")
}
