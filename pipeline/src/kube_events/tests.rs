//! Everything once: against an API server that cuts off, forgets and repeats, and killed between any two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus::Registry;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::account::Turn;
use super::owners::Owners;
use super::position::Block;
use super::rows::tests::identities;
use super::*;
use crate::gate::Gate;
use crate::kubernetes::object::{Object as _, Received};
use crate::model::units;

/// Long enough for anything on loopback, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);
const NOW: i64 = 1_795_341_600_000;

fn happened(uid: &str, count: u64) -> Value {
    let now = k8s_openapi::jiff::Timestamp::from_millisecond(clock::now_millis()).unwrap().to_string();
    json!({
        "kind": "Event", "apiVersion": "events.k8s.io/v1",
        "metadata": {"name": uid, "namespace": "a", "uid": uid, "creationTimestamp": now},
        "reason": "BackOff", "type": "Warning", "note": "again", "deprecatedCount": count,
        "regarding": {"kind": "Pod", "namespace": "a", "name": "web-5d4f8c7b9-x", "uid": "p"},
        "deprecatedSource": {"component": "kubelet", "host": "n1"}, "deprecatedLastTimestamp": now,
    })
}

fn limits() -> Limits {
    Limits { rows: 3, series: 100, remembered: 1000, ahead: 600_000, behind: 86_400_000 }
}

/// What outlives a process.
struct Durable {
    dir: tempfile::TempDir,
    objects: BTreeMap<u64, Object>,
    /// What the API server has.
    there: BTreeMap<String, u64>,
    /// The counters as they were exposed last.
    exposed: u64,
}

/// What is done before the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Listed,
    Sealed,
    HalfWritten,
    Written,
    Given,
    Committed,
    Everything,
}

const STEPS: [Step; 7] = [
    Step::Listed,
    Step::Sealed,
    Step::HalfWritten,
    Step::Written,
    Step::Given,
    Step::Committed,
    Step::Everything,
];

impl Durable {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, objects: BTreeMap::new(), there: BTreeMap::new(), exposed: 0 }
    }

    fn taken(&self) -> u64 {
        self.objects.keys().next_back().map_or(7, |last| last + 1)
    }

    /// One process, which ends in the middle of its object number `round`.
    fn live(&mut self, last: Step, round: u64) {
        let (mut position, left) = Position::open(self.dir.path(), self.taken()).unwrap();
        let exposed = Exposed::default();
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let mut account = Account::new(limits(), left, NOW, exposed.clone(), metrics);
        position.replace(&account.whole(self.taken(), NOW)).unwrap();
        self.expose(&exposed);
        let now = clock::now_millis();
        let listed: Vec<_> = self.there.iter().map(|(uid, count)| happened(uid, *count)).collect();
        let mut listed = listed.into_iter().peekable();
        for number in 0.. {
            let last = if number == round { last } else { Step::Everything };
            while !account.is_full()
                && let Some(value) = listed.next()
            {
                let received: Received<KubeEvent> = serde_json::from_value(value).unwrap();
                account.take(received.object.unwrap(), now);
            }
            let sequence = self.taken();
            let Some(sealed) =
                (last > Step::Listed).then(|| account.seal(sequence, &Owners::default())).flatten()
            else {
                return;
            };
            let object = rows::encode(&sealed.rows, "c", "w", sequence).unwrap();
            if last == Step::Sealed {
                return;
            }
            run::add(&mut position, &sealed.block, None).unwrap();
            if last == Step::HalfWritten {
                let path = self.dir.path().join("position");
                let content = std::fs::read(&path).unwrap();
                return std::fs::write(&path, &content[..content.len() - 9]).unwrap();
            }
            if last == Step::Written {
                return;
            }
            self.objects.insert(sequence, object);
            if last == Step::Given {
                return;
            }
            account.commit(&sealed.block);
            self.expose(&exposed);
            if last == Step::Committed {
                return;
            }
        }
    }

    /// Counters never go back, over all processes.
    fn expose(&mut self, exposed: &Exposed) {
        let text = String::from_utf8(exposed.render()).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sum = samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert!(sum >= self.exposed, "{sum} after {}", self.exposed);
        self.exposed = sum;
    }

    /// Closes the ledger.
    fn check(&self) {
        let rows: Vec<_> = self.objects.values().flat_map(identities).collect();
        let distinct: BTreeSet<_> = rows.iter().collect();
        assert_eq!(rows.len(), distinct.len(), "twice: {rows:?}");
        let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
        for (uid, count) in &rows {
            let known = largest.entry(uid).or_default();
            *known = (*known).max(*count);
        }
        for (uid, count) in &self.there {
            assert_eq!(largest.get(uid.as_str()), Some(count), "{uid}");
        }
        assert_eq!(self.exposed, largest.values().sum::<u64>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_kill_between_any_two_steps_costs_nothing_and_repeats_nothing(
        lives in proptest::collection::vec(
            (
                proptest::collection::vec((0_u8..12, 0_u64..4), 0..8),
                proptest::sample::select(STEPS.to_vec()),
                0_u64..3,
            ),
            1..8,
        )
    ) {
        let mut durable = Durable::new();
        for (changes, last, round) in lives {
            for (name, more) in changes {
                // What is gone was another one of the same name.
                match more {
                    0 => drop(durable.there.remove(&format!("u{name}"))),
                    more => *durable.there.entry(format!("u{name}")).or_default() += more,
                }
            }
            // A uid comes once only.
            let shipped: Vec<_> = durable.objects.values().flat_map(identities).collect();
            durable.there.retain(|uid, count| shipped.iter().all(|(of, known)| of != uid || known <= count));
            durable.live(last, round);
        }
        durable.live(Step::Everything, 0);
        durable.check();
    }
}

#[test]
fn what_cannot_be_remembered_any_more_is_counted() {
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let limits = Limits { rows: 10_000, remembered: 1_000, ..limits() };
    let mut account = Account::new(limits, Vec::new(), NOW, Exposed::default(), metrics.clone());
    let now = clock::now_millis();
    for number in 0..2_000 {
        let received: Received<KubeEvent> =
            serde_json::from_value(happened(&format!("u{number}"), 1)).unwrap();
        account.take(received.object.unwrap(), now);
    }
    assert_eq!(account.open_rows(), 2_000);
    assert!((1_000..1_200).contains(&metrics.forgotten.get()), "{}", metrics.forgotten.get());
}

#[test]
fn only_what_happened_in_our_turn_is_counted_and_rows_far_from_now_are_dropped() {
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let exposed = Exposed::default();
    let mut account = Account::new(limits(), Vec::new(), NOW, exposed.clone(), metrics.clone());
    let time = clock::now_millis();
    let mut take = |uid: &str, now: i64, since: Option<i64>| {
        let received: Received<KubeEvent> = serde_json::from_value(happened(uid, 2)).unwrap();
        account.begin(since.map(|since| Turn { since, resumes: false }));
        account.take(received.object.unwrap(), now);
    };
    take("before", time, Some(time + 100_000));
    take("since", time, Some(time - 100_000));
    take("old", time + 100_000_000, None);
    take("future", time - 100_000_000, None);
    let sealed = account.seal(1, &Owners::default()).unwrap();
    account.commit(&sealed.block);
    let uids: Vec<_> = sealed.rows.iter().map(|row| &*row.uid).collect();
    assert_eq!(uids, ["before", "since"]);
    assert!(String::from_utf8(exposed.render()).unwrap().ends_with(" 2\n"), "{exposed:?}");
    let dropped = |reason: &str| metrics.rows_dropped.with_label_values(&[reason]).get();
    assert_eq!((dropped("timestamp_behind"), dropped("timestamp_ahead")), (1, 1));
}

/// Of agents that take turns none counts what another has counted, and what repeats in its turn it counts from there on.
#[test]
fn a_turn_counts_what_happened_in_it() {
    let at = |offset: i64| k8s_openapi::jiff::Timestamp::from_millisecond(NOW + offset).unwrap().to_string();
    let take = |account: &mut Account, count: u64, began: i64, last: i64| {
        let mut value = happened("a", count);
        value["deprecatedFirstTimestamp"] = at(began).into();
        value["deprecatedLastTimestamp"] = at(last).into();
        let received: Received<KubeEvent> = serde_json::from_value(value).unwrap();
        account.take(received.object.unwrap(), NOW);
    };
    let new = |left: Vec<Block>| {
        let exposed = Exposed::default();
        let metrics = Metrics::new(&Registry::new()).unwrap();
        (Account::new(limits(), left, NOW, exposed.clone(), metrics), exposed)
    };
    let check = |left: bool, resumes: bool, [began, listed, last]: [Option<i64>; 3], expected: u64| {
        let (mut before, _) = new(Vec::new());
        take(&mut before, 5, -60_000, -60_000);
        let seen = before.seal(1, &Owners::default()).unwrap().block.seen;
        let left = if left { vec![Block::new(1, seen, Vec::new())] } else { Vec::new() };
        let (mut account, exposed) = new(left);
        account.begin(Some(Turn { since: NOW, resumes }));
        let began = began.unwrap_or(-60_000);
        listed.into_iter().for_each(|listed| take(&mut account, 7, began, listed));
        last.into_iter().for_each(|last| take(&mut account, 9, began, last));
        let sealed = account.seal(2, &Owners::default()).unwrap();
        account.commit(&sealed.block);
        let text = String::from_utf8(exposed.render()).unwrap();
        let counted = text.lines().filter(|line| !line.starts_with('#'));
        let counted: u64 = counted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(counted, expected, "{left:?} {resumes} {began} {listed:?} {last:?}", left = sealed.block);
    };
    // Another agent has counted it all, or all but the last; or it began in this turn.
    check(false, false, [None, None, Some(-1)], 0);
    check(false, false, [None, None, Some(1)], 1);
    check(false, false, [Some(0), None, Some(1)], 9);
    // Seen in this turn before it was repeated.
    check(false, false, [None, Some(-1), Some(1)], 2);
    // What an earlier process of this agent left is of this turn, or of one before another agent's.
    check(true, true, [None, None, Some(1)], 4);
    check(true, false, [None, None, Some(1)], 1);
    check(true, false, [None, Some(-1), Some(1)], 2);
}

/// What the server does with one request for a resource.
enum Answer {
    List(u64, Vec<Value>, &'static str),
    /// Lines of a watch, after which it ends as the server ends one.
    Watch(Vec<Value>),
    /// Lines of a watch, after which the connection breaks.
    Broken(Vec<Value>),
    /// Lines of a watch that stays open.
    Open(Vec<Value>),
    Status(u16),
}

/// Follows one script for pods and one for events, and then answers no more.
async fn serve(listener: TcpListener, pods: Vec<Answer>, events: Vec<Answer>) {
    let (mut pods, mut events, mut open) = (pods.into_iter(), events.into_iter(), Vec::new());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let path = String::from_utf8(head).unwrap();
        let script = if path.contains("/events") { &mut events } else { &mut pods };
        let Some(answer) = script.next() else { return std::future::pending().await };
        if answer_with(answer, &mut stream).await {
            open.push(stream);
        }
    }
}

/// Returns whether the connection stays.
async fn answer_with(answer: Answer, stream: &mut TcpStream) -> bool {
    let chunked = |lines: &[Value]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if text.is_empty() { text } else { format!("{:x}\r\n{text}\r\n", text.len()) }
    };
    let whole = |status: u16, body: String| {
        format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let watch = "HTTP/1.1 200 x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (text, stays) = match answer {
        Answer::List(version, items, more) => {
            let metadata = json!({"resourceVersion": version.to_string(), "continue": more});
            let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items});
            (whole(200, list.to_string()), false)
        }
        Answer::Status(code) => {
            let message = "events is forbidden: User \"me\" cannot list";
            let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": message});
            (whole(code, status.to_string()), false)
        }
        Answer::Watch(lines) => (format!("{watch}{}0\r\n\r\n", chunked(&lines)), false),
        Answer::Broken(lines) => (format!("{watch}{}", chunked(&lines)), false),
        Answer::Open(lines) => (format!("{watch}{}", chunked(&lines)), true),
    };
    stream.write_all(text.as_bytes()).await.unwrap();
    stays
}

fn change(kind: &str, version: u64, mut object: Value) -> Value {
    object["metadata"]["resourceVersion"] = version.to_string().into();
    json!({"type": kind, "object": object})
}

/// The process, with a spool that takes everything.
struct Run {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    objects: mpsc::Receiver<Object>,
    taken: watch::Sender<u64>,
    exposed: Exposed,
}

impl Run {
    async fn start(dir: &Path, taken: u64, pods: Vec<Answer>, events: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let file: PathBuf = dir.join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(&file, text.to_string()).unwrap();
        let max_object_age = units::Duration(Duration::from_millis(100));
        let config = Config { kubeconfig_file: Some(file), max_object_age, ..Config::default() };
        let (sender, objects) = mpsc::channel(1);
        let (taken, is_taken) = watch::channel(taken);
        let writer = Writer { id: "w".into(), next_sequence: *taken.borrow(), taken: *taken.borrow() };
        let outlet = Outlet { writer, objects: sender, taken: is_taken };
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let opened = open(&config, dir, "c", &crate::Limits::default(), outlet, metrics);
        let (watcher, exposed) = opened.unwrap();
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(serve(listener, pods, events));
        tasks.spawn(watcher.run(Gate::open(), stop.clone()));
        Self { tasks, stop, objects, taken, exposed }
    }

    /// Takes objects until so many rows have come.
    async fn rows(&mut self, count: usize) -> Vec<Object> {
        let mut objects: Vec<Object> = Vec::new();
        while objects.iter().map(|object| object.samples).sum::<u64>() < count as u64 {
            let object = tokio::time::timeout(LONG, self.objects.recv()).await.unwrap().unwrap();
            self.taken.send_replace(object.sequence + 1);
            objects.push(object);
        }
        objects
    }

    /// Ends it in order; what came last.
    async fn end(mut self) -> (Vec<Object>, String) {
        self.stop.cancel();
        let mut objects = Vec::new();
        while let Some(object) = self.objects.recv().await {
            self.taken.send_replace(object.sequence + 1);
            objects.push(object);
        }
        self.tasks.shutdown().await;
        (objects, String::from_utf8(self.exposed.render()).unwrap())
    }
}

fn all(objects: &[Object]) -> Vec<(String, u64)> {
    let mut rows: Vec<_> = objects.iter().flat_map(identities).collect();
    rows.sort();
    rows
}

fn pod() -> Value {
    let owner = json!({"kind": "ReplicaSet", "name": "web-5d4f8c7b9", "controller": true});
    let labels = json!({"pod-template-hash": "5d4f8c7b9"});
    let metadata = json!({"name": "web-5d4f8c7b9-x", "namespace": "a", "uid": "p", "labels": labels, "ownerReferences": [owner]});
    let now = k8s_openapi::jiff::Timestamp::from_millisecond(clock::now_millis()).unwrap().to_string();
    let last = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": now}});
    let status = json!({"name": "main", "restartCount": 1, "lastState": last, "state": {"running": {}}});
    json!({"metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"containerStatuses": [status]}})
}

fn rows_of(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    let mut rows: Vec<_> = expected.iter().map(|(uid, count)| ((*uid).to_owned(), *count)).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn everything_comes_once_whatever_the_server_does() {
    let dir = tempfile::tempdir().unwrap();
    let pods = || vec![Answer::List(1, vec![pod()], ""), Answer::Open(Vec::new())];
    let events = vec![
        Answer::List(1, vec![happened("a", 1)], "more"),
        Answer::List(1, vec![happened("b", 1)], ""),
        Answer::Watch(vec![change("MODIFIED", 2, happened("a", 2)), change("ADDED", 3, happened("c", 1))]),
        // The same once more, as after a connection that broke.
        Answer::Broken(vec![change("ADDED", 3, happened("c", 1))]),
        Answer::Status(410),
        Answer::List(9, vec![happened("a", 2), happened("b", 1), happened("c", 1), happened("d", 4)], ""),
        Answer::Open(vec![change("DELETED", 10, happened("b", 1))]),
    ];
    let mut run = Run::start(dir.path(), 5, pods(), events).await;
    let objects = run.rows(6).await;
    let expected = rows_of(&[("a", 1), ("b", 1), ("a", 2), ("c", 1), ("d", 4), ("p/main", 1)]);
    assert_eq!(all(&objects), expected);
    let text = |name: &str| {
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(objects[0].bytes.clone());
        let batch = reader.unwrap().build().unwrap().next().unwrap().unwrap();
        let column = arrow::array::AsArray::as_string::<i32>(batch.column_by_name(name).unwrap()).clone();
        column.iter().map(|value| value.unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(text("owner"), ["web".to_owned()].into());
    assert_eq!(text("owner_kind"), ["Deployment".to_owned()].into());
    assert_eq!(text("reason"), ["BackOff".to_owned(), "OOMKilled".to_owned()].into());
    let (rest, exposed) = run.end().await;
    assert!(rest.is_empty(), "{:?}", all(&rest));
    let labels = r#"{reason="BackOff",type="Warning",kind="Pod",namespace="a",source="kubelet"}"#;
    assert!(exposed.contains(&format!("kube_events_total{labels} 8\n")), "{exposed}");

    // The next process lists everything again: only what is new makes a row, and counters go on.
    let next = objects.last().unwrap().sequence + 1;
    let events = vec![
        Answer::List(20, vec![happened("a", 7), happened("c", 1), happened("d", 4), happened("e", 1)], ""),
        Answer::Open(Vec::new()),
    ];
    let mut run = Run::start(dir.path(), next, pods(), events).await;
    assert_eq!(all(&run.rows(2).await), rows_of(&[("a", 7), ("e", 1)]));
    let (rest, exposed) = run.end().await;
    assert!(rest.is_empty(), "{:?}", all(&rest));
    assert!(exposed.contains(&format!("kube_events_total{labels} 14\n")), "{exposed}");
}

/// The spool refuses for a while and the process ends: what was not taken comes again, and is not counted before.
#[tokio::test]
async fn what_the_spool_never_took_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let pods = || vec![Answer::Status(403), Answer::Status(403), Answer::Status(403)];
    let events = || vec![Answer::List(1, vec![happened("a", 3)], ""), Answer::Open(Vec::new())];
    let mut run = Run::start(dir.path(), 5, pods(), events()).await;
    let object = tokio::time::timeout(LONG, run.objects.recv()).await.unwrap().unwrap();
    assert_eq!(all(&[object]), rows_of(&[("a", 3)]));
    run.tasks.shutdown().await;
    let mut run = Run::start(dir.path(), 5, pods(), events()).await;
    assert_eq!(all(&run.rows(1).await), rows_of(&[("a", 3)]));
    let (rest, exposed) = run.end().await;
    assert!(rest.is_empty() && exposed.ends_with(" 3\n"), "{exposed}");
    let run = Run::start(dir.path(), 6, pods(), events()).await;
    let (rest, exposed) = run.end().await;
    assert!(rest.is_empty() && exposed.ends_with(" 3\n"), "{exposed}");
}

#[test]
fn what_has_to_be_permitted_is_said() {
    let namespaces = Namespaces { names: vec!["b".into(), "a".into(), "a".into()] };
    let config = Config { namespaces, ..Config::default() };
    let words: Vec<_> = permissions(&config).iter().map(|(_, permission)| permission.to_string()).collect();
    assert_eq!(words.len(), 8);
    assert_eq!(words[0], "list events.events.k8s.io in namespace a");
    assert!(words.contains(&"watch pods in namespace b".to_owned()), "{words:?}");
    assert_eq!(KubeEvent::KIND, "Event");
}
