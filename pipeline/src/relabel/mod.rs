//! Relabelling rules, compiled once, applied to the labels of targets and of samples.
//!
//! Takes `relabel_configs` or `metric_relabel_configs`, gives [`Rules`]. Never does I/O; what a rule cannot do it leaves
//! undone, exactly as Prometheus 3 (`model/relabel/relabel.go`).

mod config;
mod pattern;
pub(crate) mod scalar;
#[cfg(test)]
mod tests;

use md5::{Digest, Md5};
use regex::Regex;

use self::pattern::Template;
pub(crate) use self::pattern::compile as compile_pattern;
use crate::model::labels::{LabelsBuilder, METRIC_NAME};

pub use self::config::{Action, RelabelConfig};

/// Compiled `relabel_configs` or `metric_relabel_configs`.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// One rule: where its input comes from and what is done with it.
#[derive(Debug)]
struct Rule {
    source_labels: Vec<String>,
    separator: String,
    step: Step,
}

/// The actions, each with only what it uses.
#[derive(Debug)]
enum Step {
    Replace { regex: Regex, target: Template, replacement: Template },
    Lowercase { target: String },
    Uppercase { target: String },
    Keep(Regex),
    Drop(Regex),
    KeepEqual { target: String },
    DropEqual { target: String },
    HashMod { target: String, modulus: u64 },
    LabelMap { regex: Regex, replacement: Template },
    LabelDrop(Regex),
    LabelKeep(Regex),
}

impl Rules {
    /// Compiles all rules, or says of each rule that cannot be compiled its position and the problem, which starts with
    /// the key it is about, as in `regex: ...`.
    ///
    /// # Errors
    /// Every rule that Prometheus would refuse.
    pub fn compile(configs: &[RelabelConfig]) -> Result<Self, Vec<(usize, String)>> {
        let mut rules = Vec::with_capacity(configs.len());
        let mut problems = Vec::new();
        for (position, config) in configs.iter().enumerate() {
            match Rule::compile(config) {
                Ok(rule) => rules.push(rule),
                Err((key, problem)) => problems.push((position, format!("{key}: {problem}"))),
            }
        }
        if problems.is_empty() { Ok(Self { rules }) } else { Err(problems) }
    }

    /// Whether there is no rule, so that `apply` need not be called at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether they only keep or drop, and look at nothing but the metric name: what becomes of one label set becomes of every other
    /// one with its name.
    pub(crate) fn judge_by_name(&self) -> bool {
        self.rules.iter().all(|rule| {
            rule.source_labels == [METRIC_NAME] && matches!(rule.step, Step::Keep(_) | Step::Drop(_))
        })
    }

    /// Changes `labels` as the rules say; false means that they drop it, and then the labels are of no use.
    #[must_use]
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        self.rules.iter().all(|rule| rule.apply(labels))
    }
}

impl Rule {
    fn compile(config: &RelabelConfig) -> Result<Self, (&'static str, String)> {
        if let Some(problem) = config.problem() {
            return Err(problem);
        }
        let regex = pattern::compile(&config.regex).map_err(|e| ("regex", e))?;
        let replacement = Template::new(&config.replacement, &regex);
        let target = config.target_label.clone();
        let step = match config.action {
            Action::Replace => Step::Replace { target: Template::new(&target, &regex), regex, replacement },
            Action::Lowercase => Step::Lowercase { target },
            Action::Uppercase => Step::Uppercase { target },
            Action::Keep => Step::Keep(regex),
            Action::Drop => Step::Drop(regex),
            Action::KeepEqual => Step::KeepEqual { target },
            Action::DropEqual => Step::DropEqual { target },
            Action::HashMod => Step::HashMod { target, modulus: config.modulus.max(1) },
            Action::LabelMap => Step::LabelMap { regex, replacement },
            Action::LabelDrop => Step::LabelDrop(regex),
            Action::LabelKeep => Step::LabelKeep(regex),
        };
        Ok(Self { source_labels: config.source_labels.clone(), separator: config.separator.clone(), step })
    }

    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        match &self.step {
            Step::Keep(regex) => return self.with_source(labels, |source| regex.is_match(source)),
            Step::Drop(regex) => return self.with_source(labels, |source| !regex.is_match(source)),
            Step::KeepEqual { target } => return self.source(labels) == labels.get(target),
            Step::DropEqual { target } => return self.source(labels) != labels.get(target),
            Step::Replace { regex, target, replacement } => {
                self.replace(labels, regex, target, replacement);
            }
            Step::Lowercase { target } => labels.set(target, &self.source(labels).to_lowercase()),
            Step::Uppercase { target } => labels.set(target, &self.source(labels).to_uppercase()),
            Step::HashMod { target, modulus } => {
                let share = hash(&self.source(labels)) % modulus;
                labels.set(target, &share.to_string());
            }
            Step::LabelMap { regex, replacement } => label_map(labels, regex, replacement),
            Step::LabelDrop(regex) => labels.retain(|name, _| !regex.is_match(name)),
            Step::LabelKeep(regex) => labels.retain(|name, _| regex.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut LabelsBuilder, regex: &Regex, target: &Template, replacement: &Template) {
        let change = self.with_source(labels, |source| {
            let captures = regex.captures(source)?;
            Some((target.expand(&captures), replacement.expand(&captures)))
        });
        // Prometheus 3 takes every name but the empty one; an empty value removes the label.
        if let Some((name, value)) = change.filter(|(name, _)| !name.is_empty()) {
            labels.set(&name, &value);
        }
    }

    /// The joined values of the source labels.
    fn source(&self, labels: &LabelsBuilder) -> String {
        let mut joined = String::new();
        for (position, name) in self.source_labels.iter().enumerate() {
            if position > 0 {
                joined.push_str(&self.separator);
            }
            joined.push_str(labels.get(name));
        }
        joined
    }

    /// Calls `f` with the source, which for the usual single label is looked at where it lies.
    fn with_source<T>(&self, labels: &LabelsBuilder, f: impl FnOnce(&str) -> T) -> T {
        match self.source_labels.as_slice() {
            [] => f(""),
            [name] => f(labels.get(name)),
            _ => f(&self.source(labels)),
        }
    }
}

/// The last eight bytes of the MD5 sum, big endian: the value that Prometheus and everyone who shards with it uses.
fn hash(source: &str) -> u64 {
    let sum: [u8; 16] = Md5::digest(source.as_bytes()).into();
    let [.., a, b, c, d, e, f, g, h] = sum;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn label_map(labels: &mut LabelsBuilder, regex: &Regex, replacement: &Template) {
    // All names are matched before the first is set: a new name is not mapped again.
    let copies: Vec<(String, String)> = labels
        .iter()
        .filter_map(|(name, value)| Some((replacement.expand(&regex.captures(name)?), value.to_owned())))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    for (name, value) in copies {
        labels.set(&name, &value);
    }
}
