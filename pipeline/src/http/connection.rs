//! One HTTP/1.1 connection, driven by the loop that uses it.
//!
//! Takes an origin, gives answers and the frames of their bodies. The connection has no task of its own: it makes
//! progress while the loop waits for it and sleeps with the loop, so that a scrape wakes one task and an idle
//! connection wakes none. That the server closed it meanwhile is seen at the next use.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::tls::Tls;
use crate::model::scrape::ScrapeError;

/// hyper's read buffer grows to this while reads fill it, and every idle connection keeps its own. Twice as much takes no less
/// time to read a hundred kilobytes.
pub(crate) const READ_BUFFER_BYTES_MAX: usize = 32 * 1024;

type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send + Sync>>;

/// Where a connection leads: what must be equal for it to be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of an `http` or `https` URL; `None` for any other.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Some(Self { tls, host, port: url.port_or_known_default()? })
    }
}

/// A connection that is open, or was when it was last used.
pub(crate) struct Connection {
    pub(crate) origin: Origin,
    sender: SendRequest<Empty<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
}

impl Connection {
    /// Resolves, connects and shakes hands.
    pub(crate) async fn open(origin: &Origin, tls: &Tls) -> Result<Self, ScrapeError> {
        let stream = connect(&origin.host, origin.port).await?;
        if !origin.tls {
            return Self::over(stream, origin).await;
        }
        let connector = tls.connector().await?;
        let name = tls.server_name(&origin.host)?;
        let stream = connector.connect(name, stream).await.map_err(|e| tls.refused(&origin.host, &e))?;
        Self::over(stream, origin).await
    }

    async fn over<S>(stream: S, origin: &Origin) -> Result<Self, ScrapeError>
    where
        TokioIo<S>: Read + Write + Unpin + Send + Sync + 'static,
    {
        let handshake =
            http1::Builder::new().max_buf_size(READ_BUFFER_BYTES_MAX).handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.map_err(|e| ScrapeError::Connect(chain(&e)))?;
        Ok(Self { origin: origin.clone(), sender, driver: Some(Box::pin(driver)) })
    }

    /// Whether the connection takes another request.
    pub(crate) async fn is_ready(&mut self) -> bool {
        drive(&mut self.driver, self.sender.ready()).await.is_ok() && self.driver.is_some()
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        drive(&mut self.driver, self.sender.send_request(request)).await
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn data(&mut self, body: &mut Incoming) -> Option<hyper::Result<Bytes>> {
        loop {
            match drive(&mut self.driver, body.frame()).await? {
                Ok(frame) => {
                    // Trailers say nothing that is needed.
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

/// Waits for `work`, moving the connection along.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        // A connection that has ended tells whoever waits for it; its own error says the same.
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            *driver = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, ScrapeError> {
    let failed = |e: &io::Error| ScrapeError::Connect(format!("cannot resolve {host:?}: {e}"));
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(|e| failed(&e))?.collect();
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|e| match e.kind() {
        io::ErrorKind::ConnectionRefused => ScrapeError::Refused,
        _ => ScrapeError::Connect(format!("{host}:{port}: {e}")),
    })?;
    // The request is one small write, and nothing is gained by waiting for more.
    stream.set_nodelay(true).map_err(|e| ScrapeError::Connect(e.to_string()))?;
    Ok(stream)
}

/// An error and its causes, each said once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
