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
///
/// A mantissa below 2^53 with a power of ten up to 22 is exact in one multiplication or division (Clinger 1990), and
/// that is nearly every value there is; the standard library does the rest.
#[must_use]
pub(crate) fn value(text: &[u8]) -> Option<f64> {
    short_decimal(text).or_else(|| any_float(text))
}

/// A timestamp in milliseconds, or `None` where the text is none.
#[must_use]
pub(crate) fn timestamp(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn short_decimal(text: &[u8]) -> Option<f64> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut mantissa = 0_u64;
    let mut digits = 0_usize;
    let mut point = None;
    let mut exponent = 0_i32;
    let mut bytes = unsigned.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'0'..=b'9' => {
                // Eighteen digits fit; a longer text fails the check below.
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                digits += 1;
            }
            b'.' if point.is_none() => point = Some(digits),
            b'e' | b'E' => {
                exponent = small_exponent(bytes.as_slice())?;
                break;
            }
            _ => return None,
        }
    }
    if digits == 0 || digits > 18 || mantissa >= 1 << 53 {
        return None;
    }
    let fraction = i32::try_from(point.map_or(0, |p| digits - p)).ok()?;
    let power = exponent - fraction;
    let scale = *POWERS.get(power.unsigned_abs() as usize)?;
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let mantissa = mantissa as f64;
    let magnitude = if power < 0 { mantissa / scale } else { mantissa * scale };
    Some(if negative { -magnitude } else { magnitude })
}

/// An exponent of at most two digits; anything else is left to the standard library.
fn small_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let exponent = match digits {
        [a @ b'0'..=b'9'] => i32::from(a - b'0'),
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => i32::from(a - b'0') * 10 + i32::from(b - b'0'),
        _ => return None,
    };
    Some(if negative { -exponent } else { exponent })
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
