//! Watches against a scripted API server: what is asked for after each kind of trouble.

use std::net::SocketAddr;
use std::sync::Mutex;

use prometheus::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::discovery::{Discovery, Look, Metrics, Source};
use crate::model::target::TargetSet;

/// Long enough for anything on loopback, on a busy machine too.
const LONG: Duration = Duration::from_secs(20);

/// What the server does with one request, whatever it asks for.
enum Step {
    /// A page of a list: version, names of pods, and where it goes on.
    List(u64, &'static [&'static str], &'static str),
    /// Lines of a watch, after which it ends as the server ends one.
    Watch(Vec<Value>),
    /// Lines of a watch, after which the connection breaks.
    Broken(Vec<Value>),
    /// Lines of a watch that stays open.
    Open(Vec<Value>),
    /// An error.
    Status(u16, &'static str),
}

/// An API server that follows a script and then answers no more.
struct Server {
    address: SocketAddr,
    /// Paths with parameters.
    asked: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(script: Vec<Step>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), script).await
    }

    async fn at(address: SocketAddr, script: Vec<Step>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = Vec::new();
            for step in script {
                let (mut stream, _) = listener.accept().await.unwrap();
                let path = request(&mut stream).await;
                seen.lock().unwrap().push(path);
                if step.answer(&mut stream).await {
                    open.push(stream);
                }
            }
            std::future::pending::<()>().await;
        });
        Self { address, asked, tasks }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    async fn stop(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }
}

/// The path of a request.
async fn request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned()
}

impl Step {
    /// Returns whether the connection stays.
    async fn answer(self, stream: &mut TcpStream) -> bool {
        let (status, body, length) = match &self {
            Self::List(version, names, more) => {
                let items: Vec<_> = names.iter().map(|name| pod(name, "10.0.0.1")).collect();
                let metadata = json!({"resourceVersion": version.to_string(), "continue": more});
                let list =
                    json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items});
                (200, list.to_string(), true)
            }
            Self::Watch(lines) | Self::Broken(lines) | Self::Open(lines) => {
                (200, lines.iter().map(|line| format!("{line}\n")).collect(), false)
            }
            Self::Status(code, message) => {
                let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": message});
                (*code, status.to_string(), true)
            }
        };
        let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Type: application/json\r\n");
        let whole = match length {
            true => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
            // Chunked, so that an end can be told from a break.
            false if body.is_empty() => format!("{head}Transfer-Encoding: chunked\r\n\r\n"),
            false => format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
        };
        stream.write_all(whole.as_bytes()).await.unwrap();
        if matches!(self, Self::Watch(_)) {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        matches!(self, Self::Open(_))
    }
}

fn change(kind: &str, name: &str, version: u64) -> Value {
    let mut object = pod(name, "10.0.0.1");
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    json!({"type": kind, "object": object})
}

fn bookmark(version: u64) -> Value {
    json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1",
        "metadata": {"resourceVersion": version.to_string()}}})
}

/// Discovery of the pods of namespace `a`, until the test ends.
struct Looking {
    look: Look,
    metrics: Metrics,
}

fn look(address: SocketAddr) -> Looking {
    let config: KubernetesConfig = serde_norway::from_str(&format!(
        "{{role: pod, api_server: 'http://{address}', namespaces: {{names: [a]}}, selectors: [{{role: pod, label: 'x=y'}}]}}"
    ))
    .unwrap();
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let discovery = Discovery::new(metrics.clone());
    let fixed = TargetGroup { source: "fixed".to_owned(), ..TargetGroup::default() };
    let sources = vec![Source::Static(vec![fixed]), Source::Kubernetes(Box::new(config))];
    Looking { look: discovery.start("j", sources), metrics }
}

impl Looking {
    /// Waits until the set is such; gives the pods in it and the problems.
    async fn until(&mut self, mut is_such: impl FnMut(&TargetSet) -> bool) -> (Vec<String>, Vec<String>) {
        let waiting = async {
            loop {
                let set = self.look.set();
                if is_such(&set) {
                    return set;
                }
                self.look.changed().await.unwrap();
            }
        };
        let set = tokio::time::timeout(LONG, waiting).await.expect("the set comes");
        let pods = set.groups.iter().filter_map(|group| group.source.strip_prefix("pod/a/"));
        (pods.map(str::to_owned).collect(), set.problems)
    }

    async fn until_pods(&mut self, pods: &[&str]) -> Vec<String> {
        let wanted: Vec<_> =
            ["fixed".to_owned()].into_iter().chain(pods.iter().map(|p| format!("pod/a/{p}"))).collect();
        self.until(|set| set.groups.iter().map(|group| group.source.clone()).eq(wanted.iter().cloned()))
            .await
            .1
    }
}

const LIST: &str = "/api/v1/namespaces/a/pods?&labelSelector=x%3Dy&limit=500";

/// What a watch from a version asks for.
fn watch_from(version: u64) -> String {
    format!(
        "/api/v1/namespaces/a/pods?&watch=true&timeoutSeconds=120&labelSelector=x%3Dy&allowWatchBookmarks=true&\
         resourceVersion={version}"
    )
}

#[tokio::test]
async fn a_watch_is_resumed_and_a_list_taken_again_only_when_it_must() {
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version"}});
    let server = Server::start(vec![
        Step::List(10, &["p1"], "page2"),
        Step::List(10, &["p2"], ""),
        Step::Watch(vec![change("ADDED", "p3", 11), change("DELETED", "p1", 12), bookmark(20)]),
        Step::Broken(vec![change("MODIFIED", "p4", 21)]),
        Step::Watch(vec![gone]),
        Step::List(30, &["p5"], ""),
        Step::Status(410, "too old resource version"),
        Step::List(40, &["p5", "p6"], ""),
        Step::Open(vec![
            change("ADDED", "p7", 41),
            json!({"type": "ADDED", "object": {"metadata": {"name": 5}}}),
        ]),
    ])
    .await;
    let mut looking = look(server.address);
    assert_eq!(looking.until_pods(&["p5", "p6", "p7"]).await, [""; 0]);
    let expected = [
        LIST.to_owned(),
        format!("{LIST}&continue=page2"),
        watch_from(10),
        watch_from(20),
        watch_from(21),
        LIST.to_owned(),
        watch_from(30),
        LIST.to_owned(),
        watch_from(40),
    ];
    assert_eq!(server.asked(), expected);
    assert_eq!(looking.metrics.lists.get(), 3);
    assert_eq!(looking.metrics.objects.with_label_values(&["pods"]).get(), 3);
    assert_eq!(looking.metrics.refused.with_label_values(&["kubernetes"]).get(), 1);
}

#[tokio::test]
async fn a_missing_permission_is_named_and_found_again() {
    let forbidden = "pods is forbidden: User \"system:serviceaccount:a:agent\" cannot list resource \"pods\"";
    let server = Server::start(vec![
        Step::Status(403, forbidden),
        Step::Status(403, forbidden),
        Step::List(1, &["p1"], ""),
        Step::Open(Vec::new()),
    ])
    .await;
    let mut looking = look(server.address);
    let (pods, problems) = looking.until(|set| !set.problems.is_empty()).await;
    let problem = "system:serviceaccount:a:agent may not list pods in namespace a (403): add to a Role in namespace a, or a \
                   ClusterRole bound to it: {apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}";
    assert_eq!((pods.len(), problems), (0, vec![problem.to_owned()]));
    assert_eq!(looking.metrics.problems.with_label_values(&["j"]).get(), 1);
    // The other source of the job is not held up.
    let set = looking.look.set();
    assert_eq!((set.groups[0].source.as_str(), set.waiting), ("fixed", 0));
    looking.until_pods(&["p1"]).await;
    let (_, problems) = looking.until(|set| set.problems.is_empty()).await;
    assert!(problems.is_empty());
    assert_eq!(looking.metrics.problems.with_label_values(&["j"]).get(), 0);
    assert_eq!(looking.metrics.failures.with_label_values(&["kubernetes"]).get(), 2);
}

#[tokio::test]
async fn a_server_that_goes_away_costs_no_target() {
    let server = Server::start(vec![Step::List(1, &["p1"], ""), Step::Open(Vec::new())]).await;
    let mut looking = look(server.address);
    looking.until_pods(&["p1"]).await;
    let address = server.stop().await;
    let (pods, problems) = looking.until(|set| !set.problems.is_empty()).await;
    assert_eq!(pods, ["p1"]);
    assert!(
        problems[0].starts_with(&format!("the API server http://{address}/ does not answer")),
        "{problems:?}"
    );
    let server = Server::at(address, vec![Step::Open(vec![change("ADDED", "p2", 2)])]).await;
    looking.until_pods(&["p1", "p2"]).await;
    assert_eq!(server.asked(), [watch_from(1)]);
}

#[tokio::test]
async fn a_server_that_refuses_a_version_is_asked_for_the_list() {
    let refused = || Step::Status(504, "Too large resource version: 9, current: 1");
    let server = Server::start(vec![
        Step::List(9, &["p1"], ""),
        refused(),
        refused(),
        refused(),
        Step::List(1, &["p2"], ""),
        Step::Open(Vec::new()),
    ])
    .await;
    let mut looking = look(server.address);
    looking.until_pods(&["p2"]).await;
    assert_eq!(server.asked()[4], LIST);
}

#[tokio::test]
async fn jobs_that_look_at_the_same_objects_share_the_watch() {
    let server = Server::start(vec![Step::List(1, &["p1"], ""), Step::Open(Vec::new())]).await;
    let config: KubernetesConfig = serde_norway::from_str(&format!(
        "{{role: pod, api_server: 'http://{}', namespaces: {{names: [a]}}}}",
        server.address
    ))
    .unwrap();
    let discovery = Discovery::new(Metrics::new(&Registry::new()).unwrap());
    let mut looks = Vec::new();
    for job in ["one", "two"] {
        let sources = vec![Source::Kubernetes(Box::new(config.clone()))];
        let mut look = discovery.start(job, sources);
        look.settled(tokio::time::Instant::now() + LONG).await.unwrap();
        let set = look.set();
        assert_eq!((set.groups.len(), set.waiting), (1, 0), "{job}");
        looks.push(look);
    }
    // The watch of both follows the list of both.
    while server.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.asked().len(), 2);
}

/// A job that goes does not take along the watch that others have, and the last one does.
#[tokio::test]
async fn a_watch_lives_as_long_as_its_readers() {
    let script = vec![Step::List(1, &["p1"], ""), Step::Open(Vec::new()), Step::List(2, &["p2", "p3"], "")];
    let server = Server::start(script).await;
    let config: KubernetesConfig =
        serde_norway::from_str(&format!("{{role: pod, api_server: 'http://{}'}}", server.address)).unwrap();
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let discovery = Discovery::new(metrics.clone());
    let look = async |job: &str, pods: usize| {
        let mut look = discovery.start(job, vec![Source::Kubernetes(Box::new(config.clone()))]);
        look.settled(tokio::time::Instant::now() + LONG).await.unwrap();
        assert_eq!(look.set().groups.len(), pods, "{job}");
        look
    };
    let first = look("one", 1).await;
    let mut second = look("two", 1).await;
    let held = || metrics.objects.with_label_values(&["pods"]).get();
    assert_eq!((server.asked().len(), held()), (2, 1));
    drop(first);
    let early = tokio::time::timeout(Duration::from_millis(300), second.changed()).await;
    assert!(early.is_err(), "the watch has ended: {early:?}");
    assert_eq!(server.asked().len(), 2);
    drop(second);
    // One that comes later has a list of its own.
    let third = look("one", 2).await;
    assert_eq!((server.asked().len(), held()), (3, 2));
    assert_eq!(metrics.updates.with_label_values(&["two"]).get(), 0, "a job that is gone");
    drop(third);
}

#[tokio::test]
async fn a_watch_that_is_cut_off_each_time_is_said_and_the_list_taken_again() {
    let server = Server::start(vec![
        Step::List(1, &["p1"], ""),
        // The first one after a list is progress.
        Step::Watch(Vec::new()),
        Step::Watch(Vec::new()),
        Step::Watch(Vec::new()),
        Step::Watch(Vec::new()),
        Step::List(2, &["p1", "p2"], ""),
        Step::Open(Vec::new()),
    ])
    .await;
    let mut looking = look(server.address);
    let (_, problems) = looking.until(|set| !set.problems.is_empty()).await;
    assert!(problems[0].contains("the watch of pods ends at once"), "{problems:?}");
    looking.until_pods(&["p1", "p2"]).await;
    let (_, problems) = looking.until(|set| set.problems.is_empty()).await;
    assert_eq!(problems, [""; 0]);
    let expected = [
        LIST.to_owned(),
        watch_from(1),
        watch_from(1),
        watch_from(1),
        watch_from(1),
        LIST.to_owned(),
        watch_from(2),
    ];
    assert_eq!(server.asked(), expected);
}
