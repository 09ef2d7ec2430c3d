//! What stands behind the labels of a plain line: a value, a timestamp or none, and the end of the line.
//!
//! Four of five values are what they were in the answer before. So a value that comes a second time is kept with a hash of its
//! whole line: where that is what it was, no number is read. The comments before a family are kept in the same way. Takes the
//! text behind the labels; what is not plain is left to [`super::line`].

use super::hash::Secret;
use super::number;
use crate::model::sample::NO_TIMESTAMP;

/// What a line was last, known by a hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    /// Of the line up to the byte behind the value, where that is kept. For a `# TYPE` line of all from the `# HELP` before it to
    /// its end.
    hash: u64,
    /// The value's bits; for a `# TYPE` line how many bytes those are, or 0.
    bits: u64,
}

/// Bytes of a value, with what stands before and behind it, beyond which it is read every time.
pub(super) const LENGTH_MAX: usize = 31;

impl Last {
    /// The value.
    #[inline]
    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    /// The hash that the line has while the value is this one.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes a value, and says whether it is the one before it.
    #[inline]
    pub(super) fn set_value(&mut self, value: f64) -> bool {
        let bits = value.to_bits();
        std::mem::replace(&mut self.bits, bits) == bits
    }

    /// Keeps the hash of the line with its value.
    pub(super) fn set_hash(&mut self, hash: u64) {
        self.hash = hash;
    }

    /// The `# TYPE` line of `length` bytes that `text` begins with, a `# HELP` before it skipped, and what follows, if it is the
    /// one with this hash. Both are known by one hash where they are what they were.
    pub(super) fn type_line<'t>(
        &mut self,
        text: &'t [u8],
        length: usize,
        hash: u64,
        lines_read: &mut u64,
        secret: &Secret,
    ) -> Option<(&'t [u8], &'t [u8])> {
        if let Some((line, rest)) = self.help_and_type(text, length, secret) {
            *lines_read += 1;
            return Some((line, rest));
        }
        let helpless = if text.starts_with(b"# HELP ") { after_line(text) } else { text };
        let (line, rest) = helpless.split_at_checked(length)?;
        let rest = end_of_line(rest)?;
        if secret.hash(line, 0) != hash {
            return None;
        }
        if helpless.len() < text.len() {
            *lines_read += 1;
            if let Some(both) = text.get(..text.len() - rest.len()).filter(|both| both.ends_with(b"\n")) {
                *self = Self { hash: secret.hash(both, 0), bits: both.len() as u64 };
            }
        }
        Some((line, rest))
    }

    /// The `# TYPE` line of `length` bytes behind the `# HELP` that `text` begins with, and what follows, if all is what it was.
    #[inline]
    fn help_and_type<'t>(
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
}

/// What follows the line that `text` begins with.
#[inline]
fn after_line(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    text.get(end + 1..).unwrap_or_default()
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
fn end_of_line(text: &[u8]) -> Option<&[u8]> {
    match text {
        [] => Some(text),
        [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => Some(rest),
        _ => None,
    }
}
