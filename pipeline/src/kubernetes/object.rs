//! What is kept of a Kubernetes object: only what labels are made of.
//!
//! Takes an object's JSON, gives a compact form or what is wrong with it. Managed fields, specifications and everything
//! else go away at once, so that thousands of pods cost little.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::model::labels::{read_text, write_text};

/// A kind of object that is watched, in its compact form.
pub(crate) trait Object:
    DeserializeOwned + PartialEq + Clone + fmt::Debug + Send + Sync + 'static
{
    /// The API group; empty for the core.
    const GROUP: &'static str;
    const VERSION: &'static str;
    const KIND: &'static str;
    /// The resource, in the plural.
    const RESOURCE: &'static str;

    fn meta(&self) -> &Meta;
}

/// Which object: namespace (empty where the kind has none) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name } = self;
        if namespace.is_empty() { f.write_str(name) } else { write!(f, "{namespace}/{name}") }
    }
}

/// A name that is looked up without being copied.
#[derive(Clone, Copy)]
pub(crate) struct NameRef<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl Hash for NameRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl hashbrown::Equivalent<Name> for NameRef<'_> {
    fn equivalent(&self, key: &Name) -> bool {
        (self.0, self.1) == (&*key.namespace, &*key.name)
    }
}

/// Stands for an object of a kind, whether it exists or not. Two that are equal by accident cost one look too many and
/// nothing else.
pub(crate) fn mark(resource: &str, namespace: &str, name: &str) -> u64 {
    let mut hasher = Xxh3::new();
    for text in [resource, namespace, name] {
        hasher.update(text.as_bytes());
        hasher.update(&[0xff]);
    }
    hasher.digest()
}

/// What all objects have.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "WholeMeta")]
pub(crate) struct Meta {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
    pub(crate) labels: Pairs,
    pub(crate) annotations: Pairs,
    /// Kind and name of the owner that controls the object.
    pub(crate) controller: Option<Box<(Box<str>, Box<str>)>>,
}

impl Meta {
    pub(crate) fn key(&self) -> Name {
        Name { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Only what says which object it is, and whose.
    pub(crate) fn without_labels(self) -> Self {
        Self { namespace: self.namespace, name: self.name, controller: self.controller, ..Self::default() }
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct WholeMeta {
    #[serde(deserialize_with = "or_default")]
    namespace: Box<str>,
    #[serde(deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(deserialize_with = "or_default")]
    uid: Box<str>,
    #[serde(deserialize_with = "or_default")]
    labels: Pairs,
    #[serde(deserialize_with = "or_default")]
    annotations: Pairs,
    #[serde(deserialize_with = "or_default")]
    owner_references: Vec<Owner>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Owner {
    #[serde(deserialize_with = "or_default")]
    kind: Box<str>,
    #[serde(deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(deserialize_with = "or_default")]
    controller: bool,
}

impl From<WholeMeta> for Meta {
    fn from(whole: WholeMeta) -> Self {
        let controller = whole.owner_references.into_iter().find(|owner| owner.controller);
        Self {
            namespace: whole.namespace,
            name: whole.name,
            uid: whole.uid,
            labels: whole.labels,
            annotations: whole.annotations,
            controller: controller.map(|owner| Box::new((owner.kind, owner.name))),
        }
    }
}

/// Labels or annotations: names and values, sorted by name, in one piece of memory. Unlike a label set of ours it keeps
/// empty values, because it can be seen that they are there.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs(Box<str>);

impl Pairs {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((read_text(&mut rest)?, read_text(&mut rest)?)))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = BTreeMap::<String, Option<String>>::deserialize(deserializer)?;
        let mut text = String::new();
        for (name, value) in pairs {
            write_text(&name, &mut text);
            write_text(&value.unwrap_or_default(), &mut text);
        }
        Ok(Self(text.into_boxed_str()))
    }
}

/// A field that may be absent or null, which Go writes for an empty list.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An object as it came from the server: an object that cannot be understood does not cost the whole list.
#[derive(Clone, Debug)]
pub(crate) struct Received<T> {
    /// What the watch itself needs to know: version, namespace, name.
    meta: ObjectMeta,
    pub(crate) object: Result<T, String>,
}

impl<T> Received<T> {
    pub(crate) fn key(&self) -> Name {
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        Name { namespace: text(&self.meta.namespace), name: text(&self.meta.name) }
    }
}

impl<'de, T: Object> Deserialize<'de> for Received<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = |key: &str| value.get("metadata")?.get(key)?.as_str().map(str::to_owned);
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        if !value.is_object() {
            return Err(D::Error::custom("not an object"));
        }
        let object = match T::deserialize(&value) {
            Ok(object) if object.meta().name.is_empty() => Err("it has no name".to_owned()),
            Ok(object) => Ok(object),
            Err(e) => Err(e.to_string()),
        };
        Ok(Self { meta, object })
    }
}

impl<T: Object> Resource for Received<T> {
    type DynamicType = ();
    type Scope = DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        T::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        T::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        T::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        T::RESOURCE.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
