//! Values and timestamps of the text format.
//!
//! Source: "Exposition formats", Prometheus documentation: a value is a float as Go's `ParseFloat` takes it, `NaN`,
//! `+Inf` and `-Inf` included; a timestamp is an int64 in milliseconds.

/// Prometheus' NaN for "the value is not a number" (`model/value.NormalNaN`), as opposed to its staleness marker.
pub(crate) const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Bytes that are looked at together.
const WINDOW: usize = 8;

/// A value, or `None` where the text is none.
#[must_use]
pub(crate) fn value(text: &[u8]) -> Option<f64> {
    match leading(text) {
        Some((value, [])) => Some(value),
        _ => any_float(text),
    }
}

/// A timestamp in milliseconds, or `None` where the text is none.
#[must_use]
pub(crate) fn timestamp(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The whole number of a few digits that is all that `text` begins with before the end of a line; gives it, and what follows
/// its digits. Most values are such.
#[inline]
pub(crate) fn leading_few_digits(text: &[u8]) -> Option<(f64, &[u8])> {
    let window = u64::from_le_bytes(*text.first_chunk()?);
    let digits = digits_in(window);
    if digits == 0 || digits == WINDOW {
        return None;
    }
    let (_, rest) = text.split_at_checked(digits)?;
    #[expect(clippy::cast_precision_loss, reason = "seven digits are below 2^53")]
    rest.starts_with(b"\n").then(|| (number_of(window, digits) as f64, rest))
}

/// The decimal number that `text` begins with, and what follows it. `None` where there is none, or one that is not of the
/// simple kind.
///
/// A mantissa below 2^53 with a power of ten up to 22 is exact in one multiplication or division (Clinger 1990), and
/// that is nearly every value there is; the standard library does the rest.
#[inline]
pub(crate) fn leading(text: &[u8]) -> Option<(f64, &[u8])> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let Decimal { mantissa, digits, fraction, mut rest } = leading_decimal(unsigned)?;
    let mut power = -i32::try_from(fraction).ok()?;
    if let [b'e' | b'E', exponent @ ..] = rest {
        let (its, after) = leading_exponent(exponent)?;
        power += its;
        rest = after;
    }
    // Eighteen digits fit into 64 bits.
    if digits == 0 || digits > 18 || mantissa >= 1 << 53 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let mut magnitude = mantissa as f64;
    if power != 0 {
        let scale = *POWERS.get(power.unsigned_abs() as usize)?;
        magnitude = if power < 0 { magnitude / scale } else { magnitude * scale };
    }
    Some((if negative { -magnitude } else { magnitude }, rest))
}

/// Digits with at most one point among them.
struct Decimal<'t> {
    /// The digits as one number, where they are not too many.
    mantissa: u64,
    digits: usize,
    /// How many of them stand behind the point.
    fraction: usize,
    /// What follows them.
    rest: &'t [u8],
}

#[inline]
fn leading_decimal(text: &[u8]) -> Option<Decimal<'_>> {
    let first = window(text);
    let whole = digits_in(first);
    if whole < WINDOW && (first >> (whole * 8)).to_le_bytes()[0] == b'.' {
        // The point is taken out of the window, which leaves seven bytes.
        let before = (1 << (whole * 8)) - 1;
        let squeezed = first & before | first >> 8 & !before;
        let digits = digits_in(squeezed);
        let mut mantissa = number_of(squeezed, digits);
        let after = text.get(digits + 1..)?;
        let rest = if digits == WINDOW - 1 { run_of_digits(after, &mut mantissa) } else { after };
        let digits = digits + (after.len() - rest.len());
        return Some(Decimal { mantissa, digits, fraction: digits - whole, rest });
    }
    let mut mantissa = 0;
    let after = run_of_digits(text, &mut mantissa);
    let whole = text.len() - after.len();
    let [b'.', point @ ..] = after else {
        return Some(Decimal { mantissa, digits: whole, fraction: 0, rest: after });
    };
    let rest = run_of_digits(point, &mut mantissa);
    let fraction = point.len() - rest.len();
    Some(Decimal { mantissa, digits: whole + fraction, fraction, rest })
}

/// The whole number that `text` begins with, as a timestamp in milliseconds, and what follows it.
#[inline]
pub(crate) fn leading_timestamp(text: &[u8]) -> Option<(i64, &[u8])> {
    if let Some((millis, rest)) = thirteen_digits(text) {
        return Some((millis, rest));
    }
    let mut millis = 0;
    let rest = run_of_digits(text, &mut millis);
    let millis = i64::try_from(millis).ok()?;
    (1..=18).contains(&(text.len() - rest.len())).then_some((millis, rest))
}

/// As [`leading_timestamp`], of the years 2001 to 2286: in two windows, which have three digits in common.
#[inline]
fn thirteen_digits(text: &[u8]) -> Option<(i64, &[u8])> {
    const LAST: usize = 5;
    let (digits, rest) = text.split_first_chunk::<{ WINDOW + LAST }>()?;
    let (first, last) =
        (u64::from_le_bytes(*digits.first_chunk()?), u64::from_le_bytes(*digits.last_chunk()?));
    let is_number = digits_in(first) == WINDOW && digits_in(last) == WINDOW;
    if !is_number || rest.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let last = number_of(last >> (8 * (WINDOW - LAST)), LAST);
    Some(((number_of(first, WINDOW) * 100_000 + last).cast_signed(), rest))
}

/// Appends the digits that `text` begins with to a number; gives what follows them. Eighteen in all are not too many.
#[inline]
fn run_of_digits<'t>(text: &'t [u8], number: &mut u64) -> &'t [u8] {
    let mut rest = text;
    loop {
        let window = window(rest);
        let digits = digits_in(window);
        let Some((_, after)) = rest.split_at_checked(digits).filter(|_| digits > 0) else { return rest };
        let scale = TENS.get(digits).copied().unwrap_or_default();
        *number = number.wrapping_mul(scale).wrapping_add(number_of(window, digits));
        rest = after;
        if digits < WINDOW {
            return rest;
        }
    }
}

/// Powers of ten by the number of digits in a window.
const TENS: [u64; WINDOW + 1] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The window that a text begins with.
#[inline]
fn window(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(window) => u64::from_le_bytes(*window),
        None => last_window(text),
    }
}

/// What is left of a text that has no whole window, with zeros behind it, which are no digits.
#[cold]
fn last_window(text: &[u8]) -> u64 {
    text.iter().rev().fold(0, |window, byte| window << 8 | u64::from(*byte))
}

/// How many digits a window begins with. All bytes are looked at in one word, the first one in its lowest bits: a digit is `0`
/// with one of ten numbers, and what is not carries into its highest bit.
#[inline]
fn digits_in(window: u64) -> usize {
    let number = window ^ 0x3030_3030_3030_3030;
    // A carry can only spoil what stands behind the first byte that is no digit.
    let others = (number.wrapping_add(0x7676_7676_7676_7676) | number) & 0x8080_8080_8080_8080;
    (others.trailing_zeros() / 8) as usize
}

/// The number that the first `digits` bytes of a window are, at least one: pairs are added up to numbers below 100, pairs of
/// those to numbers below 10,000, and those.
#[inline]
fn number_of(window: u64, digits: usize) -> u64 {
    // Zeros before it change no number.
    let eight = (window ^ 0x3030_3030_3030_3030) << (((WINDOW - digits) * 8) & 63);
    let pairs = eight.wrapping_mul(10).wrapping_add(eight >> 8);
    let low = (pairs & 0xff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let high = (pairs >> 16 & 0xff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    low.wrapping_add(high) >> 32
}

/// An exponent of at most two digits behind its letter, and what follows it; anything else is left to the standard library.
#[inline]
fn leading_exponent(text: &[u8]) -> Option<(i32, &[u8])> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digit = |byte: &u8| Some(i32::from(byte.wrapping_sub(b'0'))).filter(|digit| *digit < 10);
    let (first, rest) = digits.split_first()?;
    let mut number = digit(first)?;
    let mut rest = rest;
    if let Some(second) = rest.first().and_then(digit) {
        number = number * 10 + second;
        rest = rest.get(1..)?;
    }
    if rest.first().and_then(digit).is_some() {
        return None;
    }
    Some((if negative { -number } else { number }, rest))
}

fn any_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    if value.is_nan() {
        // Go takes a NaN without a sign only.
        return text.starts_with(['n', 'N']).then_some(f64::from_bits(NORMAL_NAN));
    }
    // Go reports a number too large for a double as an error; only a written infinity is one.
    let written = text.bytes().any(|b| matches!(b, b'i' | b'I'));
    (value.is_finite() || written).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values() {
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(value(text.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        };
        check("0", Some(0.0));
        check("-0", Some(-0.0));
        check("1.7e+09", Some(1.7e9));
        check("1.234567890123e+12", Some(1_234_567_890_123.0));
        check("9007199254740993", Some(9_007_199_254_740_992.0));
        check("123456789012345678901234567890", Some(1.234_567_890_123_456_8e29));
        // One more than 64 bits hold.
        check("18446744073709551617", Some(18_446_744_073_709_552_000.0));
        check("5e-324", Some(5e-324));
        check(".5", Some(0.5));
        check("5.", Some(5.0));
        check("+3", Some(3.0));
        check("+Inf", Some(f64::INFINITY));
        check("-inf", Some(f64::NEG_INFINITY));
        check("NaN", Some(f64::from_bits(NORMAL_NAN)));
        for bad in
            ["", "-", ".", "e5", "1e", "1e999", "-NaN", "0x10", "1_0", "1,5", "abc", "1.2.3", "1e5.0", "--1"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(b"1395066363000"), Some(1_395_066_363_000));
        assert_eq!(timestamp(b"-3982045"), Some(-3_982_045));
        for bad in ["", "1.5", "1e3", "x", "99999999999999999999"] {
            assert_eq!(timestamp(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn decimals_agree_with_the_standard_library(text in r"-?[0-9]{0,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?") {
            let expected = text.parse::<f64>().ok().filter(|v| v.is_finite());
            prop_assert_eq!(value(text.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn leading_timestamps_agree_with_the_standard_library(digits in "[0-9]{0,20}", behind in "[\n x/:.-]?") {
            let text = format!("{digits}{behind}");
            let expected = digits.parse::<i64>().ok().filter(|_| digits.len() <= 18);
            let found = leading_timestamp(text.as_bytes());
            prop_assert_eq!(found, expected.map(|millis| (millis, behind.as_bytes())), "{}", text);
        }

        #[test]
        fn doubles_come_back_to_the_bit(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            prop_assert_eq!(value(format!("{number}").as_bytes()).map(f64::to_bits), Some(bits));
            prop_assert_eq!(value(format!("{number:e}").as_bytes()).map(f64::to_bits), Some(bits));
        }
    }
}
