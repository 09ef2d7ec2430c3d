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

/// A value, or `None` where the text is none.
#[must_use]
pub(crate) fn value(text: &[u8]) -> Option<f64> {
    match leading(text) {
        Some((value, length)) if length == text.len() => Some(value),
        _ => any_float(text),
    }
}

/// A timestamp in milliseconds, or `None` where the text is none.
#[must_use]
pub(crate) fn timestamp(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The decimal number that `text` begins with, and how many bytes it takes. `None` where there is none, or one that is not
/// of the simple kind.
///
/// A mantissa below 2^53 with a power of ten up to 22 is exact in one multiplication or division (Clinger 1990), and
/// that is nearly every value there is; the standard library does the rest.
#[inline]
pub(crate) fn leading(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let (mut mantissa, mut at) = (0, usize::from(negative));
    let mut digits = run_of_digits(text, &mut at, &mut mantissa);
    let mut power = 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let fraction = run_of_digits(text, &mut at, &mut mantissa);
        digits += fraction;
        power = -i32::try_from(fraction).ok()?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        power += exponent(text, &mut at)?;
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
    Some((if negative { -magnitude } else { magnitude }, at))
}

/// The whole number that `text` begins with, as a timestamp in milliseconds, and how many bytes it takes.
#[inline]
pub(crate) fn leading_timestamp(text: &[u8]) -> Option<(i64, usize)> {
    let (mut millis, mut at) = (0, 0);
    let digits = run_of_digits(text, &mut at, &mut millis);
    let millis = i64::try_from(millis).ok()?;
    (1..=18).contains(&digits).then_some((millis, at))
}

/// Appends the digits from `at` on to a number, and says how many there are.
#[inline]
fn run_of_digits(text: &[u8], at: &mut usize, number: &mut u64) -> usize {
    let start = *at;
    while let Some(digit) = text.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        *at += 1;
    }
    *at - start
}

/// An exponent of at most two digits, from its letter on; anything else is left to the standard library.
fn exponent(text: &[u8], at: &mut usize) -> Option<i32> {
    *at += 1;
    let negative = text.get(*at) == Some(&b'-');
    *at += usize::from(matches!(text.get(*at), Some(b'-' | b'+')));
    let mut number = 0;
    let digits = run_of_digits(text, at, &mut number);
    let number = i32::try_from(number).ok().filter(|_| (1..=2).contains(&digits))?;
    Some(if negative { -number } else { number })
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
        fn doubles_come_back_to_the_bit(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            prop_assert_eq!(value(format!("{number}").as_bytes()).map(f64::to_bits), Some(bits));
            prop_assert_eq!(value(format!("{number:e}").as_bytes()).map(f64::to_bits), Some(bits));
        }
    }
}
