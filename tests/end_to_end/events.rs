//! Kubernetes events: watched by the real binary, delivered below a folder of their own, each count of each once, though the agent
//! is killed and S3 fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Response;
use serde_json::{Value, json};
use support::objects;
use support::s3::{Fault, Stored};
use support::server::{Answer, Piece, Pieces, Server};

use crate::world::{World, check_key};

/// Longer than a watch that is no progress.
const WATCH: Duration = Duration::from_millis(1_100);

/// An API server that knows events and no pods.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Vec<Value>>>);

impl Api {
    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something happened, so many times until now.
    fn say(&self, uid: &str, count: u64) {
        let mut changes = self.lock();
        let version = changes.len() + 1;
        let now = now();
        changes.push(json!({
            "kind": "Event", "apiVersion": "events.k8s.io/v1",
            "metadata": {"name": uid, "namespace": "ml", "uid": uid, "resourceVersion": version.to_string(),
                         "creationTimestamp": now},
            "reason": "Evicted", "type": "Warning", "note": "the node was low on memory", "deprecatedCount": count,
            "regarding": {"kind": "Job", "namespace": "ml", "name": "train"}, "deprecatedLastTimestamp": now,
            "deprecatedSource": {"component": "kubelet", "host": "n1"},
        }));
    }

    /// The count of each thing.
    fn there(&self) -> BTreeMap<String, u64> {
        let changes = self.lock();
        let pairs = changes.iter().map(|change| {
            (
                change["metadata"]["uid"].as_str().expect("a uid").to_owned(),
                change["deprecatedCount"].as_u64().expect("a count"),
            )
        });
        pairs.collect()
    }

    fn answer(&self, path: &str, query: &str) -> Answer {
        let changes = if path.ends_with("/events") { self.lock().clone() } else { Vec::new() };
        if !query.contains("watch=true") {
            let latest: BTreeMap<_, _> =
                changes.iter().map(|change| (change["metadata"]["uid"].to_string(), change)).collect();
            let items: Vec<_> = latest.into_values().collect();
            let metadata = json!({"resourceVersion": changes.len().to_string()});
            let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items});
            return Answer::ok(list.to_string().into());
        }
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let from: usize = from.and_then(|version| version.parse().ok()).unwrap_or_default();
        let lines = changes.iter().skip(from).map(|change| json!({"type": "MODIFIED", "object": change}));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        let bytes = (!text.is_empty()).then(|| Piece::Bytes(text.into()));
        let pieces = bytes.into_iter().chain([Piece::Wait(WATCH)]);
        Answer::Response(Response::new(Pieces::new(pieces)))
    }

    fn serve(&self) -> Server {
        let api = self.clone();
        Server::start(move |request| {
            let answer = api.answer(request.uri().path(), request.uri().query().unwrap_or_default());
            Box::pin(async move { answer })
        })
    }
}

/// The present moment, as Kubernetes writes it.
fn now() -> String {
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
    let now = jiff::Timestamp::from_second(i64::try_from(now).expect("a second"));
    now.expect("a time").to_string()
}

/// Objects of the folder, and all others.
fn stored(world: &World) -> (Vec<Stored>, Vec<Stored>) {
    world.s3.objects().into_iter().partition(|stored| stored.key.contains("/0-events/"))
}

/// Identity and count of every row delivered.
fn rows(world: &World) -> Vec<(String, u64)> {
    let objects = stored(world).0.into_iter();
    let rows = objects.flat_map(|stored| objects::read_events(&stored.bytes).expect("an object of events"));
    let checked = |(cluster, uid, count)| {
        assert_eq!(cluster, world.account.cluster_id);
        (uid, count)
    };
    rows.map(checked).collect()
}

/// The last value of the counters.
fn counted(world: &World) -> f64 {
    let files = stored(world).1.into_iter().map(|stored| objects::read(&stored.bytes).expect("an object"));
    let rows = files.flat_map(|file| file.rows).filter(|row| row.metric == "kube_events_total");
    let last = rows.max_by_key(|row| row.timestamp);
    last.map_or(0.0, |row| {
        assert_eq!((row.label("job"), row.label("namespace")), ("kubernetes-events", "ml"));
        row.value
    })
}

#[test]
fn each_count_of_each_event_is_delivered_once_though_the_agent_is_killed() {
    let (world, api) = (World::new(), Api::default());
    let server = api.serve();
    let kubeconfig: PathBuf = world.dir.path().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": server.url()}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, text.to_string()).expect("to write the kubeconfig");
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         kubernetes_events: {{enabled: true, kubeconfig_file: kubeconfig, max_object_age: 300ms}}\n{}",
        world.rest()
    );
    api.say("a", 1);
    api.say("b", 1);
    let mut agent = world.start_with(&config);
    let all = |world: &World, api: &Api| {
        let rows: BTreeSet<_> = rows(world).into_iter().collect();
        api.there().into_iter().all(|pair| rows.contains(&pair))
    };
    agent.wait_until("the first rows", |_| all(&world, &api));
    api.say("a", 3);
    api.say("c", 1);
    agent.wait_until("what the watch brought", |_| all(&world, &api));
    api.say("d", 2);
    world.s3.script([Fault::Status(503, "SlowDown"), Fault::Status(503, "SlowDown")]);
    drop(agent.kill());
    api.say("b", 4);
    let mut agent = world.start_with(&config);
    agent.wait_until("what happened meanwhile", |_| all(&world, &api));
    let sum = u32::try_from(api.there().values().sum::<u64>()).expect("few");
    agent.wait_until("the counters", |_| counted(&world) >= f64::from(sum));
    let outcome = agent.terminate();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!((counted(&world) - f64::from(sum)).abs() < 0.5, "{} of {sum}", counted(&world));
    let (rows, prefix) = (rows(&world), &world.account.prefix);
    let distinct: BTreeSet<_> = rows.iter().collect();
    assert_eq!(rows.len(), distinct.len(), "{rows:?}");
    let (events, metrics) = stored(&world);
    for stored in &events {
        check_key(&stored.key, &format!("{prefix}/0-events"));
    }
    for stored in &metrics {
        check_key(&stored.key, prefix);
        assert!(events.iter().all(|event| event.key < stored.key));
    }
}
