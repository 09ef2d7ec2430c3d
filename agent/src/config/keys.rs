//! Which keys the configuration has, learnt from the types that read it.
//!
//! Each type is deserialized by a guide that leads to one place and writes down which fields the type asks
//! for there. So the list of keys cannot differ from what is really read.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// Stands for any key, where a mapping has names of the user's choice.
const ANY: &str = "*";

/// Nothing in the configuration is deeper; a bound in case a type contains itself.
const DEPTH_MAX: usize = 8;

/// All keys, by the path of the mapping that holds them.
#[derive(Debug, Default)]
pub(crate) struct Keys(BTreeMap<Vec<String>, Vec<String>>);

impl Keys {
    /// Adds the keys below `path`, read as a `T`.
    pub(crate) fn add<T: DeserializeOwned>(&mut self, path: &[&str]) {
        let whole =
            |way: &[String]| path.iter().map(|key| (*key).to_owned()).chain(way.iter().cloned()).collect();
        let mut ways: Vec<Vec<String>> = vec![Vec::new()];
        while let Some(way) = ways.pop() {
            match found_at::<T>(&way) {
                Found::Keys(keys) if way.len() < DEPTH_MAX => {
                    ways.extend(keys.iter().map(|key| [way.as_slice(), std::slice::from_ref(key)].concat()));
                    let known: Vec<_> = whole(&way);
                    self.0.insert(known, keys);
                }
                // A plain word is a value and no key.
                Found::Word => {
                    if let Some((word, parent)) = way.split_last()
                        && let Some(keys) = self.0.get_mut(&whole(parent))
                    {
                        keys.retain(|key| key != word);
                    }
                }
                Found::Keys(_) | Found::Nothing => {}
            }
        }
        self.0.retain(|_, keys| !keys.is_empty());
    }

    /// Adds one key that no type reads.
    pub(crate) fn add_key(&mut self, path: &[&str], key: &str) {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        self.0.entry(path).or_default().push(key.to_owned());
    }

    /// The keys known at `path`; none where there is no mapping with fixed keys.
    pub(crate) fn at(&self, path: &[&str]) -> &[String] {
        let matches = |known: &Vec<String>| {
            known.len() == path.len() && known.iter().zip(path).all(|(k, p)| k == p || k == ANY)
        };
        self.0.iter().find(|(known, _)| matches(known)).map_or(&[], |(_, keys)| keys)
    }

    /// The keys of the mapping at `path` below which `key` is known.
    pub(crate) fn below(&self, path: &[&str], key: &str) -> Vec<String> {
        let known =
            |parent: &&String| self.at(&[path, &[parent.as_str()]].concat()).iter().any(|below| below == key);
        self.at(path).iter().filter(known).cloned().collect()
    }

    /// The path of every mapping, and the keys in it.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = (&[String], &[String])> {
        self.0.iter().map(|(path, keys)| (path.as_slice(), keys.as_slice()))
    }
}

/// What a type asks for at one place.
#[derive(Default)]
enum Found {
    #[default]
    Nothing,
    /// A mapping with these keys.
    Keys(Vec<String>),
    /// A word out of a fixed choice.
    Word,
}

/// What `T` asks for at the end of `way`.
fn found_at<T: DeserializeOwned>(way: &[String]) -> Found {
    let found = RefCell::default();
    // The guide always fails in the end; what matters is what it has seen.
    let _ = T::deserialize(Guide { way, found: &found });
    found.into_inner()
}

#[derive(Clone, Copy)]
struct Guide<'a> {
    way: &'a [String],
    found: &'a RefCell<Found>,
}

impl<'a> Guide<'a> {
    /// The next step and the guide behind it; at the end of the way, the known keys are noted.
    fn step(self, known: &[&str]) -> Result<Once<'a>, Error> {
        if let Some((first, way)) = self.way.split_first() {
            return Ok(Once { key: first, guide: Self { way, ..self }, taken: false });
        }
        let keys = known.iter().map(|key| (*key).to_owned()).collect();
        self.found.replace(Found::Keys(keys));
        Err(end())
    }
}

fn end() -> Error {
    Error::custom("seen enough")
}

impl<'de> Deserializer<'de> for Guide<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(end())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(self.step(fields)?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.step(&[ANY])?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.step(variants)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Element(self))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// A list with one element.
struct Element<'a>(Guide<'a>);

impl<'de> SeqAccess<'de> for Element<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        seed.deserialize(self.0).map(Some)
    }
}

/// A mapping with one key, or one variant of a choice.
struct Once<'a> {
    key: &'a str,
    guide: Guide<'a>,
    taken: bool,
}

impl<'de> MapAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if std::mem::replace(&mut self.taken, true) {
            return Ok(None);
        }
        let key: StrDeserializer<'_, Error> = self.key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.guide)
    }
}

impl<'de> EnumAccess<'de> for Once<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let key: StrDeserializer<'_, Error> = self.key.into_deserializer();
        Ok((seed.deserialize(key)?, self))
    }
}

impl<'de> VariantAccess<'de> for Once<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.guide.found.replace(Found::Word);
        Err(end())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.guide)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(end())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(self.guide.step(fields)?)
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "only their keys are looked at")]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Top {
        list: Option<Vec<Inner>>,
        names: BTreeMap<String, Inner>,
        choice: Choice,
        again: Option<Box<Top>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase", default)]
    #[derive(Default)]
    struct Inner {
        word: Word,
        number: u64,
    }

    #[derive(Deserialize, Default)]
    enum Word {
        #[default]
        Yes,
        No,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        One { left: u8 },
        Two(Inner),
    }

    #[test]
    fn keys_are_learnt_from_types() {
        let mut keys = Keys::default();
        keys.add::<Top>(&["top"]);
        let check = |path: &[&str], expected: &[&str]| assert_eq!(keys.at(path), expected, "{path:?}");
        check(&["top"], &["list", "names", "choice", "again"]);
        check(&["top", "list"], &["word", "number"]);
        check(&["top", "names", "mine"], &["word", "number"]);
        check(&["top", "choice"], &["one", "two"]);
        check(&["top", "choice", "one"], &["left"]);
        check(&["top", "choice", "two"], &["word", "number"]);
        check(&["top", "list", "word"], &[]);
        assert_eq!(keys.below(&["top"], "word"), ["list"]);
    }
}
