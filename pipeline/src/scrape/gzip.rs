//! Bodies that come compressed, decompressed as they come.
//!
//! Takes compressed bytes cut anywhere, adds what they unfold to to a body, a step at a time, so that a small body that
//! unfolds to a huge one takes no more than its limit.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use super::body::Body;
use crate::model::scrape::ScrapeError;

/// How much is decompressed at a time.
const STEP_BYTES: usize = 16 * 1024;

/// Decompresses one body.
pub(super) struct Gzip {
    decoder: MultiGzDecoder<Feed>,
    step: Vec<u8>,
    /// Compressed bytes that may still come.
    left: u64,
    limit: u64,
}

/// The compressed bytes that are at hand.
#[derive(Default)]
struct Feed {
    bytes: Vec<u8>,
    /// Of these, how many have been read.
    read: usize,
    /// Whether they are the last.
    is_last: bool,
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.bytes.get(self.read..) {
            Some([]) | None if !self.is_last => Err(io::ErrorKind::WouldBlock.into()),
            rest => Ok(rest.unwrap_or_default()),
        }
    }

    fn consume(&mut self, count: usize) {
        self.read += count;
    }
}

impl Gzip {
    /// For this body, whose limit is one for the compressed bytes too.
    pub(super) fn new(body: &mut Body<'_>) -> Self {
        body.announced = None;
        let (decoder, limit) = (MultiGzDecoder::new(Feed::default()), body.limit);
        Self { decoder, step: vec![0; STEP_BYTES], left: limit, limit }
    }

    /// Adds what these bytes unfold to.
    pub(super) async fn push(&mut self, compressed: &[u8], body: &mut Body<'_>) -> Result<(), ScrapeError> {
        self.left =
            self.left.checked_sub(compressed.len() as u64).ok_or(ScrapeError::BodySize(self.limit))?;
        let feed = self.decoder.get_mut();
        feed.bytes.clear();
        feed.bytes.extend_from_slice(compressed);
        feed.read = 0;
        self.unfold(body).await
    }

    /// Adds the rest, and says whether anything was missing.
    pub(super) async fn finish(mut self, body: &mut Body<'_>) -> Result<(), ScrapeError> {
        self.decoder.get_mut().is_last = true;
        self.unfold(body).await
    }

    async fn unfold(&mut self, body: &mut Body<'_>) -> Result<(), ScrapeError> {
        loop {
            match self.decoder.read(&mut self.step) {
                Ok(0) => return Ok(()),
                Ok(count) => body.copy(self.step.get(..count).unwrap_or_default()).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(refused(&error)),
            }
            // Decompressing is work: let others, and the timeout, have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }
}

fn refused(error: &io::Error) -> ScrapeError {
    ScrapeError::Decompress(match error.kind() {
        io::ErrorKind::UnexpectedEof => "the gzip data is cut off".to_owned(),
        _ => format!("gzip: {error}"),
    })
}
