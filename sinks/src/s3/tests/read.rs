//! The reading half: pages, bodies, and what is tried again.

use super::*;
use crate::s3::Listed;

fn answer(body: &str) -> Vec<u8> {
    http_answer("200 OK", DATE, body)
}

#[tokio::test]
async fn a_page_is_listed_behind_a_key() {
    let text = "<ListBucketResult><IsTruncated>true</IsTruncated>\
                <Contents><Key>old/1/a.log</Key><Size>7</Size></Contents>\
                <Contents><Key>old/2/b.log</Key></Contents></ListBucketResult>";
    let page = async |s3: &S3| s3.page("other", "old/", "old/0").await;
    let (found, requests) = ask(Config::default(), vec![answer(text)], page).await;
    let listed = |key: &str, size| Listed { key: key.to_owned(), size };
    let expected = vec![listed("old/1/a.log", 7), listed("old/2/b.log", 0)];
    assert_eq!(found.unwrap(), Page { objects: expected, is_more: true });
    assert!(requests[0].starts_with("GET /other"), "{requests:?}");
    for part in ["list-type=2", "prefix=old%2F&", "start-after=old%2F0 "] {
        assert!(requests[0].contains(part), "{part}: {requests:?}");
    }
    let first = async |s3: &S3| s3.page("other", "", "").await;
    let (_, requests) = ask(Config::default(), vec![answer(text)], first).await;
    assert!(!requests[0].contains("start-after"), "{requests:?}");
}

#[tokio::test]
async fn an_object_is_got_whole_or_not_at_all() {
    let get = async |s3: &S3| s3.get("other", "old/1/a.log", 5).await;
    let (body, requests) = ask(Config::default(), vec![answer("hello")], get).await;
    assert_eq!(body.unwrap().as_ref(), b"hello");
    assert!(requests[0].starts_with("GET /other/old/1/a.log"), "{requests:?}");
    let (large, _) = ask(Config::default(), vec![answer("hello!")], get).await;
    assert_eq!(large.unwrap_err().class, "large");
    let check = async |status: &str, code: &str, expected: &str| {
        let (answer, requests) = ask(Config::default(), vec![refusal(status, code)], get).await;
        let error = answer.unwrap_err();
        assert!(error.text.contains(expected) && !error.text.contains("hush"), "{error}");
        assert_eq!(requests.len(), 1, "{error}");
    };
    check("404 Not Found", "NoSuchKey", "there is no object s3://other/old/1/a.log").await;
    check("404 Not Found", "NoSuchBucket", "bucket other").await;
    check("403 Forbidden", "AccessDenied", "allow s3:GetObject on other/old/1/a.log").await;
}

#[tokio::test]
async fn what_may_go_well_the_next_time_is_tried_again() {
    let get = async |s3: &S3| s3.get("other", "a", 5).await;
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel".to_vec();
    let answers = vec![refusal("500 Internal Server Error", "InternalError"), cut, answer("hello")];
    let (body, requests) = ask(Config::default(), answers, get).await;
    assert_eq!((body.unwrap().as_ref(), requests.len()), (&b"hello"[..], 3));
    let answers = vec![refusal("400 Bad Request", "ExpiredToken"), answer(GRANT), answer("hello")];
    let (body, requests) = ask(Config::default(), answers, get).await;
    assert_eq!(body.unwrap().as_ref(), b"hello");
    assert!(requests[1].starts_with("POST "), "new credentials first: {requests:?}");
}
