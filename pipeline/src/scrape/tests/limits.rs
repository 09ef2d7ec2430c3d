//! The memory of all bodies together.

use super::super::body::{Buffer, whole};
use super::*;
use crate::model::scrape::ScrapeError;

#[tokio::test]
async fn a_body_waits_for_others_to_be_read() {
    let (memory, waits) = memory(100 << 10);
    let first = whole(&memory, vec![0; 80 << 10]).await.unwrap();
    let mut second = Buffer::new(&memory, u64::MAX);
    let waited = tokio::time::timeout(SHORT, second.expect(30 << 10)).await;
    assert!(waited.is_err(), "there was no room for it");
    assert_eq!(waits.get(), 1);
    drop(first);
    assert_eq!(second.expect(30 << 10).await, Ok(()));
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
async fn a_body_larger_than_all_memory_is_refused_at_once() {
    let (memory, waits) = memory(100 << 10);
    assert_eq!(whole(&memory, vec![0; 101 << 10]).await.unwrap_err(), ScrapeError::BodySize(100 << 10));
    let mut buffer = Buffer::new(&memory, u64::MAX);
    assert_eq!(buffer.push(&vec![0; 100 << 10]).await, Ok(()));
    assert_eq!(buffer.push(&[0]).await, Err(ScrapeError::BodySize(100 << 10)));
    assert_eq!(waits.get(), 0);
}
