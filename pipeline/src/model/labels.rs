//! Label sets: what identifies a target or a series.
//!
//! Takes names and values, gives sets that are sorted by name, unique by name and free of empty values
//! (in Prometheus an empty label value is the same as no label). This module owns label order; it never
//! judges whether a name is allowed.

use std::cmp::Ordering;
use std::fmt;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// The label, and column, that tells clusters apart. It is the agent's own: nobody else's word is taken for it.
pub const CLUSTER_ID: &str = "cluster_id";

/// Prefix of a label that had to give up its name (Prometheus, `honor_labels`).
const EXPORTED: &str = "exported_";

/// An immutable label set, sorted by name, without empty values.
///
/// One allocation however many labels: each name and value stands there after its length, see [`write_text`].
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Box<str>);

impl Labels {
    /// Labels from pairs in any order; the last of two equal names wins.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// The value of `name`, or `None` where the set has no such label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The value of `name`, or the empty text, which means the same as no label.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Reads labels that [`write_text`] wrote, name and value in turn; `None` if they are no label set.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (mut rest, mut previous) = (text, "");
        while !rest.is_empty() {
            let (name, value) = (read_text(&mut rest)?, read_text(&mut rest)?);
            if name <= previous || value.is_empty() {
                return None;
            }
            previous = name;
        }
        Some(Self(text.into()))
    }

    /// All labels, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((read_text(&mut rest)?, read_text(&mut rest)?)))
    }

    /// The number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A hash that is the same on every machine and in every release (xxh3, seed 0), for spreading work.
    #[must_use]
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for (name, value) in self.iter() {
            // 0xff is no UTF-8 byte, so that neighbouring texts cannot run into each other.
            hasher.update(name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(value.as_bytes());
            hasher.update(&[0xff]);
        }
        hasher.digest()
    }
}

/// Prometheus' notation: `{job="node",instance="a:9100"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A label set being made or changed; reusable, so that steady work does not allocate.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Where names and values stand in `text`, sorted by name; values may be empty until `build`.
    pairs: Vec<Pair>,
    /// Names and values one behind the other; what has been replaced stays until [`Self::clear`].
    text: String,
    /// What [`Self::merge`] makes; kept for its buffer.
    merged: Vec<Pair>,
}

/// A name, and its value right behind it.
#[derive(Clone, Copy, Debug)]
struct Pair {
    /// How the name begins, so that most comparisons need no text.
    key: u64,
    start: usize,
    value: usize,
    end: usize,
}

impl Pair {
    fn name(self, text: &str) -> &str {
        text.get(self.start..self.value).unwrap_or_default()
    }

    fn value(self, text: &str) -> &str {
        text.get(self.value..self.end).unwrap_or_default()
    }

    /// Where its name stands beside another one.
    #[inline]
    fn order(self, key: u64, name: &str, text: &str) -> Ordering {
        self.key.cmp(&key).then_with(|| self.name(text).cmp(name))
    }
}

impl LabelsBuilder {
    /// A builder that starts with a copy of `labels`.
    #[must_use]
    pub fn from_labels(labels: &Labels) -> Self {
        let mut builder = Self::default();
        builder.extend(labels);
        builder
    }

    /// Forgets all labels and keeps the buffers.
    pub fn clear(&mut self) {
        self.pairs.clear();
        self.text.clear();
    }

    /// Sets every label of `labels`.
    pub fn extend(&mut self, labels: &Labels) {
        for (name, value) in labels.iter() {
            self.set(name, value);
        }
    }

    /// The value of `name`; the empty text where there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        match self.find(key(name), name) {
            Ok(at) => self.pairs.get(at).map_or("", |pair| pair.value(&self.text)),
            Err(_) => "",
        }
    }

    /// Sets `name` to `value`; an empty value removes the label.
    pub fn set(&mut self, name: &str, value: &str) {
        let key = key(name);
        match self.find(key, name) {
            Ok(_) if value.is_empty() => self.remove(name),
            Ok(at) => {
                let pair = self.append(key, name, value);
                if let Some(to) = self.pairs.get_mut(at) {
                    *to = pair;
                }
            }
            Err(_) if value.is_empty() => {}
            Err(at) => {
                let pair = self.append(key, name, value);
                self.pairs.insert(at, pair);
            }
        }
    }

    /// Adds a label that is not there yet; false if it is, or if the value is empty.
    pub(crate) fn add(&mut self, name: &str, value: &str) -> bool {
        let key = key(name);
        let Err(at) = self.find(key, name) else { return false };
        if value.is_empty() {
            return false;
        }
        let pair = self.append(key, name, value);
        self.pairs.insert(at, pair);
        true
    }

    /// Adds all of `labels` if none of their names is there yet; else none of them, and false.
    pub(crate) fn merge(&mut self, labels: &Labels) -> bool {
        self.merged.clear();
        let (mut at, before) = (0, self.text.len());
        for (name, value) in labels.iter() {
            let key = key(name);
            while let Some(pair) = self.pairs.get(at)
                && pair.order(key, name, &self.text) == Ordering::Less
            {
                self.merged.push(*pair);
                at += 1;
            }
            if let Some(pair) = self.pairs.get(at)
                && pair.order(key, name, &self.text) == Ordering::Equal
            {
                self.text.truncate(before);
                return false;
            }
            let pair = self.append(key, name, value);
            self.merged.push(pair);
        }
        self.merged.extend_from_slice(self.pairs.get(at..).unwrap_or_default());
        std::mem::swap(&mut self.pairs, &mut self.merged);
        true
    }

    /// Removes `name` if it is there.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(key(name), name) {
            self.pairs.remove(at);
        }
    }

    /// Renames `name`, if it is there, to `exported_` and its name; more often, where that name is had or `taken`.
    pub fn give_way(&mut self, name: &str, taken: impl Fn(&str) -> bool) {
        let value = self.get(name).to_owned();
        if value.is_empty() {
            return;
        }
        let mut renamed = format!("{EXPORTED}{name}");
        while !self.get(&renamed).is_empty() || taken(&renamed) {
            renamed.insert_str(0, EXPORTED);
        }
        self.remove(name);
        self.set(&renamed, &value);
    }

    /// Keeps only the labels that `keep(name, value)` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let text = &self.text;
        self.pairs.retain(|pair| keep(pair.name(text), pair.value(text)));
    }

    /// All labels, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.pairs.iter().map(|pair| (pair.name(&self.text), pair.value(&self.text)))
    }

    /// The number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The finished set; the builder keeps its content.
    #[must_use]
    pub fn build(&self) -> Labels {
        let mut text = String::with_capacity(self.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        for (name, value) in self.iter() {
            write_text(name, &mut text);
            write_text(value, &mut text);
        }
        Labels(text.into_boxed_str())
    }

    fn append(&mut self, key: u64, name: &str, value: &str) -> Pair {
        let start = self.text.len();
        self.text.push_str(name);
        self.text.push_str(value);
        Pair { key, start, value: start + name.len(), end: self.text.len() }
    }

    fn find(&self, key: u64, name: &str) -> Result<usize, usize> {
        let order = |pair: &Pair| pair.order(key, name, &self.text);
        // Exporters mostly write their labels in order.
        match self.pairs.last().map(order) {
            None | Some(Ordering::Less) => Err(self.pairs.len()),
            _ => self.pairs.binary_search_by(order),
        }
    }
}

/// The first eight bytes of a name as a number, in the order of names.
#[inline]
fn key(name: &str) -> u64 {
    match name.as_bytes().first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => (0..8).fold(0, |key, at| key << 8 | u64::from(name.as_bytes().get(at).copied().unwrap_or(0))),
    }
}

/// Appends a text behind its length, which stands there in digits of six bits, the lowest first; 64 is added to all but the
/// last. So all of it is text, and reading it does not have to ask whether it is.
pub(crate) fn write_text(text: &str, out: &mut String) {
    let mut length = text.len();
    while length >= 64 {
        out.push(char::from(length.to_le_bytes()[0] % 64 + 64));
        length /= 64;
    }
    out.push(char::from(length.to_le_bytes()[0]));
    out.push_str(text);
}

/// The text at the start of `rest`, which is moved past it. `None` at the end.
pub(crate) fn read_text<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (mut length, mut shift, mut digits) = (0_usize, 0_u32, 0);
    loop {
        let digit = *rest.as_bytes().get(digits)?;
        // No text is longer than memory: where the shift overflows, this is none.
        length |= usize::from(digit % 64).checked_shl(shift)?;
        shift += 6;
        digits += 1;
        if digit < 64 {
            break;
        }
    }
    let (text, after) = rest.get(digits..)?.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sorted_unique_and_without_empty_values() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(labels.to_string(), r#"{a="1",b="3"}"#);
        assert_eq!((labels.get("b"), labels.get("c"), labels.value("c")), (Some("3"), None, ""));
        assert_eq!(labels, Labels::from_pairs([("b", "3"), ("a", "1")]));
    }

    #[test]
    fn a_builder_changes_a_copy() {
        let mut builder = LabelsBuilder::from_labels(&Labels::from_pairs([("a", "1"), ("b", "2")]));
        builder.set("a", "");
        builder.set("c", "3");
        assert_eq!(builder.get("a"), "");
        builder.retain(|n, _| n != "b");
        assert_eq!(builder.build(), Labels::from_pairs([("c", "3")]));
        builder.clear();
        assert!(builder.build().is_empty());
    }

    /// Name by name is the oracle.
    #[test]
    fn sets_are_merged_whole_or_not_at_all() {
        let names = ["a", "abcdefgh", "abcdefghi", "b", "job"];
        for mine in 0..32_usize {
            for theirs in 0..32_usize {
                let pick = |bits: usize, value: &'static str| {
                    let chosen = names.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1);
                    Labels::from_pairs(chosen.map(move |(_, name)| (*name, value)))
                };
                let (own, other) = (pick(mine, "1"), pick(theirs, "2"));
                let mut builder = LabelsBuilder::from_labels(&own);
                let is_merged = builder.merge(&other);
                assert_eq!(is_merged, mine & theirs == 0);
                let all = own.iter().chain(other.iter().filter(|_| is_merged));
                assert_eq!(builder.build(), Labels::from_pairs(all));
            }
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_bytes() {
        let names = [
            "",
            "a",
            "a\0",
            "ab",
            "abcdefg",
            "abcdefgh",
            "abcdefgh\0",
            "abcdefghi",
            "abcdefgz",
            "b",
            "ü",
            "üü",
        ];
        for at in 0..names.len() {
            let turned = names.iter().cycle().skip(at).step_by(5).take(names.len());
            let labels = Labels::from_pairs(turned.map(|name| (*name, "x")));
            assert_eq!(labels.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
        }
    }

    #[test]
    fn texts_of_any_length_come_back() {
        for length in [1, 31, 32, 63, 64, 2_047, 2_048, 4_095, 4_096, 65_536, 131_072] {
            let value = "ü".repeat(length);
            let labels = Labels::from_pairs([("a", value.as_str()), ("b", "x")]);
            assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", value.as_str()), ("b", "x")]);
            assert_eq!(labels.len(), 2);
        }
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let a = Labels::from_pairs([("a", "bc")]);
        let b = Labels::from_pairs([("ab", "c")]);
        assert_ne!(a, b);
        assert_ne!(a.stable_hash(), b.stable_hash());
    }
}
