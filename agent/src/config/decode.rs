//! From a tree to a section's type, with every problem and not only the first.
//!
//! serde stops at the first thing it dislikes. So that is reported with its path and taken out, and the section
//! is read again, until it can be read.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::complaint::{self, Complaint};
use super::keys::Keys;
use super::problem::{Path, Problem, Step};
use super::reveal::Reveal;

/// Problems reported per section; whoever has more has the wrong file.
const PROBLEMS_MAX: usize = 50;

/// Reads sections and collects what is wrong with them.
pub(crate) struct Decoder<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) reveal: &'a Reveal,
    /// Keys of Prometheus that are known and not supported.
    pub(crate) unsupported: &'a [&'a str],
    pub(crate) problems: Vec<Problem>,
    /// What was taken out: relations that speak of it are not judged.
    taken: Vec<Path>,
    /// Sections in which elements of a list were taken out, so that positions in it are no longer those of the file.
    shifted: Vec<Path>,
    /// Where a variable could not be expanded, which has been reported already.
    unset: BTreeSet<Path>,
}

impl<'a> Decoder<'a> {
    /// A decoder for a tree in which the texts at `unset` could not be expanded.
    pub(crate) fn new(keys: &'a Keys, reveal: &'a Reveal, unset: BTreeSet<Path>) -> Self {
        let taken = unset.iter().cloned().collect();
        Self { keys, reveal, unsupported: &[], problems: Vec::new(), taken, shifted: Vec::new(), unset }
    }

    /// Whether a problem with the relations of what was read at `section` can be told: it must not come from what was
    /// taken out, which looks like its default now.
    pub(crate) fn can_judge(&self, section: &Path, path: &str, text: &str) -> bool {
        let near = |taken: &&Path| taken.starts_with(section) || taken.starts_with(&Path::root("global"));
        let spoken_of = |taken: &Path| {
            let key = taken.keys().last().copied().unwrap_or_default();
            mentions(path, key) || mentions(text, key)
        };
        let shifted = !section.0.is_empty() && self.shifted.contains(section);
        !shifted && !self.taken.iter().filter(near).any(spoken_of)
    }

    /// Reads the section at `base`, or `None` if nothing can be made of it.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, base: &Path, value: Value) -> Option<T> {
        let mut section = Section { base, value, gone: BTreeMap::new(), mended: BTreeSet::new() };
        let mut nulls = Vec::new();
        drop_nulls(&mut section.value, &Path::default(), &mut nulls);
        for _ in 0..PROBLEMS_MAX {
            match serde_path_to_error::deserialize(&section.value) {
                Ok(read) => {
                    self.unknown_nulls::<T>(&section, nulls);
                    return Some(read);
                }
                Err(error) => {
                    let found = section.place(error.path());
                    let complaint = complaint::parse(&error.into_inner().to_string());
                    self.complain(&mut section, found, complaint)?;
                }
            }
        }
        let text = format!("more than {PROBLEMS_MAX} problems: mend these first");
        self.problems.push(Problem::new(base, text));
        None
    }

    /// Reports keys without a value that are not known where they stand: each is put back by itself to see.
    fn unknown_nulls<T: DeserializeOwned>(&mut self, section: &Section<'_>, nulls: Vec<Path>) {
        // Where something was taken out, positions are others, and there is enough to mend.
        let nulls = nulls.into_iter().filter(|_| section.gone.is_empty()).take(PROBLEMS_MAX);
        for path in nulls.collect::<Vec<_>>() {
            let Some((Step::Key(key), parent)) = path.0.split_last() else { continue };
            let parent = Path(parent.to_vec());
            let mut with_it = section.value.clone();
            let Some(Value::Object(map)) = parent.get_mut(&mut with_it) else { continue };
            map.insert(key.clone(), Value::Null);
            let read = serde_path_to_error::deserialize::<_, T>(&with_it);
            let complaint = read.err().map(|error| complaint::parse(&error.into_inner().to_string()));
            if matches!(complaint, Some(Complaint::UnknownField(unknown)) if unknown == *key) {
                let whole = section.whole(&path);
                let text = self.unknown(&whole, key);
                self.problems.push(Problem::new(&whole, text));
            }
        }
    }

    /// Mends or reports what was found, and takes it out. `None` if the section cannot be read without it.
    fn complain(&mut self, section: &mut Section<'_>, found: Place, complaint: Complaint) -> Option<()> {
        let whole = section.whole(&found.original);
        if self.unset.contains(&whole) {
            return section.remove(&found);
        }
        match complaint {
            Complaint::UnknownField(key) => {
                let key_at = if found.current.0.last() == Some(&Step::Key(key.clone())) {
                    found
                } else {
                    found.key(&key)
                };
                let path = section.whole(&key_at.original);
                let text = self.unknown(&path, &key);
                self.problems.push(Problem::new(&path, text));
                self.taken.push(path);
                section.remove(&key_at)
            }
            Complaint::Missing(key) => {
                // A key that was taken out is missing only because of that.
                if !section.gone.contains_key(&found.original.key(&key)) {
                    let text = format!("the key `{key}` is missing: add it");
                    self.problems.push(Problem::new(&whole, text));
                }
                section.remove(&found)
            }
            Complaint::WrongType { found: kind, expected } => {
                if section.mend(&found, &expected, self.reveal.was_expanded(&whole)) {
                    return Some(());
                }
                let text = match complaint::plain(&expected) {
                    expected if kind.is_empty() => format!("expected {expected}"),
                    expected => format!("expected {expected}, found {kind}"),
                };
                self.report(section, &found, &whole, &text)
            }
            Complaint::Other(text) => self.report(section, &found, &whole, &text),
        }
    }

    fn report(&mut self, section: &mut Section<'_>, found: &Place, whole: &Path, text: &str) -> Option<()> {
        let value = found.current.get(&section.value);
        self.problems.push(self.reveal.problem(whole, value, text));
        self.taken.push(whole.clone());
        if matches!(whole.0.last(), Some(Step::Index(_))) {
            self.shifted.push(section.base.clone());
        }
        section.remove(found)
    }

    /// What to say about a key that is not known where it stands.
    pub(crate) fn unknown(&mut self, path: &Path, key: &str) -> String {
        if self.unsupported.contains(&key) {
            let remedy = match key.ends_with("_sd_configs") {
                true => {
                    "use kubernetes_sd_configs, file_sd_configs, http_sd_configs, dns_sd_configs or static_configs"
                }
                false => "delete it",
            };
            return format!("not supported yet: {remedy}");
        }
        let parent = path.keys();
        let parent = parent.split_last().map_or(parent.as_slice(), |(_, parent)| parent);
        let known = self.keys.at(parent);
        if let Some(place) = self.keys.below(parent, key).first() {
            return format!("`{key}` belongs under `{place}`: indent it");
        }
        if let Some((above, grandparent)) = parent.split_last()
            && self.keys.at(grandparent).iter().any(|k| k == key)
        {
            return format!("`{key}` belongs beside `{above}`, not under it: move it one level up");
        }
        if let Some(near) = nearest(key, known) {
            self.taken.push(path.sibling(near));
            return format!("unknown key, did you mean `{near}`?");
        }
        let nested = known.iter().find_map(|place| {
            let below = self.keys.at(&[parent, &[place.as_str()]].concat());
            Some((place, nearest(key, below)?))
        });
        if let Some((place, near)) = nested {
            return format!("unknown key, did you mean `{near}` under `{place}`?");
        }
        if let Some(section) = self.keys.below(&[], key).first() {
            return format!("`{key}` belongs in the section `{section}`: move it there");
        }
        match known.len() {
            0 => "unknown key: nothing can stand here, delete it".to_owned(),
            1..=12 => format!("unknown key: delete it, or use one of {}", known.join(", ")),
            _ => "unknown key: delete it (`agent default-config` has all that are known)".to_owned(),
        }
    }
}

/// Whether `text` names `key` as a word of its own.
fn mentions(text: &str, key: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key)
}

/// The known key that a misspelt one was probably meant to be.
pub(crate) fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a String> {
    let likeness = |known: &String| strsim::normalized_damerau_levenshtein(key, known);
    let best = known.iter().map(|known| (likeness(known), known)).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(likeness, _)| *likeness >= 0.6).map(|(_, known)| known)
}

/// In Prometheus' configurations a key without a value is as good as absent. Gives the places of those.
fn drop_nulls(value: &mut Value, at: &Path, nulls: &mut Vec<Path>) {
    match value {
        Value::Object(map) => {
            nulls.extend(map.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| at.key(key)));
            map.retain(|_, value| !value.is_null());
            map.iter_mut().for_each(|(key, value)| drop_nulls(value, &at.key(key), nulls));
        }
        Value::Array(values) => {
            values.iter_mut().enumerate().for_each(|(i, value)| drop_nulls(value, &at.index(i), nulls));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Where something stands in a section: now, and in the file.
struct Place {
    current: Path,
    original: Path,
}

impl Place {
    fn key(&self, key: &str) -> Self {
        Self { current: self.current.key(key), original: self.original.key(key) }
    }
}

/// A section on its way to being read.
struct Section<'a> {
    base: &'a Path,
    value: Value,
    /// What was taken out, by its path in the file, below `base`.
    gone: BTreeMap<Path, ()>,
    /// What was given another type, and is not given another one again.
    mended: BTreeSet<Path>,
}

impl Section<'_> {
    fn whole(&self, below: &Path) -> Path {
        Path([self.base.0.as_slice(), below.0.as_slice()].concat())
    }

    /// The place that serde's path leads to, as far as it exists.
    fn place(&self, path: &serde_path_to_error::Path) -> Place {
        let mut place = Place { current: Path::default(), original: Path::default() };
        for segment in path {
            let step = match segment {
                Segment::Seq { index } => Step::Index(*index),
                Segment::Map { key } => Step::Key(key.clone()),
                Segment::Enum { variant } => Step::Key(variant.clone()),
                Segment::Unknown => break,
            };
            let current = place.current.step(step.clone());
            if current.get(&self.value).is_none() {
                break;
            }
            let original = match step {
                Step::Index(index) => place.original.index(self.original_index(&place.original, index)),
                step @ Step::Key(_) => place.original.step(step),
            };
            place = Place { current, original };
        }
        place
    }

    /// The index in the file of what is now at `index`.
    fn original_index(&self, list: &Path, index: usize) -> usize {
        let mut left = index;
        let mut at = 0;
        loop {
            if !self.gone.contains_key(&list.index(at)) {
                if left == 0 {
                    return at;
                }
                left -= 1;
            }
            at += 1;
        }
    }

    /// Takes something out; `None` for the section as a whole.
    fn remove(&mut self, place: &Place) -> Option<()> {
        let (step, parent) = place.current.0.split_last()?;
        let parent = Path(parent.to_vec()).get_mut(&mut self.value)?;
        match (parent, step) {
            (Value::Object(map), Step::Key(key)) => drop(map.shift_remove(key)?),
            (Value::Array(values), Step::Index(index)) if *index < values.len() => {
                drop(values.remove(*index));
            }
            _ => return None,
        }
        self.gone.insert(place.original.clone(), ());
        Some(())
    }

    /// Gives a scalar the type that is asked for, where that loses nothing: numbers and booleans are texts to
    /// whoever wants a text (as in Prometheus), and a variable's text is the number or boolean that it spells.
    fn mend(&mut self, place: &Place, expected: &str, was_expanded: bool) -> bool {
        let Some(value) = place.current.get_mut(&mut self.value) else { return false };
        let text_wanted = expected.contains("string");
        let better = match value {
            Value::Bool(_) if text_wanted => Value::String(value.to_string()),
            Value::Number(number) if text_wanted && !number.is_f64() => Value::String(value.to_string()),
            Value::String(text) if was_expanded && !text_wanted => match serde_json::from_str(text) {
                Ok(better @ (Value::Number(_) | Value::Bool(_))) => better,
                _ => return false,
            },
            _ => return false,
        };
        if !self.mended.insert(place.original.clone()) {
            return false;
        }
        *value = better;
        true
    }
}
