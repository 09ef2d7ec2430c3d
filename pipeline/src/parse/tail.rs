//! What stands behind the labels of a plain line: a value, a timestamp or none, and the end of the line.
//!
//! Four of five values are what they were in the answer before. So the last value is kept with a hash of its text: where that
//! is what it was, no number is read. The comments before a family are kept in the same way. Takes the text behind the labels;
//! what is not plain is left to [`super::line`].

use super::hash::{BLOCK, Secret};
use super::number;
use crate::model::sample::NO_TIMESTAMP;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) value: f64,
    /// Or [`NO_TIMESTAMP`].
    pub(super) timestamp: i64,
}

/// What a line was last, known by a hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    /// Of the line up to the value, and of the block that ends with the byte behind the value. For a `# TYPE` line of all from
    /// the `# HELP` before it to its end.
    hash: u64,
    /// The value's bits; for a `# TYPE` line how many bytes those are, or 0.
    bits: u64,
}

/// Bytes of a value, with what stands before and behind it, beyond which it is read every time.
pub(super) const LENGTH_MAX: usize = 31;

impl Last {
    /// The value behind the `length` bytes of labels that `text` begins with, the byte behind it, and what follows, if all is
    /// what it was: `sum` is that of the labels, and the value takes `value_length` bytes with what stands around it.
    #[inline(always)]
    pub(super) fn value<'t>(
        &self,
        sum: u128,
        text: &'t [u8],
        length: usize,
        value_length: usize,
        secret: &Secret,
    ) -> Option<(f64, u8, &'t [u8])> {
        let (held, rest) = text.split_at_checked(length + value_length)?;
        let block = held.last_chunk::<BLOCK>()?;
        let is_same = value_length > 0 && secret.fold(secret.sum_with(sum, block)) == self.hash;
        is_same.then_some((f64::from_bits(self.bits), block[BLOCK - 1], rest))
    }

    /// Keeps the value at the end of `text`; false if it cannot be kept.
    pub(super) fn set_value(
        &mut self,
        sum: u128,
        text: &[u8],
        value_length: usize,
        value: f64,
        secret: &Secret,
    ) -> bool {
        let Some(block) = text.last_chunk().filter(|_| value_length <= LENGTH_MAX) else { return false };
        *self = Self { hash: secret.fold(secret.sum_with(sum, block)), bits: value.to_bits() };
        true
    }

    /// The `# TYPE` line of `length` bytes behind the `# HELP` that `text` begins with, and what follows, if all is what it was.
    #[inline]
    pub(super) fn help_and_type<'t>(
        &self,
        text: &'t [u8],
        length: usize,
        secret: &Secret,
    ) -> Option<(&'t [u8], &'t [u8])> {
        let (both, rest) = text.split_at_checked(usize::try_from(self.bits).ok()?)?;
        if both.is_empty() || secret.hash(both, 0) != self.hash {
            return None;
        }
        let line = both.strip_suffix(b"\n")?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some((line.get(line.len().checked_sub(length)?..)?, rest))
    }

    /// Keeps what help and type `text` is.
    pub(super) fn set_help_and_type(&mut self, text: &[u8], secret: &Secret) {
        *self = Self { hash: secret.hash(text, 0), bits: text.len() as u64 };
    }
}

/// The value that `text` begins with behind one blank, and how many bytes that takes with one more behind it.
pub(super) fn value(text: &[u8]) -> Option<(f64, usize)> {
    let number = text.strip_prefix(b" ")?;
    let (value, rest) = match number::leading_few_digits(number) {
        Some(found) => found,
        None => number::leading(number).or_else(|| other_value(number))?,
    };
    Some((value, text.len() - rest.len() + 1))
}

/// Bytes of a value beyond which its line is not a plain one.
const OTHER_MAX: usize = 4096;

/// A value that is not of the simple kind: `NaN`, `+Inf`, or one with many digits.
#[cold]
fn other_value(text: &[u8]) -> Option<(f64, &[u8])> {
    let near = text.get(..OTHER_MAX).unwrap_or(text);
    let length = match near.iter().position(|byte| byte.is_ascii_whitespace()) {
        Some(length) => length,
        None if near.len() < OTHER_MAX => near.len(),
        None => return None,
    };
    let (value, rest) = text.split_at_checked(length)?;
    Some((number::value(value)?, rest))
}

/// What stands behind the value: the timestamp, if there is one, and what follows the line. `end` is the byte before `text`, a
/// line feed if the line ends there.
#[inline(always)]
pub(super) fn timestamp(end: u8, text: &[u8]) -> Option<(i64, &[u8])> {
    match end {
        b'\n' => Some((NO_TIMESTAMP, text)),
        b'\r' => Some((NO_TIMESTAMP, text.strip_prefix(b"\n")?)),
        b' ' => written_timestamp(text),
        _ => None,
    }
}

#[inline(never)]
fn written_timestamp(text: &[u8]) -> Option<(i64, &[u8])> {
    let (timestamp, rest) = number::leading_timestamp(text)?;
    Some((timestamp, end_of_line(rest)?))
}

/// What follows the end of a line, if `text` begins with that.
#[inline]
pub(super) fn end_of_line(text: &[u8]) -> Option<&[u8]> {
    match text {
        [] => Some(text),
        [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => Some(rest),
        _ => None,
    }
}
