//! What the fake does with a request that came through: policy, then `PUT`, `GET`, `HEAD` or a listing.

use bytes::Bytes;
use hyper::Response;
use hyper::http::request::Parts;
use md5::{Digest, Md5};

use super::answers::{Page, Refusal, base64, dechunk};
use super::auth::{self, Grant, decode, header, hex, query_pairs};
use super::{Conditional, Registry, Seen, State, Stored};
use crate::server::Pieces;

/// What is answered when nothing went wrong.
pub(super) struct Done {
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// Notes a request that has just arrived and returns its place among all.
pub(super) fn note(registry: &Registry, parts: &Parts) -> usize {
    let hidden = |name: &str| name == "authorization" || name == "x-amz-security-token";
    let headers = parts.headers.iter().filter(|(name, _)| !hidden(name.as_str()));
    let query: std::collections::BTreeMap<_, _> = query_pairs(parts).into_iter().collect();
    let (_, mut key) = bucket_and_key(parts);
    let mut method = parts.method.to_string();
    if query.contains_key("list-type") {
        method = "LIST".to_owned();
        key = query.get("prefix").cloned().unwrap_or_default();
    }
    let credential = header(parts, "authorization").and_then(|text| text.split_once("Credential="));
    let seen = Seen {
        method,
        key,
        query,
        headers: headers
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into()))
            .collect(),
        access_key_id: credential.and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default().to_owned(),
        time_millis: registry.clock.now_millis(),
        status: 0,
        code: String::new(),
    };
    let mut state = registry.lock();
    state.seen.push(seen);
    state.seen.len() - 1
}

/// Stores other bytes under the key of this request, as another writer with the same id would.
pub(super) fn overtake(registry: &Registry, parts: &Parts) {
    let (_, key) = bucket_and_key(parts);
    let time_millis = registry.clock.now_millis();
    let bytes = Bytes::from_static(b"of another writer");
    let stored = Stored { key, bytes, content_type: String::new(), time_millis, foreign: true };
    registry.lock().objects.push(stored);
}

/// Carries the request out, if it may be.
pub(super) fn carry_out(registry: &Registry, parts: &Parts, body: &Bytes) -> Result<Done, Refusal> {
    let mut state = registry.lock();
    let streamed = header(parts, "x-amz-content-sha256").is_some_and(|hash| hash.starts_with("STREAMING-"));
    let (content, trailers) = if streamed {
        dechunk(body).ok_or_else(|| Refusal::new(400, "IncompleteBody", "aws-chunked cannot be read"))?
    } else {
        (body.clone(), Vec::new())
    };
    let now = registry.clock.now();
    let grant = auth::verify(parts, &content, &state.grants, &state.region, now)?.clone();
    let (bucket, key) = bucket_and_key(parts);
    if bucket != state.bucket {
        return Err(Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist"));
    }
    match parts.method.as_str() {
        "PUT" => {
            may(&grant, "s3:PutObject", &key, false)?;
            check_sums(parts, &trailers, &content)?;
            put(&mut state, parts, key, content, registry.clock.now_millis())
        }
        "GET" if key.is_empty() => list(&state, &grant, parts),
        "GET" | "HEAD" => get(&state, &grant, &key),
        _ => Err(Refusal::new(501, "NotImplemented", "the fake does not know this")),
    }
}

/// Notes the outcome and makes it an answer.
pub(super) fn response(
    registry: &Registry,
    at: usize,
    is_head: bool,
    outcome: Result<Done, Refusal>,
) -> Response<Pieces> {
    let mut answer = Response::builder()
        .header("date", registry.clock.http_date())
        .header("server", "AmazonS3")
        .header("x-amz-request-id", "4442587FB7D0A2F9");
    let (status, code, body) = match outcome {
        Ok(done) => {
            for (name, value) in &done.headers {
                answer = answer.header(*name, value);
            }
            (200, "", done.body)
        }
        Err(refusal) => {
            answer = answer.header("content-type", "application/xml");
            (refusal.status, refusal.code, refusal.xml().into())
        }
    };
    if let Some(seen) = registry.lock().seen.get_mut(at) {
        seen.status = status;
        seen.code = code.to_owned();
    }
    let body = if is_head { Bytes::new() } else { body };
    answer.status(status).body(body.into()).expect("an answer made of valid parts")
}

fn may(grant: &Grant, action: &str, key: &str, denied: bool) -> Result<(), Refusal> {
    if denied || !key.starts_with(&grant.prefix) {
        let text = format!("User: fake is not authorized to perform: {action} on resource: {key:?}");
        return Err(Refusal::new(403, "AccessDenied", text));
    }
    Ok(())
}

fn check_sums(parts: &Parts, trailers: &[(String, String)], content: &Bytes) -> Result<(), Refusal> {
    let trailer =
        trailers.iter().find(|(name, _)| name == "x-amz-checksum-crc32").map(|(_, sum)| sum.as_str());
    let bad =
        |what: &str| Err(Refusal::new(400, "BadDigest", format!("The {what} you specified did not match.")));
    let crc32 = base64(&crc32fast::hash(content).to_be_bytes());
    if header(parts, "x-amz-checksum-crc32").or(trailer).is_some_and(|sum| sum != crc32) {
        return bad("x-amz-checksum-crc32");
    }
    if header(parts, "content-md5").is_some_and(|sum| sum != base64(&Md5::digest(content))) {
        return bad("Content-MD5");
    }
    if header(parts, "content-length").is_none() {
        return Err(Refusal::new(
            411,
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        ));
    }
    Ok(())
}

fn put(state: &mut State, parts: &Parts, key: String, content: Bytes, now: i64) -> Result<Done, Refusal> {
    let exists = state.objects.iter().any(|stored| stored.key == key);
    match (header(parts, "if-none-match"), state.conditional) {
        (None, _) => {}
        (Some(_), Conditional::NotImplemented) => {
            let text = "A header you provided implies functionality that is not implemented.";
            return Err(Refusal::new(501, "NotImplemented", text));
        }
        (Some("*"), Conditional::Supported) if exists => {
            let text = "At least one of the pre-conditions you specified did not hold";
            return Err(Refusal::new(412, "PreconditionFailed", text));
        }
        (Some(_), Conditional::Supported) => {}
    }
    let mut headers = vec![("etag", etag(&content))];
    if let Some(sum) = header(parts, "x-amz-checksum-crc32") {
        headers.push(("x-amz-checksum-crc32", sum.to_owned()));
    }
    let content_type = header(parts, "content-type").unwrap_or_default().to_owned();
    state.objects.push(Stored { key, bytes: content, content_type, time_millis: now, foreign: false });
    Ok(Done { headers, body: Bytes::new() })
}

fn get(state: &State, grant: &Grant, key: &str) -> Result<Done, Refusal> {
    may(grant, "s3:GetObject", key, state.head_denied)?;
    let Some(stored) = state.objects.iter().rfind(|stored| stored.key == key) else {
        // Without the permission to list, S3 does not say whether a key exists.
        may(grant, "s3:ListBucket", key, state.listing_denied)?;
        return Err(Refusal::new(404, "NoSuchKey", "The specified key does not exist."));
    };
    let headers = vec![
        ("etag", etag(&stored.bytes)),
        ("content-length", stored.bytes.len().to_string()),
        ("content-type", stored.content_type.clone()),
        ("x-amz-checksum-crc32", base64(&crc32fast::hash(&stored.bytes).to_be_bytes())),
    ];
    Ok(Done { headers, body: stored.bytes.clone() })
}

fn list(state: &State, grant: &Grant, parts: &Parts) -> Result<Done, Refusal> {
    let query: std::collections::BTreeMap<_, _> = query_pairs(parts).into_iter().collect();
    let value = |name: &str| query.get(name).map_or("", String::as_str);
    if value("list-type") != "2" {
        return Err(Refusal::new(501, "NotImplemented", "the fake lists in version 2 only"));
    }
    let prefix = value("prefix");
    may(grant, "s3:ListBucket", prefix, state.listing_denied)?;
    let max_keys = value("max-keys").parse().unwrap_or(1000).min(1000);
    let after = value("start-after").max(value("continuation-token"));
    let mut all: Vec<_> =
        state.objects.iter().filter(|s| s.key.starts_with(prefix) && s.key.as_str() > after).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all.dedup_by(|a, b| a.key == b.key);
    let entries: Vec<_> =
        all.iter().take(max_keys).map(|s| (s.key.as_str(), s.bytes.len(), etag(&s.bytes))).collect();
    let next = (all.len() > max_keys).then(|| entries.last().map(|(key, ..)| (*key).to_owned())).flatten();
    let page = Page { bucket: &state.bucket, prefix, max_keys, entries, next };
    Ok(Done { headers: vec![("content-type", "application/xml".to_owned())], body: page.xml().into() })
}

fn etag(content: &[u8]) -> String {
    format!("\"{}\"", hex(&Md5::digest(content)))
}

/// Bucket and key of a path-style address.
fn bucket_and_key(parts: &Parts) -> (String, String) {
    let path = decode(parts.uri.path());
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    (bucket.to_owned(), key.to_owned())
}
