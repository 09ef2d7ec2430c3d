//! AWS Signature Version 4 as a server checks it, and the keys that may sign.
//!
//! Sources: AWS General Reference "Create a signed AWS API request" (canonical request, string to sign, signing key) and
//! Amazon S3 API Reference "Authenticating Requests (AWS Signature Version 4)" (no path normalisation, `x-amz-content-sha256`).

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use hyper::http::request::Parts;
use jiff::civil::DateTime;
use sha2::{Digest, Sha256};

use super::answers::Refusal;

/// Keys, as an STS answer hands them out, and what they may do.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names the keys; sent in the clear.
    pub access_key_id: String,
    /// Signs; never sent.
    pub secret_access_key: String,
    /// Sent beside the signature; `None` for keys that last.
    pub session_token: Option<String>,
    /// Unix seconds from which on they are refused.
    pub expires: Option<i64>,
    /// Keys below this prefix may be used; anything else is `AccessDenied`.
    pub prefix: String,
}

/// Checks the signature of a request on keys known in `grants`, at `now` (Unix seconds) of the server's clock.
///
/// `body` is the decoded body, after `aws-chunked` was taken off.
pub(super) fn verify<'g>(
    parts: &Parts,
    body: &[u8],
    grants: &'g [Grant],
    region: &str,
    now: i64,
) -> Result<&'g Grant, Refusal> {
    let authorization = header(parts, "authorization")
        .ok_or_else(|| Refusal::new(403, "AccessDenied", "the request is not signed"))?;
    let claim = Claim::parse(authorization)
        .ok_or_else(|| Refusal::new(400, "AuthorizationHeaderMalformed", "cannot be read"))?;
    let amz_date = header(parts, "x-amz-date").unwrap_or_default();
    let skew = unix_seconds(amz_date).map_or(i64::MAX, |then| (then - now).abs());
    if skew > 15 * 60 {
        let text = "The difference between the request time and the current time is too large.";
        return Err(Refusal::new(403, "RequestTimeTooSkewed", text));
    }
    let grant = grants
        .iter()
        .find(|g| g.access_key_id == claim.access_key_id)
        .ok_or_else(|| Refusal::new(403, "InvalidAccessKeyId", "The AWS Access Key Id does not exist."))?;
    if header(parts, "x-amz-security-token") != grant.session_token.as_deref() {
        return Err(Refusal::new(400, "InvalidToken", "The provided token is malformed or invalid."));
    }
    if grant.expires.is_some_and(|expires| now >= expires) {
        return Err(Refusal::new(400, "ExpiredToken", "The provided token has expired."));
    }
    let scope = format!("{}/{region}/s3/aws4_request", amz_date.get(..8).unwrap_or_default());
    if claim.scope != scope {
        let text = format!("the scope is {} and should be {scope}", claim.scope);
        return Err(Refusal::new(400, "AuthorizationHeaderMalformed", text));
    }
    let unsigned = parts.headers.keys().map(hyper::header::HeaderName::as_str);
    let unsigned: Vec<_> = unsigned
        .filter(|name| *name == "host" || name.starts_with("x-amz-"))
        .filter(|name| !claim.signed_headers.iter().any(|signed| signed == name))
        .collect();
    if !unsigned.is_empty() {
        let text = format!("There were headers present which were not signed: {unsigned:?}");
        return Err(Refusal::new(403, "AccessDenied", text));
    }
    let hash = header(parts, "x-amz-content-sha256").unwrap_or_default();
    if !matches!(hash, "UNSIGNED-PAYLOAD" | "STREAMING-UNSIGNED-PAYLOAD-TRAILER") && hash != sha256(body) {
        let text = "The provided 'x-amz-content-sha256' header does not match what was computed.";
        return Err(Refusal::new(400, "XAmzContentSHA256Mismatch", text));
    }
    let canonical = canonical_request(parts, &claim.signed_headers, hash);
    let to_sign = format!("AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{}", grant.secret_access_key).into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part);
    }
    if hex(&hmac(&key, &to_sign)) != claim.signature {
        let text = "The request signature we calculated does not match the signature you provided.";
        return Err(Refusal::new(403, "SignatureDoesNotMatch", text));
    }
    Ok(grant)
}

/// What the header `Authorization` claims.
struct Claim {
    access_key_id: String,
    scope: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl Claim {
    fn parse(text: &str) -> Option<Self> {
        let fields: BTreeMap<_, _> = text
            .strip_prefix("AWS4-HMAC-SHA256 ")?
            .split(',')
            .filter_map(|field| field.trim().split_once('='))
            .collect();
        let (access_key_id, scope) = fields.get("Credential")?.split_once('/')?;
        Some(Self {
            access_key_id: access_key_id.to_owned(),
            scope: scope.to_owned(),
            signed_headers: fields.get("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: (*fields.get("Signature")?).to_owned(),
        })
    }
}

fn canonical_request(parts: &Parts, signed_headers: &[String], hash: &str) -> String {
    let mut query: Vec<_> = query_pairs(parts)
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    query.sort();
    let headers: String = signed_headers
        .iter()
        .map(|name| {
            let values: Vec<_> = parts.headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
            let words: Vec<_> = values.join(",").split_whitespace().map(str::to_owned).collect();
            format!("{name}:{}\n", words.join(" "))
        })
        .collect();
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{hash}",
        parts.method,
        encode(&decode(parts.uri.path())).replace("%2F", "/"),
        query.join("&"),
        signed_headers.join(";"),
    )
}

/// The value of a header that is there and is text.
pub(super) fn header<'p>(parts: &'p Parts, name: &str) -> Option<&'p str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// The query of a request, decoded.
pub(super) fn query_pairs(parts: &Parts) -> Vec<(String, String)> {
    let query = parts.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(n, v)| (decode(n), decode(v)))
        .collect()
}

/// Takes percent-encoding off (RFC 3986, section 2.1).
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) if bytes[at] == b'%' => {
                decoded.push(code);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Encodes everything but the unreserved characters (RFC 3986, section 2.3), as AWS' `UriEncode` does.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn unix_seconds(amz_date: &str) -> Option<i64> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", amz_date).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    /// The example "GET Object" of "Authenticating Requests: Using the Authorization Header" (Amazon S3 API Reference).
    fn example() -> (Parts, Vec<Grant>) {
        let request = Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header("x-amz-content-sha256", sha256(b""))
            .header("x-amz-date", "20130524T000000Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
                 Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            );
        let grant = Grant {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            expires: None,
            prefix: String::new(),
        };
        (request.body(()).unwrap().into_parts().0, vec![grant])
    }

    const NOON: i64 = 1_369_353_600;

    fn code(parts: &Parts, body: &[u8], grants: &[Grant], region: &str, now: i64) -> &'static str {
        verify(parts, body, grants, region, now).err().map_or("", |refusal| refusal.code)
    }

    #[test]
    fn amazons_own_example_is_accepted_and_nothing_else() {
        let (parts, grants) = example();
        assert_eq!(code(&parts, b"", &grants, "us-east-1", NOON), "");
        assert_eq!(code(&parts, b"", &grants, "us-east-1", NOON + 899), "");
        assert_eq!(code(&parts, b"", &grants, "us-east-1", NOON + 901), "RequestTimeTooSkewed");
        assert_eq!(code(&parts, b"", &[], "us-east-1", NOON), "InvalidAccessKeyId");
        assert_eq!(code(&parts, b"", &grants, "eu-west-1", NOON), "AuthorizationHeaderMalformed");
        assert_eq!(code(&parts, b"x", &grants, "us-east-1", NOON), "XAmzContentSHA256Mismatch");
    }

    #[test]
    fn a_changed_request_or_grant_is_refused() {
        let check = |change: fn(&mut Parts, &mut Grant), expected| {
            let (mut parts, mut grants) = example();
            change(&mut parts, &mut grants[0]);
            assert_eq!(code(&parts, b"", &grants, "us-east-1", NOON), expected);
        };
        check(|parts, _| parts.uri = "/other.txt".parse().unwrap(), "SignatureDoesNotMatch");
        check(|parts, _| parts.uri = "/test.txt?acl".parse().unwrap(), "SignatureDoesNotMatch");
        check(|parts, _| parts.method = hyper::Method::PUT, "SignatureDoesNotMatch");
        check(|_, grant| grant.secret_access_key.push('x'), "SignatureDoesNotMatch");
        check(|_, grant| grant.expires = Some(NOON), "ExpiredToken");
        check(|_, grant| grant.session_token = Some("t".to_owned()), "InvalidToken");
        check(|parts, _| drop(parts.headers.remove("authorization")), "AccessDenied");
        check(|parts, _| drop(parts.headers.insert("x-amz-acl", "x".parse().unwrap())), "AccessDenied");
    }
}
