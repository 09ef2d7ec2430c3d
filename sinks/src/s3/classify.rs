//! What to do after S3 has refused: by its error codes.
//!
//! Source: Amazon S3 API Reference, "Error responses", and "PutObject"; status codes where a store sends no code.

use crate::store::Next;

/// What a refusal is: the next step, and its class for the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub next: Next,
    pub class: &'static str,
}

const fn verdict(next: Next, class: &'static str) -> Verdict {
    Verdict { next, class }
}

/// Nothing came back, or nothing that can be read.
pub(super) const TIMEOUT: Verdict = verdict(Next::Unknown, "timeout");
pub(super) const CONNECTION: Verdict = verdict(Next::Unknown, "connection");
/// The request could not be made.
pub(super) const LOCAL: Verdict = verdict(Next::Wait, "local");

/// Classifies a refusal by its code, or by its status where the code says nothing.
pub(super) fn classify(status: u16, code: &str) -> Verdict {
    by_code(code).unwrap_or_else(|| match status {
        400 if !code.is_empty() => verdict(Next::Reject, "rejected"),
        _ => by_status(status),
    })
}

fn by_code(code: &str) -> Option<Verdict> {
    Some(match code {
        "PreconditionFailed" => verdict(Next::Exists, "exists"),
        "ConditionalRequestConflict" | "OperationAborted" => verdict(Next::Wait, "conflict"),
        "NotImplemented" => verdict(Next::Unconditional, "not_implemented"),
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "InvalidToken"
        | "InvalidTokenId"
        | "MissingAuthenticationToken"
        | "MissingSecurityHeader"
        | "NotSignedUp"
        | "SignatureDoesNotMatch"
        | "TokenRefreshRequired"
        | "UnrecognizedClientException" => verdict(Next::Refresh, "credentials"),
        "AccessDenied" | "AccountProblem" | "AllAccessDisabled" => verdict(Next::Denied, "access_denied"),
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => verdict(Next::Clock, "clock"),
        "NoSuchBucket"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "Redirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "InvalidBucketName"
        | "InvalidBucketState"
        | "InvalidRegion" => verdict(Next::Wait, "bucket"),
        "InvalidEncryptionAlgorithmError" | "InvalidStorageClass" => verdict(Next::Wait, "configuration"),
        "SlowDown" | "ThrottlingException" | "TooManyRequests" => verdict(Next::Wait, "throttled"),
        // Refusals with status 400 that speak of the transfer and not of the object.
        "RequestTimeout"
        | "IncompleteBody"
        | "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch" => TIMEOUT,
        kms if kms.starts_with("KMS.") => verdict(Next::Wait, "configuration"),
        _ => return None,
    })
}

fn by_status(status: u16) -> Verdict {
    match status {
        300..=399 | 404 => verdict(Next::Wait, "bucket"),
        401 | 403 => verdict(Next::Denied, "access_denied"),
        408 => TIMEOUT,
        409 => verdict(Next::Wait, "conflict"),
        412 => verdict(Next::Exists, "exists"),
        // Whoever refuses an object says why; an answer that was cut says nothing about it.
        400 => verdict(Next::Unknown, "refused"),
        413 => verdict(Next::Reject, "rejected"),
        429 => verdict(Next::Wait, "throttled"),
        501 => verdict(Next::Unconditional, "not_implemented"),
        500.. => verdict(Next::Unknown, "server"),
        _ => verdict(Next::Wait, "refused"),
    }
}

/// What an operator should look at.
pub(super) fn remedy(verdict: Verdict, action: &str, bucket: &str, region: &str, key: &str) -> String {
    match verdict.class {
        "access_denied" => format!("allow {action} on {bucket}/{key} to these credentials"),
        "bucket" => format!("check sink.s3: bucket {bucket}, region {region}"),
        "configuration" => "check sink.s3: server_side_encryption, kms_key_id, storage_class".to_owned(),
        "clock" => "set this machine's clock".to_owned(),
        "credentials" => "new credentials are asked for".to_owned(),
        _ => format!("{action} on {bucket}/{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do_next() {
        let check = |status: u16, code: &str, next: Next, class: &str| {
            let found = classify(status, code);
            assert_eq!((found.next, found.class), (next, class), "{status} {code}");
        };
        check(412, "PreconditionFailed", Next::Exists, "exists");
        check(412, "", Next::Exists, "exists");
        check(409, "ConditionalRequestConflict", Next::Wait, "conflict");
        check(501, "NotImplemented", Next::Unconditional, "not_implemented");
        for code in ["ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"] {
            check(400, code, Next::Refresh, "credentials");
        }
        for code in ["InvalidAccessKeyId", "SignatureDoesNotMatch"] {
            check(403, code, Next::Refresh, "credentials");
        }
        check(403, "AccessDenied", Next::Denied, "access_denied");
        check(403, "", Next::Denied, "access_denied");
        check(403, "RequestTimeTooSkewed", Next::Clock, "clock");
        check(404, "NoSuchBucket", Next::Wait, "bucket");
        check(301, "PermanentRedirect", Next::Wait, "bucket");
        check(400, "AuthorizationHeaderMalformed", Next::Wait, "bucket");
        check(400, "KMS.DisabledException", Next::Wait, "configuration");
        check(400, "EntityTooLarge", Next::Reject, "rejected");
        check(400, "InvalidDigest", Next::Reject, "rejected");
        check(413, "", Next::Reject, "rejected");
        check(400, "", Next::Unknown, "refused");
        for code in ["RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch"] {
            check(400, code, Next::Unknown, "timeout");
        }
        check(503, "SlowDown", Next::Wait, "throttled");
        check(503, "ServiceUnavailable", Next::Unknown, "server");
        check(500, "InternalError", Next::Unknown, "server");
        check(405, "MethodNotAllowed", Next::Wait, "refused");
    }

    #[test]
    fn access_denied_says_which_action_on_which_key() {
        let text = remedy(
            classify(403, "AccessDenied"),
            "s3:PutObject",
            "metrics",
            "eu-west-1",
            "org-1/1795303367/w0-1.parquet",
        );
        assert_eq!(text, "allow s3:PutObject on metrics/org-1/1795303367/w0-1.parquet to these credentials");
    }
}
