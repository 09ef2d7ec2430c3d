//! Labels of every role against what Prometheus makes of the same objects, and objects that are no good.
//!
//! `testdata/expected.json` was recorded from the discovery of Prometheus v0.314.0 (3.x), run on the objects of
//! `testdata/cases.yaml` behind the fake client of its own tests. Groups without targets are left out of both.

mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::groups::Groups;
use super::look::Stores;
use super::store::Store;
use super::*;
use crate::kubernetes::object::{self, Object, Received};
use crate::model::labels::Labels;
use crate::model::target::TargetGroup;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    role: Role,
    #[serde(default)]
    attach: AttachMetadata,
    objects: Vec<Value>,
}

type Texts = BTreeMap<String, String>;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    source: String,
    labels: Texts,
    targets: Vec<Texts>,
}

/// A store of those objects that are of its kind.
fn store<T: Object>(objects: &[Value]) -> Option<Arc<Store<T>>> {
    let store = Store::default();
    let mut listed = hashbrown::HashMap::new();
    for object in objects.iter().filter(|object| object["kind"] == T::KIND) {
        let received: Received<T> = serde_json::from_value(object.clone()).unwrap();
        if let Ok(object) = received.object {
            listed.insert(object.meta().key(), object);
        }
    }
    store.replace(listed);
    Some(Arc::new(store))
}

fn stores(objects: &[Value]) -> Stores {
    Stores {
        pods: store(objects),
        services: store(objects),
        endpoints: store(objects),
        slices: store(objects),
        nodes: store(objects),
        ingresses: store(objects),
        namespaces: store(objects),
        replica_sets: store(objects),
        jobs: store(objects),
    }
}

/// The groups of a role, made of objects.
fn groups(role: Role, attach: AttachMetadata, objects: &[Value]) -> Vec<Arc<TargetGroup>> {
    let mut groups = Groups::new(role, attach, stores(objects));
    assert!(groups.are_known());
    groups.update(&HashSet::new());
    groups.iter().cloned().collect()
}

/// The group's labels, what is shared put in.
fn group_labels(group: &TargetGroup) -> Texts {
    let mut all = group.shared.as_deref().map(texts).unwrap_or_default();
    all.extend(texts(&group.labels));
    all
}

/// The labels of each target, what is shared put in.
fn target_labels(group: &TargetGroup) -> Vec<Texts> {
    let shared = |position: usize| group.shared_by_target.get(position)?.as_deref().map(texts);
    let labels = |(position, own): (usize, &Labels)| {
        let mut all = shared(position).unwrap_or_default();
        all.extend(texts(own));
        all
    };
    group.targets.iter().enumerate().map(labels).collect()
}

fn texts(labels: &Labels) -> Texts {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// In Prometheus, the ports that no endpoint covers come in no order.
fn sorted(mut targets: Vec<Texts>) -> Vec<Texts> {
    targets.sort();
    targets
}

#[test]
fn labels_are_those_of_prometheus() {
    let cases: Vec<Case> = serde_norway::from_str(&merged(include_str!("../testdata/cases.yaml"))).unwrap();
    let mut expected: HashMap<String, Vec<Expected>> =
        serde_json::from_str(include_str!("../testdata/expected.json")).unwrap();
    for case in cases {
        let found = groups(case.role, case.attach, &case.objects);
        let found: Vec<_> = found
            .iter()
            .map(|group| Expected {
                source: group.source.clone(),
                labels: group_labels(group),
                targets: sorted(target_labels(group)),
            })
            .collect();
        let wanted = expected.remove(&case.name).unwrap_or_else(|| panic!("{} was not recorded", case.name));
        let wanted: Vec<_> =
            wanted.into_iter().map(|group| Expected { targets: sorted(group.targets), ..group }).collect();
        assert!(!wanted.is_empty(), "{}: nothing to compare", case.name);
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!(found, wanted, "{}", case.name);
        }
        assert_eq!(found.len(), wanted.len(), "{}", case.name);
    }
    assert!(expected.is_empty(), "without a case: {:?}", expected.keys());
}

/// The text with its merge keys resolved, which the reader leaves alone.
fn merged(text: &str) -> String {
    let mut value: serde_norway::Value = serde_norway::from_str(text).unwrap();
    value.apply_merge().unwrap();
    serde_norway::to_string(&value).unwrap()
}

fn pod(name: &str, ip: &str) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "uid": name, "managedFields": [{"manager": "x"}]},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]},
        "status": {"podIP": ip, "phase": "Running"},
    })
}

fn slice(name: &str, pod: &str) -> Value {
    let endpoint =
        json!({"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": pod, "namespace": "a"}});
    json!({
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "a", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "endpoints": [endpoint], "ports": [{"port": 80}],
    })
}

fn typed<T: Object>(value: Value) -> T {
    serde_json::from_value::<Received<T>>(value).unwrap().object.unwrap()
}

#[test]
fn only_what_depends_on_a_change_is_made_anew() {
    let objects = [pod("p1", "10.0.0.1"), pod("p2", "10.0.0.2"), slice("s1", "p1"), slice("s2", "p2")];
    let stores = stores(&objects);
    let (pods, slices) = (stores.pods.clone().unwrap(), stores.slices.clone().unwrap());
    let inbox = Arc::new(Inbox::default());
    pods.subscribe(&inbox);
    slices.subscribe(&inbox);
    stores.services.as_ref().unwrap().subscribe(&inbox);
    let services = stores.services.clone().unwrap();
    let mut groups = Groups::new(Role::EndpointSlice, AttachMetadata::default(), stores);
    assert!(groups.update(&inbox.take()));
    let before: Vec<_> = groups.iter().cloned().collect();
    let kept = |groups: &mut Groups| {
        let different = groups.update(&inbox.take());
        let kept =
            groups.iter().map(|group| before.iter().any(|before| Arc::ptr_eq(before, group))).collect();
        (different, kept)
    };
    // The same object once more.
    pods.apply(typed(pod("p1", "10.0.0.1")));
    assert_eq!(kept(&mut groups), (false, vec![true, true]));
    // One pod became different.
    pods.apply(typed(pod("p2", "10.0.0.3")));
    assert_eq!(kept(&mut groups), (true, vec![true, false]));
    // One slice itself.
    let mut changed = slice("s1", "p1");
    changed["ports"][0]["port"] = json!(81);
    slices.apply(typed(changed));
    assert_eq!(kept(&mut groups), (true, vec![false, false]));
    // A service appears that was looked for: both slices are its.
    let service =
        json!({"kind": "Service", "metadata": {"name": "s", "namespace": "a", "labels": {"x": "y"}}});
    services.apply(typed(service));
    assert_eq!(kept(&mut groups), (true, vec![false, false]));
    let value = |groups: &Groups, name: &str| {
        groups.iter().map(|group| group.labels.value(name).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(value(&groups, "__meta_kubernetes_service_label_x"), ["y", "y"]);
    slices.delete(&typed::<endpointslice::EndpointSlice>(slice("s1", "p1")).meta().key());
    assert_eq!(kept(&mut groups), (true, vec![false]));
}

#[test]
fn a_list_that_came_again_changes_only_what_differs() {
    let store: Store<pod::Pod> = Store::default();
    let list = |pods: &[(&str, &str)]| {
        pods.iter()
            .map(|(name, ip)| typed::<pod::Pod>(pod(name, ip)))
            .map(|pod| (pod.meta.key(), pod))
            .collect()
    };
    let inbox = Arc::new(Inbox::default());
    store.subscribe(&inbox);
    assert_eq!(store.replace(list(&[("a", "1"), ("b", "2"), ("c", "3")])), 3);
    inbox.take();
    let before = store.get("a", "a").unwrap();
    assert_eq!(store.replace(list(&[("a", "1"), ("b", "4"), ("d", "5")])), 3);
    assert!(Arc::ptr_eq(&before, &store.get("a", "a").unwrap()));
    let marks: HashSet<u64> = ["b", "c", "d"].map(|name| object::mark("pods", "a", name)).into();
    assert_eq!(inbox.take(), marks);
}

#[test]
fn objects_that_are_no_good_cost_only_themselves() {
    let check = |value: Value, expected: &str| {
        let received: Received<pod::Pod> = serde_json::from_value(value.clone()).unwrap();
        let problem = received.object.unwrap_err();
        assert!(problem.contains(expected), "{value}: {problem}");
    };
    check(json!({"metadata": {"name": "a"}, "spec": {"containers": "x"}}), "invalid type: string");
    check(json!({"metadata": {"name": 5}}), "invalid type");
    check(json!({"metadata": {"labels": {"a": 5}}}), "invalid type");
    check(json!({"spec": {}}), "no name");
    check(json!({}), "no name");
    // Null is what Go writes for nothing.
    let nulls =
        json!({"metadata": {"name": "a", "labels": null}, "spec": {"containers": null}, "status": null});
    typed::<pod::Pod>(nulls);
}

/// JSON with the keys that are looked at.
fn json_value() -> impl Strategy<Value = Value> {
    const KEYS: [&str; 24] = [
        "metadata",
        "name",
        "namespace",
        "labels",
        "annotations",
        "ownerReferences",
        "controller",
        "spec",
        "status",
        "containers",
        "ports",
        "containerPort",
        "podIP",
        "conditions",
        "endpoints",
        "addresses",
        "targetRef",
        "kind",
        "subsets",
        "port",
        "rules",
        "http",
        "paths",
        "tls",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z:./ü]{0,6}".prop_map(Value::from),
        Just(json!("Pod")),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let key = proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object of a kind with a name, and anything else.
fn any_object(kind: &'static str) -> impl Strategy<Value = Value> {
    (json_value(), json_value(), json_value()).prop_map(move |(spec, status, rest)| {
        let mut object = json!({"kind": kind, "metadata": {"name": "x", "namespace": "a"}});
        object["spec"] = spec;
        object["status"] = status;
        for key in ["subsets", "endpoints", "ports"] {
            object[key] = rest.clone();
        }
        object
    })
}

proptest! {
    #[test]
    fn no_object_makes_it_panic(
        objects in prop_oneof![
            proptest::collection::vec(any_object("Pod"), 1..3),
            proptest::collection::vec(any_object("Node"), 1..3),
            proptest::collection::vec(any_object("Service"), 1..3),
            proptest::collection::vec(any_object("Endpoints"), 1..3),
            proptest::collection::vec(any_object("EndpointSlice"), 1..3),
            proptest::collection::vec(any_object("Ingress"), 1..3),
        ]
    ) {
        let attach =
            AttachMetadata { node: true, namespace: true, deployment: true, job: true, cronjob: true };
        for role in [Role::Pod, Role::Node, Role::Service, Role::Endpoints, Role::EndpointSlice, Role::Ingress] {
            for group in groups(role, attach, &objects) {
                for target in &group.targets {
                    prop_assert!(target.iter().all(|(name, _)| name.starts_with("__") || name == "instance"));
                }
            }
        }
    }
}
