//! Hashes of lines, with a secret that is drawn once per process.
//!
//! Two lines that hash alike would be taken for one, so nobody outside may be able to make two of them. Takes the bytes of a
//! line and gives 64 bits; keeps nothing.
//!
//! The hash is NH (Black and others, UMAC, 1999) with words of 64 bits: each word is added to a secret word of its own, the
//! sums are multiplied in pairs to 128 bits, and the products are added. Whatever two texts of one length are chosen without
//! knowing the secret, at most one in 2^64 secrets gives them the same 128 bits; what is outside sees neither secret nor
//! hashes. One more multiplication folds them to 64. The products do not wait for each other, which is what makes it fast.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Blocks that there are secret words for: longer texts are hashed in parts.
const BLOCKS: usize = 32;
/// Bytes that two pairs of words cover.
const BLOCK: usize = 32;

/// Drawn once per process, so that nobody outside can make two lines collide on purpose.
#[derive(Clone)]
pub struct Secret(Arc<Words>);

struct Words {
    blocks: [[[u64; 2]; 2]; BLOCKS],
    /// For the last block, which overlaps the one before it unless the text ends with it.
    last: [u64; 2],
    last_high: [u64; 2],
    /// For the fold.
    fold: [u64; 2],
}

impl Secret {
    /// Draws one.
    #[must_use]
    pub fn random() -> Self {
        let random = RandomState::new();
        let mut drawn = 0;
        let mut words = || {
            drawn += 2;
            [random.hash_one(drawn), random.hash_one(drawn + 1)]
        };
        let blocks = std::array::from_fn(|_| [words(), words()]);
        Self(Arc::new(Words { blocks, last: words(), last_high: words(), fold: words() }))
    }

    /// The hash of a text; `before` is the hash of what it depends on, or 0. Texts of different lengths are the caller's to
    /// tell apart.
    #[inline(always)]
    pub(super) fn hash(&self, text: &[u8], before: u64) -> u64 {
        let (blocks, _) = text.as_chunks::<BLOCK>();
        if blocks.len() > BLOCKS {
            return self.hash_long(text, before);
        }
        let words = &*self.0;
        // From the start to the end, as memory comes fastest; two sums, so that neither is moved out of the other's way.
        let (mut sum, mut sum_high) = (u128::from(before), 0);
        for (block, [secret, secret_high]) in blocks.iter().zip(&words.blocks) {
            let [low, high] = halves(block);
            sum = product(low, secret).wrapping_add(sum);
            sum_high = product(high, secret_high).wrapping_add(sum_high);
        }
        // Without a branch: lines around the length of a block would be guessed wrong every other time.
        let start = text.len().saturating_sub(BLOCK);
        let last = text.get(start..).and_then(|last| Some([*last.first_chunk()?, *last.last_chunk()?]));
        let [low, high] = last.unwrap_or_else(|| short(text));
        sum = sum.wrapping_add(product(low, &words.last));
        sum_high = sum_high.wrapping_add(product(high, &words.last_high));
        let (low, high) = divide(sum.wrapping_add(sum_high));
        let (low, high) = divide(u128::from(low ^ words.fold[0]) * u128::from(high ^ words.fold[1]));
        low ^ high
    }

    /// Each part depends on the one before it.
    #[cold]
    #[inline(never)]
    fn hash_long(&self, text: &[u8], before: u64) -> u64 {
        text.chunks(BLOCKS * BLOCK).fold(before, |before, part| self.hash(part, before))
    }
}

/// A secret is not shown.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Half a block: two words.
type Half = [u8; BLOCK / 2];

#[inline]
fn product(half: Half, secret: &[u64; 2]) -> u128 {
    let (low, high) = divide(u128::from_le_bytes(half));
    u128::from(low.wrapping_add(secret[0])) * u128::from(high.wrapping_add(secret[1]))
}

#[inline]
fn halves(block: &[u8; BLOCK]) -> [Half; 2] {
    match block.as_chunks() {
        ([low, high], _) => [*low, *high],
        _ => [[0; BLOCK / 2]; 2],
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn divide(number: u128) -> (u64, u64) {
    (number as u64, (number >> 64) as u64)
}

/// A text of less than half a block, with zeros behind it.
#[cold]
fn short(text: &[u8]) -> [Half; 2] {
    let mut half = [0; BLOCK / 2];
    half.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    [half, [0; BLOCK / 2]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Every byte of a text of any length counts, and so does what it depends on.
    #[test]
    fn each_bit_changes_the_hash() {
        let secret = Secret::random();
        for length in (0..70).chain([1000, 1023, 1024, 1025, 1039, 1040, 1041, 2048, 3000]) {
            let mut text: Vec<u8> = (0..length).map(|n| (n * 7 % 251) as u8).collect();
            let mut seen = HashSet::from([secret.hash(&text, 0)]);
            assert!(seen.insert(secret.hash(&text, 1)) && seen.insert(secret.hash(&text, 1 << 63)));
            for at in 0..length {
                text[at] ^= 1 << (at % 8);
                assert!(seen.insert(secret.hash(&text, 0)), "byte {at} of {length}");
                text[at] ^= 1 << (at % 8);
            }
        }
    }

    #[test]
    fn words_that_change_places_change_the_hash() {
        let secret = Secret::random();
        let texts: HashSet<_> = [[0, 1, 2, 3], [1, 0, 2, 3], [2, 3, 0, 1], [0, 1, 3, 2], [3, 2, 1, 0]]
            .map(|words: [u8; 4]| secret.hash(&words.map(|word| [word; 8]).concat(), 0))
            .into();
        assert_eq!(texts.len(), 5);
    }

    #[test]
    fn every_process_has_its_own() {
        assert_ne!(Secret::random().hash(b"a", 0), Secret::random().hash(b"a", 0));
    }
}
