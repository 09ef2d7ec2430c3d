//! The memory of all bodies together.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::super::body::{Buffer, whole};
use super::super::targets::check_address;
use super::*;
use crate::model::scrape::ScrapeError;

#[tokio::test]
async fn a_body_waits_for_others_to_be_read() {
    let (memory, waits) = memory(100 << 10);
    let first = whole(&memory, vec![0; 80 << 10]).await.unwrap();
    let mut second = Buffer::new(&memory, u64::MAX);
    let waited = tokio::time::timeout(SHORT, second.expect(30 << 10, u64::MAX)).await;
    assert!(waited.is_err(), "there was no room for it");
    assert_eq!(waits.get(), 1);
    drop(first);
    assert_eq!(second.expect(30 << 10, u64::MAX).await, Ok(()));
    assert_eq!(waits.get(), 1);
}

#[tokio::test]
async fn bodies_that_wait_for_each_other_end_with_a_timeout() {
    let (memory, _) = memory(200 << 10);
    let grow = async || {
        let mut buffer = Buffer::new(&memory, u64::MAX);
        loop {
            buffer.push(&[0; 8 << 10]).await?;
            tokio::task::yield_now().await;
        }
    };
    let limited = async || tokio::time::timeout(SHORT, grow()).await;
    // One may run into the total once the other has timed out; both come to an end.
    let (one, other): (Result<Result<(), ScrapeError>, _>, _) = tokio::join!(limited(), limited());
    assert!(one.is_err() || other.is_err(), "{one:?} {other:?}");
    // And everything has been given back.
    assert!(whole(&memory, vec![0; 200 << 10]).await.is_ok());
}

#[tokio::test]
async fn a_scrape_that_finds_no_room_says_so() {
    let server = Server::always(ok(&"a".repeat(50 << 10))).await;
    let (memory, _) = memory(60 << 10);
    let job = job("");
    let client = Client::new(&job);
    let mut fetcher = Fetcher::new(&job, &client, &server.url(), SHORT, &memory);
    let other = whole(&memory, vec![0; 20 << 10]).await.unwrap();
    let error = fetcher.fetch().await.unwrap_err();
    assert!(error.to_string().ends_with("raise limits.max_body_bytes"), "{error}");
    drop(other);
    assert!(fetcher.fetch().await.is_ok());
}

#[tokio::test]
async fn a_body_larger_than_all_memory_is_refused_at_once() {
    let (memory, waits) = memory(100 << 10);
    assert_eq!(whole(&memory, vec![0; 101 << 10]).await.unwrap_err(), ScrapeError::BodySize(100 << 10));
    let mut buffer = Buffer::new(&memory, u64::MAX);
    assert_eq!(buffer.push(&vec![0; 100 << 10]).await, Ok(()));
    assert_eq!(buffer.push(&[0]).await, Err(ScrapeError::BodySize(100 << 10)));
    assert_eq!(waits.get(), 0);
}

/// Decompresses outside any runtime, as far as 64 KiB.
fn decompress(compressed: &[u8]) -> Result<Vec<u8>, ScrapeError> {
    let (memory, _) = memory(1 << 20);
    let mut buffer = Buffer::new(&memory, 64 << 10);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(buffer.decompress(compressed))?;
    Ok(buffer.finish().body.to_vec())
}

proptest! {
    /// What was compressed comes back; cut off anywhere or damaged anywhere it is an error or, at worst, shorter.
    #[test]
    fn gzip(body in proptest::collection::vec(any::<u8>(), 0..5_000), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&body).unwrap();
        let compressed = encoder.finish().unwrap();
        prop_assert_eq!(decompress(&compressed), Ok(body.clone()));
        let at = at.index(compressed.len());
        if at > 0 {
            prop_assert!(decompress(&compressed[..at]).is_err());
        }
        let mut damaged = compressed;
        damaged[at] ^= flip;
        // The header says nothing about the body; anything else is guarded by the sum.
        if let Ok(other) = decompress(&damaged) {
            prop_assert!(at < 10 && other == body, "byte {} was not missed", at);
        }
    }

    #[test]
    fn nonsense_is_no_gzip_and_no_reason_to_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        prop_assert!(decompress(&bytes).is_err());
    }

    /// Whatever is taken for an address gives a URL with just that host.
    #[test]
    fn addresses(address in "\\PC{0,12}|[a-z0-9.:\\[\\]@/?#%-]{0,20}") {
        if check_address(&address).is_ok() {
            let url = url::Url::parse(&format!("http://{address}/metrics")).unwrap();
            prop_assert_eq!((url.path(), url.query(), url.username()), ("/metrics", None, ""));
        }
    }
}
