//! Frames: how the journal's files can be read after a kill, a loss of power or a flipped bit.
//!
//! A frame is a header of 20 bytes and a body. The header holds, as little-endian 32-bit numbers, the length of the body, how
//! many things (samples, or series) stand in the file before it, how many are in it, the CRC-32 of the body and the CRC-32 of
//! the header up to there. A file that ends in the middle of a frame is torn, which is what a kill leaves. Anything else
//! that is no frame is damage; the frames behind it are found again, and by the number before them what was lost is known.

/// Bytes of a header.
pub(super) const HEADER: usize = 20;
/// The last four bytes of the header are the checksum of those before.
const CHECKED: usize = 16;

/// A frame as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Things in all frames before.
    pub(super) before: u32,
    /// Things in this one.
    pub(super) count: u32,
    /// What the writer said of them.
    pub(super) body: &'a [u8],
}

/// What stands at one place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Bytes that were a frame or several. `until`: things in the file up to its end, where the header still says so.
    Damage {
        /// Before and in the damaged frame.
        until: Option<u32>,
    },
    /// The end of the file, not written completely.
    Torn {
        /// Bytes of it.
        bytes: usize,
    },
}

/// Begins a frame at the end of `out`; its body is what is appended until [`finish`] is called with the place given here.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; HEADER]);
    out.len()
}

/// Ends the frame whose body begins at `start`.
pub(super) fn finish(out: &mut [u8], start: usize, before: u32, count: u32) {
    let Some((front, body)) = out.split_at_mut_checked(start) else { return };
    // Bodies hold one scrape, which the limits on bodies keep far below 4 GiB.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let numbers = [length, before, count, crc32fast::hash(body)].map(u32::to_le_bytes);
    let numbers = numbers.as_flattened();
    let crc = crc32fast::hash(numbers).to_le_bytes();
    if let Some(header) = front.last_chunk_mut::<HEADER>() {
        header.iter_mut().zip(numbers.iter().chain(&crc)).for_each(|(place, byte)| *place = *byte);
    }
}

struct Header {
    length: usize,
    before: u32,
    count: u32,
    crc32: u32,
}

impl Header {
    /// The header at the start of `bytes`, if that is one, and what follows it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let (checked, crc) = header.split_first_chunk::<CHECKED>()?;
        if crc32fast::hash(checked).to_le_bytes() != *crc {
            return None;
        }
        let mut numbers =
            checked.chunks_exact(4).filter_map(|four| Some(u32::from_le_bytes(four.try_into().ok()?)));
        let mut next = || numbers.next();
        let length = usize::try_from(next()?).ok()?;
        Some((Self { length, before: next()?, count: next()?, crc32: next()? }, rest))
    }

    fn frame<'a>(&self, body: &'a [u8]) -> Option<Frame<'a>> {
        let Self { before, count, crc32, .. } = *self;
        (crc32fast::hash(body) == crc32).then_some(Frame { before, count, body })
    }
}

/// All parts of a file, in order.
#[derive(Clone, Debug)]
pub(super) struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Goes on at the next frame, if there is one behind the first byte of what is left.
    fn skip_to_frame(&mut self) -> bool {
        let rest = std::mem::take(&mut self.rest);
        let is_frame = |at: &usize| {
            let found = rest.get(*at..).and_then(Header::read);
            found.is_some_and(|(header, rest)| {
                rest.get(..header.length).is_some_and(|body| header.frame(body).is_some())
            })
        };
        let found = (1..rest.len()).find(is_frame);
        self.rest = found.and_then(|at| rest.get(at..)).unwrap_or_default();
        found.is_some()
    }

    fn torn(&mut self) -> Part<'a> {
        Part::Torn { bytes: std::mem::take(&mut self.rest).len() }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((header, rest)) = Header::read(self.rest) else {
            // After a loss of power the end may be there in length only.
            let nothing = self.rest.len() < HEADER || self.rest.iter().all(|byte| *byte == 0);
            return Some(if nothing {
                self.torn()
            } else {
                self.skip_to_frame();
                Part::Damage { until: None }
            });
        };
        let Some((body, rest)) = rest.split_at_checked(header.length) else {
            return Some(self.torn());
        };
        self.rest = rest;
        let until = header.before.checked_add(header.count);
        Some(header.frame(body).map_or(Part::Damage { until }, Part::Frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for (before, body) in bodies.iter().enumerate() {
            let start = begin(&mut out);
            out.extend_from_slice(body);
            finish(&mut out, start, u32::try_from(before).unwrap(), 1);
        }
        out
    }

    fn bodies(bytes: &[u8]) -> Vec<Vec<u8>> {
        let frames = Parts::of(bytes).filter_map(|part| match part {
            Part::Frame(frame) => Some(frame.body.to_vec()),
            _ => None,
        });
        frames.collect()
    }

    fn any_bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6)
    }

    #[test]
    fn damage_costs_the_frame_it_is_in() {
        let three = [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()];
        let whole = file(&three);
        let second = HEADER + 5;
        let check = |at: usize, expected: &[&str], part: Part<'_>| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let texts: Vec<_> = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(bodies(&bytes), texts, "{at}");
            assert!(
                Parts::of(&bytes).any(|found| found == part),
                "{at}: {:?}",
                Parts::of(&bytes).collect::<Vec<_>>()
            );
        };
        // In a body, in a length, and in the last frame.
        check(second + HEADER + 2, &["first", "third"], Part::Damage { until: Some(2) });
        check(second, &["first", "third"], Part::Damage { until: None });
        check(whole.len() - 1, &["first", "second"], Part::Damage { until: Some(3) });
        let mut zeros = whole.clone();
        zeros.extend_from_slice(&[0; 4096]);
        assert_eq!(Parts::of(&zeros).last(), Some(Part::Torn { bytes: 4096 }));
    }

    proptest! {
        #[test]
        fn a_torn_file_gives_every_complete_frame(content in any_bodies(), cut in 0..300_usize) {
            let whole = file(&content);
            let cut = cut.min(whole.len());
            let found = bodies(&whole[..cut]);
            let mut end = 0;
            let complete = content.iter().take_while(|body| {
                end += HEADER + body.len();
                end <= cut
            });
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), complete.collect::<Vec<_>>());
            let damage = Parts::of(&whole[..cut]).any(|part| matches!(part, Part::Damage { .. }));
            prop_assert!(!damage, "a torn file is not damaged");
        }

        #[test]
        fn a_flipped_bit_costs_one_frame(content in any_bodies(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = file(&content);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(bodies(&bytes).len(), content.len() - 1);
        }

        #[test]
        fn anything_can_be_read(bytes: Vec<u8>) {
            for part in Parts::of(&bytes) {
                prop_assert!(!matches!(part, Part::Frame(_)));
            }
        }
    }
}
