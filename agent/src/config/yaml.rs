//! From the text of a file to a tree of values: syntax, limits, duplicate keys, merge keys.
//!
//! Takes text, gives a JSON tree (keys are texts, order is kept) and problems. It knows no key of the
//! configuration and never expands anything but YAML's own anchors.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::problem::{Path, Problem};

/// Larger files are refused, bytes. Prometheus' own configurations stay far below.
pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a file may grow to through aliases: nodes, and one more per 32 bytes of text.
const NODES_MAX: usize = 400_000;

/// Brackets open at the same time; the YAML scanner takes quadratic time in it.
const NESTING_MAX: usize = 200;

/// Reads YAML. Duplicate keys, tags and the like are all collected; a syntax error ends the reading.
pub(crate) fn parse(text: &str, problems: &mut Vec<Problem>) -> Value {
    let fault = |text: String| Problem::new(&Path::default(), text);
    if text.len() as u64 > FILE_BYTES_MAX {
        let size = text.len();
        problems
            .push(fault(format!("the file has {size} bytes, and {FILE_BYTES_MAX} are the limit: split it")));
        return Value::Null;
    }
    if nesting(text) > NESTING_MAX {
        problems.push(fault(format!("more than {NESTING_MAX} brackets are open at once: close them")));
        return Value::Null;
    }
    let state = RefCell::new(State { nodes_left: NODES_MAX, problems: Vec::new() });
    let seed = Node { path: Path::default(), state: &state };
    let result = seed.deserialize(serde_norway::Deserializer::from_str(text));
    problems.append(&mut state.borrow_mut().problems);
    result.unwrap_or_else(|error| {
        problems.push(fault(format!("cannot read the YAML: {error}")));
        Value::Null
    })
}

/// How deep brackets nest at most, those within texts included.
fn nesting(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

struct State {
    nodes_left: usize,
    problems: Vec<Problem>,
}

/// Builds the value at one path.
struct Node<'a> {
    path: Path,
    state: &'a RefCell<State>,
}

impl Node<'_> {
    fn spend<E: serde::de::Error>(&self, nodes: usize) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        state.nodes_left = state.nodes_left.checked_sub(nodes).ok_or_else(|| {
            E::custom("the file is too large once its aliases are followed: repeat less by `*alias`")
        })?;
        Ok(())
    }

    fn problem(&self, path: &Path, text: impl Into<String>) {
        self.state.borrow_mut().problems.push(Problem::new(path, text));
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // No key takes a NaN or an infinity; as a text it is shown in the complaint.
        Ok(Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.spend(value.len() / 32)?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) =
            access.next_element_seed(Node { path: self.path.index(values.len()), state: self.state })?
        {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Node { path: self.path.clone(), state: self.state })? {
            let key = match key {
                Value::String(key) => key,
                Value::Number(_) | Value::Bool(_) => key.to_string(),
                Value::Null => "null".to_owned(),
                Value::Array(_) | Value::Object(_) => {
                    return Err(A::Error::custom("a key is a list or a mapping: only texts can be keys"));
                }
            };
            let path = self.path.key(&key);
            let value = access.next_value_seed(Node { path: path.clone(), state: self.state })?;
            if map.contains_key(&key) {
                self.problem(&path, "the key stands here twice: delete one");
            } else {
                map.insert(key, value);
            }
        }
        self.merge(&mut map);
        Ok(Value::Object(map))
    }

    /// A tag such as `!include` or `!!binary`.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let (tag, value) = access.variant::<String>()?;
        self.problem(&self.path, format!("the YAML tag {tag:?} has no meaning here: delete it"));
        serde::de::VariantAccess::newtype_variant_seed(value, self)
    }
}

impl Node<'_> {
    /// YAML's merge key: `<<: *defaults` fills in the keys that are missing.
    fn merge(&self, map: &mut Map<String, Value>) {
        let sources = match map.remove("<<") {
            None => return,
            Some(Value::Array(sources)) => sources,
            Some(source) => vec![source],
        };
        for source in sources {
            let Value::Object(source) = source else {
                self.problem(&self.path.key("<<"), "can only merge mappings: point it to one by `*alias`");
                continue;
            };
            for (key, value) in source {
                map.entry(key).or_insert(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expected: Result<Value, &[&str]>) {
        let mut problems = Vec::new();
        let value = parse(text, &mut problems);
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        match expected {
            Ok(expected) => assert_eq!((value, shown), (expected, vec![]), "{text}"),
            Err(expected) => assert_eq!(shown, expected, "{text}"),
        }
    }

    #[test]
    fn values_keep_their_types_and_order() {
        check("b: 1\na: [x, 1.5, true, ~, '7']", Ok(json!({"b": 1, "a": ["x", 1.5, true, null, "7"]})));
        check("", Ok(Value::Null));
        check("9100: yes", Ok(json!({"9100": "yes"})));
        check(
            "x: &d {a: 1, b: 2}\ny: {<<: *d, b: 3}",
            Ok(json!({"x": {"a": 1, "b": 2}, "y": {"b": 3, "a": 1}})),
        );
    }

    #[test]
    fn duplicates_are_all_found() {
        let expected =
            ["a.x: the key stands here twice: delete one", "a: the key stands here twice: delete one"];
        check("a: {x: 1, x: 2}\na: 3", Err(&expected));
    }

    #[test]
    fn syntax_errors_show_line_and_column() {
        let expected =
            "cannot read the YAML: mapping values are not allowed in this context at line 2 column 4";
        check("a: 1\n  b: 2", Err(&[expected]));
    }

    #[test]
    fn tags_mean_nothing() {
        check("a: !include b.yaml", Err(&["a: the YAML tag \"include\" has no meaning here: delete it"]));
    }

    #[test]
    fn bombs_are_refused_quickly() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        let texts = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 100].join(", "));
        for bomb in [laughs, texts, "[".repeat(1 << 20), "x".repeat(5 << 20)] {
            let mut problems = Vec::new();
            parse(&bomb, &mut problems);
            assert_eq!(problems.len(), 1, "{problems:?}");
        }
    }
}
