//! Series selectors in Prometheus' syntax: `name{label="value",other=~"a|b"}`.
//!
//! Takes a text, gives what a series is asked for. Source: Prometheus documentation, "Querying basics", "Instant vector
//! selectors", with quoted names ("UTF-8"); strings are those of "String literals". Regular expressions are anchored and have
//! RE2's meaning. Otherwise than in a query, a selector that asks for nothing, `{}`, takes every series.

use std::fmt;
use std::str::{Chars, FromStr};

use regex::Regex;

use crate::model::labels::METRIC_NAME;
use crate::relabel::compile_pattern;

/// Longest selector, bytes. People write less.
const BYTES_MAX: usize = 64 << 10;

/// What a series is asked for: all of it has to be so.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// One condition.
#[derive(Clone, Debug)]
struct Matcher {
    name: String,
    /// `!=` and `!~`.
    negated: bool,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    Text(String),
    Pattern(String, Regex),
}

impl Selector {
    /// Whether a series is asked for. `value` gives the value of a label, `__name__` among them; the empty text where it has none.
    pub fn takes<'v>(&self, mut value: impl FnMut(&str) -> &'v str) -> bool {
        self.matchers.iter().all(|matcher| {
            let found = value(&matcher.name);
            let is_met = match &matcher.wanted {
                Wanted::Text(text) => text == found,
                Wanted::Pattern(_, regex) => regex.is_match(found),
            };
            is_met != matcher.negated
        })
    }

    /// Whether every series is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.matchers.is_empty()
    }
}

/// As it can be read again.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, Matcher { name, negated, wanted }) in self.matchers.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let (sign, text) = match (wanted, negated) {
                (Wanted::Text(text), false) => ("=", text),
                (Wanted::Text(text), true) => ("!=", text),
                (Wanted::Pattern(text, _), false) => ("=~", text),
                (Wanted::Pattern(text, _), true) => ("!~", text),
            };
            f.write_str(comma)?;
            write_quoted(f, name)?;
            f.write_str(sign)?;
            write_quoted(f, text)?;
        }
        f.write_str("}")
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    write!(f, "\"{escaped}\"")
}

/// The error says what is wrong and where.
impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("a selector of {} bytes: at most {BYTES_MAX} are read", text.len()));
        }
        let mut reader = Reader { all: text, rest: text };
        let matchers = reader.selector().map_err(|problem| {
            let before: String = text.get(..reader.place()).unwrap_or_default().chars().collect();
            format!("{problem}, after {before:?}: write it like {{job=\"dcgm\",__name__=~\"DCGM_.*\"}}")
        })?;
        Ok(Self { matchers })
    }
}

struct Reader<'t> {
    all: &'t str,
    rest: &'t str,
}

impl Reader<'_> {
    fn place(&self) -> usize {
        self.all.len() - self.rest.len()
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Takes a sign away if it stands here.
    fn takes(&mut self, sign: &str) -> bool {
        self.skip_spaces();
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        self.rest = rest;
        true
    }

    fn selector(&mut self) -> Result<Vec<Matcher>, String> {
        let mut matchers = Vec::new();
        self.skip_spaces();
        if let Some(name) = self.word(true) {
            matchers.push(named(name));
            self.skip_spaces();
            if self.rest.is_empty() {
                return Ok(matchers);
            }
        }
        if !self.takes("{") {
            return Err("there is no {".to_owned());
        }
        while !self.takes("}") {
            matchers.push(self.matcher()?);
            if !self.takes(",") {
                if self.takes("}") {
                    break;
                }
                return Err("there is neither , nor }".to_owned());
            }
        }
        self.skip_spaces();
        if self.rest.is_empty() { Ok(matchers) } else { Err("something follows the }".to_owned()) }
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        self.skip_spaces();
        let (name, is_quoted) = match self.word(false) {
            Some(name) => (name, false),
            None => (self.text()?.ok_or("there is no label name")?, true),
        };
        let (negated, is_pattern) = if self.takes("=~") {
            (false, true)
        } else if self.takes("!~") {
            (true, true)
        } else if self.takes("!=") {
            (true, false)
        } else if self.takes("=") {
            (false, false)
        } else if is_quoted {
            // The name of a metric that needs quotes stands by itself.
            return Ok(named(name));
        } else {
            return Err("there is none of = != =~ !~".to_owned());
        };
        self.skip_spaces();
        let value = self.text()?.ok_or("there is no quoted value")?;
        let wanted = match is_pattern {
            true => {
                let regex = compile_pattern(&value)?;
                Wanted::Pattern(value, regex)
            }
            false => Wanted::Text(value),
        };
        Ok(Matcher { name, negated, wanted })
    }

    /// A name without quotes: letters, digits and underscores, and of a metric also colons.
    fn word(&mut self, of_metric: bool) -> Option<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (of_metric && c == ':');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.rest = rest;
        Some(word.to_owned())
    }

    /// A text in quotes; `None` where no quote stands here.
    fn text(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
            return Ok(None);
        };
        let mut chars = self.rest.chars();
        chars.next();
        let mut bytes = Vec::new();
        loop {
            match chars.next() {
                None => return Err(format!("a text that has no closing {quote}")),
                Some(c) if c == quote => break,
                Some('\\') if quote != '`' => unescape(&mut chars, quote, &mut bytes)?,
                Some('\n') if quote != '`' => return Err("a line break in a text: write \\n".to_owned()),
                Some(c) => push(c, &mut bytes),
            }
        }
        self.rest = chars.as_str();
        let text = String::from_utf8(bytes).map_err(|_| "a text that is no UTF-8".to_owned())?;
        Ok(Some(text))
    }
}

fn named(name: String) -> Matcher {
    Matcher { name: METRIC_NAME.to_owned(), negated: false, wanted: Wanted::Text(name) }
}

fn push(c: char, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Reads what follows a backslash, as Go does ("Rune literals" and "String literals" of its specification).
fn unescape(chars: &mut Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Result<(), String> {
    let c = chars.next().ok_or("a backslash at the end")?;
    let simple = match c {
        'a' => 7,
        'b' => 8,
        't' => b'\t',
        'n' => b'\n',
        'v' => 11,
        'f' => 12,
        'r' => b'\r',
        '\\' => b'\\',
        _ if c == quote => u8::try_from(c).unwrap_or_default(),
        'x' => u8::try_from(number(chars, 16, 2, 0)?).map_err(|_| "a number that is no byte")?,
        '0'..='7' => {
            let first = c.to_digit(8).unwrap_or_default();
            u8::try_from(number(chars, 8, 2, first)?).map_err(|_| "a number that is no byte")?
        }
        'u' | 'U' => {
            let code = number(chars, 16, if c == 'u' { 4 } else { 8 }, 0)?;
            push(char::from_u32(code).ok_or("a number that is no character")?, bytes);
            return Ok(());
        }
        _ => return Err(format!("\\{c}, which means nothing")),
    };
    bytes.push(simple);
    Ok(())
}

fn number(chars: &mut Chars<'_>, radix: u32, digits: usize, first: u32) -> Result<u32, String> {
    (0..digits).try_fold(first, |number, _| {
        let digit = chars.next().and_then(|c| c.to_digit(radix)).ok_or("a number that is too short")?;
        Ok(number.wrapping_mul(radix).wrapping_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERIES: [(&str, &str); 4] = [("__name__", "up"), ("job", "dcgm"), ("pod", "a\nb"), ("ü", "x")];

    fn takes(selector: &Selector) -> bool {
        selector.takes(|name| SERIES.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v))
    }

    #[test]
    fn selectors_mean_what_they_mean_in_prometheus() {
        let check = |text: &str, expected: bool| {
            let selector: Selector = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(takes(&selector), expected, "{text}");
            let again: Selector = selector.to_string().parse().unwrap();
            assert_eq!((takes(&again), again.to_string()), (expected, selector.to_string()), "{text}");
        };
        check("up", true);
        check("  up  ", true);
        check("down", false);
        check("{}", true);
        check("up{}", true);
        check("up { job = 'dcgm' , }", true);
        check(r#"{job="dcgm",__name__=~"u.|down"}"#, true);
        check(r#"{job=~"dc"}"#, false);
        check(r#"{job=~"dc.*"}"#, true);
        check(r#"{job!~"dc"}"#, true);
        check(r#"{job!="dcgm"}"#, false);
        check(r#"{absent=""}"#, true);
        check(r#"{absent!=""}"#, false);
        check(r#"{absent=~".*"}"#, true);
        check(r#"{absent=~".+"}"#, false);
        check(r#"{pod="a\nb"}"#, true);
        check(r#"{pod=~"a.b"}"#, true);
        check("{pod=`a\nb`}", true);
        check(r"{job=`dc\gm`}", false);
        check(r#"{job="\x64\143\u0067\U0000006d"}"#, true);
        check(r#"{"up","ü"="x"}"#, true);
        check(r#"{"up",job='d"'}"#, false);
        check("a:b:c", false);
    }

    #[test]
    fn what_is_no_selector_is_refused_with_its_place() {
        let check = |text: &str, part: &str| {
            let problem = text.parse::<Selector>().map(|s| s.to_string()).unwrap_err();
            assert!(problem.contains(part) && problem.contains("write it like"), "{text}: {problem}");
        };
        check("", "there is no {");
        check("up down", "there is no {, after \"up ");
        check("{job}", "none of =");
        check("{job=dcgm}", "no quoted value");
        check("{job=\"dcgm}", "no closing \"");
        check("{job=\"a\" node=\"b\"}", "neither , nor }");
        check("{job=\"a\"", "neither , nor }");
        check("{job=\"a\"} 1", "follows the }");
        check("{job=~\"(\"}", "not a regular expression");
        check("{job=\"\\q\"}", "means nothing");
        check("{job=\"\\xff\"}", "no UTF-8");
        check("{job=\"\\777\"}", "no byte");
        check("{job=\"\\ud800\"}", "no character");
        check("{,}", "no label name");
        check("{1a=\"b\"}", "no label name");
        assert!("a".repeat(BYTES_MAX + 1).parse::<Selector>().unwrap_err().contains("at most"));
    }

    proptest! {
        #[test]
        fn any_text_is_found_by_its_quoted_form(name in "[^\u{0}]{1,9}", value in ".{0,9}") {
            let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let text = format!("{{\"{}\"=\"{}\"}}", escaped(&name), escaped(&value));
            let selector: Selector = text.parse().map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            let value_of = |asked: &str| if asked == name { value.as_str() } else { "" };
            prop_assert!(selector.takes(value_of));
            prop_assert!(!selector.takes(|_| "another value"));
        }

        #[test]
        fn no_text_is_too_much(text in r#"[{}=!~"',\\a-z0-9 \n(\[]{0,40}"#) {
            let _ = text.parse::<Selector>();
        }
    }
}
