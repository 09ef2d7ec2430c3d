//! The server over real connections.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn views(not_ready: &'static [&'static str]) -> Views {
    Views {
        registry: telemetry::registry().unwrap(),
        not_ready: Box::new(|| not_ready.iter().map(|reason| (*reason).to_owned()).collect()),
        doing: Box::new(|| None),
        targets: Box::new(Vec::new),
        sinks: Box::new(sinks::Status::default),
        config: Box::new(String::new),
        source: String::new(),
        problems: RecentProblems::default(),
        reload: None,
    }
}

/// Runs a server for as long as `test` lasts. What the test gives is kept until the server has stopped, which takes less
/// than a connection may last.
async fn with_server<F: Future>(not_ready: &'static [&'static str], test: impl FnOnce(SocketAddr) -> F) {
    let listener = bind(&Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }).await.unwrap();
    let address = listener.local_addr().unwrap();
    let views = views(not_ready);
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
        check("GET /", "200", &["text/html", "<title>", "etag: \"", "cache-control: no-cache"]).await;
        check("GET /page/page.css", "200", &["text/css"]).await;
        check("GET /page/main.js", "200", &["text/javascript"]).await;
        check("GET /page/../admin.rs", "404", &[]).await;
        check("GET /healthz", "200", &["\r\n\r\nok\n"]).await;
        check("HEAD /healthz", "200", &["content-length: 3"]).await;
        check("GET /readyz", "503", &["\r\n\r\nnot ready: no credentials yet\n"]).await;
        check("GET /targets?x", "200", &["application/json", "\r\n\r\n[]\n"]).await;
        check("GET /metrics", "200", &["version=0.0.4", "\nagent_build_info{"]).await;
        check("GET /nothing", "404", &["nothing is served here"]).await;
        check("GET /api/v1/targets", "200", &["application/json", "\"activeTargets\":[]", "no-store"]).await;
        check("GET /api/v1/targets?limit=x", "400", &["\"errorType\":\"bad_data\""]).await;
        check("GET /api/v1/nothing", "404", &["\"status\":\"error\""]).await;
        check("POST /api/v1/targets", "405", &["allow: GET, HEAD", "\"status\":\"error\""]).await;
        for path in ["/", "/metrics", "/targets", "/api/v1/status", "/nothing", "/page/main.js"] {
            let headers =
                ["content-security-policy: default-src 'none'; ", "x-content-type-options: nosniff"];
            let status = if path == "/nothing" { "404" } else { "200" };
            check(&format!("GET {path}"), status, &headers).await;
            check(&format!("GET {path}"), status, &["referrer-policy: no-referrer"]).await;
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
            check(&format!("{method} /metrics"), "405", &["allow: GET, HEAD"]).await;
        }
        check("nonsense", "400", &[]).await;
        check(&format!("GET /{}", "x".repeat(2 * HEAD_BYTES_MAX)), "4", &[]).await;
    })
    .await;
}

/// A browser that has the file asks whether it is still the same.
#[tokio::test]
async fn a_file_that_is_known_is_not_sent_again() {
    with_server(&[], async |address| {
        let whole = ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let etag = whole.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        let again = format!("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: {etag}\r\n\r\n");
        let answer = ask(address, &again).await;
        assert!(answer.starts_with("HTTP/1.1 304") && answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = ask(address, &again.replace(etag, "\"other\"")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    })
    .await;
}

/// Whoever does not take lists holds up other lists only.
#[tokio::test]
async fn lists_are_made_a_few_at_a_time() {
    let lists = Arc::new(Semaphore::new(LISTS_MAX));
    let views = Arc::new(views(&[]));
    let request = |path: &str| Request::builder().uri(path).body(()).unwrap();
    let turns: Vec<Turn> = (0..LISTS_MAX).map(|_| Turn::new()).collect();
    for turn in &turns {
        let response = answer(&request("/api/v1/status"), &views, &lists, turn).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    let (one_more, targets, healthz) = (Turn::new(), request("/targets"), request("/healthz"));
    let mut waiting = std::pin::pin!(answer(&targets, &views, &lists, &one_more));
    assert!(futures_now(&mut waiting).await.is_none(), "one list too many");
    let response = answer(&healthz, &views, &lists, &Turn::new()).await;
    assert_eq!(response.status(), StatusCode::OK);
    drop(turns);
    assert_eq!(waiting.await.status(), StatusCode::OK);
}

/// What a future gives when it is asked once.
async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
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
    let views = views(&[]);
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
