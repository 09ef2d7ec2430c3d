//! A server on loopback that gives prepared answers, one connection each, and keeps the requests.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// For a request that should come at once, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// Gives each answer to one request and returns the requests; the server stays to be asked for more.
    pub(crate) async fn answer(&self, answers: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
        let mut requests = Vec::new();
        for answer in answers {
            let connection = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
            let (mut stream, _) = connection.expect("no request came").unwrap();
            requests.push(read_request(&mut stream).await);
            // A client may hang up before the end of an answer that it does not want.
            let _ = stream.write_all(&answer).await;
        }
        requests
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return text;
        }
    }
}

/// An answer that ends its connection; `headers` end with CRLF each.
pub(crate) fn http_answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
        .into_bytes()
}
