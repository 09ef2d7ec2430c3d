//! Label sets: what identifies a target or a series.
//!
//! Takes names and values, gives sets that are sorted by name, unique by name and free of empty values
//! (in Prometheus an empty label value is the same as no label). This module owns label order; it never
//! judges whether a name is allowed.

use std::fmt;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// The label, and column, that tells clusters apart. It is the agent's own: nobody else's word is taken for it.
pub const CLUSTER_ID: &str = "cluster_id";

/// Prefix of a label that had to give up its name (Prometheus, `honor_labels`).
const EXPORTED: &str = "exported_";

/// An immutable label set, sorted by name, without empty values.
///
/// One allocation however many labels: each name and value stands there after its length, which takes one byte below 128
/// (LEB128).
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Box<[u8]>);

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

    /// The set as bytes, for [`Self::from_bytes`].
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads what [`Self::as_bytes`] gave; `None` if it is no label set.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (mut rest, mut previous) = (bytes, "");
        while !rest.is_empty() {
            let (name, value) = (read_text(&mut rest)?, read_text(&mut rest)?);
            if name <= previous || value.is_empty() {
                return None;
            }
            previous = name;
        }
        Some(Self(bytes.into()))
    }

    /// All labels, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
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
    /// Sorted by name; values may be empty until `build`.
    pairs: Vec<(String, String)>,
    /// Emptied pairs whose buffers are used again.
    spare: Vec<(String, String)>,
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
        self.spare.append(&mut self.pairs);
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
        match self.find(name) {
            Ok(at) => self.pairs.get(at).map_or("", |(_, v)| v),
            Err(_) => "",
        }
    }

    /// Sets `name` to `value`; an empty value removes the label.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.find(name) {
            Ok(_) if value.is_empty() => self.remove(name),
            Ok(at) => {
                if let Some((_, v)) = self.pairs.get_mut(at) {
                    v.clear();
                    v.push_str(value);
                }
            }
            Err(_) if value.is_empty() => {}
            Err(at) => {
                let (mut n, mut v) = self.spare.pop().unwrap_or_default();
                n.clear();
                n.push_str(name);
                v.clear();
                v.push_str(value);
                self.pairs.insert(at, (n, v));
            }
        }
    }

    /// Removes `name` if it is there.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.spare.push(self.pairs.remove(at));
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
        self.pairs.retain(|(n, v)| keep(n, v));
    }

    /// All labels, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
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
        let mut bytes = Vec::with_capacity(self.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        for (name, value) in self.iter() {
            write_text(name, &mut bytes);
            write_text(value, &mut bytes);
        }
        Labels(bytes.into_boxed_slice())
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name))
    }
}

/// Appends a text behind its length.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    let mut length = text.len();
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    out.extend_from_slice(text.as_bytes());
}

/// The text at the start of `rest`, which is moved past it. `None` at the end.
pub(crate) fn read_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (mut length, mut shift) = (0_usize, 0_u32);
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        // No text is longer than memory: where the shift overflows, this is none.
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
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

    #[test]
    fn texts_of_any_length_come_back() {
        for length in [1, 127, 128, 16_383, 16_384, 65_536] {
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
