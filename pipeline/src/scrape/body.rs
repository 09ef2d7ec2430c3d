//! Bodies in memory: each bounded by its job's limit, all together by `limits.max_body_bytes`.
//!
//! Takes a body as it comes, gives it in pieces, each with the permit that accounts for it. A small body is given as a whole; of
//! a large one, parts are handed on while the rest still comes, and no more than a few of them are on their way. A body that
//! finds no room hands on what it has and waits for others to be read by the worker, which is told to hurry. Waits are counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use crate::http::READ_BUFFER_BYTES_MAX;
use crate::model::scrape::{Arrival, Exposition, Part, ScrapeError};
use crate::model::target::Target;
use crate::model::units::Size;
use crate::rest::Rest;

/// A permit stands for this many bytes.
const KIB: usize = 1024;
/// The size of a piece.
const PIECE_BYTES: usize = 64 * KIB;
/// What comes in blocks of at least this many bytes is kept as it came: half of the buffer that it was read into, or more.
const BLOCK_BYTES: usize = READ_BUFFER_BYTES_MAX / 2;
/// A body up to this size is given as a whole, as most are: one look at the queue is enough for it.
const PART_BYTES: u64 = 256 << 10;
/// Parts of one body that wait to be read.
const PARTS_MAX: usize = 2;
/// Buffers that are kept for the next pieces, since memory that is given back to the system is cleared when it is taken again.
const SPARE_MAX: usize = 16;

/// The memory that all bodies share.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    permits: Arc<Semaphore>,
    total: u64,
    waits: IntCounter,
    spare: Spare,
    /// Of the worker, who gives memory back.
    rest: Rest,
    /// Whether a body of this handle waits for room right now.
    waiting: Arc<AtomicBool>,
}

/// Buffers of [`PIECE_BYTES`] that nobody uses at the moment.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

impl Memory {
    pub(super) fn new(max_body_bytes: Size, waits: IntCounter, rest: Rest) -> Self {
        // A semaphore counts acquisitions in u32: 4 TiB are enough.
        let kib = u32::try_from(max_body_bytes.0 / KIB as u64).unwrap_or(u32::MAX).max(1);
        let permits = (kib as usize).min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        let (spare, waiting) = (Spare::default(), Arc::default());
        Self { permits, total: u64::from(kib) * KIB as u64, waits, spare, rest, waiting }
    }

    /// The same memory, for a target whose waiting can be asked about.
    pub(super) fn for_one(&self) -> Self {
        Self { waiting: Arc::default(), ..self.clone() }
    }

    /// Whether the last body waited for room until its time was up.
    pub(super) fn was_waiting(&self) -> bool {
        self.waiting.swap(false, Ordering::Relaxed)
    }

    /// Bytes that nobody holds.
    #[cfg(test)]
    pub(super) fn free(&self) -> u64 {
        (self.permits.available_permits() * KIB) as u64
    }

    /// Takes permits for so many bytes if there are any left.
    fn try_acquire(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, ScrapeError> {
        match Arc::clone(&self.permits).try_acquire_many_owned(kib(bytes)) {
            Ok(permit) => Ok(Some(permit)),
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(closed()),
        }
    }

    async fn acquire(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ScrapeError> {
        self.waits.inc();
        self.wait(Arc::clone(&self.permits).acquire_many_owned(kib(bytes))).await
    }

    /// Waits for the worker to read.
    async fn wait<T, E>(&self, reading: impl Future<Output = Result<T, E>>) -> Result<T, ScrapeError> {
        self.rest.hurry();
        self.waiting.store(true, Ordering::Relaxed);
        let read = reading.await.map_err(|_| closed());
        self.waiting.store(false, Ordering::Relaxed);
        read
    }

    /// A piece for so many bytes.
    fn piece(&self, bytes: usize, permit: OwnedSemaphorePermit) -> Piece {
        // Others have a buffer of their size, since the permit stands for that.
        let spare = (bytes == PIECE_BYTES).then(|| Arc::clone(&self.spare));
        let kept = spare.as_ref().and_then(|spare| lock(spare).pop());
        let buffer = kept.unwrap_or_else(|| Vec::with_capacity(bytes));
        Piece { buffer, max: bytes, spare, permit }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX)
}

fn lock(spare: &Mutex<Vec<Vec<u8>>>) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody closes the semaphores; were one closed, no body could be held.
fn closed() -> ScrapeError {
    ScrapeError::Limit("no memory for bodies".to_owned())
}

/// Consecutive bytes of a body and their share of the memory.
struct Piece {
    buffer: Vec<u8>,
    /// Bytes that the permit stands for.
    max: usize,
    /// Where the buffer goes in the end.
    spare: Option<Spare>,
    permit: OwnedSemaphorePermit,
}

impl Piece {
    fn room(&self) -> usize {
        self.max - self.buffer.len()
    }

    /// A piece without room for more. What is much smaller than its buffer moves to one of its size.
    fn closed(mut self) -> Self {
        let bytes = self.buffer.len();
        if bytes >= self.max / 2 {
            return self;
        }
        match self.permit.split(kib(bytes) as usize) {
            Some(permit) => Self { buffer: self.buffer.clone(), max: bytes, spare: None, permit },
            None => self,
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Some(spare) = &self.spare else { return };
        let mut spare = lock(spare);
        if spare.len() < SPARE_MAX {
            self.buffer.clear();
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// A part of a body as it came, and its share of the memory.
struct Block {
    data: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Where the parts of one target's bodies go.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    target: Arc<Target>,
    queue: mpsc::Sender<Arrival>,
    /// Parts that may be on their way.
    turns: Arc<Semaphore>,
}

impl Outlet {
    pub(super) fn new(target: &Arc<Target>, queue: &mpsc::Sender<Arrival>) -> Self {
        let (target, queue) = (Arc::clone(target), queue.clone());
        Self { target, queue, turns: Arc::new(Semaphore::new(PARTS_MAX)) }
    }

    async fn give(&self, exposition: Exposition, memory: &Memory) -> Result<(), ScrapeError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let sent = async {
            let part = Part {
                target: Arc::clone(&self.target),
                exposition,
                turn: Some(turn.await.map_err(|_| closed())?),
            };
            // At the end of everything the loop will notice that nobody takes its scrape.
            self.queue.send(Arrival::Part(part)).await.map_err(|_| closed())
        };
        memory.wait(sent).await?;
        // Memory is scarce where bodies are large, so this is read at once.
        memory.rest.hurry();
        Ok(())
    }
}

/// A body being received.
pub(super) struct Body<'a> {
    memory: &'a Memory,
    outlet: &'a Outlet,
    /// Bytes that it may have.
    pub(super) limit: u64,
    /// Bytes that it will have, if that is known.
    pub(super) announced: Option<u64>,
    /// Bytes of the parts that were handed on.
    before: u64,
    /// Bytes of `pieces`.
    held: u64,
    /// Those that are complete.
    pieces: Vec<Bytes>,
    /// The one that is being filled.
    open: Option<Piece>,
}

impl<'a> Body<'a> {
    /// An empty body of at most `limit` bytes; refuses one that is announced to be larger.
    pub(super) fn new(
        memory: &'a Memory,
        outlet: &'a Outlet,
        limit: u64,
        announced: Option<u64>,
    ) -> Result<Self, ScrapeError> {
        let limit = limit.min(memory.total);
        if announced.is_some_and(|size| size > limit) {
            return Err(ScrapeError::BodySize(limit));
        }
        Ok(Self { memory, outlet, limit, announced, before: 0, held: 0, pieces: Vec::new(), open: None })
    }

    /// Adds what came: as it is, if it came in a large block.
    pub(super) async fn push(&mut self, data: Bytes) -> Result<(), ScrapeError> {
        if data.len() < BLOCK_BYTES {
            return self.copy(&data).await;
        }
        let left = self.start_piece().await?;
        if data.len() as u64 > left {
            return Err(ScrapeError::BodySize(self.limit));
        }
        // It holds all of the buffer that it was read into. Where there is no room for that, a copy takes less.
        let Some(permit) = self.memory.try_acquire(data.len().max(READ_BUFFER_BYTES_MAX))? else {
            return self.copy(&data).await;
        };
        self.held += data.len() as u64;
        self.pieces.push(Bytes::from_owner(Block { data, _permit: permit }));
        Ok(())
    }

    /// Adds a copy.
    pub(super) async fn copy(&mut self, mut data: &[u8]) -> Result<(), ScrapeError> {
        while !data.is_empty() {
            let piece = self.room().await?;
            let (now, later) = data.split_at(data.len().min(piece.room()));
            piece.buffer.extend_from_slice(now);
            data = later;
        }
        Ok(())
    }

    /// The body's last pieces, which are all unless it is large.
    pub(super) fn finish(mut self) -> Exposition {
        self.close();
        Exposition { before: self.before, pieces: self.pieces }
    }

    fn len(&self) -> u64 {
        self.before + self.held + self.open.as_ref().map_or(0, |piece| piece.buffer.len() as u64)
    }

    /// The piece to which the next byte is added.
    async fn room(&mut self) -> Result<&mut Piece, ScrapeError> {
        if self.open.as_ref().is_none_or(|piece| piece.room() == 0) {
            let left = self.start_piece().await?;
            if left == 0 {
                return Err(ScrapeError::BodySize(self.limit));
            }
            // A piece at a time: nobody holds memory by announcing a lot.
            let likely = self.announced.map_or(left, |size| size.saturating_sub(self.len()).clamp(1, left));
            let bytes = usize::try_from(likely).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let permit = self.permit(bytes).await?;
            self.open = Some(self.memory.piece(bytes, permit));
        }
        // It was made just now.
        self.open.as_mut().ok_or_else(closed)
    }

    /// Makes room for a piece among those that are held; gives how many bytes the body may still have.
    async fn start_piece(&mut self) -> Result<u64, ScrapeError> {
        self.close();
        if self.held >= PART_BYTES {
            self.give().await?;
        }
        Ok(self.limit - self.len())
    }

    /// Takes permits for a piece; where there are none left, hands on what there is and waits.
    async fn permit(&mut self, bytes: usize) -> Result<OwnedSemaphorePermit, ScrapeError> {
        if let Some(permit) = self.memory.try_acquire(bytes)? {
            return Ok(permit);
        }
        self.give().await?;
        self.memory.acquire(bytes).await
    }

    /// Ends the open piece.
    fn close(&mut self) {
        let Some(piece) = self.open.take().filter(|piece| !piece.buffer.is_empty()) else { return };
        self.held += piece.buffer.len() as u64;
        self.pieces.push(Bytes::from_owner(piece.closed()));
    }

    /// Hands on what there is.
    async fn give(&mut self) -> Result<(), ScrapeError> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let exposition = Exposition { before: self.before, pieces: std::mem::take(&mut self.pieces) };
        self.before += std::mem::take(&mut self.held);
        self.outlet.give(exposition, self.memory).await
    }
}

/// A body that is there already, accounted for like any other.
pub(super) async fn whole(memory: &Memory, body: Vec<u8>) -> Result<Exposition, ScrapeError> {
    if body.len() as u64 > memory.total {
        return Err(ScrapeError::BodySize(memory.total));
    }
    let permit = match memory.try_acquire(body.len())? {
        Some(permit) => permit,
        None => memory.acquire(body.len()).await?,
    };
    let piece = Piece { max: body.len(), buffer: body, spare: None, permit };
    Ok(Exposition::whole(Bytes::from_owner(piece)))
}
