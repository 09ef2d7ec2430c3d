//! What of a value may be shown in a complaint: secrets and the contents of variables may not.

use std::collections::BTreeMap;

use serde_json::Value;

use super::problem::{Path, Problem, Step, shorten};

/// Keys whose values are secrets, and so is everything below them (except below [`HARMLESS`]).
const SECRET: [&str; 16] = [
    "authorization",
    "auth_token",
    "access_key",
    "access_key_id",
    "basic_auth",
    "bearer_token",
    "client_secret",
    "credentials",
    "http_headers",
    "key",
    "password",
    "secret",
    "secret_access_key",
    "secrets",
    "session_token",
    "token",
];

/// Keys below those that say where a secret is and not what it is.
const HARMLESS: [&str; 5] = ["type", "username", "username_file", "files", "cedana"];

/// A value that held a variable.
#[derive(Debug)]
pub(crate) struct Expansion {
    /// How it stood in the file: that is shown, since what a variable holds may be a secret.
    pub(crate) written: String,
    /// What became of it.
    pub(crate) value: String,
}

/// Knows which values came out of variables.
#[derive(Debug, Default)]
pub(crate) struct Reveal {
    /// The values that were expanded, by path.
    pub(crate) expanded: BTreeMap<Path, Expansion>,
    /// What does not stand in the file, and the variable that it was taken from.
    pub(crate) variables: Vec<(Path, &'static str)>,
}

impl Reveal {
    /// Whether the value at this path holds what a variable held.
    pub(crate) fn was_expanded(&self, path: &Path) -> bool {
        self.expanded.contains_key(path)
    }

    /// The variable that the value at this path was taken from, as an addition to a complaint.
    pub(crate) fn origin(&self, path: &str) -> String {
        let variable = self.variables.iter().find(|(at, _)| at.to_string() == path);
        variable.map_or(String::new(), |(_, variable)| format!(" (from the environment variable {variable})"))
    }

    /// A complaint about what was read at `path`, in words that may name its value.
    pub(crate) fn relation(&self, path: String, text: &str) -> Problem {
        let expansion = self.expanded.iter().find(|(at, _)| at.to_string() == path);
        let text = match expansion {
            Some((_, expansion)) => without(text, &expansion.value, &expansion.written),
            None => text.to_owned(),
        };
        Problem { text: without_user(&text) + &self.origin(&path), path, value: None }
    }

    /// A complaint about `value`, in which nothing is shown that must not be.
    pub(crate) fn problem(&self, path: &Path, value: Option<&Value>, text: &str) -> Problem {
        let scalar = match value {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => Some(value.to_string()),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => None,
        };
        let hidden = if is_secret(path) {
            Some("<secret>")
        } else {
            self.expanded.get(path).map(|expansion| expansion.written.as_str())
        };
        let (shown, text) = match (&scalar, hidden) {
            (Some(value), Some(hidden)) => (Some(hidden.to_owned()), without(text, value, hidden)),
            (Some(value), None) => (Some(without_user(&shorten(value))), without_user(text)),
            (None, _) => (None, without_user(text)),
        };
        // Where the complaint names the value, it need not stand there twice.
        let shown = shown.filter(|shown| !shown.is_empty() && !text.contains(shown.as_str()));
        let path = path.to_string();
        Problem { text: text + &self.origin(&path), path, value: shown }
    }
}

/// Whether what stands at this path is a secret.
pub(crate) fn is_secret(path: &Path) -> bool {
    let keys = path.keys();
    // The section `credentials` says where secrets are; the key of that name below `authorization` is one.
    let mut below = keys.iter().skip(1);
    let secret = below.any(|key| SECRET.contains(key));
    let last = match path.0.iter().rev().find(|step| matches!(step, Step::Key(_))) {
        Some(Step::Key(key)) => key.as_str(),
        _ => "",
    };
    secret && !HARMLESS.contains(&last) && !last.ends_with("_file")
}

/// `text` with `hidden` wherever it names `value`.
fn without(text: &str, value: &str, hidden: &str) -> String {
    let mut text = text.to_owned();
    for quoted in [format!("{value:?}"), format!("`{value}`"), format!("'{value}'")] {
        text = text.replace(&quoted, hidden);
    }
    // Unquoted, a short value is more likely to be part of a word than to be named.
    if value.len() >= 4 { text.replace(value, hidden) } else { text }
}

/// `text` without the user and password of an address in it, with or without a scheme.
pub(crate) fn without_user(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let ends_part = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '`' | ',');
    for part in text.split_inclusive(ends_part) {
        match part.rsplit_once('@') {
            Some((_, host)) => {
                clean.push_str("<secret>@");
                clean.push_str(host);
            }
            None => clean.push_str(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_keys() {
        let check = |path: &[&str], expected: bool| {
            let path = Path(path.iter().map(|key| Step::Key((*key).to_owned())).collect());
            assert_eq!(is_secret(&path), expected, "{path}");
        };
        check(&["scrape_configs", "basic_auth", "password"], true);
        check(&["scrape_configs", "basic_auth", "password_file"], false);
        check(&["scrape_configs", "authorization", "credentials"], true);
        check(&["scrape_configs", "authorization"], true);
        check(&["scrape_configs", "bearer_token_file"], false);
        check(&["scrape_configs", "job_name"], false);
        check(&["scrape_configs", "http_headers", "X-Key", "secrets"], true);
        check(&["scrape_configs", "http_headers", "X-Key", "files"], false);
        check(&["scrape_configs", "http_headers", "files", "secrets"], true);
        check(&["credentials", "cedana", "url"], false);
        check(&["credentials", "cedana", "auth_token"], true);
        check(&["credentials", "cedana", "auth_token_file"], false);
    }

    #[test]
    fn complaints_hide_what_must_be_hidden() {
        let check = |path: Path, value: &str, text: &str, expected: &str| {
            let expansion = Expansion { written: "${V}".to_owned(), value: "hunter2".to_owned() };
            let expanded = BTreeMap::from([(Path::root("v"), expansion)]);
            let reveal = Reveal { expanded, ..Reveal::default() };
            let problem = reveal.problem(&path, Some(&value.into()), text);
            assert_eq!(problem.to_string(), expected);
        };
        let url = "http://me:pw@h:1/x";
        check(Path::root("a"), "5", "expected a text", "a = 5: expected a text");
        check(Path::root("a"), "5", "\"5\" is not a duration", "a: \"5\" is not a duration");
        check(Path::root("v"), "hunter2", "\"hunter2\" is no duration", "v: ${V} is no duration");
        check(Path::root("s").key("password"), "hunter2", "hunter2?", "s.password: <secret>?");
        check(Path::root("a"), url, "bad", "a = http://<secret>@h:1/x: bad");
        check(Path::root("a"), url, &format!("{url:?} is bad"), "a: \"http://<secret>@h:1/x\" is bad");
    }

    #[test]
    fn users_and_passwords_are_taken_out_of_addresses() {
        let check = |text: &str, expected: &str| assert_eq!(without_user(text), expected);
        check("is \"me:pw@h\": write https://me:pw@h/x", "is \"<secret>@h\": write https://<secret>@h/x");
        check("nothing to hide: http://h:1/x", "nothing to hide: http://h:1/x");
    }

    #[test]
    fn relations_do_not_tell_what_a_variable_holds() {
        let expansion = Expansion { written: "${V}".to_owned(), value: "hunter2".to_owned() };
        let reveal = Reveal { expanded: BTreeMap::from([(Path::root("v"), expansion)]), ..Reveal::default() };
        let problem = reveal.relation("v".to_owned(), "\"hunter2\" is no address");
        assert_eq!(problem.to_string(), "v: ${V} is no address");
    }
}
