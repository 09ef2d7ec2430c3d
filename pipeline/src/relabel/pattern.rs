//! Regular expressions and replacement texts as Go reads them.
//!
//! Prometheus' rules are written for Go's `regexp` (RE2 syntax, <https://github.com/google/re2/wiki/Syntax>) and its
//! `Regexp.Expand`. The `regex` crate differs in a handful of places, which are translated here, so that a rule means
//! the same as in Prometheus:
//! - `\d`, `\w`, `\s`, `\b` know ASCII only;
//! - `\Q...\E` quotes; `\<` and `\>` are just the characters;
//! - inside `[...]` there are no nested sets and no set operations;
//! - a `{` that starts no repetition is just a brace.

use regex::{Captures, Regex};

/// Compiles `pattern` to match whole texts, `.` included newlines (`^(?s:...)$`, as Prometheus 3).
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    // Alone first: `a)(b` must not become valid by the anchors around it.
    let translated = translate(pattern);
    let problem = |e: &regex::Error| format!("{pattern:?} is not a regular expression: {}", reason(e));
    Regex::new(&translated).map_err(|e| problem(&e))?;
    Regex::new(&format!("^(?s:{translated})$")).map_err(|e| problem(&e))
}

/// What is wrong, without the drawing that the crate makes of it.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            '\\' => escape(after, &mut out),
            '[' => class(after, &mut out),
            '{' if !is_repetition(after) => {
                out.push_str("\\{");
                after
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// Translates what follows a backslash and returns what comes after it.
fn escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = rest.get(c.len_utf8()..).unwrap_or_default();
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' => out.push_str("(?-u:\\b)"),
        '<' | '>' => out.push(c),
        'Q' => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    after
}

/// Translates what follows an opening bracket, up to the closing one, and returns what comes after it.
fn class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            ']' => {
                out.push(c);
                return after;
            }
            '\\' => escape(after, out),
            '[' if after.starts_with(':') && after.contains(":]") => {
                let (name, after) = after.split_once(":]").unwrap_or((after, ""));
                out.push('[');
                out.push_str(name);
                out.push_str(":]");
                after
            }
            // A second dash would make Rust's difference of sets; `--` is a range in Go.
            '-' if after.starts_with('-') => {
                out.push_str("\\-");
                after
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                after
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    rest
}

/// Whether what follows a brace makes it a repetition: `n}`, `n,}` or `n,m}`.
fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    !least.is_empty() && [least, most].iter().all(|n| n.bytes().all(|b| b.is_ascii_digit()))
}

/// A replacement text, with the groups it names already found in the expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Reads `text` by the rules of Go's `Regexp.Expand`: `$name` takes the longest run of letters, digits and
    /// underscores, `$$` is a dollar sign, a malformed reference is text, an unknown group is empty.
    pub(super) fn new(text: &str, regex: &Regex) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                rest = after;
            } else if let Some((name, after)) = reference(after) {
                if let Some(group) = group(name, regex) {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Group(group));
                }
                rest = after;
            } else {
                plain.push('$');
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Self { parts }
    }

    /// The text with the groups of one match put in; a group that took no part is empty.
    pub(super) fn expand(&self, captures: &Captures<'_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => out.push_str(captures.get(*group).map_or("", |m| m.as_str())),
            }
        }
        out
    }
}

/// The name at the start of `rest`, with or without braces, and what comes after it.
fn reference(rest: &str) -> Option<(&str, &str)> {
    let braced = rest.strip_prefix('{');
    let body = braced.unwrap_or(rest);
    let end = body.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(body.len());
    let (name, after) = body.split_at(end);
    let after = if braced.is_some() { after.strip_prefix('}')? } else { after };
    (!name.is_empty()).then_some((name, after))
}

/// The number of the group called `name`. Numbers with leading zeros are names, as in Go.
fn group(name: &str, regex: &Regex) -> Option<usize> {
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    let number = is_number.then(|| name.parse::<usize>().ok()).flatten();
    number
        .or_else(|| regex.capture_names().position(|n| n == Some(name)))
        .filter(|number| *number < regex.captures_len())
}
