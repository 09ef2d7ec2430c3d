//! A loopback HTTP/1.1 server on a thread of its own, the ground that all fakes stand on.
//!
//! Takes a function from request to [`Answer`]; can also refuse connections, cut them, hang and send bodies in pieces.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a fake does with a request.
pub enum Answer {
    /// Answers.
    Response(Response<Pieces>),
    /// Closes the connection without a word.
    Cut,
}

impl Answer {
    /// Status 200 with this body.
    #[must_use]
    pub fn ok(body: Bytes) -> Self {
        Self::Response(Response::new(Pieces::new([Piece::Bytes(body)])))
    }
}

/// What the function of a server gives.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One step of sending a body.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Sends these bytes.
    Bytes(Bytes),
    /// Sends these bytes for ever.
    Endless(Bytes),
    /// Waits.
    Wait(Duration),
    /// Closes the connection.
    Cut,
}

/// A body that is sent piece by piece.
pub struct Pieces {
    steps: VecDeque<Piece>,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Pieces {
    /// A body of these pieces.
    pub fn new(steps: impl IntoIterator<Item = Piece>) -> Self {
        Self { steps: steps.into_iter().collect(), waiting: None }
    }
}

impl<T: Into<Bytes>> From<T> for Pieces {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        Self::new((!bytes.is_empty()).then_some(Piece::Bytes(bytes)))
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleep) = &mut self.waiting {
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.waiting = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::Endless(bytes)) => {
                    self.steps.push_front(Piece::Endless(bytes.clone()));
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Piece::Wait(time)) => self.waiting = Some(Box::pin(tokio::time::sleep(time))),
                Some(Piece::Cut) => return Poll::Ready(Some(Err(io::Error::other("cut as scripted")))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        let plain = self.steps.iter().map(|step| match step {
            Piece::Bytes(bytes) => Some(bytes.len() as u64),
            _ => None,
        });
        plain.sum::<Option<u64>>().map_or_else(Default::default, hyper::body::SizeHint::with_exact)
    }
}

/// An address on which nothing listens yet: connections to it are refused, and nobody else can take it.
pub struct Reserved {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Reserved {
    /// Takes a free port on loopback.
    #[must_use]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port on loopback");
        let address = socket.local_addr().expect("the address of a bound socket");
        Self { socket, address }
    }

    /// The address taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to answer there.
    pub fn serve(self, answer: impl Fn(Request<Incoming>) -> Answering + Send + Sync + 'static) -> Server {
        let stop = CancellationToken::new();
        let down = Arc::new(AtomicBool::new(false));
        let (listening, is_listening) = mpsc::sync_channel(1);
        let run = {
            let (stop, down) = (stop.clone(), Arc::clone(&down));
            async move {
                let listener = self.socket.listen(1024).expect("to listen on a bound socket");
                listening.send(()).expect("somebody who waits for it");
                let mut connections = JoinSet::new();
                let answer = Arc::new(answer);
                loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        Some(_) = connections.join_next(), if !connections.is_empty() => {}
                        Ok((stream, _)) = listener.accept() => {
                            if !down.load(Ordering::SeqCst) {
                                connections.spawn(connection(stream, Arc::clone(&answer), Arc::clone(&down)));
                            }
                        }
                    }
                }
            }
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(run);
        });
        is_listening.recv_timeout(Duration::from_secs(10)).expect("the server to listen");
        Server { address: self.address, stop, down, thread: Some(thread) }
    }
}

impl Default for Reserved {
    fn default() -> Self {
        Self::new()
    }
}

/// A running server; it ends when dropped.
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    down: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port.
    pub fn start(answer: impl Fn(Request<Incoming>) -> Answering + Send + Sync + 'static) -> Self {
        Reserved::new().serve(answer)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// While down, every connection is cut before it is answered.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn connection<F>(stream: TcpStream, answer: Arc<F>, down: Arc<AtomicBool>)
where
    F: Fn(Request<Incoming>) -> Answering + Send + Sync + 'static,
{
    let service = service_fn(|request| {
        let answering = answer(request);
        let down = Arc::clone(&down);
        async move {
            let answer = if down.load(Ordering::SeqCst) { Answer::Cut } else { answering.await };
            match answer {
                Answer::Response(response) => Ok(response),
                Answer::Cut => Err(io::Error::other("cut as scripted")),
            }
        }
    });
    // An error is a connection that ended early, often because the script wanted it so.
    let _ =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}
