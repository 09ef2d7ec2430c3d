//! One known line: whether a text begins with it, and what its value is there.
//!
//! Takes the text where the line is expected, gives its sample and what follows the line; nothing where another line stands, or
//! where this one is not plain, which [`super::line`] reads.

use super::hash::Secret;
use super::tail::{self, Last};
use crate::model::sample::{Samples, Slot};

/// A known line: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) hash: u64,
    /// 0 where the line is forgotten. From the low end: bytes of the line up to its value, bytes of the value that is kept
    /// (0: none is), whether it is a `# TYPE` line, the scrape that last held it.
    pub(super) packed: u32,
    pub(super) next: Place,
}

/// Where a line stands among the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u32);

impl Place {
    /// No line.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// Stands for the `# TYPE` line that lines are read under: what they mean depends on it, and on nothing else of the exposition,
/// so it is part of their hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Family(pub(super) u64);

/// What is known of the answer where it is being read.
#[derive(Debug)]
pub(super) struct Position<'t> {
    pub(super) family: Family,
    /// The last `# TYPE` line among the lines that are being read.
    pub(super) family_line: Option<&'t [u8]>,
    /// Lines read.
    pub(super) lines: u64,
    /// Samples that metric relabelling dropped.
    pub(super) dropped: u64,
}

impl Position<'_> {
    #[inline(always)]
    pub(super) fn push(&mut self, slot: Slot, value: f64, timestamp: i64, samples: &mut Samples) {
        if slot == Slot::DROPPED {
            self.dropped += 1;
        } else {
            samples.push(slot, value, timestamp);
        }
    }
}

/// Bits of [`Known::packed`].
const LENGTH_BITS: u32 = 18;
const VALUE_SHIFT: u32 = LENGTH_BITS;
const VALUE_MAX: u32 = tail::LENGTH_MAX as u32;
pub(super) const TYPE_BIT: u32 = 1 << 23;
pub(super) const SCRAPE_SHIFT: u32 = 24;
pub(super) const BELOW_SCRAPE: u32 = (1 << SCRAPE_SHIFT) - 1;
/// Bytes of a line up to its value beyond which it is decoded every time.
pub(super) const LENGTH_MAX: usize = (1 << LENGTH_BITS) - 1;

impl Known {
    pub(super) fn length(self) -> usize {
        (self.packed & ((1 << LENGTH_BITS) - 1)) as usize
    }

    /// With what stands before and behind it.
    fn value_length(self) -> usize {
        (self.packed >> VALUE_SHIFT & VALUE_MAX) as usize
    }

    fn set_value_length(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(0) & VALUE_MAX;
        self.packed = self.packed & !(VALUE_MAX << VALUE_SHIFT) | length << VALUE_SHIFT;
    }

    pub(super) fn is_type(self) -> bool {
        self.packed & TYPE_BIT != 0
    }

    pub(super) fn scrape(self) -> u8 {
        self.packed.to_le_bytes()[3]
    }

    /// Gives the byte behind the value and what follows that, if this is the line that `text` begins with and its value is the one
    /// that is kept.
    #[inline(always)]
    pub(super) fn same<'t>(
        self,
        last: &Last,
        text: &'t [u8],
        family: Family,
        secret: &Secret,
    ) -> Option<(u8, &'t [u8])> {
        let value_length = self.value_length();
        if value_length == 0 {
            return None;
        }
        let (line, rest) = text.split_at_checked(self.length() + value_length)?;
        // Nothing is looked at ahead of the hash: memory comes fastest to whoever asks for it in order.
        let is_same = secret.hash(line, family.0) == last.hash();
        Some((*line.last().filter(|_| is_same)?, rest))
    }

    /// Reads the line that `text` begins with if it is this one, whatever its value; gives what follows it.
    #[inline(never)]
    pub(super) fn other<'t>(
        &mut self,
        last: &mut Last,
        slot: Slot,
        text: &'t [u8],
        at: &mut Position<'t>,
        samples: &mut Samples,
        secret: &Secret,
    ) -> Option<&'t [u8]> {
        if self.is_type() {
            let (line, rest) = last.type_line(text, self.length(), self.hash, &mut at.lines, secret)?;
            (at.family, at.family_line) = (Family(self.hash), Some(line));
            return Some(rest);
        }
        let (line, behind) = text.split_at_checked(self.length())?;
        // A place that is free has no length, and a line has one.
        if line.is_empty() || secret.hash(line, at.family.0) != self.hash {
            return None;
        }
        let (value, value_length) = tail::value(behind)?;
        let (held, rest) = text.split_at_checked(line.len() + value_length)?;
        let (timestamp, rest) = tail::timestamp(*held.last()?, rest)?;
        // One that changes mostly changes again, and is not worth another hash.
        let is_kept = last.set_value(value) && value_length <= tail::LENGTH_MAX;
        if is_kept {
            last.set_hash(secret.hash(held, at.family.0));
        }
        self.set_value_length(if is_kept { value_length } else { 0 });
        at.push(slot, value, timestamp, samples);
        Some(rest)
    }
}
