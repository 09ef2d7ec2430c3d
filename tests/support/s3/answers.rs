//! The answers of S3 in XML (Amazon S3 API Reference, "Error Responses" and "ListObjectsV2"), and base64 and `aws-chunked`,
//! which its requests carry.

use bytes::Bytes;

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into() }
    }

    pub(super) fn xml(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>\
             <RequestId>4442587FB7D0A2F9</RequestId><HostId>fake</HostId></Error>",
            escape(self.code),
            escape(&self.text),
        )
    }
}

/// One page of a listing.
pub(super) struct Page<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
    pub(super) max_keys: usize,
    /// Key, size and entity tag, in order of the keys.
    pub(super) entries: Vec<(&'a str, usize, String)>,
    /// Where the next page starts, if there is one.
    pub(super) next: Option<String>,
}

impl Page<'_> {
    pub(super) fn xml(&self) -> String {
        let entries: String = self
            .entries
            .iter()
            .map(|(key, size, etag)| {
                format!(
                    "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                     <ETag>{}</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                    escape(key),
                    escape(etag)
                )
            })
            .collect();
        let next = self.next.as_deref().map_or(String::new(), |token| {
            format!("<NextContinuationToken>{}</NextContinuationToken>", escape(token))
        });
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name><Prefix>{}</Prefix>\
             <KeyCount>{}</KeyCount><MaxKeys>{}</MaxKeys><IsTruncated>{}</IsTruncated>{next}{entries}\
             </ListBucketResult>",
            escape(self.bucket),
            escape(self.prefix),
            self.entries.len(),
            self.max_keys,
            self.next.is_some(),
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Base64 with padding (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = char::from(ALPHABET[bits >> (18 - 6 * place) & 63]);
            text.push(if place <= three.len() { digit } else { '=' });
        }
    }
    text
}

/// Takes `Content-Encoding: aws-chunked` off: the content, and the trailers after it ("Signature calculations for
/// trailing checksums", unsigned form). `None` where it is malformed.
pub(super) fn dechunk(body: &[u8]) -> Option<(Bytes, Vec<(String, String)>)> {
    let mut content = Vec::new();
    let mut rest = body;
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            break;
        }
        content.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
    let trailers = std::str::from_utf8(rest).ok()?.lines().filter_map(|line| line.split_once(':'));
    let trailers = trailers.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    Some((content.into(), trailers.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn chunks_and_trailers_come_apart() {
        let (content, trailers) =
            dechunk(b"4\r\nWiki\r\n2\r\n!!\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n").unwrap();
        assert_eq!(content.as_ref(), b"Wiki!!");
        assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "AA==".to_owned())]);
        assert_eq!(dechunk(b"9\r\nWiki\r\n0\r\n\r\n"), None);
        assert_eq!(dechunk(b"zz"), None);
    }
}
