//! A fake API server that knows Leases and nothing else: versions, conflicts, refusals; one door for each agent, so that
//! one can be cut off from it while the others are not.
//!
//! `GET`, `POST` and `PUT` of `coordination.k8s.io/v1` as the real one answers them, over plain HTTP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Value, json};

use crate::server::{Answer, Pieces, Server};

/// The namespace of every agent that gets in by a door.
pub const NAMESPACE: &str = "cedana-monitoring";

#[derive(Default)]
struct State {
    /// By name.
    leases: BTreeMap<String, Value>,
    version: u64,
    /// Verbs that nobody may.
    denied: Vec<String>,
    /// Who held the Lease, in order.
    holders: Vec<String>,
}

/// What all doors lead to.
#[derive(Clone, Default)]
pub struct Leases(Arc<Mutex<State>>);

/// One agent's way to the API server.
pub struct Door {
    server: Server,
    kubeconfig: PathBuf,
}

impl Leases {
    /// An API server without a Lease.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a door; the kubeconfig that leads to it is written into `directory`.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn door(&self, directory: &Path) -> Door {
        let state = self.clone();
        let server = Server::start(move |request| {
            let state = state.clone();
            Box::pin(async move { state.answer(request).await })
        });
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server.url()}}],
            "users": [{"name": "u", "user": {"token": "not-looked-at"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
            "current-context": "x",
        });
        let kubeconfig = directory.join("kubeconfig");
        std::fs::write(&kubeconfig, text.to_string()).expect("to write the kubeconfig");
        Door { server, kubeconfig }
    }

    /// These verbs are refused from now on.
    pub fn deny(&self, verbs: &[&str]) {
        self.lock().denied = verbs.iter().map(|verb| (*verb).to_owned()).collect();
    }

    /// Who holds the only Lease; nothing where nobody does.
    #[must_use]
    pub fn holder(&self) -> String {
        let state = self.lock();
        let holder = state.leases.values().next().and_then(|lease| lease["spec"]["holderIdentity"].as_str());
        holder.unwrap_or_default().to_owned()
    }

    /// Who held it, one after the other.
    #[must_use]
    pub fn holders(&self) -> Vec<String> {
        self.lock().holders.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return Answer::Cut };
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let (status, answer) = self.lock().carry_out(parts.method.as_str(), parts.uri.path(), body);
        let response = Response::builder().status(status).header("content-type", "application/json");
        let response = response.body(Pieces::from(answer.to_string()));
        Answer::Response(response.expect("an answer made of valid parts"))
    }
}

impl State {
    fn carry_out(&mut self, method: &str, path: &str, mut body: Value) -> (u16, Value) {
        let all = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
        let Some(rest) = path.strip_prefix(&all) else { return refusal(404, "NotFound", "no such page") };
        let verb = match method {
            "GET" => "get",
            "POST" => "create",
            "PUT" => "update",
            _ => return refusal(405, "MethodNotAllowed", "the fake does not know this"),
        };
        if self.denied.iter().any(|denied| denied == verb) {
            let text = format!(
                "leases.coordination.k8s.io is forbidden: User \"system:serviceaccount:{NAMESPACE}:agent\" cannot {verb} \
                 resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"{NAMESPACE}\""
            );
            return refusal(403, "Forbidden", &text);
        }
        let name = match verb {
            "create" => body["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            _ => rest.trim_start_matches('/').to_owned(),
        };
        let current = self.leases.get(&name);
        match (verb, current) {
            ("get", Some(lease)) => return (200, lease.clone()),
            ("get" | "update", None) => return refusal(404, "NotFound", "leases not found"),
            ("create", Some(_)) => return refusal(409, "AlreadyExists", "leases already exists"),
            ("update", Some(lease)) => {
                let version = &body["metadata"]["resourceVersion"];
                if version.as_str().is_none() || *version != lease["metadata"]["resourceVersion"] {
                    return refusal(409, "Conflict", "the object has been modified");
                }
            }
            _ => {}
        }
        self.version += 1;
        body["metadata"]["resourceVersion"] = self.version.to_string().into();
        let holder = body["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        if self.holders.last() != Some(&holder) {
            self.holders.push(holder);
        }
        self.leases.insert(name, body.clone());
        (if verb == "create" { 201 } else { 200 }, body)
    }
}

fn refusal(code: u16, reason: &str, text: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": text, "reason": reason, "code": code,
    });
    (code, status)
}

impl Door {
    /// The file that leads here.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// While shut, every connection is cut.
    pub fn set_shut(&self, shut: bool) {
        self.server.set_down(shut);
    }
}
