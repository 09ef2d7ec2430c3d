//! The SDK as it is set up here, against prepared answers: what it sends, and that it tries once.

mod read;
mod tls;

use super::*;
use crate::spool::tests::metrics;
use crate::store::Next;
use crate::test_server::{Server, http_answer};

/// Years from the local clock: whatever is signed with it has the servers' time.
const DATE: &str = "date: Tue, 01 Jan 2030 00:00:00 GMT\r\n";
const DATE_UNIX: i64 = 1_893_456_000;
const GRANT: &str = r#"{"access_key_id": "AKIA1", "secret_access_key": "hush", "session_token": "tok",
    "expiration": "2030-01-01T01:00:00Z", "bucket": "metrics", "prefix": "/org-1/data/", "region": "eu-west-1"}"#;

/// Asks a store whose API and S3 are one server: the first answer is the grant.
async fn ask<T>(
    config: Config,
    answers: Vec<Vec<u8>>,
    question: impl AsyncFnOnce(&S3) -> T,
) -> (T, Vec<String>) {
    let server = Server::start().await;
    let cedana = credentials::Cedana {
        url: server.url(),
        auth_token: Some(pipeline::model::secret::Secret::new("token".to_owned())),
        cluster_id: "c1".to_owned(),
        ..credentials::Cedana::default()
    };
    let credentials = credentials::Config { cedana: Some(cedana), aws: None };
    let config = Config { endpoint_url: Some(server.url()), force_path_style: true, ..config };
    let s3 = open(&config, &credentials, "1.2.3", &metrics()).unwrap();
    let asked = async {
        s3.ready().await;
        question(&s3).await
    };
    let answers = [vec![http_answer("200 OK", DATE, GRANT)], answers].concat();
    let both = async { tokio::join!(asked, server.answer(answers)) };
    let (answer, mut requests) = tokio::select! {
        () = s3.keep_credentials() => panic!("it refreshes for ever"),
        both = both => both,
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("no end"),
    };
    requests.remove(0);
    (answer, requests)
}

fn body() -> Body {
    Body { bytes: "PAR1".into(), crc32: 0x0102_0304 }
}

fn refusal(status: &str, code: &str) -> Vec<u8> {
    http_answer(status, DATE, &format!("<Error><Code>{code}</Code><Message>hush</Message></Error>"))
}

const KEY: &str = "1893456000/w0-1795303000.parquet";

#[tokio::test]
async fn an_object_is_sent_as_what_its_name_says() {
    let key = "1893456000/1893456000-00006b02-2658-808c-88cb-8607b56d7952.log";
    for (key, is_gzip) in [(key.to_owned(), false), (format!("{key}.gz"), true)] {
        let answers = vec![http_answer("200 OK", DATE, "")];
        let put = async |s3: &S3| s3.put(&key, &body(), Condition::Absent).await;
        let (receipt, requests) = ask(Config::default(), answers, put).await;
        receipt.unwrap();
        let request = requests[0].to_lowercase();
        assert!(request.contains("content-type: text/x-log\r\n"), "{request}");
        assert_eq!(request.contains("content-encoding: gzip\r\n"), is_gzip, "{request}");
    }
}

#[tokio::test]
async fn an_object_is_sent_as_agreed() {
    let config = Config {
        prefix_suffix: Some("parquet".to_owned()),
        server_side_encryption: Some("aws:kms".to_owned()),
        kms_key_id: Some("k1".to_owned()),
        storage_class: Some("STANDARD_IA".to_owned()),
        ..Config::default()
    };
    let answers = vec![http_answer("200 OK", &format!("{DATE}etag: \"e1\"\r\n"), "")];
    let put = async |s3: &S3| s3.put(KEY, &body(), Condition::Absent).await;
    let (receipt, requests) = ask(config, answers, put).await;
    assert_eq!(receipt.unwrap().etag.as_deref(), Some("\"e1\""));
    let request = requests[0].to_lowercase();
    assert!(request.starts_with(&format!("put /metrics/org-1/data/parquet/{KEY}")), "{request}");
    for part in [
        "if-none-match: *",
        "x-amz-checksum-crc32: aqidba==",
        "content-type: application/vnd.apache.parquet",
        "x-amz-security-token: tok",
        "x-amz-date: 20300101t0000",
        "/20300101/eu-west-1/s3/aws4_request",
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id: k1",
        "x-amz-storage-class: standard_ia",
        "\r\n\r\npar1",
    ] {
        assert!(request.contains(part), "{part}: {request}");
    }
    assert!(!request.contains("x-amz-trailer") && !request.contains("aws-chunked"), "{request}");
}

#[tokio::test]
async fn a_refusal_is_one_attempt_and_says_what_to_do() {
    let check = async |status: &str, code: &str, next: Next, expected: &str| {
        let put = async |s3: &S3| s3.put(KEY, &body(), Condition::None).await;
        let (answer, requests) = ask(Config::default(), vec![refusal(status, code)], put).await;
        let error = answer.unwrap_err();
        assert_eq!(error.next, next, "{error}");
        assert!(error.text.contains(expected) && !error.text.contains("hush"), "{error}");
        assert_eq!(requests.len(), 1);
        assert!(!requests[0].to_lowercase().contains("if-none-match"));
    };
    check("503 Slow Down", "SlowDown", Next::Wait, "status 503 SlowDown").await;
    check("500 Internal Server Error", "InternalError", Next::Unknown, "status 500").await;
    check("400 Bad Request", "ExpiredToken", Next::Refresh, "ExpiredToken").await;
    check("412 Precondition Failed", "PreconditionFailed", Next::Exists, "412").await;
    check("501 Not Implemented", "NotImplemented", Next::Unconditional, "501").await;
    check(
        "403 Forbidden",
        "AccessDenied",
        Next::Denied,
        "allow s3:PutObject on metrics/org-1/data/1893456000/w0-",
    )
    .await;
    check("404 Not Found", "NoSuchBucket", Next::Wait, "bucket metrics, region eu-west-1").await;
    check("403 Forbidden", "RequestTimeTooSkewed", Next::Clock, "clock").await;
    check("400 Bad Request", "EntityTooLarge", Next::Reject, "EntityTooLarge").await;
}

/// The answer of something on the way, or one that was cut: it says nothing about the object.
#[tokio::test]
async fn a_refusal_that_does_not_say_why_is_not_the_objects_fault() {
    let put = async |s3: &S3| s3.put(KEY, &body(), Condition::Absent).await;
    let mut cut = refusal("400 Bad Request", "EntityTooLarge");
    cut.truncate(cut.len() - 70);
    let whole = |text| http_answer("400 Bad Request", DATE, text);
    for answer in [whole(""), cut, whole("<html>400</html>")] {
        let (answer, _) = ask(Config::default(), vec![answer], put).await;
        let error = answer.unwrap_err();
        assert_eq!(error.next, Next::Unknown, "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_unknown() {
    let put = async |s3: &S3| s3.put(KEY, &body(), Condition::Absent).await;
    let (answer, _) = ask(Config::default(), vec![Vec::new()], put).await;
    let error = answer.unwrap_err();
    assert_eq!(error.next, Next::Unknown);
    // In words, and not as a program sees it.
    assert!(
        error.text.starts_with("the connection failed: ") && !error.text.contains("Failure"),
        "{}",
        error.text
    );
}

#[tokio::test]
async fn the_servers_time_is_that_of_the_answers() {
    let time = async |s3: &S3| (s3.server_time().await, s3.clock_offset());
    let ((now, offset), _) = ask(Config::default(), Vec::new(), time).await;
    assert!((DATE_UNIX..DATE_UNIX + 60).contains(&now.unwrap()));
    assert!(offset.is_some_and(|offset| offset.abs() > 300.0), "{offset:?}");
}

#[tokio::test]
async fn what_is_stored_is_compared_by_its_checksum() {
    let head = async |s3: &S3| s3.head(KEY).await;
    let stored = http_answer("200 OK", "x-amz-checksum-crc32: AQIDBA==\r\n", "").split_off(0);
    let stored =
        String::from_utf8(stored).unwrap().replace("content-length: 0", "content-length: 4").into_bytes();
    let (found, requests) = ask(Config::default(), vec![stored], head).await;
    let found = found.unwrap().unwrap();
    assert_eq!(found, Stored { size: 4, crc32: Some(0x0102_0304), modified: None });
    assert!(found.is(&body()) && !found.is(&Body { crc32: 1, ..body() }));
    assert!(requests[0].to_lowercase().contains("x-amz-checksum-mode: enabled"), "{requests:?}");
    let bare = http_answer("400 Bad Request", DATE, "");
    let (expired, _) = ask(Config::default(), vec![bare], head).await;
    assert_eq!(expired.unwrap_err().next, Next::Denied, "it cannot say that the credentials have expired");
    let sizeless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{DATE}\r\n").into_bytes();
    let (unknown, _) = ask(Config::default(), vec![sizeless], head).await;
    assert_eq!(unknown.unwrap_err().next, Next::Unknown);
    let (absent, _) = ask(Config::default(), vec![http_answer("404 Not Found", DATE, "")], head).await;
    assert_eq!(absent.unwrap(), None);
}

#[tokio::test]
async fn the_largest_key_is_found_among_others() {
    let keys = |keys: &[&str]| -> String {
        keys.iter().map(|key| format!("<Contents><Key>org-1/data/{key}</Key></Contents>")).collect()
    };
    let page = |truncated: bool, contents: String| {
        let body =
            format!("<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{contents}</ListBucketResult>");
        http_answer("200 OK", DATE, &body)
    };
    let pages = vec![
        page(true, keys(&["1893450000/a-1.parquet", "1893450001/note"])),
        page(false, keys(&["1893450002/a-2.parquet", "1893450002/b-1.parquet", "events/x.parquet"])),
    ];
    let largest = async |s3: &S3| s3.largest_key("1893440000").await;
    let (found, requests) = ask(Config::default(), pages, largest).await;
    assert_eq!(found.unwrap().as_deref(), Some("1893450002/b-1.parquet"));
    assert!(requests[0].contains("start-after=org-1%2Fdata%2F1893440000"), "{requests:?}");
    assert!(requests[1].contains("start-after=org-1%2Fdata%2F1893450001%2Fnote"), "{requests:?}");
}

/// The suite that every store passes, against an S3 that checks signatures, session tokens and checksums itself.
#[tokio::test]
async fn it_keeps_the_contract_of_a_store() {
    let server = support::s3::S3::start("metrics");
    let account = support::cedana::Account::new("metrics");
    let api = support::cedana::Cedana::start(&account, server.registry());
    let cedana = credentials::Cedana {
        url: api.url(),
        auth_token: Some(pipeline::model::secret::Secret::new(account.token)),
        cluster_id: account.cluster_id,
        ..credentials::Cedana::default()
    };
    let credentials = credentials::Config { cedana: Some(cedana), aws: None };
    let config = Config { endpoint_url: Some(server.url()), force_path_style: true, ..Config::default() };
    let s3 = open(&config, &credentials, "1.2.3", &metrics()).unwrap();
    tokio::select! {
        () = s3.keep_credentials() => panic!("it refreshes for ever"),
        () = crate::store::conformance::check(&s3) => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("no end"),
    }
    assert!(server.seen().iter().all(|seen| matches!(seen.status, 200 | 404 | 412)), "{:#?}", server.seen());
}

#[tokio::test]
async fn the_permission_to_write_is_proved_without_an_object() {
    let check = async |answer: Vec<u8>, expected: Result<Written, &str>| {
        let (tried, requests) = ask(Config::default(), vec![answer], S3::try_write).await;
        match (&tried, expected) {
            (Ok(written), Ok(expected)) => assert_eq!(*written, expected),
            (Err(error), Err(part)) => assert!(error.text.contains(part), "{error:?}"),
            (_, expected) => panic!("{tried:?} is not {expected:?}"),
        }
        let request = requests[0].to_lowercase();
        assert!(request.starts_with("put /metrics/org-1/data/0000000000/probe"), "{request}");
        assert!(request.contains("content-md5: aaaaaaaaaaaaaaaaaaaaaa=="), "{request}");
        assert!(request.ends_with("\r\n\r\n"), "a body: {request}");
    };
    check(refusal("400 Bad Request", "BadDigest"), Ok(Written::Nothing)).await;
    check(refusal("403 Forbidden", "AccessDenied"), Err("allow s3:PutObject on metrics/org-1/data/")).await;
    let stored = Written::Empty("org-1/data/0000000000/probe".to_owned());
    check(http_answer("200 OK", DATE, ""), Ok(stored)).await;
}

#[tokio::test]
async fn what_is_not_an_agents_object_is_seen() {
    let check = async |keys: &[&str], objects: usize, foreign: Option<&str>| {
        let contents: String =
            keys.iter().map(|key| format!("<Contents><Key>org-1/data/{key}</Key></Contents>")).collect();
        let page = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>");
        let (below, _) = ask(Config::default(), vec![http_answer("200 OK", DATE, &page)], S3::below).await;
        assert_eq!(below.unwrap(), Below { objects, foreign: foreign.map(str::to_owned) });
    };
    check(&[], 0, None).await;
    check(&["0000000000/probe", KEY], 2, None).await;
    check(&[KEY, "1795303367/1795303367-5c0e.log"], 2, Some("1795303367/1795303367-5c0e.log")).await;
}
