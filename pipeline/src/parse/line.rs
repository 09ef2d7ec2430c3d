//! The grammar of one line of the text format 0.0.4, label by label: what the cache falls back on when it has not
//! seen a series before.
//!
//! Source: "Exposition formats" and "Data model", Prometheus documentation. Gives borrowed parts or a text that says
//! what is wrong; never keeps anything.

use std::borrow::Cow;

use crate::model::sample::MetricType;

/// Bytes of one label value beyond which a line is refused.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 10;
/// Labels of one line beyond which it is refused.
pub(crate) const LABELS_MAX: usize = 256;
/// Bytes of a metric or label name beyond which a line is refused.
pub(crate) const NAME_BYTES_MAX: usize = 1 << 10;

/// A line divided into `name{labels}` and what follows it, not yet looked into.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split<'a> {
    pub(crate) series: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) timestamp: Option<&'a [u8]>,
}

/// Divides a sample line. An exemplar behind the value, which OpenMetrics allows, is left out.
pub(crate) fn split(line: &[u8]) -> Result<Split<'_>, &'static str> {
    split_at(line, series_end(line)?)
}

/// Divides a sample line whose labels end at `end`.
pub(crate) fn split_at(line: &[u8], end: usize) -> Result<Split<'_>, &'static str> {
    let (series, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    let rest = rest.trim_ascii_start();
    let (value, rest) = word(rest);
    if value.is_empty() {
        return Err("no value");
    }
    if rest.starts_with(b"#") {
        return Ok(Split { series, value, timestamp: None });
    }
    let (timestamp, rest) = word(rest);
    if !rest.is_empty() && !rest.starts_with(b"#") {
        return Err("text after the timestamp");
    }
    Ok(Split { series, value, timestamp: (!timestamp.is_empty()).then_some(timestamp) })
}

/// Up to the next blank, and what follows the blanks.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr2(b' ', b'\t', text).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, rest.trim_ascii_start())
}

/// Where `name{labels}` ends; braces within quotes are text.
fn series_end(line: &[u8]) -> Result<usize, &'static str> {
    let name = memchr::memchr3(b'{', b' ', b'\t', line).ok_or("no value after the metric name")?;
    let blanks = line.iter().skip(name).take_while(|byte| BLANK_BYTES.contains(byte)).count();
    if line.get(name + blanks) != Some(&b'{') {
        return Ok(name);
    }
    let mut at = name + blanks;
    let mut is_quoted = false;
    loop {
        let rest = line.get(at + 1..).unwrap_or_default();
        let found = match is_quoted {
            true => memchr::memchr2(b'"', b'\\', rest).ok_or("label value without a closing quote")?,
            false => memchr::memchr2(b'"', b'}', rest).ok_or("no closing brace after the labels")?,
        };
        at += found + 1;
        match line.get(at) {
            Some(b'}') => return Ok(at + 1),
            // Whatever it is, it is not the end of the value.
            Some(b'\\') => at += 1,
            _ => is_quoted = !is_quoted,
        }
    }
}

/// Reads the name of `name{label="value",...}`; gives it, and what is left for [`labels`].
pub(crate) fn name(text: &[u8]) -> Result<(&str, &str), &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "invalid UTF-8")?;
    let mut end = name_end(text);
    while let Some(after) = text.get(end..).and_then(|rest| rest.strip_prefix(':')) {
        end = text.len() - after.len() + name_end(after);
    }
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("no metric name at the start of the line");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("metric name longer than 1024 bytes");
    }
    Ok((name, rest))
}

/// Reads `{label="value",...}` and gives each label to `label`, duplicates included.
pub(crate) fn labels<'a>(
    text: &'a str,
    mut label: impl FnMut(&'a str, Cow<'a, str>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let rest = skip_blanks(text);
    let Some(mut rest) = rest.strip_prefix('{') else {
        return if rest.is_empty() { Ok(()) } else { Err("invalid character in the metric name") };
    };
    let mut count = 0;
    loop {
        rest = skip_blanks(rest);
        if let Some(after) = rest.strip_prefix('}') {
            return if after.is_empty() { Ok(()) } else { Err("text after the closing brace") };
        }
        let (label_name, after) = label_name(rest)?;
        let (value, after) = label_value(after)?;
        count += 1;
        if count > LABELS_MAX {
            return Err("more than 256 labels");
        }
        label(label_name, value)?;
        rest = skip_blanks(after);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("expected a comma or a closing brace after a label"),
        }
    }
}

/// What a comment line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Comment<'a> {
    /// `# TYPE name type`.
    Type { family: &'a [u8], metric_type: MetricType },
    /// A comment or `# HELP`, which nothing needs.
    Other,
    /// A `# TYPE` that cannot be read.
    Bad(&'static str),
}

/// Reads a line that begins with `#`.
pub(crate) fn comment(line: &[u8]) -> Comment<'_> {
    let text = line.strip_prefix(b"#").unwrap_or(line).trim_ascii_start();
    let Some(rest) =
        text.strip_prefix(b"TYPE").filter(|r| r.first().is_some_and(|b| BLANK_BYTES.contains(b)))
    else {
        return Comment::Other;
    };
    let (family, rest) = blank_word(rest);
    let (word, rest) = blank_word(rest);
    if word.is_empty() || !blank_word(rest).0.is_empty() {
        return Comment::Bad("a TYPE line has a metric name and a type");
    }
    let metric_type = match word {
        b"counter" => MetricType::Counter,
        b"gauge" => MetricType::Gauge,
        b"histogram" => MetricType::Histogram,
        b"summary" => MetricType::Summary,
        b"untyped" | b"unknown" => MetricType::Unknown,
        // OpenMetrics' types, which client libraries write into the old format too.
        b"info" => MetricType::Info,
        b"stateset" => MetricType::Stateset,
        b"gaugehistogram" => MetricType::Histogram,
        _ => return Comment::Bad("unknown metric type"),
    };
    Comment::Type { family, metric_type }
}

/// The first word of what begins with blanks, and what follows it; an empty one where there is none.
fn blank_word(text: &[u8]) -> (&[u8], &[u8]) {
    let blanks = text.iter().take_while(|byte| BLANK_BYTES.contains(byte)).count();
    let text = text.get(blanks..).unwrap_or_default();
    let end = memchr::memchr2(b' ', b'\t', text).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

/// Whether a metric of this name belongs to the family that the last `# TYPE` line opened.
pub(crate) fn belongs(name: &[u8], family: &[u8], metric_type: MetricType) -> bool {
    let Some(suffix) = name.strip_prefix(family) else { return false };
    match metric_type {
        MetricType::Histogram | MetricType::Summary => {
            matches!(suffix, b"" | b"_sum" | b"_count" | b"_bucket" | b"_gsum" | b"_gcount")
        }
        MetricType::Counter => matches!(suffix, b"" | b"_total"),
        MetricType::Info => matches!(suffix, b"" | b"_info"),
        MetricType::Gauge | MetricType::Stateset | MetricType::Unknown => suffix.is_empty(),
    }
}

const BLANK_BYTES: [u8; 2] = [b' ', b'\t'];

/// Mostly there are none.
#[inline]
fn skip_blanks(text: &str) -> &str {
    match text.as_bytes().first() {
        Some(b' ' | b'\t') => text.trim_start_matches([' ', '\t']),
        _ => text,
    }
}

/// Which bytes a name has.
#[expect(clippy::indexing_slicing, reason = "the compiler does it")]
const NAME_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0;
    while byte < bytes.len() {
        let letter = byte as u8;
        bytes[byte] = letter.is_ascii_alphanumeric() || letter == b'_';
        byte += 1;
    }
    bytes
};

/// Bytes of the label name that a text begins with, if one may begin so.
#[inline]
pub(crate) fn label_name_length(text: &[u8]) -> usize {
    let is_name = |byte: u8| NAME_BYTES.get(usize::from(byte)).is_some_and(|is| *is);
    text.iter().position(|byte| !is_name(*byte)).unwrap_or(text.len())
}

/// Bytes of the metric name that a line begins with; `None` where that is none.
pub(crate) fn metric_name_length(line: &[u8]) -> Option<usize> {
    let mut length = label_name_length(line);
    while let Some(after) = line.get(length..).and_then(|rest| rest.strip_prefix(b":")) {
        length += 1 + label_name_length(after);
    }
    let is_name = (1..=NAME_BYTES_MAX).contains(&length) && !line.first()?.is_ascii_digit();
    is_name.then_some(length)
}

/// Where the name that a text begins with ends.
#[inline]
fn name_end(text: &str) -> usize {
    label_name_length(text.as_bytes())
}

fn label_name(text: &str) -> Result<(&str, &str), &'static str> {
    let end = name_end(text);
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("no label name where one is expected");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("label name longer than 1024 bytes");
    }
    let rest = skip_blanks(rest).strip_prefix('=').ok_or("expected = after a label name")?;
    Ok((name, skip_blanks(rest)))
}

/// A quoted value with `\\`, `\"` and `\n` resolved; any other escape stays as written, as in Prometheus.
fn label_value(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let text = text.strip_prefix('"').ok_or("expected a quoted label value")?;
    let mut unescaped: Option<String> = None;
    let mut rest = text;
    loop {
        let at =
            memchr::memchr2(b'"', b'\\', rest.as_bytes()).ok_or("label value without a closing quote")?;
        let (plain, from) = rest.split_at(at);
        if let Some(after) = from.strip_prefix('"') {
            let value = match unescaped {
                Some(mut value) => {
                    value.push_str(plain);
                    Cow::Owned(value)
                }
                None => Cow::Borrowed(plain),
            };
            if value.len() > VALUE_BYTES_MAX {
                return Err("label value longer than 64KiB");
            }
            return Ok((value, after));
        }
        let value = unescaped.get_or_insert_default();
        value.push_str(plain);
        let mut escaped = from.chars();
        let (Some(_), Some(letter)) = (escaped.next(), escaped.next()) else {
            return Err("label value ends in a backslash");
        };
        match letter {
            'n' => value.push('\n'),
            '\\' | '"' => value.push(letter),
            other => value.extend(['\\', other]),
        }
        rest = escaped.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, &'static str> {
        let mut out = String::new();
        let (name, rest) = name(text.as_bytes())?;
        labels(rest, |n, v| {
            out.push_str(&format!(" {n}={v}"));
            Ok(())
        })?;
        Ok(format!("{name}{out}"))
    }

    #[test]
    fn series_are_read() {
        let check = |text: &str, expected: &str| assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        check("up", "up");
        check("a:b_9{}", "a:b_9");
        check(r#"m{a="1"}"#, "m a=1");
        check(r#"m{a="1",}"#, "m a=1");
        check("m \t{ a = \"1\" , b=\"\" }", "m a=1 b=");
        check(r#"m{a="q\"q",b="s\\s",c="l\nl",d="\x"}"#, "m a=q\"q b=s\\s c=l\nl d=\\x");
        check(r#"m{a="}{,= ",b="ü€𝄞"}"#, "m a=}{,=  b=ü€𝄞");
    }

    #[test]
    fn bad_series_say_why() {
        let check = |text: &str, expected: &str| {
            let problem = read(text).expect_err(text);
            assert!(problem.contains(expected), "{text}: {problem}");
        };
        check("9m", "no metric name");
        check("m-x", "invalid character");
        check("<html>", "no metric name");
        check(r#"m{a=1}"#, "quoted");
        check(r#"m{a="1" b="2"}"#, "comma");
        check(r#"m{="1"}"#, "no label name");
        check(r#"m{a"1"}"#, "expected =");
        check(r#"m{a="1}"#, "closing quote");
        check(r#"m{a="1"}}"#, "after the closing brace");
        check(&format!("m{{a=\"{}\"}}", "x".repeat(VALUE_BYTES_MAX + 1)), "64KiB");
        check(&format!("{} 1", "x".repeat(NAME_BYTES_MAX + 1)), "1024");
        assert_eq!(name(b"m{a=\"\xff\"}"), Err("invalid UTF-8"));
    }

    #[test]
    fn lines_are_divided() {
        let check = |line: &str, expected: (&str, &str, Option<&str>)| {
            let (series, value, timestamp) = expected;
            let timestamp = timestamp.map(str::as_bytes);
            let expected = Split { series: series.as_bytes(), value: value.as_bytes(), timestamp };
            assert_eq!(split(line.as_bytes()), Ok(expected), "{line}");
        };
        check("m 1", ("m", "1", None));
        check("m{a=\"} 2\"} 1 99", ("m{a=\"} 2\"}", "1", Some("99")));
        check("m{a=\"1\"}\t1\t 99 ", ("m{a=\"1\"}", "1", Some("99")));
        check("m{}3", ("m{}", "3", None));
        check("m{a=\"\\\"} 2\"} 1 # {id=\"} 3\"} 1 9", ("m{a=\"\\\"} 2\"}", "1", None));
        check("m 1 2 # {} 3", ("m", "1", Some("2")));
        check("m {a=\"1\"} 3", ("m {a=\"1\"}", "3", None));
        assert!(split(b"m{a=\"} 1").is_err() && split(b"m{a=1 2").is_err() && split(b"m 1 2 3").is_err());
        assert!(split(b"m").is_err() && split(b"m{}").is_err() && split(b"m ").is_err());
    }

    #[test]
    fn comments_are_read() {
        let counter = |family: &'static str| Comment::Type {
            family: family.as_bytes(),
            metric_type: MetricType::Counter,
        };
        assert_eq!(comment(b"# TYPE x counter"), counter("x"));
        assert_eq!(comment(b"#\tTYPE  x_total   counter "), counter("x_total"));
        assert_eq!(comment(b"# HELP x TYPE x counter"), Comment::Other);
        assert_eq!(comment(b"# TYPES x"), Comment::Other);
        assert!(matches!(comment(b"# TYPE x"), Comment::Bad(_)));
        assert!(matches!(comment(b"# TYPE x colour"), Comment::Bad(_)));
        assert!(
            belongs(b"x_total", b"x", MetricType::Counter) && !belongs(b"x_sum", b"x", MetricType::Counter)
        );
        assert!(
            belongs(b"h_bucket", b"h", MetricType::Histogram) && !belongs(b"hx", b"h", MetricType::Histogram)
        );
    }
}
