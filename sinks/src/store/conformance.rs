//! What every `Store` keeps to, as one test that runs against each of them.
//!
//! Part of the crate, not of its tests, so that the suites that have a real or imitated S3 can call it.

use bytes::Bytes;

use super::{Body, Condition, Next, Store};

/// Checks an empty store. Leaves some small objects behind.
///
/// # Panics
/// When the store breaks the contract; the message says which part.
#[expect(clippy::panic, reason = "this is a test, shared between packages")]
pub async fn check<S: Store>(store: &S) {
    if let Err(broken) = run(store).await {
        panic!("broken contract of Store: {broken}");
    }
}

async fn run<S: Store>(store: &S) -> Result<(), String> {
    store.ready().await;
    let now = store.server_time().await.map_err(|e| format!("server_time: {e}"))?;
    let key = |unix: i64, sequence: u64| format!("{unix:010}/conformance-{sequence:010}.parquet");
    let look_back = format!("{:010}", now - 3600);

    let largest = store.largest_key(&look_back).await;
    expect("largest_key of an empty store", &largest, &Ok(None))?;
    expect("head of an absent key", &store.head(&key(now, 1)).await, &Ok(None))?;

    let (one, two) = (body("one"), body("two, which is longer"));
    store.put(&key(now, 1), &one, Condition::Absent).await.map_err(|e| format!("put: {e}"))?;
    is_stored(store, &key(now, 1), &one).await?;

    let again = store.put(&key(now, 1), &two, Condition::Absent).await;
    expect("put onto an existing key", &again.map_err(|e| e.next), &Err(Next::Exists))?;
    is_stored(store, &key(now, 1), &one).await?;

    store
        .put(&key(now, 1), &two, Condition::None)
        .await
        .map_err(|e| format!("put without condition: {e}"))?;
    is_stored(store, &key(now, 1), &two).await?;

    for (unix, sequence) in [(now + 1, 3), (now, 2), (now + 1, 2)] {
        let put = store.put(&key(unix, sequence), &one, Condition::Absent).await;
        put.map_err(|e| format!("put: {e}"))?;
    }
    let largest = store.largest_key(&look_back).await;
    expect("largest_key", &largest, &Ok(Some(key(now + 1, 3))))?;
    let largest = store.largest_key(&key(now + 1, 2)).await;
    expect("largest_key after one that exists", &largest, &Ok(Some(key(now + 1, 3))))?;
    let largest = store.largest_key(&key(now + 1, 3)).await;
    expect("largest_key after the largest", &largest, &Ok(None))
}

fn body(text: &'static str) -> Body {
    Body { bytes: Bytes::from_static(text.as_bytes()), crc32: crc32fast::hash(text.as_bytes()) }
}

async fn is_stored<S: Store>(store: &S, key: &str, body: &Body) -> Result<(), String> {
    match store.head(key).await {
        Ok(Some(stored)) if stored.is(body) => Ok(()),
        other => Err(format!("head of {key}: {other:?}, expected {} bytes", body.bytes.len())),
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}
