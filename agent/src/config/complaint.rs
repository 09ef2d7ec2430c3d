//! serde's messages, taken apart and put into plain words.
//!
//! The forms are those of `serde::de::Error`'s provided methods (serde_core 1.0, `de/mod.rs`) and derived code.

use super::problem::shorten;

/// What serde says is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// A key that the type does not have.
    UnknownField(String),
    /// A key that the type needs.
    Missing(String),
    /// Another type of value than expected.
    WrongType {
        /// What stands there, without the value; empty where that says nothing.
        found: &'static str,
        /// What serde expected, in its words.
        expected: String,
    },
    /// Anything else, in words that can be shown.
    Other(String),
}

/// Takes a message apart.
pub(crate) fn parse(text: &str) -> Complaint {
    let quoted = |rest: &str| rest.split('`').next().unwrap_or_default().to_owned();
    if let Some(rest) = text.strip_prefix("unknown field `") {
        // The key may hold back quotes itself; what follows it does not begin with one of serde's two endings.
        let key = rest.split_once("`, expected").or_else(|| rest.split_once("`, there are no fields"));
        return Complaint::UnknownField(key.map_or_else(|| quoted(rest), |(key, _)| key.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("missing field `") {
        return Complaint::Missing(quoted(rest));
    }
    if let Some(rest) = text.strip_prefix("unknown variant `")
        && let Some((word, known)) = rest.rsplit_once("`, expected ")
    {
        return Complaint::Other(unknown_word(word, known));
    }
    let wrong = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    if let Some((found, expected)) = wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        let numbers = kind(found).ends_with("number") && plain(expected).contains("number");
        let found = if numbers { "" } else { kind(found) };
        return Complaint::WrongType { found, expected: expected.to_owned() };
    }
    Complaint::Other(text.to_owned())
}

/// What to say of a word that is none of a choice.
fn unknown_word(word: &str, known: &str) -> String {
    let known: Vec<String> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let word = shorten(word);
    match super::decode::nearest(&word, &known) {
        Some(near) => format!("not known, did you mean {near}? It can be {}", known.join(", ")),
        None => format!("not known: it can be {}", known.join(", ")),
    }
}

/// What stands there, from serde's description, which may hold the value itself.
fn kind(found: &str) -> &'static str {
    const KINDS: [(&str, &str); 8] = [
        ("string", "a text"),
        ("integer", "a number"),
        ("floating point", "a fraction"),
        ("boolean", "true or false"),
        ("sequence", "a list"),
        ("map", "a mapping"),
        ("null", "nothing"),
        ("unit", "nothing"),
    ];
    KINDS.iter().find(|(start, _)| found.starts_with(start)).map_or("something else", |(_, kind)| kind)
}

/// serde's expectation in plain words.
pub(crate) fn plain(expected: &str) -> String {
    let plain = match expected {
        "a string" | "string" | "str" => "a text (in quotes if it looks like a number)",
        "a boolean" | "bool" => "true or false",
        "a sequence" => "a list",
        "a map" => "a mapping (`key: value`)",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ if expected.starts_with("struct ") || expected.starts_with("map ") => "a mapping (`key: value`)",
        _ if expected.starts_with("enum ") => "one of its words or a mapping",
        _ => expected.strip_prefix("expected ").unwrap_or(expected),
    };
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let check = |text: &str, expected: Complaint| assert_eq!(parse(text), expected, "{text}");
        let other = |text: &str| Complaint::Other(text.to_owned());
        check("unknown field `a`b`, expected `x` or `y`", Complaint::UnknownField("a`b".to_owned()));
        check("unknown field `a`, there are no fields", Complaint::UnknownField("a".to_owned()));
        check("missing field `a`", Complaint::Missing("a".to_owned()));
        check(
            "invalid type: string \"a, expected b\", expected u64",
            Complaint::WrongType { found: "a text", expected: "u64".to_owned() },
        );
        check(
            "unknown variant `kep`, expected one of `replace`, `keep`",
            other("not known, did you mean keep? It can be replace, keep"),
        );
        check("unknown variant `?`, expected `a` or `b`", other("not known: it can be a, b"));
        check("\"5\" is not a duration", other("\"5\" is not a duration"));
    }

    #[test]
    fn expectations() {
        assert_eq!(plain("struct GlobalConfig"), "a mapping (`key: value`)");
        assert_eq!(plain("u64"), "a whole number, not negative");
        assert_eq!(plain("a text with a unit, such as 15s"), "a text with a unit, such as 15s");
    }
}
