//! What all scrapes of a batch leave behind, in the order in which they came: words, in chunks.
//!
//! One log for all targets: it grows at its end only, whichever target brings something, and what is there is never moved.

/// Words of a chunk at least: 128 KiB. A longer one is an eighth of what there is, so that there are few, or has room for some of
/// what is written, so that little is left over.
const CHUNK_MIN: usize = 16 << 10;
const SHARE: usize = 8;
const WRITTEN: usize = 4;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    chunks: Vec<Vec<u64>>,
    /// Words in all of them.
    words: usize,
}

/// Where something begins in a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    chunk: u32,
    word: u32,
}

impl Log {
    /// Writes words behind each other.
    pub(super) fn push(&mut self, words: &[u64]) -> Place {
        if self.chunks.last().is_none_or(|chunk| chunk.capacity() - chunk.len() < words.len()) {
            let room = CHUNK_MIN.max(self.words / SHARE).max(words.len() * WRITTEN);
            self.chunks.push(Vec::with_capacity(room));
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let chunk = count(self.chunks.len() - 1);
        let Some(last) = self.chunks.last_mut() else { return Place { chunk, word: 0 } };
        let word = count(last.len());
        last.extend_from_slice(words);
        self.words += words.len();
        Place { chunk, word }
    }

    /// What was written there, and whatever was written behind it.
    pub(super) fn get(&self, place: Place) -> &[u64] {
        let chunk = self.chunks.get(place.chunk as usize);
        chunk.and_then(|chunk| chunk.get(place.word as usize..)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_stays_where_it_is() {
        let mut log = Log::default();
        let words: Vec<u64> = (0..2 * CHUNK_MIN as u64 + 1).collect();
        let lengths = [0, 1, CHUNK_MIN - 1, 1, 0, CHUNK_MIN, 3, 2 * CHUNK_MIN + 1, 1];
        let places = lengths.map(|length| (length, log.push(&words[words.len() - length..])));
        for (length, place) in places {
            assert_eq!(&log.get(place)[..length], &words[words.len() - length..], "{length} words");
        }
    }

    #[test]
    fn chunks_are_few_and_nearly_full() {
        for length in [1, 100, CHUNK_MIN / 2 + 1, 10 * CHUNK_MIN] {
            let (mut log, words) = (Log::default(), vec![7; length]);
            while log.words < 200 * CHUNK_MIN {
                log.push(&words);
            }
            let room: usize = log.chunks.iter().map(Vec::capacity).sum();
            assert!(log.chunks.len() <= 40, "{} chunks", log.chunks.len());
            assert!(room <= log.words * 5 / 4, "{room} words for {}", log.words);
        }
    }
}
