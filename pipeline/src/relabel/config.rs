//! `relabel_configs` and `metric_relabel_configs` as Prometheus 3 writes them.
//!
//! Takes the section of the file, gives a rule that is known to be complete and to mean something. The defaults and the
//! rules of validation are those of Prometheus (`model/relabel/relabel.go`, `Config.Validate`).

use serde::{Deserialize, Deserializer, Serialize, de};

use super::scalar;

/// The regular expression of a rule that names none: everything, as one group.
pub(super) const REGEX_DEFAULT: &str = "(.*)";
/// The replacement of a rule that names none: the first group.
pub(super) const REPLACEMENT_DEFAULT: &str = "$1";
/// What is put between the values of several source labels.
pub(super) const SEPARATOR_DEFAULT: &str = ";";

/// One relabelling rule, with Prometheus' keys and defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// Labels whose values are joined and matched; a missing label counts as empty.
    #[serde(deserialize_with = "scalar::texts", skip_serializing_if = "Vec::is_empty")]
    pub source_labels: Vec<String>,
    /// What is put between the values of the source labels.
    #[serde(deserialize_with = "scalar::text")]
    pub separator: String,
    /// The label that receives the result; for `replace` it may use groups of `regex`.
    #[serde(deserialize_with = "scalar::text", skip_serializing_if = "String::is_empty")]
    pub target_label: String,
    /// What the joined values (or label names) must match as a whole.
    #[serde(deserialize_with = "scalar::text")]
    pub regex: String,
    /// For `hashmod`: the number of shares.
    #[serde(skip_serializing_if = "is_zero")]
    pub modulus: u64,
    /// The new value (`replace`) or name (`labelmap`), in which `$1` and `${name}` stand for groups.
    #[serde(deserialize_with = "scalar::text")]
    pub replacement: String,
    /// What the rule does.
    pub action: Action,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: SEPARATOR_DEFAULT.to_owned(),
            target_label: String::new(),
            regex: REGEX_DEFAULT.to_owned(),
            modulus: 0,
            replacement: REPLACEMENT_DEFAULT.to_owned(),
            action: Action::Replace,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a rule does. Read in any case, as Prometheus does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sets the target label where the regular expression matches.
    #[default]
    Replace,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops what has another value in the target label than in the source.
    KeepEqual,
    /// Drops what has the same value in the target label as in the source.
    DropEqual,
    /// Sets the target label to a hash of the source modulo `modulus`.
    HashMod,
    /// Copies labels whose names match to new names.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
}

impl Action {
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Lowercase,
        Self::Uppercase,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
    ];

    /// The name as it stands in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
        }
    }

    /// Whether the action writes or compares `target_label` and therefore needs one.
    fn needs_target(self) -> bool {
        use Action::{DropEqual, HashMod, KeepEqual, Lowercase, Replace, Uppercase};
        matches!(self, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual)
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let lower = text.to_lowercase();
        Self::ALL.into_iter().find(|action| action.as_str() == lower).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.into_iter().map(Self::as_str).collect();
            de::Error::custom(format!("unknown action {text:?}: use one of {}", names.join(", ")))
        })
    }
}

impl RelabelConfig {
    /// The first thing that is wrong with the rule beside its regular expression: the key and the remedy.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let action = self.action.as_str();
        let given = |key| (key, format!("action {action} takes no {key}: remove it"));
        if self.action == Action::HashMod && self.modulus == 0 {
            return Some(("modulus", "action hashmod needs a modulus of at least 1".to_owned()));
        }
        if self.action.needs_target() && self.target_label.is_empty() {
            return Some(("target_label", format!("action {action} needs a target_label")));
        }
        if self.action == Action::LabelMap && self.replacement.is_empty() {
            let text = "action labelmap needs a replacement, which is the new name".to_owned();
            return Some(("replacement", text));
        }
        match self.action {
            Action::Lowercase | Action::Uppercase if self.replacement != REPLACEMENT_DEFAULT => {
                Some(given("replacement"))
            }
            Action::KeepEqual | Action::DropEqual => {
                self.beyond(&["source_labels", "target_label"]).map(given)
            }
            Action::LabelDrop | Action::LabelKeep => self.beyond(&["regex"]).map(given),
            _ => None,
        }
    }

    /// The first key that was set and is not among `allowed`.
    fn beyond(&self, allowed: &[&str]) -> Option<&'static str> {
        let set = [
            ("source_labels", !self.source_labels.is_empty()),
            ("target_label", !self.target_label.is_empty()),
            ("regex", self.regex != REGEX_DEFAULT),
            ("modulus", self.modulus != 0),
            ("separator", self.separator != SEPARATOR_DEFAULT),
            ("replacement", self.replacement != REPLACEMENT_DEFAULT),
        ];
        set.into_iter().find(|(key, set)| *set && !allowed.contains(key)).map(|(key, _)| key)
    }
}
