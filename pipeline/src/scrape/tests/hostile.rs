//! Servers that mean harm: whatever they send, the scrape is over within its timeout and holds no more than its limits.

use super::*;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

async fn get(server: &Server, timeout: Duration) -> Result<Vec<u8>, ScrapeError> {
    fetcher("", &server.url(), timeout).ask().await
}

#[tokio::test]
async fn what_has_no_end_is_left_long_before() {
    for begin in [
        // A header, a chunk's extension, a chunk's size, a trailer.
        "HTTP/1.1 200 OK\r\nx: ".to_owned(),
        format!("{CHUNKED}4;"),
        format!("{CHUNKED}4;a=\""),
        format!("{CHUNKED}0"),
        format!("{CHUNKED}5\r\nup 1\n\r\n0\r\nx: "),
    ] {
        let server = Server::start(vec![vec![Step::Endless(begin.clone().into_bytes())]]).await;
        let got = get(&server, LONG).await;
        assert!(
            matches!(got, Err(ScrapeError::Connect(_) | ScrapeError::Truncated(_))),
            "{begin:?}: {got:?}"
        );
    }
}

#[tokio::test]
async fn nonsense_is_refused() {
    let headers: String = (0..2000).map(|i| format!("x{i}: y\r\n")).collect();
    for answer in [
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: 5\r\n\r\nup 1\n"),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nup 1\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nup 1\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nup 1\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nup 1\n".to_owned(),
        format!("{CHUNKED}ffffffffffffffffff\r\nup 1\n"),
        format!("{CHUNKED}-5\r\nup 1\n\r\n0\r\n\r\n"),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "\u{0}\u{0}\u{0}\u{0}\u{0}".to_owned(),
    ] {
        let server = Server::start(vec![vec![Step::Send(answer.clone().into_bytes())]]).await;
        assert!(get(&server, LONG).await.is_err(), "{:?}", &answer[..60.min(answer.len())]);
    }
}

/// What comes behind an answer is not taken for the next one.
#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys() {
    let smuggled = format!("{}{}", text(&ok("up 1\n")), text(&ok("stolen 1\n")));
    let scripts = vec![vec![Step::Send(smuggled.into_bytes()); 3], vec![Step::Send(ok("up 2\n")); 3]];
    let server = Server::start(scripts).await;
    let mut fetcher = fetcher("", &server.url(), LONG);
    for expected in ["up 1\n", "up 2\n", "up 2\n"] {
        assert_eq!(fetcher.ask().await, Ok(expected.into()));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Sends `piece` again and again, with a pause, as long as the client stays.
async fn again_and_again(
    begin: &'static str,
    piece: &'static str,
    pause: Duration,
) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        let _ = stream.write_all(begin.as_bytes()).await;
        while stream.write_all(piece.as_bytes()).await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn a_drip_and_answers_before_the_answer_end_with_the_timeout() {
    let ms = Duration::from_millis;
    for (begin, piece) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", "a"),
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
    ] {
        let (address, _tasks) = again_and_again(begin, piece, ms(10)).await;
        let got = fetcher("", &format!("http://{address}/"), SHORT).ask().await;
        assert!(matches!(got, Err(ScrapeError::Timeout(_))), "{begin:?} {piece:?}: {got:?}");
    }
}

/// Who answers before being asked is no exporter, and gets no further.
#[tokio::test]
async fn an_answer_to_nothing_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[ok("a 1\n"), ok("b 1\n")].concat()).await.unwrap();
        stream
    };
    let mut fetcher = fetcher("", &url, LONG);
    let (got, _stream) = tokio::join!(fetcher.ask(), serve);
    // Whether the request was on its way already is a race that no side can decide; the second answer is never taken.
    assert!(got.as_ref().map_or(true, |body| body == b"a 1\n"), "{got:?}");
}
