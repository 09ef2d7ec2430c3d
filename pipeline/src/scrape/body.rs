//! Bodies in memory: each bounded by its job's limit, all together by `limits.max_body_bytes`.
//!
//! Takes the pieces of a body as they come, gives it as a whole with the permit that accounts for it. A body that finds
//! no room waits for others to be read by the worker. Bodies that wait for each other to finish growing are told apart
//! by their scrapes' timeouts: the first that runs out gives its room to the rest. Waits are counted.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::model::scrape::{Exposition, ScrapeError};
use crate::model::units::Size;

/// A permit stands for this many bytes.
const KIB: u64 = 1024;
/// The least by which a body grows, and how much is decompressed at a time.
const STEP_BYTES: u64 = 64 * KIB;

/// The memory that all bodies share.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    permits: Arc<Semaphore>,
    total: u64,
    waits: IntCounter,
    /// Whether a body of this handle waits for room right now.
    waiting: Arc<AtomicBool>,
}

impl Memory {
    pub(super) fn new(max_body_bytes: Size, waits: IntCounter) -> Self {
        // A semaphore counts acquisitions in u32: 4 TiB are enough.
        let kib = u32::try_from(max_body_bytes.0 / KIB).unwrap_or(u32::MAX).max(1);
        let permits = (kib as usize).min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        Self { permits, total: u64::from(kib) * KIB, waits, waiting: Arc::default() }
    }

    /// The same memory, for a target whose waiting can be asked about.
    pub(super) fn for_one(&self) -> Self {
        Self { waiting: Arc::default(), ..self.clone() }
    }

    /// Whether the last body waited for room until its time was up.
    pub(super) fn was_waiting(&self) -> bool {
        self.waiting.swap(false, Ordering::Relaxed)
    }

    async fn acquire(&self, kib: u64) -> Result<OwnedSemaphorePermit, ScrapeError> {
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let permits = || Arc::clone(&self.permits);
        match permits().try_acquire_many_owned(kib) {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::NoPermits) => {
                self.waits.inc();
                self.waiting.store(true, Ordering::Relaxed);
                let permit = permits().acquire_many_owned(kib).await.map_err(|_| closed());
                self.waiting.store(false, Ordering::Relaxed);
                permit
            }
            Err(TryAcquireError::Closed) => Err(closed()),
        }
    }
}

/// Nobody closes the semaphore; were it closed, no body could be held.
fn closed() -> ScrapeError {
    ScrapeError::Limit("no memory for bodies".to_owned())
}

/// A body being received.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: BytesMut,
    permit: Option<OwnedSemaphorePermit>,
    memory: Memory,
    limit: u64,
    reserved: u64,
}

impl Buffer {
    /// An empty body of at most `limit` bytes.
    pub(super) fn new(memory: &Memory, limit: u64) -> Self {
        let limit = limit.min(memory.total);
        Self { bytes: BytesMut::new(), permit: None, memory: memory.clone(), limit, reserved: 0 }
    }

    /// Refuses a body of `size` bytes if that is too much, and makes room for it or, if that is less, for the `likely` size.
    pub(super) async fn expect(&mut self, size: u64, likely: u64) -> Result<(), ScrapeError> {
        if size > self.limit {
            return Err(ScrapeError::BodySize(self.limit));
        }
        self.grow_to(size.min(likely)).await
    }

    /// Makes room for about `size` bytes, as far as that is allowed.
    pub(super) async fn prepare(&mut self, size: u64) -> Result<(), ScrapeError> {
        self.grow_to(size.min(self.limit)).await
    }

    /// Bytes received so far.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Adds a piece.
    pub(super) async fn push(&mut self, piece: &[u8]) -> Result<(), ScrapeError> {
        self.make_room(piece.len() as u64).await?;
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The whole body.
    pub(super) fn finish(self) -> Exposition {
        Exposition { body: self.bytes.freeze(), permit: self.permit }
    }

    async fn make_room(&mut self, additional: u64) -> Result<(), ScrapeError> {
        let needed = self.bytes.len() as u64 + additional;
        if needed > self.limit {
            return Err(ScrapeError::BodySize(self.limit));
        }
        if needed > self.reserved {
            let doubled = needed.max(self.reserved.saturating_mul(2)).max(STEP_BYTES);
            self.grow_to(doubled.min(self.limit)).await?;
        }
        Ok(())
    }

    async fn grow_to(&mut self, size: u64) -> Result<(), ScrapeError> {
        let kib = size.div_ceil(KIB).saturating_sub(self.reserved.div_ceil(KIB));
        if kib > 0 {
            let more = self.memory.acquire(kib).await?;
            match &mut self.permit {
                Some(permit) => permit.merge(more),
                None => self.permit = Some(more),
            }
        }
        self.reserved = self.reserved.max(size);
        let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(self.bytes.len());
        self.bytes.reserve(room);
        Ok(())
    }

    /// Decompresses `compressed` into this buffer, a step at a time, so that a small body that unfolds to a huge one
    /// takes no more than the limit.
    pub(super) async fn decompress(&mut self, compressed: &[u8]) -> Result<(), ScrapeError> {
        let mut decoder = MultiGzDecoder::new(compressed);
        loop {
            let start = self.bytes.len();
            let room = self.limit - start as u64;
            if room == 0 {
                let more = decoder.read(&mut [0]).map_err(|e| gzip_error(&e))?;
                return if more == 0 { Ok(()) } else { Err(ScrapeError::BodySize(self.limit)) };
            }
            let step = room.min(STEP_BYTES);
            self.make_room(step).await?;
            self.bytes.resize(start + usize::try_from(step).unwrap_or_default(), 0);
            let count =
                decoder.read(self.bytes.get_mut(start..).unwrap_or_default()).map_err(|e| gzip_error(&e))?;
            self.bytes.truncate(start + count);
            if count == 0 {
                return Ok(());
            }
            // Decompressing is work: let others, and the timeout, have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }
}

fn gzip_error(error: &io::Error) -> ScrapeError {
    ScrapeError::Decompress(match error.kind() {
        io::ErrorKind::UnexpectedEof => "the gzip data is cut off".to_owned(),
        _ => format!("gzip: {error}"),
    })
}

/// A body that is there already, accounted for like any other.
pub(super) async fn whole(memory: &Memory, body: Vec<u8>) -> Result<Exposition, ScrapeError> {
    let mut buffer = Buffer::new(memory, u64::MAX);
    buffer.expect(body.len() as u64, u64::MAX).await?;
    Ok(Exposition { body: Bytes::from(body), permit: buffer.permit })
}
