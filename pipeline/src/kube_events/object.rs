//! What is kept of a Kubernetes event (`events.k8s.io/v1`, Kubernetes' API reference, "Event").
//!
//! Takes its JSON, gives who, what, when and how often. Both generations are understood: `series` of the new one, and the
//! `deprecated` fields that the old one (`core/v1`) is shown as. Texts are cut where they are longer than the API allows.

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use crate::kubernetes::object::{Meta, Object, or_default};

/// The longest note that the API server takes, and the longest that is kept.
const NOTE_BYTES_MAX: usize = 1024;
/// The longest name of anything in Kubernetes.
const NAME_BYTES_MAX: usize = 253;

/// A Kubernetes event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Whole")]
pub(crate) struct KubeEvent {
    pub(super) meta: Meta,
    /// When it was seen first, milliseconds since the Unix epoch.
    pub(super) began: i64,
    /// When it was seen last, the same.
    pub(super) time: i64,
    /// How often it was seen until then.
    pub(super) count: u64,
    /// `Normal` or `Warning`.
    pub(super) severity: Box<str>,
    pub(super) reason: Box<str>,
    /// What it is about.
    pub(super) regarding: Regarding,
    /// Who said it.
    pub(super) component: Box<str>,
    /// Where that was said, if it was said on a node.
    pub(super) node: Box<str>,
    pub(super) note: Box<str>,
}

/// An object as another one names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Regarding {
    #[serde(deserialize_with = "or_default")]
    pub(super) kind: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(super) namespace: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub(super) uid: Box<str>,
    #[serde(deserialize_with = "or_default")]
    field_path: Box<str>,
}

impl Regarding {
    /// The container, from a path such as `spec.containers{name}`.
    pub(super) fn container(&self) -> Box<str> {
        let inside = self.field_path.split_once('{').and_then(|(_, rest)| rest.strip_suffix('}'));
        cut(inside.unwrap_or_default(), NAME_BYTES_MAX)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Whole {
    #[serde(deserialize_with = "or_default")]
    metadata: WholeMeta,
    #[serde(deserialize_with = "or_default")]
    event_time: Box<str>,
    #[serde(deserialize_with = "or_default")]
    series: Option<Series>,
    #[serde(deserialize_with = "or_default")]
    reporting_controller: Box<str>,
    #[serde(deserialize_with = "or_default")]
    reporting_instance: Box<str>,
    #[serde(deserialize_with = "or_default")]
    reason: Box<str>,
    #[serde(deserialize_with = "or_default")]
    regarding: Regarding,
    #[serde(deserialize_with = "or_default")]
    note: Box<str>,
    #[serde(rename = "type", deserialize_with = "or_default")]
    severity: Box<str>,
    #[serde(deserialize_with = "or_default")]
    deprecated_source: Source,
    #[serde(deserialize_with = "or_default")]
    deprecated_first_timestamp: Box<str>,
    #[serde(deserialize_with = "or_default")]
    deprecated_last_timestamp: Box<str>,
    #[serde(deserialize_with = "or_default")]
    deprecated_count: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WholeMeta {
    #[serde(deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(deserialize_with = "or_default")]
    namespace: Box<str>,
    #[serde(deserialize_with = "or_default")]
    uid: Box<str>,
    #[serde(deserialize_with = "or_default")]
    creation_timestamp: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    #[serde(deserialize_with = "or_default")]
    count: i64,
    #[serde(deserialize_with = "or_default")]
    last_observed_time: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Source {
    #[serde(deserialize_with = "or_default")]
    component: Box<str>,
    #[serde(deserialize_with = "or_default")]
    host: Box<str>,
}

impl From<Whole> for KubeEvent {
    fn from(whole: Whole) -> Self {
        let Whole { metadata, series, mut regarding, deprecated_source: source, .. } = whole;
        let repeated = series.as_ref().map_or(whole.deprecated_count, |series| series.count);
        let observed = series.as_ref().map_or("", |series| &series.last_observed_time);
        let times = [
            observed,
            &whole.deprecated_last_timestamp,
            &whole.event_time,
            &whole.deprecated_first_timestamp,
            &metadata.creation_timestamp,
        ];
        let time = times.into_iter().find_map(millis).unwrap_or_default();
        let times = [&whole.event_time, &whole.deprecated_first_timestamp, &metadata.creation_timestamp];
        let began = times.into_iter().find_map(|time| millis(time)).unwrap_or(time).min(time);
        let component = first([whole.reporting_controller, source.component]);
        // Kubelets name their node.
        let at_kubelet = if &*component == "kubelet" { whole.reporting_instance } else { Box::default() };
        let of_node = if &*regarding.kind == "Node" { regarding.name.clone() } else { Box::default() };
        if regarding.namespace.is_empty() && &*regarding.kind != "Node" {
            regarding.namespace.clone_from(&metadata.namespace);
        }
        for text in [&mut regarding.kind, &mut regarding.namespace, &mut regarding.name, &mut regarding.uid] {
            *text = cut(&std::mem::take(text), NAME_BYTES_MAX);
        }
        Self {
            began,
            time,
            count: u64::try_from(repeated).unwrap_or_default().max(1),
            severity: cut(&whole.severity, NAME_BYTES_MAX),
            reason: cut(&whole.reason, NAME_BYTES_MAX),
            component: cut(&component, NAME_BYTES_MAX),
            node: cut(&first([source.host, at_kubelet, of_node]), NAME_BYTES_MAX),
            note: cut(&whole.note, NOTE_BYTES_MAX),
            regarding,
            meta: Meta {
                namespace: cut(&metadata.namespace, NAME_BYTES_MAX),
                name: cut(&metadata.name, NAME_BYTES_MAX),
                uid: cut(&metadata.uid, NAME_BYTES_MAX),
                ..Meta::default()
            },
        }
    }
}

impl Object for KubeEvent {
    const GROUP: &'static str = "events.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Event";
    const RESOURCE: &'static str = "events";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// The first text that says something.
fn first<const N: usize>(texts: [Box<str>; N]) -> Box<str> {
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

/// A time as Kubernetes writes it (RFC 3339), in milliseconds since the Unix epoch.
pub(super) fn millis(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// At most so many bytes of a text.
pub(super) fn cut(text: &str, bytes_max: usize) -> Box<str> {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> KubeEvent {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn both_generations_are_understood() {
        let old = read(json!({
            "metadata": {"name": "p.1", "namespace": "a", "uid": "u", "creationTimestamp": "2026-11-22T10:00:00Z"},
            "eventTime": null, "series": null, "reason": "BackOff", "type": "Warning", "note": "Back-off",
            "regarding": {"kind": "Pod", "namespace": "a", "name": "p", "uid": "pu", "fieldPath": "spec.containers{c}"},
            "deprecatedSource": {"component": "kubelet", "host": "n1"}, "deprecatedCount": 7,
            "deprecatedFirstTimestamp": "2026-11-22T10:00:00Z", "deprecatedLastTimestamp": "2026-11-22T10:05:00Z",
        }));
        assert_eq!((old.count, old.began, old.time), (7, 1_795_341_600_000, 1_795_341_900_000));
        assert_eq!((&*old.component, &*old.node, &*old.regarding.container()), ("kubelet", "n1", "c"));
        let new = read(json!({
            "metadata": {"name": "n.1", "namespace": "default", "uid": "u", "creationTimestamp": "2026-11-22T10:00:00Z"},
            "eventTime": "2026-11-22T10:00:00.250000Z", "reportingController": "default-scheduler",
            "reportingInstance": "x", "regarding": {"kind": "Node", "name": "n7"},
        }));
        assert_eq!((new.count, new.began, new.time), (1, 1_795_341_600_250, 1_795_341_600_250));
        assert_eq!((&*new.component, &*new.node, &*new.regarding.namespace), ("default-scheduler", "n7", ""));
        let repeated = read(json!({
            "metadata": {"name": "n.1"}, "eventTime": "2026-11-22T10:00:00.000000Z",
            "series": {"count": 3, "lastObservedTime": "2026-11-22T10:05:00.000000Z"}, "deprecatedCount": 1,
        }));
        assert_eq!(
            (repeated.count, repeated.began, repeated.time),
            (3, 1_795_341_600_000, 1_795_341_900_000)
        );
    }

    #[test]
    fn texts_are_cut_and_nothing_is_needed() {
        let long = "ü".repeat(2_000);
        let found = read(json!({
            "metadata": {"name": "x", "uid": long}, "note": long, "reason": long, "deprecatedCount": -5,
            "regarding": {"fieldPath": format!("spec.containers{{{long}}}")},
        }));
        assert_eq!((found.note.len(), found.reason.len(), found.count, found.time), (1024, 252, 1, 0));
        assert_eq!((found.meta.uid.len(), found.regarding.container().len()), (252, 252));
    }
}
