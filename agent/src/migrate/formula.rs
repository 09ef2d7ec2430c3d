//! What has to be true of a sample's labels, and the relabelling rules that keep the samples of which it is.
//!
//! Takes a formula over labels, gives rules that decide alike for every set of labels. A rule looks at one label, or at several in one
//! text; where a formula needs more than rules in a row, labels of its own carry what was found so far.

use pipeline::model::labels::{LabelsBuilder, METRIC_NAME};
use pipeline::relabel::{Action, RelabelConfig, Rules};

/// Labels that only carry a truth from one rule to the next; `labeldrop` removes them in the end.
pub(super) const CARRIER: &str = "__tmp_migrate_";

/// Rules that one formula may become.
const RULES_MAX: usize = 200;

/// A truth about labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Formula {
    Constant(bool),
    /// The label matches one of the regular expressions as a whole. An absent label is the empty text.
    Is(String, Vec<String>),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// `text` as a regular expression that matches nothing else (RE2's metacharacters, `regexp.QuoteMeta`).
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Whether `regex` matches the whole of `text`; `None` if it is no regular expression.
pub(super) fn matches(regex: &str, text: &str) -> Option<bool> {
    let config = RelabelConfig {
        source_labels: vec!["x".to_owned()],
        regex: regex.to_owned(),
        action: Action::Keep,
        ..RelabelConfig::default()
    };
    let rules = Rules::compile(std::slice::from_ref(&config)).ok()?;
    let mut labels = LabelsBuilder::default();
    labels.set("x", text);
    Some(rules.apply(&mut labels))
}

impl Formula {
    /// The label is there.
    pub(super) fn present(label: &str) -> Self {
        Self::Is(label.to_owned(), vec![".+".to_owned()])
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(!value),
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant(false), _) | (_, Self::Constant(false)) => Self::Constant(false),
            (Self::Constant(true), formula) | (formula, Self::Constant(true)) => formula,
            (left, right) => Self::All(vec![left, right]),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant(true), _) | (_, Self::Constant(true)) => Self::Constant(true),
            (Self::Constant(false), formula) | (formula, Self::Constant(false)) => formula,
            (left, right) => Self::Any(vec![left, right]),
        }
    }

    /// How much of it there is.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Constant(_) | Self::Is(..) => 1,
            Self::Not(inner) => 1 + inner.size(),
            Self::All(inner) | Self::Any(inner) => 1 + inner.iter().map(Self::size).sum::<usize>(),
        }
    }

    /// Whether it is about the name of the metric alone.
    pub(super) fn is_of_name(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Is(label, _) => label == METRIC_NAME,
            Self::Not(inner) => inner.is_of_name(),
            Self::All(inner) | Self::Any(inner) => inner.iter().all(Self::is_of_name),
        }
    }

    /// `Not` only before `Is`; lists flat; what is asked of one label in one question.
    pub(super) fn simple(&self, negated: bool) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(*value != negated),
            Self::Is(..) if negated => Self::Not(Box::new(self.clone())),
            Self::Is(..) => self.clone(),
            Self::Not(inner) => inner.simple(!negated),
            Self::All(inner) | Self::Any(inner) => {
                let is_all = matches!(self, Self::All(_)) != negated;
                combine(is_all, inner.iter().map(|formula| formula.simple(negated)))
            }
        }
    }
}

/// All or any of simple formulas, simply.
fn combine(is_all: bool, formulas: impl Iterator<Item = Formula>) -> Formula {
    let mut list: Vec<Formula> = Vec::new();
    for formula in formulas {
        match formula {
            // True says nothing among all, false nothing among any; the other one decides.
            Formula::Constant(value) if value == is_all => {}
            Formula::Constant(value) => return Formula::Constant(value),
            Formula::All(inner) if is_all => {
                inner.into_iter().for_each(|formula| join(is_all, &mut list, formula));
            }
            Formula::Any(inner) if !is_all => {
                inner.into_iter().for_each(|formula| join(is_all, &mut list, formula));
            }
            other => join(is_all, &mut list, other),
        }
    }
    match list.len() {
        0 => Formula::Constant(is_all),
        1 => list.pop().unwrap_or(Formula::Constant(is_all)),
        _ if is_all => Formula::All(list),
        _ => Formula::Any(list),
    }
}

/// Adds a formula to the list, to the one about the same label if there is one: `a|b`, and neither `a` nor `b`.
fn join(is_all: bool, list: &mut Vec<Formula>, formula: Formula) {
    let same = |known: &&mut Formula| match (&**known, &formula) {
        (Formula::Is(a, _), Formula::Is(b, _)) => !is_all && a == b,
        (Formula::Not(a), Formula::Not(b)) => match (&**a, &**b) {
            (Formula::Is(a, _), Formula::Is(b, _)) => is_all && a == b,
            _ => false,
        },
        _ => false,
    };
    let known = list.iter_mut().find(same);
    match (known, formula) {
        (Some(known), formula) => {
            if let (Some(known), Some(more)) = (regexes(known), regexes(&mut formula.clone())) {
                more.drain(..).for_each(|regex| {
                    if !known.contains(&regex) {
                        known.push(regex);
                    }
                });
            }
        }
        (None, formula) => list.push(formula),
    }
}

fn regexes(formula: &mut Formula) -> Option<&mut Vec<String>> {
    match formula {
        Formula::Is(_, regexes) => Some(regexes),
        Formula::Not(inner) => regexes(inner),
        _ => None,
    }
}

/// Makes rules, and labels that carry truths between them.
#[derive(Debug, Default)]
pub(super) struct Writer {
    carriers: usize,
}

impl Writer {
    /// A label that nobody has.
    pub(super) fn carrier(&mut self) -> String {
        self.carriers += 1;
        format!("{CARRIER}{}", self.carriers)
    }

    /// The rule that removes the carriers, if there are any.
    pub(super) fn cleaned(&self) -> Option<RelabelConfig> {
        let rule = RelabelConfig {
            regex: format!("{CARRIER}.*"),
            action: Action::LabelDrop,
            ..RelabelConfig::default()
        };
        (self.carriers > 0).then_some(rule)
    }

    /// Rules that keep a sample where the formula is true.
    pub(super) fn keep(&mut self, formula: &Formula) -> Result<Vec<RelabelConfig>, String> {
        let mut rules = Vec::new();
        match formula.simple(false) {
            Formula::All(parts) => parts.iter().for_each(|part| self.keep_simple(part, &mut rules)),
            simple => self.keep_simple(&simple, &mut rules),
        }
        checked(rules)
    }

    fn keep_simple(&mut self, formula: &Formula, rules: &mut Vec<RelabelConfig>) {
        match formula {
            Formula::Constant(true) => {}
            Formula::Constant(false) => rules.push(rule(&[], ".*", Action::Drop)),
            Formula::Is(label, regexes) => rules.push(rule(&[label], &regexes.join("|"), Action::Keep)),
            Formula::Not(inner) if matches!(**inner, Formula::Is(..)) => {
                if let Formula::Is(label, regexes) = &**inner {
                    rules.push(rule(&[label], &regexes.join("|"), Action::Drop));
                }
            }
            other => {
                let carrier = self.carrier();
                self.carry(other, &carrier, rules);
                rules.push(rule(&[&carrier], "1", Action::Keep));
            }
        }
    }

    /// Rules that set `carrier`, which is absent before, to 1 where the formula is true.
    pub(super) fn truth(&mut self, formula: &Formula, carrier: &str) -> Result<Vec<RelabelConfig>, String> {
        let mut rules = Vec::new();
        self.carry(&formula.simple(false), carrier, &mut rules);
        checked(rules)
    }

    fn carry(&mut self, formula: &Formula, carrier: &str, rules: &mut Vec<RelabelConfig>) {
        if rules.len() > RULES_MAX {
            return;
        }
        let set = |sources: &[&str], regex: &str| RelabelConfig {
            target_label: carrier.to_owned(),
            replacement: "1".to_owned(),
            ..rule(sources, regex, Action::Replace)
        };
        match formula {
            Formula::Constant(true) => rules.push(set(&[], ".*")),
            Formula::Constant(false) => {}
            Formula::Is(label, regexes) => rules.push(set(&[label], &regexes.join("|"))),
            Formula::Not(inner) => {
                let opposite = self.carrier();
                self.carry(inner, &opposite, rules);
                rules.push(set(&[&opposite], ""));
            }
            Formula::Any(parts) => parts.iter().for_each(|part| self.carry(part, carrier, rules)),
            Formula::All(parts) => {
                let carriers: Vec<_> = parts.iter().map(|_| self.carrier()).collect();
                parts.iter().zip(&carriers).for_each(|(part, carrier)| self.carry(part, carrier, rules));
                let sources: Vec<_> = carriers.iter().map(String::as_str).collect();
                rules.push(set(&sources, &vec!["1"; carriers.len()].join(";")));
            }
        }
    }
}

pub(super) fn rule(sources: &[&str], regex: &str, action: Action) -> RelabelConfig {
    RelabelConfig {
        source_labels: sources.iter().map(|label| (*label).to_owned()).collect(),
        regex: regex.to_owned(),
        action,
        ..RelabelConfig::default()
    }
}

/// The rules, if they are few enough and Prometheus would take them.
pub(super) fn checked(rules: Vec<RelabelConfig>) -> Result<Vec<RelabelConfig>, String> {
    if rules.len() > RULES_MAX {
        return Err(format!("it would take more than {RULES_MAX} rules"));
    }
    match Rules::compile(&rules) {
        Ok(_) => Ok(rules),
        Err(problems) => Err(problems.into_iter().map(|(_, text)| text).next().unwrap_or_default()),
    }
}
