//! What a client asks, how it proves who it is, and what refusals mean.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::http::{Authorization, ClientConfig};

/// A server that gives each request the next of `answers` and keeps what was asked.
async fn server(answers: Vec<(u16, &'static str)>) -> (String, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 65536];
            let count = stream.read(&mut request).await.unwrap();
            seen.lock().unwrap().push(String::from_utf8_lossy(&request[..count]).into_owned());
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (url, asked, tasks)
}

fn list_pods() -> Permission {
    Permission::new("list", "", "pods", Some("a"))
}

#[test]
fn permissions_in_words_and_as_rules() {
    let check = |permission: Permission, words: &str, rule: &str| {
        assert_eq!((permission.to_string().as_str(), permission.rule().as_str()), (words, rule));
    };
    check(
        Permission::new("list", "discovery.k8s.io", "endpointslices", Some("gpu-operator")),
        "list endpointslices.discovery.k8s.io in namespace gpu-operator",
        "{apiGroups: [\"discovery.k8s.io\"], resources: [endpointslices], verbs: [list, watch]}",
    );
    check(
        Permission::new("watch", "", "pods", None),
        "watch pods in all namespaces",
        "{apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}",
    );
    check(
        Permission { subresource: "metrics".to_owned(), ..Permission::new("get", "", "nodes", None) },
        "get nodes/metrics",
        "{apiGroups: [\"\"], resources: [nodes/metrics], verbs: [get]}",
    );
    check(
        Permission {
            name: "agent".to_owned(),
            ..Permission::new("update", "coordination.k8s.io", "leases", Some("x"))
        },
        "update leases.coordination.k8s.io agent in namespace x",
        "{apiGroups: [\"coordination.k8s.io\"], resources: [leases], resourceNames: [agent], verbs: [update]}",
    );
}

#[tokio::test]
async fn who_we_are_is_shown_and_read_afresh() {
    let allowed = r#"{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
        "spec": {}, "status": {"allowed": true}}"#;
    let denied = r#"{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
        "spec": {}, "status": {"allowed": false}}"#;
    let (url, asked, _tasks) = server(vec![(201, allowed), (201, denied)]).await;
    let mut token = tempfile::NamedTempFile::new().unwrap();
    token.write_all(b"first\n").unwrap();
    let authorization = Authorization {
        credentials_file: Some(token.path().display().to_string()),
        ..Authorization::default()
    };
    let keys = ClientConfig { authorization: Some(authorization), ..ClientConfig::default() };
    let client = Client::open(&Server::Url(url, Box::new(keys))).await.unwrap();
    assert!(client.may(&list_pods()).await.unwrap());
    std::fs::write(token.path(), "second").unwrap();
    assert!(!client.may(&list_pods()).await.unwrap());
    let asked = asked.lock().unwrap();
    for (request, token) in asked.iter().zip(["first", "second"]) {
        let start = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert!(request.starts_with(start), "{request}");
        assert!(request.contains(&format!("authorization: Bearer {token}\r\n")), "{request}");
        assert!(request.contains("user-agent: cedana-agent/"), "{request}");
        assert!(request.contains(r#""namespace":"a","resource":"pods","verb":"list""#), "{request}");
    }
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_kubeconfig_is_read_as_kubectl_reads_it() {
    let allowed = r#"{"metadata": {}, "spec": {}, "status": {"allowed": true}}"#;
    let (url, asked, _tasks) = server(vec![(201, allowed)]).await;
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: x, contexts: [{{name: x, context: {{cluster: c, user: u, \
         namespace: mine}}}}], clusters: [{{name: c, cluster: {{server: '{url}'}}}}], users: [{{name: u, user: \
         {{tokenFile: token}}}}]}}"
    );
    std::fs::write(directory.path().join("config"), text).unwrap();
    std::fs::write(directory.path().join("token"), "from-file\n").unwrap();
    let client = Client::open(&Server::Kubeconfig(directory.path().join("config"))).await.unwrap();
    assert_eq!(client.own_namespace(), "mine");
    assert!(client.may(&list_pods()).await.unwrap());
    assert!(asked.lock().unwrap()[0].contains("authorization: Bearer from-file\r\n"));
}

#[tokio::test]
async fn refusals_name_the_permission_and_the_remedy() {
    let forbidden = r#"{"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message":
        "pods is forbidden: User \"system:serviceaccount:a:agent\" cannot list resource \"pods\""}"#;
    let unauthorized =
        r#"{"kind": "Status", "status": "Failure", "code": 401, "reason": "Unauthorized", "message": "no"}"#;
    let (url, _, _tasks) = server(vec![(403, forbidden), (401, unauthorized)]).await;
    let client = Client::open(&Server::Url(url.clone(), Box::default())).await.unwrap();
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::namespaced(client.kube(), "a");
    let asked = list_pods();
    let error = client.ask(&asked, pods.list(&kube::api::ListParams::default())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "system:serviceaccount:a:agent may not list pods in namespace a (403): add to a Role in namespace a, or a \
         ClusterRole bound to it: {apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}"
    );
    let error = client.ask(&asked, pods.list(&kube::api::ListParams::default())).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
    // The script is over and the listener with it.
    let error = client.ask(&asked, pods.list(&kube::api::ListParams::default())).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("the API server {url}/ does not answer: ")), "{text}");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let check = async |server: Server, expected: &str| {
        let text = Client::open(&server).await.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    check(Server::Kubeconfig("/nowhere/config".into()), "/nowhere/config").await;
    check(Server::Url("http://a b".to_owned(), Box::default()), "is not a URL").await;
    let tls = crate::http::TlsConfig { ca_file: Some("/nowhere/ca".to_owned()), ..Default::default() };
    let keys = ClientConfig { tls_config: Some(tls), ..ClientConfig::default() };
    check(Server::Url("https://a".to_owned(), Box::new(keys)), "/nowhere/ca").await;
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(broken.path(), "users: [{name: u, user: {token: hunter2, token: hunter3}}]").unwrap();
    let text = Client::open(&Server::Kubeconfig(broken.path().into())).await.unwrap_err().to_string();
    assert!(!text.contains("hunter"), "{text}");
}

/// Whoever answers in the API server's place fills nobody's memory, with an answer or with a refusal.
#[tokio::test]
async fn an_answer_without_end_is_left() {
    for status in [201, 403] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let flood = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 65536]).await.unwrap() > 0);
            let head = format!("HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n\r\n\"");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut sent = 0_usize;
            while stream.write_all(&[b'a'; 1 << 16]).await.is_ok() {
                sent += 1 << 16;
                assert!(sent < 1 << 30, "it takes everything");
            }
        };
        let client = Client::open(&Server::Url(url, Box::default())).await.unwrap();
        let asked = async {
            let error = client.may(&list_pods()).await.unwrap_err();
            drop(client);
            error.to_string()
        };
        let (error, ()) = tokio::join!(asked, flood);
        assert!(error.contains("is it the API server?"), "{error}");
    }
}

/// The API server shows a certificate of an authority that we know, or gets no token.
#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_asked_nothing() {
    let server = crate::scrape::tests::tls::start(false).await;
    let url = format!("https://{}", server.address);
    let client = Client::open(&Server::Url(url, Box::default())).await.unwrap();
    let error = client.may(&list_pods()).await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    assert_eq!(server.requests(), Vec::<String>::new());
}
