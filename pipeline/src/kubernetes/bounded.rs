//! Answers of the API server, bounded: whoever answers in its place cannot fill our memory.
//!
//! Takes a body that the library collects as a whole, or line by line where it is a watch; gives the same bytes, and an
//! error instead of too many.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use tower::BoxError;

/// A page of a list: 500 objects of 64 KiB, which is a pod with all its managed fields several times over.
const PAGE_BYTES_MAX: usize = 32 << 20;
/// One change of a watch: etcd takes objects of 1.5 MiB.
const LINE_BYTES_MAX: usize = 8 << 20;
/// A refusal: a few lines.
const REFUSAL_BYTES_MAX: usize = 1 << 20;

/// A body that ends with an error when it is too long.
pub(super) struct Bounded<B> {
    inner: B,
    /// Bytes since the start, or since the last line began.
    count: usize,
    max: usize,
    by_line: bool,
}

/// Bounds the body of an answer.
pub(super) fn bounded<B>(response: Response<B>, is_watch: bool) -> Response<Bounded<B>> {
    let (max, by_line) = match (response.status().is_success(), is_watch) {
        (true, true) => (LINE_BYTES_MAX, true),
        (true, false) => (PAGE_BYTES_MAX, false),
        (false, _) => (REFUSAL_BYTES_MAX, false),
    };
    response.map(|inner| Bounded { inner, count: 0, max, by_line })
}

impl<B> Bounded<B> {
    fn take(&mut self, data: &[u8]) -> Result<(), BoxError> {
        let last_line = memchr::memrchr(b'\n', data).filter(|_| self.by_line);
        let first_line = memchr::memchr(b'\n', data).filter(|_| self.by_line).unwrap_or(data.len());
        let longest = self.count.saturating_add(first_line);
        self.count = match last_line {
            Some(end) => data.len() - end - 1,
            None => longest,
        };
        if longest.max(self.count) > self.max {
            let what = if self.by_line { "a change" } else { "the answer" };
            return Err(format!("{what} is longer than {} bytes: is it the API server?", self.max).into());
        }
        Ok(())
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let taken = frame.data_ref().map_or(Ok(()), |data| self.take(data));
        Poll::Ready(Some(taken.map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    /// Reads a body in pieces; its bytes, or the error.
    async fn read(max: usize, by_line: bool, pieces: &[&'static str]) -> Result<usize, String> {
        let frames: Vec<Result<_, BoxError>> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        let inner = StreamBody::new(futures_util::stream::iter(frames));
        let body = Bounded { inner, count: 0, max, by_line };
        body.collect().await.map(|all| all.to_bytes().len()).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn a_body_ends_where_it_is_too_long() {
        assert_eq!(read(4, false, &["ab", "cd"]).await, Ok(4));
        assert!(read(4, false, &["ab", "cd", "e"]).await.is_err());
        assert!(read(4, false, &["ab\n", "cd\n"]).await.is_err());
        // A watch may go on for ever, one line after the other.
        assert_eq!(read(4, true, &["ab\n", "cd\n", "abc", "d\nab", "cd\n"]).await, Ok(16));
        assert!(read(4, true, &["ab\nabc", "de"]).await.unwrap_err().contains("longer than 4 bytes"));
        assert!(read(4, true, &["abcde\nab"]).await.is_err());
    }

    #[test]
    fn what_is_refused_says_little() {
        let max = |status: u16, is_watch| {
            let response = Response::builder().status(status).body(Full::new(Bytes::new())).unwrap();
            bounded(response, is_watch).into_body().max
        };
        assert_eq!((max(200, false), max(200, true)), (PAGE_BYTES_MAX, LINE_BYTES_MAX));
        assert_eq!((max(403, false), max(410, true)), (REFUSAL_BYTES_MAX, REFUSAL_BYTES_MAX));
    }
}
