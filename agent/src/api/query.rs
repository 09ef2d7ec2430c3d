//! The parameters of a query, read strictly: one that is misspelt would otherwise filter nothing, and nobody would notice.

use std::collections::BTreeMap;

/// Characters of a parameter that an error repeats.
const SHOWN_MAX: usize = 60;

/// Parameters by name, each given once.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads a query (`application/x-www-form-urlencoded`) whose parameters are among `known`.
    pub(super) fn read(query: &str, known: &[&str]) -> Result<Self, String> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let remedy = match known {
                    [] => "this path takes no parameters".to_owned(),
                    _ => format!("there are {}", known.join(", ")),
                };
                return Err(format!("unknown parameter {:?}: {remedy}", shorten(&name)));
            }
            if parameters.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(format!("parameter {name} is given twice: give it once"));
            }
        }
        Ok(Self(parameters))
    }

    /// The value, unless it is absent or empty, which is the same.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value as one of `choices`, or the first of them where there is none.
    pub(super) fn choose<T: Copy>(&self, name: &str, choices: &[(&str, T)], absent: T) -> Result<T, String> {
        let Some(value) = self.get(name) else { return Ok(absent) };
        let found = choices.iter().find(|(word, _)| *word == value);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            invalid(name, value, &format!("it can be {}", either(&words)))
        })
    }

    /// The value as a number from `min` to `max`.
    pub(super) fn number(&self, name: &str, min: usize, max: usize) -> Result<Option<usize>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.parse().ok().filter(|number| (min..=max).contains(number));
        number.map(Some).ok_or_else(|| invalid(name, value, &format!("it is a number from {min} to {max}")))
    }
}

/// What to say of a value that does not do.
pub(super) fn invalid(name: &str, value: &str, remedy: &str) -> String {
    format!("invalid parameter {name}={:?}: {remedy}", shorten(value))
}

/// `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}
