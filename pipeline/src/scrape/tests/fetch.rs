//! One GET against servers that behave well, badly and strangely.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::fetch::public_headers;
use super::*;

/// Asks once and gives the body as text.
async fn get(fetcher: &mut Asker) -> Result<String, ScrapeError> {
    fetcher.ask().await.map(|body| String::from_utf8(body).unwrap())
}

/// What comes of one answer.
async fn check(yaml: &str, answer: impl Into<Vec<u8>>, expected: Result<&str, ScrapeError>) {
    let server = Server::start(vec![vec![Step::Send(answer.into())]]).await;
    let mut fetcher = fetcher(yaml, &server.url(), LONG);
    assert_eq!(get(&mut fetcher).await, expected.map(str::to_owned), "{yaml}");
}

/// As `check`, for errors whose text begins or ends differently from machine to machine.
async fn check_error(yaml: &str, answer: impl Into<Vec<u8>>, expected: &str) {
    let server = Server::start(vec![vec![Step::Send(answer.into())]]).await;
    let error = get(&mut fetcher(yaml, &server.url(), LONG)).await.unwrap_err();
    assert!(error.to_string().contains(expected), "{yaml}: {error}");
}

pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn answers_of_any_shape() {
    check("", ok("up 1\n"), Ok("up 1\n")).await;
    check("", ok(""), Ok("")).await;
    check("", "HTTP/1.0 200 OK\r\n\r\nup 1\n", Ok("up 1\n")).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nup \r\n2\r\n1\n\r\n0\r\nTrailer: x\r\n\r\n";
    check("", chunked, Ok("up 1\n")).await;
    check("", ok_with("Content-Type: text/html\r\n", b"<html>"), Ok("<html>")).await;
    check(
        "",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops",
        Err(ScrapeError::Status(500)),
    )
    .await;
    check("", "HTTP/1.1 204 No Content\r\n\r\n", Err(ScrapeError::Status(204))).await;
    check_error("", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is no HTTP").await;
    check_error("", "", "answer cut off").await;
}

#[tokio::test]
async fn bodies_that_are_cut_off() {
    check_error("", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nup 1\n", "answer cut off").await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n";
    check_error("", chunked, "answer cut off").await;
    check_error("", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup", "answer cut off").await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let limit = "body_size_limit: 1KiB";
    let too_large = || Err(ScrapeError::BodySize(1024));
    check(limit, ok(&"a".repeat(1024)), Ok(&"a".repeat(1024))).await;
    check(limit, ok(&"a".repeat(1025)), too_large()).await;
    check(limit, format!("HTTP/1.0 200 OK\r\n\r\n{}", "a".repeat(1025)), too_large()).await;
    let endless = |head: &str| vec![vec![Step::Endless(head.as_bytes().to_vec())]];
    for head in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"] {
        let server = Server::start(endless(head)).await;
        let mut fetcher = fetcher("body_size_limit: 1MiB", &server.url(), LONG);
        assert_eq!(get(&mut fetcher).await, Err(ScrapeError::BodySize(1 << 20)), "{head}");
    }
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let server = Server::start(vec![vec![Step::Endless(b"HTTP/1.1 200 OK\r\nX: ".to_vec())]]).await;
    let error = get(&mut fetcher("", &server.url(), LONG)).await.unwrap_err();
    assert!(error.to_string().contains("the answer is no HTTP"), "{error}");
}

#[tokio::test]
async fn compressed_bodies() {
    let header = "Content-Encoding: gzip\r\n";
    let answer = |body: &[u8]| ok_with(header, body);
    let text = "up 1\n".repeat(50_000);
    let compressed = gzip(text.as_bytes());
    check("", answer(&compressed), Ok(&text)).await;
    check("", answer(&gzip(b"")), Ok("")).await;
    // Two members one after the other are one body (RFC 1952, section 2.2).
    check("", answer(&[gzip(b"up "), gzip(b"1\n")].concat()), Ok("up 1\n")).await;
    let cut = ScrapeError::Decompress("the gzip data is cut off".to_owned());
    check("", answer(&compressed[..compressed.len() / 2]), Err(cut.clone())).await;
    check("", answer(&compressed[..compressed.len() - 1]), Err(cut)).await;
    check_error("", answer(b"up 1\nup 2\nup 3\n"), "cannot decompress the body: gzip:").await;
    check_error("", ok_with("Content-Encoding: br\r\n", b"x"), "\"br\" was not asked for").await;
    // A small body that unfolds to far more than the limit.
    let bomb = gzip(&vec![0; 4 << 20]);
    assert!(bomb.len() < 10 << 10);
    check("body_size_limit: 64KiB", answer(&bomb), Err(ScrapeError::BodySize(64 << 10))).await;
    // Exactly at the limit is within it.
    let limit = "body_size_limit: 250000B";
    check(limit, answer(&compressed), Ok(&text)).await;
    check("body_size_limit: 249999B", answer(&compressed), Err(ScrapeError::BodySize(249_999))).await;
}

#[tokio::test]
async fn slow_servers_time_out() {
    for begin in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup "] {
        let server =
            Server::start(vec![vec![Step::Silence(begin.into())], vec![Step::Send(ok("up 1\n"))]]).await;
        let mut fetcher = fetcher("", &server.url(), SHORT);
        assert_eq!(get(&mut fetcher).await, Err(ScrapeError::Timeout(SHORT)), "{begin:?}");
        // The connection that hangs is not used again.
        assert_eq!(get(&mut fetcher).await, Ok("up 1\n".to_owned()), "{begin:?}");
        assert_eq!(server.connections(), 2, "{begin:?}");
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let server = Server::always(ok("up 1\n")).await;
    let mut fetcher = fetcher("", &server.url(), LONG);
    for _ in 0..5 {
        assert_eq!(get(&mut fetcher).await, Ok("up 1\n".to_owned()));
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 5));
}

#[tokio::test]
async fn connections_that_the_server_closed_are_opened_again() {
    // Announced, unannounced after an answer, and at the very moment of the next request.
    let announced = ok_with("Connection: close\r\n", b"up 1\n");
    for scripts in [
        vec![vec![Step::Send(announced)], vec![Step::Send(ok("up 1\n"))]],
        vec![vec![Step::Send(ok("up 1\n"))], vec![Step::Send(ok("up 1\n"))]],
        vec![vec![Step::Send(ok("up 1\n")), Step::Send(Vec::new())], vec![Step::Send(ok("up 1\n"))]],
    ] {
        let server = Server::start(scripts).await;
        let mut fetcher = fetcher("", &server.url(), LONG);
        for _ in 0..2 {
            assert_eq!(get(&mut fetcher).await, Ok("up 1\n".to_owned()));
        }
        assert_eq!(server.connections(), 2);
    }
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_no_reason_to_try_again() {
    let server = Server::start(vec![vec![Step::Send(Vec::new())], vec![Step::Send(ok("up 1\n"))]]).await;
    let error = get(&mut fetcher("", &server.url(), LONG)).await.unwrap_err();
    assert_eq!(error.reason(), "truncated");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(get(&mut fetcher("", &url, LONG)).await, Err(ScrapeError::Refused));
    // No resolver looks for a name that is too long to exist.
    let name = "a".repeat(64);
    let error = get(&mut fetcher("", &format!("http://{name}/metrics"), LONG)).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("cannot connect: cannot resolve \"{name}\": ")),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_asked() {
    let server = Server::always(ok("")).await;
    let url = format!("{}?match%5B%5D=up", server.url());
    let yaml = "http_headers: {X-Scope: {values: [a, b]}}";
    get(&mut fetcher(yaml, &url, Duration::from_millis(12_500))).await.unwrap();
    get(&mut fetcher("enable_compression: true", &url, LONG)).await.unwrap();
    let expected = format!(
        "GET /metrics?match%5B%5D=up HTTP/1.1\r\n\
         accept: text/plain;version=0.0.4;q=1,*/*;q=0.1\r\n\
         user-agent: cedana-agent/{}\r\n\
         accept-encoding: identity\r\n\
         x-scope: a\r\n\
         x-scope: b\r\n\
         host: {}\r\n\
         x-prometheus-scrape-timeout-seconds: 12.5\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        server.address
    );
    assert_eq!(server.requests()[0], expected);
    assert!(server.requests()[1].contains("accept-encoding: gzip\r\n"));
    assert!(server.requests()[1].contains("scrape-timeout-seconds: 20\r\n"));
}

#[tokio::test]
async fn authentication() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let path = file.display();
    std::fs::write(&file, " one\n").unwrap();
    let cases = [
        ("authorization: {credentials: abc}".to_owned(), "Bearer abc"),
        ("authorization: {type: Custom, credentials: abc}".to_owned(), "Custom abc"),
        ("bearer_token: abc".to_owned(), "Bearer abc"),
        (format!("bearer_token_file: {path}"), "Bearer one"),
        (format!("authorization: {{credentials_file: {path}}}"), "Bearer one"),
        // RFC 7617, section 2.
        (
            "basic_auth: {username: Aladdin, password: open sesame}".to_owned(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (format!("basic_auth: {{username: one, password_file: {path}}}"), "Basic b25lOm9uZQ=="),
        (format!("basic_auth: {{username_file: {path}}}"), "Basic b25lOg=="),
    ];
    for (yaml, expected) in cases {
        let server = Server::always(ok("")).await;
        get(&mut fetcher(&yaml, &server.url(), LONG)).await.unwrap();
        let request = &server.requests()[0];
        assert!(request.contains(&format!("authorization: {expected}\r\n")), "{yaml}: {request}");
    }
}

#[tokio::test]
async fn secret_files_are_read_at_each_scrape() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let server = Server::always(ok("")).await;
    let yaml = format!("bearer_token_file: {0}, http_headers: {{X-Key: {{files: [{0}]}}}}", file.display());
    let mut fetcher = fetcher(&yaml, &server.url(), LONG);
    let error = get(&mut fetcher).await.unwrap_err();
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    for token in ["one", "two"] {
        std::fs::write(&file, token).unwrap();
        get(&mut fetcher).await.unwrap();
        let request = server.requests().pop().unwrap();
        assert!(request.contains(&format!("authorization: Bearer {token}\r\n")), "{request}");
        assert!(request.contains(&format!("x-key: {token}\r\n")), "{request}");
    }
    for bad in ["top\nsecret".to_owned(), "x".repeat(70_000)] {
        std::fs::write(&file, &bad).unwrap();
        let error = get(&mut fetcher).await.unwrap_err();
        assert_eq!(error.reason(), "credentials");
        assert!(!format!("{error:?} {error}").contains(&bad[..3]), "{error}");
    }
}

#[test]
fn secrets_are_not_printed() {
    for yaml in [
        "bearer_token: hunter2, http_headers: {X: {secrets: [hunter2]}}",
        "basic_auth: {username: a, password: hunter2}",
        "basic_auth: {username_file: a, password: hunter2}",
    ] {
        let job = job(yaml);
        let headers =
            crate::http::RequestHeaders::new(&job.config.client_keys(), public_headers(&job)).unwrap();
        let shown = format!("{headers:?} {job:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("YTpodW50ZXIy"), "{yaml}: {shown}");
    }
}

fn redirect(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn redirects() {
    // On the same server, over the same connection, with the secrets.
    let steps = vec![Step::Send(redirect("/other?a=b")), Step::Send(ok("up 1\n"))];
    let server = Server::start(vec![steps]).await;
    let yaml = "bearer_token: secret";
    assert_eq!(get(&mut fetcher(yaml, &server.url(), LONG)).await, Ok("up 1\n".to_owned()));
    let request = server.requests().pop().unwrap();
    assert!(request.starts_with("GET /other?a=b HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer secret\r\n"), "{request}");
    assert_eq!(server.connections(), 1);
    check("follow_redirects: false", redirect("/other"), Err(ScrapeError::Status(302))).await;
    check("", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", Err(ScrapeError::Status(302))).await;
    check_error("", redirect("ftp://example.com/"), "use http or https").await;
    check_error("", redirect("http://["), "is no URL").await;
    // Round and round.
    let server = Server::always(redirect("/metrics")).await;
    let error = get(&mut fetcher("", &server.url(), LONG)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot connect: redirected more than 10 times");
    assert_eq!(server.requests().len(), 11);
}

#[tokio::test]
async fn secrets_do_not_follow_to_another_server() {
    let other = Server::always(ok("up 1\n")).await;
    let server = Server::always(redirect(&other.url())).await;
    let yaml = "basic_auth: {username: a, password: b}, \
                http_headers: {X-Key: {secrets: [secret]}, X-Scope: {values: [a]}}";
    assert_eq!(get(&mut fetcher(yaml, &server.url(), LONG)).await, Ok("up 1\n".to_owned()));
    let request = &other.requests()[0];
    assert!(!request.contains("authorization") && !request.contains("x-key"), "{request}");
    assert!(request.contains("x-scope: a\r\n"), "{request}");
    assert!(server.requests()[0].contains("x-key: secret\r\n"));
}

#[tokio::test]
async fn a_function_of_this_process_needs_no_port() {
    let render = Arc::new(|| b"up 1\n".to_vec());
    let job = ResolvedJob::in_process(&GlobalConfig::default(), render);
    let (memory, _) = memory(1 << 20);
    let mut fetcher = Asker::new(&job, "http://in-process/metrics", LONG, &memory);
    assert_eq!(get(&mut fetcher).await, Ok("up 1\n".to_owned()));
}

/// A reading that hangs keeps nobody else waiting, and one that panics is a failed scrape.
#[tokio::test]
async fn a_function_that_blocks_is_called_aside() {
    let (memory, _) = memory(1 << 20);
    let fetcher = |render: crate::scrape::Render, timeout| {
        let job = ResolvedJob::in_process(&GlobalConfig::default(), Arc::new(Vec::new))
            .read_by(render, String::new());
        Asker::new(&job, "http://in-process/metrics", timeout, &memory)
    };
    let mut well = fetcher(Arc::new(|| b"up 1\n".to_vec()), LONG);
    assert_eq!(get(&mut well).await, Ok("up 1\n".to_owned()));
    let (answer, held) = std::sync::mpsc::sync_channel(0);
    let held = std::sync::Mutex::new(held);
    let short = Duration::from_millis(50);
    let mut hangs = fetcher(Arc::new(move || held.lock().unwrap().recv().unwrap_or_default()), short);
    // On the one thread that there is, the time would not be up before the answer.
    assert_eq!(get(&mut hangs).await, Err(ScrapeError::Timeout(short)));
    answer.send(Vec::new()).unwrap();
    let mut panics = fetcher(Arc::new(|| panic!("a defect")), LONG);
    assert_eq!(get(&mut panics).await.unwrap_err().reason(), "truncated");
}
