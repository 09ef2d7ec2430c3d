//! `kubernetes_sd_configs`: Prometheus' section, verbatim as far as it is supported.
//!
//! Takes what stands in the file, gives structs, and every problem with its path below the section.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::selectors;
use crate::http::{Authorization, BasicAuth, ClientKeys, Headers, TlsConfig, join, join_client_paths};
use crate::kubernetes::Server;
use crate::model::secret::Secret;
use crate::relabel::scalar;

/// All roles, as a hint.
const ROLES: &str = "pod, service, endpoints, endpointslice, node or ingress";

/// One of `kubernetes_sd_configs`: which objects of a cluster become targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// What kind of object becomes a target. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The API server's URL; without it and `kubeconfig_file` the one of this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_server: Option<String>,
    /// A kubeconfig file, used by its current context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig_file: Option<String>,
    /// Which namespaces are looked at; all of them if none is named.
    pub namespaces: Namespaces,
    /// Selectors by label and field, one per role at most; the server applies them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<Selector>,
    /// What else is attached to each target.
    pub attach_metadata: AttachMetadata,
    /// The header `Authorization` for `api_server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// The old spelling of `authorization.credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// The old spelling of `authorization.credentials_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<String>,
    /// User name and password for `api_server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Whom to trust and what to show at `api_server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// Additional request headers for `api_server`.
    #[serde(skip_serializing_if = "Headers::is_empty")]
    pub http_headers: Headers,
    /// Taken as Prometheus takes it; an API server never redirects.
    pub follow_redirects: bool,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            role: None,
            api_server: None,
            kubeconfig_file: None,
            namespaces: Namespaces::default(),
            selectors: Vec::new(),
            attach_metadata: AttachMetadata::default(),
            authorization: None,
            bearer_token: None,
            bearer_token_file: None,
            basic_auth: None,
            tls_config: None,
            http_headers: Headers::new(),
            follow_redirects: true,
        }
    }
}

/// What kind of object becomes a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Each container port of each pod.
    Pod,
    /// Each port of each service, by its name in DNS.
    Service,
    /// Each address and port of each Endpoints object.
    Endpoints,
    /// Each address and port of each endpoint slice.
    EndpointSlice,
    /// Each node, at its kubelet's port.
    Node,
    /// Each path of each ingress.
    Ingress,
}

impl Role {
    /// The name as it stands in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Node => "node",
            Self::Ingress => "ingress",
        }
    }

    /// The roles whose objects can be selected where this one is looked for.
    fn selectable(self) -> &'static [Self] {
        match self {
            Self::Pod => &[Self::Pod, Self::Node],
            Self::Service => &[Self::Service],
            Self::Endpoints => &[Self::Pod, Self::Service, Self::Endpoints],
            Self::EndpointSlice => &[Self::Pod, Self::Service, Self::EndpointSlice],
            Self::Node => &[Self::Node],
            Self::Ingress => &[Self::Ingress],
        }
    }
}

/// `namespaces`: which are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Namespaces {
    /// The namespace that this process runs in, besides those named.
    pub own_namespace: bool,
    /// Namespaces by name.
    #[serde(deserialize_with = "scalar::texts", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// One of `selectors`: which objects of a role the server gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// The objects that are selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// By labels, such as `app=web,tier!=test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// By fields, such as `spec.nodeName=a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// `attach_metadata`: what else is attached to targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "Prometheus' keys")]
pub struct AttachMetadata {
    /// Name, labels and annotations of the node (roles pod, endpoints, endpointslice).
    pub node: bool,
    /// Labels and annotations of the namespace (all roles but node).
    pub namespace: bool,
    /// The Deployment of a pod's ReplicaSet (roles pod, endpoints, endpointslice).
    pub deployment: bool,
    /// The Job of a pod.
    pub job: bool,
    /// The CronJob of a pod's Job.
    pub cronjob: bool,
}

impl KubernetesConfig {
    /// Takes the paths of files that the section names to be relative to `directory`.
    pub(crate) fn join_paths(&mut self, directory: &Path) {
        join(directory, self.kubeconfig_file.as_mut());
        join_client_paths(
            directory,
            self.authorization.as_mut(),
            self.bearer_token_file.as_mut(),
            self.basic_auth.as_mut(),
            self.tls_config.as_mut(),
            &mut self.http_headers,
        );
    }

    /// How to authenticate and encrypt.
    #[must_use]
    pub fn client_keys(&self) -> ClientKeys<'_> {
        ClientKeys {
            authorization: self.authorization.as_ref(),
            bearer_token: self.bearer_token.as_ref(),
            bearer_token_file: self.bearer_token_file.as_ref(),
            basic_auth: self.basic_auth.as_ref(),
            tls_config: self.tls_config.as_ref(),
            http_headers: &self.http_headers,
        }
    }

    /// Where the API server is.
    #[must_use]
    pub fn server(&self) -> Server {
        match (self.api_server(), self.kubeconfig_file()) {
            (Some(url), _) => Server::Url(url.to_owned(), Box::new(self.client_keys().to_owned())),
            (None, Some(path)) => Server::Kubeconfig(PathBuf::from(path)),
            (None, None) => Server::InCluster,
        }
    }

    fn api_server(&self) -> Option<&str> {
        self.api_server.as_deref().filter(|url| !url.is_empty())
    }

    fn kubeconfig_file(&self) -> Option<&str> {
        self.kubeconfig_file.as_deref().filter(|path| !path.is_empty())
    }

    /// Every problem, with its path below the section; those that Prometheus finds, too.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut say = |path: &str, text: &str| problems.push((path.to_owned(), text.to_owned()));
        if self.role.is_none() {
            say("role", &format!("is missing: choose one of {ROLES}"));
        }
        let (url, file) = (self.api_server(), self.kubeconfig_file());
        if url.is_some() && file.is_some() {
            say("kubeconfig_file", "cannot be used beside api_server: keep one of them");
        }
        let parsed = url.map(url::Url::parse);
        // Not repeated, since it may hold a password.
        match &parsed {
            Some(Ok(url)) if !url.username().is_empty() || url.password().is_some() => {
                say("api_server", "holds a user name or password: use basic_auth");
            }
            Some(Ok(url)) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
            Some(_) => {
                say("api_server", "is not a URL of http or https: write it like https://10.0.0.1:6443");
            }
            None => {}
        }
        if url.is_none() && !self.client_keys().are_unset() {
            say(
                "api_server",
                "is missing: authentication and TLS are for the API server at a URL; without one, remove them",
            );
        }
        if self.namespaces.own_namespace && (url.is_some() || file.is_some()) {
            say(
                "namespaces.own_namespace",
                "is known inside a cluster only: remove it, or api_server and kubeconfig_file",
            );
        }
        if let Some(i) = self.namespaces.names.iter().position(String::is_empty) {
            say(&format!("namespaces.names[{i}]"), "is empty: a namespace needs a name");
        }
        self.check_selectors(&mut problems);
        problems.extend(self.client_keys().check());
        let tls = self.tls_config.as_ref();
        if tls.is_some_and(|tls| tls.cert.is_some() || tls.key.is_some()) {
            let text = "certificates for an API server are read from files: use cert_file and key_file";
            problems.push(("tls_config.cert".to_owned(), text.to_owned()));
        }
        problems
    }

    fn check_selectors(&self, problems: &mut Vec<(String, String)>) {
        let mut seen = Vec::new();
        for (i, selector) in self.selectors.iter().enumerate() {
            let path = format!("selectors[{i}]");
            let mut say = |key: &str, text: String| problems.push((format!("{path}.{key}"), text));
            let Some(role) = selector.role else {
                say("role", format!("is missing: choose one of {ROLES}"));
                continue;
            };
            if seen.contains(&role) {
                let name = role.as_str();
                say(
                    "role",
                    format!("{name} is used before: put both conditions into one selector, with a comma"),
                );
            }
            seen.push(role);
            if let Some(own) = self.role.filter(|own| !own.selectable().contains(&role)) {
                let allowed: Vec<_> = own.selectable().iter().map(|role| role.as_str()).collect();
                let text = format!("role {} takes only selectors for {}", own.as_str(), allowed.join(", "));
                say("role", text);
            }
            if let Err(problem) = selector.label.as_deref().map_or(Ok(()), selectors::check_labels) {
                say("label", problem);
            }
            if let Err(problem) = selector.field.as_deref().map_or(Ok(()), selectors::check_fields) {
                say("field", problem);
            }
        }
    }
}
