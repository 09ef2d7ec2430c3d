//! The memory of all bodies together.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::super::body::{Body, whole};
use super::super::gzip::Gzip;
use super::super::targets::check_address;
use super::*;
use crate::model::scrape::Exposition;

fn body<'a>(memory: &'a Memory, outlet: &'a Outlet) -> Body<'a> {
    Body::new(memory, outlet, u64::MAX, None).unwrap()
}

#[tokio::test]
async fn a_body_waits_for_others_to_be_read() {
    let (waits, rest) = (IntCounter::new("waits", "waits").unwrap(), Rest::default());
    let memory = Memory::new(Size(100 << 10), waits.clone(), rest.clone());
    let first = whole(&memory, vec![0; 80 << 10]).await.unwrap();
    let waited = tokio::time::timeout(SHORT, whole(&memory, vec![0; 30 << 10])).await;
    assert!(waited.is_err(), "there was no room for it");
    assert_eq!(waits.get(), 1);
    // Whoever reads is told at once.
    let start = std::time::Instant::now();
    rest.rest(LONG);
    assert!(start.elapsed() < LONG);
    drop(first);
    assert!(whole(&memory, vec![0; 30 << 10]).await.is_ok());
    assert_eq!(waits.get(), 1);
}

#[tokio::test]
async fn bodies_that_nobody_reads_end_with_a_timeout() {
    let (memory, _) = memory(200 << 10);
    let grow = async || {
        let (outlet, _parts) = outlet();
        let mut body = body(&memory, &outlet);
        loop {
            body.copy(&[0; 8 << 10]).await?;
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

/// However much room there is, two bodies that need more than that come to their ends, since each hands on what it has.
#[tokio::test]
async fn bodies_that_wait_for_each_other_are_read_in_parts() {
    let (memory, _) = memory(256 << 10);
    let receive = async |byte: u8| {
        let (outlet, mut parts) = outlet();
        let read = async {
            let mut read = Vec::new();
            while let Some(part) = parts.recv().await {
                add(&mut read, part);
            }
            read
        };
        let send = async {
            let mut body = body(&memory, &outlet);
            for n in 0..50 {
                match n % 5 {
                    0 => body.push(vec![byte; 20_000].into()).await?,
                    _ => body.copy(&[byte; 1000]).await?,
                }
                tokio::task::yield_now().await;
            }
            let last = body.finish();
            drop(outlet);
            Ok::<_, ScrapeError>(last)
        };
        let (mut read, last) = tokio::join!(read, send);
        let last = last.unwrap();
        last.pieces.iter().for_each(|piece| read.extend_from_slice(piece));
        assert!(read == vec![byte; 10 * 20_000 + 40 * 1000], "{} bytes", read.len());
    };
    let both = async { tokio::join!(receive(1), receive(2)) };
    tokio::time::timeout(LONG, both).await.unwrap();
}

#[tokio::test]
async fn a_scrape_that_finds_no_room_says_so() {
    let server = Server::always(ok(&"a".repeat(50 << 10))).await;
    let (memory, _) = memory(60 << 10);
    let mut fetcher = Asker::new(&job(""), &server.url(), SHORT, &memory);
    let other = whole(&memory, vec![0; 20 << 10]).await.unwrap();
    let error = fetcher.ask().await.unwrap_err();
    assert!(error.to_string().ends_with("raise limits.max_body_bytes"), "{error}");
    drop(other);
    assert!(fetcher.ask().await.is_ok());
}

#[tokio::test]
async fn a_body_larger_than_all_memory_is_refused_at_once() {
    let (memory, waits) = memory(100 << 10);
    assert_eq!(whole(&memory, vec![0; 101 << 10]).await.unwrap_err(), ScrapeError::BodySize(100 << 10));
    let (outlet, _parts) = outlet();
    let announced = Body::new(&memory, &outlet, u64::MAX, Some(101 << 10)).map(|_| ());
    assert_eq!(announced, Err(ScrapeError::BodySize(100 << 10)));
    let mut body = body(&memory, &outlet);
    assert_eq!(body.push(vec![0; 100 << 10].into()).await, Ok(()));
    assert_eq!(body.copy(&[0]).await, Err(ScrapeError::BodySize(100 << 10)));
    assert_eq!(waits.get(), 0);
}

/// Bytes that are held at the moment.
fn held(memory: &Memory, total: u64) -> u64 {
    total - memory.free()
}

/// A block that is kept holds the whole buffer that it was read into; where there is no room for that it is copied.
#[tokio::test]
async fn a_block_is_accounted_for_with_its_buffer() {
    const TOTAL: u64 = 54 << 10;
    let (memory, waits) = memory(TOTAL);
    let (outlet, _parts) = outlet();
    let mut body = Body::new(&memory, &outlet, u64::MAX, Some(40 << 10)).unwrap();
    body.push(vec![1; 20 << 10].into()).await.unwrap();
    assert_eq!(held(&memory, TOTAL), 32 << 10);
    body.push(vec![2; 20 << 10].into()).await.unwrap();
    let whole = body.finish();
    assert_eq!((whole.end(), whole.pieces.len(), waits.get()), (40 << 10, 2, 0));
    assert_eq!(held(&memory, TOTAL), 52 << 10);
    drop(whole);
    assert_eq!(held(&memory, TOTAL), 0);
}

/// A body of ten megabytes, plain and compressed: whatever the one who reads does, little of it is held at a time.
#[tokio::test]
async fn a_large_body_is_never_held_whole() {
    const TOTAL: u64 = 64 << 20;
    let text: Vec<u8> = (0..1_000_000).flat_map(|line| format!("m {line:07}\n").into_bytes()).collect();
    for (header, bytes) in [("", text.clone()), ("Content-Encoding: gzip\r\n", super::fetch::gzip(&text))] {
        let server = Server::always(ok_with(header, &bytes)).await;
        let (memory, waits) = memory(TOTAL);
        let (outlet, mut parts) = outlet();
        let job = job("enable_compression: true");
        let mut fetcher = Fetcher::new(&job, &Client::new(&job), &server.url(), LONG, &memory, outlet);
        let (mut read, mut most) = (Vec::new(), 0);
        let fetched = fetcher.fetch();
        tokio::pin!(fetched);
        let last = loop {
            tokio::select! {
                biased;
                outcome = &mut fetched => break outcome.unwrap(),
                Some(part) = parts.recv() => {
                    // Somebody who takes his time.
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    most = most.max(held(&memory, TOTAL));
                    add(&mut read, part);
                }
            }
        };
        while let Ok(part) = parts.try_recv() {
            add(&mut read, part);
        }
        last.pieces.iter().for_each(|piece| read.extend_from_slice(piece));
        assert!(read == text, "{header:?}: {} bytes", read.len());
        assert!((256 << 10..=1 << 20).contains(&most), "{header:?}: {most} bytes were held");
        assert_eq!(waits.get(), 0, "there was room");
        drop(last);
        assert_eq!(held(&memory, TOTAL), 0);
    }
}

/// A small body of unknown length takes no more than it is.
#[tokio::test]
async fn a_small_body_takes_little() {
    for answer in ["HTTP/1.0 200 OK\r\n\r\nup 1\n".into(), ok("up 1\n")] {
        let server = Server::start(vec![vec![Step::Send(answer)]]).await;
        let (memory, _) = memory(1 << 20);
        let (outlet, _parts) = outlet();
        let job = job("");
        let mut fetcher = Fetcher::new(&job, &Client::new(&job), &server.url(), LONG, &memory, outlet);
        let exposition = fetcher.fetch().await.unwrap();
        assert_eq!((exposition.end(), held(&memory, 1 << 20)), (5, 1 << 10));
        drop(exposition);
        assert_eq!(held(&memory, 1 << 20), 0);
    }
}

/// Decompresses pieces of so many bytes outside any runtime, as far as 64 KiB.
fn decompress(compressed: &[u8], piece: usize) -> Result<Vec<u8>, ScrapeError> {
    let (memory, _) = memory(1 << 20);
    let (outlet, _parts) = outlet();
    let mut body = Body::new(&memory, &outlet, 64 << 10, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut gzip = Gzip::new(&mut body);
        for piece in compressed.chunks(piece) {
            gzip.push(piece, &mut body).await?;
        }
        gzip.finish(&mut body).await
    })?;
    let Exposition { pieces, .. } = body.finish();
    Ok(pieces.concat())
}

proptest! {
    /// What was compressed comes back; cut off anywhere or damaged anywhere it is an error or, at worst, shorter.
    #[test]
    fn gzip(body in proptest::collection::vec(any::<u8>(), 0..5_000), at in any::<prop::sample::Index>(), flip in 1..=255_u8, piece in 1..2_000_usize) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&body).unwrap();
        let compressed = encoder.finish().unwrap();
        prop_assert_eq!(decompress(&compressed, piece), Ok(body.clone()));
        let at = at.index(compressed.len());
        if at > 0 {
            prop_assert!(decompress(&compressed[..at], piece).is_err());
        }
        let mut damaged = compressed;
        damaged[at] ^= flip;
        // The header says nothing about the body, nor do the bits that fill up the last byte before the trailer (RFC 1951, section 3.1.1);
        // anything else is guarded by the sum.
        if let Ok(other) = decompress(&damaged, piece) {
            let says_nothing = at < 10 || at + 9 == damaged.len();
            prop_assert!(says_nothing && other == body, "byte {} was not missed", at);
        }
    }

    #[test]
    fn nonsense_is_no_gzip_and_no_reason_to_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        prop_assert!(decompress(&bytes, 100).is_err());
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
