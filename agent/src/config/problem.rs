//! Problems: what is wrong with a configuration, where, and what to do about it.

use std::fmt;

use serde_json::Value;

/// One step down the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Where something stands in the file; prints like `scrape_configs[1].scrape_interval`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(pub(crate) Vec<Step>);

impl Path {
    /// The path of a top-level key.
    pub(crate) fn root(key: &str) -> Self {
        Self::default().key(key)
    }

    /// This path and a key below it.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// This path and an index below it.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// This path and a step below it.
    pub(crate) fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The path of another key of the same mapping.
    pub(crate) fn sibling(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.pop();
        Self(steps).key(key)
    }

    /// Whether this path is `start` or below it.
    pub(crate) fn starts_with(&self, start: &Self) -> bool {
        self.0.starts_with(&start.0)
    }

    /// The keys on the path, indices left out: how the tree of known keys is addressed.
    pub(crate) fn keys(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect()
    }

    /// The value at this path.
    pub(crate) fn get<'a>(&self, tree: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(tree, |at, step| match step {
            Step::Key(key) => at.get(key),
            Step::Index(index) => at.get(index),
        })
    }

    /// The value at this path, to be changed.
    pub(crate) fn get_mut<'a>(&self, tree: &'a mut Value) -> Option<&'a mut Value> {
        self.0.iter().try_fold(tree, |at, step| match step {
            Step::Key(key) => at.get_mut(key),
            Step::Index(index) => at.get_mut(index),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    f.write_str(if i == 0 { "" } else { "." })?;
                    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/');
                    if !key.is_empty() && key.chars().all(plain) {
                        f.write_str(&shorten(key))?;
                    } else {
                        write!(f, "{:?}", shorten(key))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// One thing that is wrong, or (as a warning) not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file, like `scrape_configs[1].scrape_interval`; empty for the file as a whole.
    pub path: String,
    /// The offending value, shortened; never a secret.
    pub value: Option<String>,
    /// What is wrong with it, and the remedy.
    pub text: String,
}

impl Problem {
    /// A problem that needs no value to be understood.
    pub(crate) fn new(path: &Path, text: impl Into<String>) -> Self {
        Self { path: path.to_string(), value: None, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}", self.path)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.text)
    }
}

/// A text cut to a length that is pleasant to read, without control characters.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(CHARS_MAX).map(clean).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_it_is_written() {
        let path = Path::root("scrape_configs").index(1).key("labels").key("a b");
        assert_eq!(path.to_string(), r#"scrape_configs[1].labels."a b""#);
        assert_eq!(path.keys(), ["scrape_configs", "labels", "a b"]);
    }

    #[test]
    fn long_texts_are_cut_and_control_characters_are_blanked() {
        assert_eq!(shorten("a\nb"), "a b");
        assert_eq!(shorten(&"é".repeat(100)), "é".repeat(60) + "...");
    }
}
