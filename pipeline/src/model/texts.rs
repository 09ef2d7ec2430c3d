//! Label names and values, each held once and named by a number.
//!
//! A million series share some thousands of texts. Whoever uses a text holds it; without a user it is gone.

use std::hash::BuildHasher;

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
}

impl Default for Texts {
    fn default() -> Self {
        let empty = Held { text: Box::default(), users: 1 };
        let mut texts = Self {
            held: vec![empty],
            by_text: HashTable::new(),
            free: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            bytes: 0,
        };
        let hash = texts.hasher.hash_one("");
        texts.by_text.insert_unique(hash, Text::EMPTY, |_| hash);
        texts
    }
}

impl Texts {
    /// One more user of this text.
    pub(crate) fn hold(&mut self, text: &str) -> Text {
        let Self { held, by_text, free, hasher, bytes } = self;
        let hash = hasher.hash_one(text);
        let same = |at: &Text| held.get(at.number()).is_some_and(|held| *held.text == *text);
        if let Some(found) = by_text.find(hash, same).copied() {
            return self.hold_again(found);
        }
        *bytes += text.len() as u64 + TEXT_BYTES;
        let new = Held { text: text.into(), users: 1 };
        // Four billion texts do not fit into the memory that the limits on series allow.
        let number = free.pop().unwrap_or_else(|| Text(u32::try_from(held.len()).unwrap_or(u32::MAX)));
        match held.get_mut(number.number()) {
            Some(place) => *place = new,
            None => held.push(new),
        }
        by_text.insert_unique(hash, number, |at| {
            held.get(at.number()).map_or(0, |held| hasher.hash_one(&*held.text))
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
        let hash = self.hasher.hash_one(&*gone);
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
}
