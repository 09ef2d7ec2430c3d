//! Label names and values, each held once and named by a number.
//!
//! A million series share some thousands of texts. Whoever uses a text holds it; without a user it is gone.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Names a text that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Text(u32);

impl Text {
    /// The empty text, which is always there.
    pub const EMPTY: Self = Self(0);

    /// Its number.
    pub(crate) fn id(self) -> u32 {
        self.0
    }

    /// The text with this number.
    pub(crate) fn of_id(id: u32) -> Self {
        Self(id)
    }

    /// For arrays with a place for each text.
    #[must_use]
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// Counted for each text besides its bytes: its place here, in the index, and what an allocation costs.
const TEXT_BYTES: u64 = 64;

/// All texts in use.
#[derive(Debug)]
pub(crate) struct Texts {
    held: Vec<Held>,
    by_text: HashTable<Text>,
    free: Vec<Text>,
    /// Seeded once per process, so that nobody outside can choose texts that collide.
    hasher: DefaultHashBuilder,
    bytes: u64,
}

#[derive(Debug)]
struct Held {
    text: Box<str>,
    users: u32,
    /// What stood last where this text had stood in the series before; perhaps gone since, or another text.
    next: Text,
}

impl Default for Texts {
    fn default() -> Self {
        let empty = Held { text: Box::default(), users: 1, next: Text::EMPTY };
        let mut texts = Self {
            held: vec![empty],
            by_text: HashTable::new(),
            free: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            bytes: 0,
        };
        let hash = hash_of(&texts.hasher, b"");
        texts.by_text.insert_unique(hash, Text::EMPTY, |_| hash);
        texts
    }
}

impl Texts {
    /// One more user of this text.
    pub(crate) fn hold(&mut self, text: &str) -> Text {
        let hash = hash_of(&self.hasher, text.as_bytes());
        match self.find(hash, text.as_bytes()) {
            Some(found) => self.hold_again(found),
            None => self.add(hash, text),
        }
    }

    /// One more user of this text, which stands where `before` stood in the series before: exporters say the same of one thing
    /// after the other, so that a text is mostly followed by the one that followed it the last time. `None` if it is no text.
    #[inline]
    pub(crate) fn hold_after(&mut self, before: Text, text: &[u8]) -> Option<Text> {
        let next = self.held.get(before.number())?.next;
        if let Some(held) = self.held.get_mut(next.number())
            && held.text.as_bytes() == text
            && !text.is_empty()
        {
            held.users += 1;
            return Some(next);
        }
        let hash = hash_of(&self.hasher, text);
        let found = match self.find(hash, text) {
            Some(found) => self.hold_again(found),
            None => self.add(hash, std::str::from_utf8(text).ok()?),
        };
        self.held.get_mut(before.number())?.next = found;
        Some(found)
    }

    fn find(&self, hash: u64, text: &[u8]) -> Option<Text> {
        let same = |at: &Text| self.held.get(at.number()).is_some_and(|held| held.text.as_bytes() == text);
        self.by_text.find(hash, same).copied()
    }

    /// Holds a text that was not held.
    fn add(&mut self, hash: u64, text: &str) -> Text {
        let Self { held, by_text, free, hasher, bytes } = self;
        *bytes += text.len() as u64 + TEXT_BYTES;
        let new = Held { text: text.into(), users: 1, next: Text::EMPTY };
        // Four billion texts do not fit into the memory that the limits on series allow.
        let number = free.pop().unwrap_or_else(|| Text(u32::try_from(held.len()).unwrap_or(u32::MAX)));
        match held.get_mut(number.number()) {
            Some(place) => *place = new,
            None => held.push(new),
        }
        by_text.insert_unique(hash, number, |at| {
            held.get(at.number()).map_or(0, |held| hash_of(hasher, held.text.as_bytes()))
        });
        number
    }

    /// One more user of a text that has one.
    pub(crate) fn hold_again(&mut self, text: Text) -> Text {
        if let Some(held) = self.held.get_mut(text.number()) {
            held.users += 1;
        }
        text
    }

    /// One user less.
    pub(crate) fn release(&mut self, text: Text) {
        let Some(held) = self.held.get_mut(text.number()) else { return };
        held.users -= 1;
        if held.users > 0 {
            return;
        }
        let gone = std::mem::take(&mut held.text);
        self.bytes -= gone.len() as u64 + TEXT_BYTES;
        let hash = hash_of(&self.hasher, gone.as_bytes());
        if let Ok(found) = self.by_text.find_entry(hash, |at| *at == text) {
            found.remove();
        }
        self.free.push(text);
    }

    /// The text itself.
    pub(crate) fn get(&self, text: Text) -> &str {
        self.held.get(text.number()).map_or("", |held| &held.text)
    }

    /// By number; the empty text where a number is free.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(|held| &*held.text)
    }

    /// Above the number of every text.
    pub(crate) fn numbers(&self) -> usize {
        self.held.len()
    }

    /// Bytes that they take, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn hash_of(hasher: &DefaultHashBuilder, text: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(text);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_lives_as_long_as_it_has_users() {
        let mut texts = Texts::default();
        let (a, b) = (texts.hold("a"), texts.hold("b"));
        assert_eq!(texts.hold("a"), a);
        assert_eq!(texts.hold(""), Text::EMPTY);
        assert_eq!((texts.get(a), texts.get(b)), ("a", "b"));
        texts.release(a);
        assert_eq!((texts.get(a), texts.numbers()), ("a", 3));
        texts.release(a);
        assert_eq!((texts.get(a), texts.bytes()), ("", 1 + TEXT_BYTES));
        // Its number is given again, and the text is found no more under the old one.
        assert_eq!((texts.hold("c"), texts.numbers()), (a, 3));
        assert_ne!(texts.hold("a"), a);
        assert_eq!((texts.hold("c"), texts.get(a)), (a, "c"));
    }

    /// Whatever stood there before: the text is the one that is asked for, and is held once more.
    #[test]
    fn a_text_after_another_is_the_text() {
        let mut texts = Texts::default();
        let mut held = Vec::new();
        for round in 0..4 {
            let mut before = Text::EMPTY;
            for text in ["a", "b", "a", "c", "\u{fc}", "c"] {
                if round == 2 && text == "b" {
                    // Its number is that of another text from here on.
                    held.drain(..).for_each(|text| texts.release(text));
                    held.push(texts.hold("other"));
                }
                before = texts.hold_after(before, text.as_bytes()).unwrap();
                let again = texts.hold(text);
                assert_eq!((texts.get(before), again), (text, before));
                held.extend([before, before]);
            }
            assert_eq!(texts.hold_after(before, b"\xff"), None);
            assert_eq!(texts.hold_after(before, b""), Some(Text::EMPTY));
            assert_eq!(texts.hold_after(before, b""), Some(Text::EMPTY));
        }
        held.drain(..).for_each(|text| texts.release(text));
        assert_eq!((texts.bytes(), texts.find(hash_of(&texts.hasher, b"a"), b"a")), (0, None));
    }
}
