//! `${VAR}` and `${VAR:-default}` in values.
//!
//! Takes the parsed tree and the environment, changes texts in place. It works on values after parsing, so
//! that no variable can add a key or a line. Relabelling rules are left alone: there `${1}` belongs to the
//! regular expression.

use std::collections::BTreeMap;

use serde_json::Value;

use super::environment::Environment;
use super::problem::Path;
use super::reveal::Expansion;

/// Sections in which `$` belongs to regular expressions.
const UNTOUCHED: [&str; 2] = ["relabel_configs", "metric_relabel_configs"];

/// What came of expanding.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    /// The texts that were changed, by path.
    pub(crate) changed: BTreeMap<Path, Expansion>,
    /// The texts that could not be expanded and are left as they were.
    pub(crate) failed: Vec<(Path, String)>,
}

/// Expands every text of the tree.
pub(crate) fn expand(tree: &mut Value, environment: &Environment) -> Expanded {
    let mut result = Expanded::default();
    walk(tree, &Path::default(), &mut |text, path| match expand_text(text, environment) {
        Ok(expanded) if expanded == *text => {}
        Ok(expanded) => {
            let written = std::mem::replace(text, expanded);
            result.changed.insert(path.clone(), Expansion { written, value: text.clone() });
        }
        Err(wrong) => result.failed.extend(wrong.into_iter().map(|wrong| (path.clone(), wrong))),
    });
    result
}

fn walk(value: &mut Value, path: &Path, change: &mut impl FnMut(&mut String, &Path)) {
    match value {
        Value::String(text) => change(text, path),
        Value::Array(values) => {
            for (i, value) in values.iter_mut().enumerate() {
                walk(value, &path.index(i), change);
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut().filter(|(key, _)| !UNTOUCHED.contains(&key.as_str())) {
                walk(value, &path.key(key), change);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Expands one text, or says everything that is wrong with it.
fn expand_text(text: &str, environment: &Environment) -> Result<String, Vec<String>> {
    let mut expanded = String::with_capacity(text.len());
    let mut wrong = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let Some((inside, after)) = after.split_once('}') else {
                wrong.push("`${` without `}`: close it, or write `$$` for a dollar sign".to_owned());
                return Err(wrong);
            };
            match variable(inside, environment) {
                Ok(value) => expanded.push_str(value),
                Err(problem) => wrong.push(problem),
            }
            rest = after;
        } else {
            // A lone dollar is nothing special, as in a path or a password.
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    if wrong.is_empty() { Ok(expanded) } else { Err(wrong) }
}

/// The value of what stands between the braces.
fn variable<'a>(inside: &'a str, environment: &'a Environment) -> Result<&'a str, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(letter) || name.starts_with(|c: char| c.is_ascii_digit()) {
        // Not shown: it may well be the secret itself.
        return Err(
            "`${` without a variable's name: write ${NAME} or ${NAME:-default}, or $$ for a dollar sign"
                .to_owned(),
        );
    }
    match (environment.get(name), default) {
        // As in a shell, `:-` also stands in for an empty value.
        (None | Some(""), Some(default)) => Ok(default),
        (Some(value), _) => Ok(value),
        (None, None) => Err(format!(
            "environment variable {name} is not set: set it, or give a default as in ${{{name}:-default}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn environment() -> Environment {
        Environment::from_pairs([("A", "1"), ("EMPTY", ""), ("YAML", "x\ny: [1, {"), ("DOLLAR", "${A}")])
    }

    #[test]
    fn texts() {
        let check = |text: &str, expected: Result<&str, &[&str]>| {
            let expected =
                expected.map(str::to_owned).map_err(|e| e.iter().map(|e| (*e).to_owned()).collect());
            assert_eq!(expand_text(text, &environment()), expected, "{text}");
        };
        check("plain", Ok("plain"));
        check("<${A}>${A}", Ok("<1>1"));
        check("${NONE:-b}|${EMPTY:-c}|${EMPTY}|${NONE:-}", Ok("b|c||"));
        check("$$|$A|$|$${A}", Ok("$|$A|$|${A}"));
        check("${DOLLAR}", Ok("${A}"));
        check("${NONE:-a:-b}", Ok("a:-b"));
        check(
            "${NONE} ${ALSO}",
            Err(&[
                "environment variable NONE is not set: set it, or give a default as in ${NONE:-default}",
                "environment variable ALSO is not set: set it, or give a default as in ${ALSO:-default}",
            ]),
        );
        check(
            "${1}",
            Err(&[
                "`${` without a variable's name: write ${NAME} or ${NAME:-default}, or $$ for a dollar sign",
            ]),
        );
        check("${A", Err(&["`${` without `}`: close it, or write `$$` for a dollar sign"]));
    }

    #[test]
    fn relabelling_rules_are_left_alone() {
        let mut tree = json!({"a": "${A}", "relabel_configs": [{"replacement": "${A}$1"}]});
        let result = expand(&mut tree, &environment());
        assert_eq!(tree, json!({"a": "1", "relabel_configs": [{"replacement": "${A}$1"}]}));
        let changed: Vec<_> = result.changed.iter().map(|(path, e)| (path, e.written.as_str())).collect();
        assert_eq!(changed, [(&Path::root("a"), "${A}")]);
        assert_eq!(result.failed, []);
    }

    /// The tree with its texts blanked.
    fn shape(mut tree: Value) -> Value {
        walk(&mut tree, &Path::default(), &mut |text, _| text.clear());
        tree
    }

    proptest! {
        #[test]
        fn no_value_changes_the_structure(value in ".{0,80}", text in "[${}A:a-]{0,20}") {
            let environment = Environment::from_pairs([("A", value.as_str()), ("a", "[b: c")]);
            let before = json!({"k": [text, {"n": format!("{text}${{A}}")}]});
            let mut after = before.clone();
            expand(&mut after, &environment);
            prop_assert_eq!(shape(before), shape(after));
        }

        #[test]
        fn without_a_dollar_nothing_changes(text in "[^$]{0,80}") {
            prop_assert_eq!(expand_text(&text, &environment()), Ok(text.clone()));
        }

        #[test]
        fn doubling_dollars_protects_any_text(text in ".{0,80}") {
            prop_assert_eq!(expand_text(&text.replace('$', "$$"), &environment()), Ok(text.clone()));
        }
    }
}
