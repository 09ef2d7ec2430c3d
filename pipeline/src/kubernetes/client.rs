//! A client of the API server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::header::{HeaderMap, HeaderValue, USER_AGENT};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use kube::client::Body;
use tower::BoxError;

use super::bounded::bounded;
use super::error::Error;
use super::permission::Permission;
use super::server::Server;
use crate::http::{RequestHeaders, USER_AGENT_VALUE};
use crate::model::scrape::ScrapeError;

/// What a single question may take; a watch has no such limit.
pub(crate) const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one API server. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    inner: kube::Client,
    server: Arc<str>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.server)
    }
}

impl Client {
    /// Makes a client. Reads the files that `server` names and connects to nothing.
    ///
    /// # Errors
    /// [`Error::Config`] where a file is missing or cannot be understood.
    pub async fn open(server: &Server) -> Result<Self, Error> {
        // The library takes the process's provider; another part may have set the same one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (config, keys) = server.configure().await?;
        let shown = format!("the API server {}", config.cluster_url);
        let mut public = HeaderMap::new();
        public.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        let headers = RequestHeaders::new(&keys.keys(), public);
        let headers = Arc::new(headers.map_err(|e| Error::Config(e.to_string()))?);
        let namespace = config.default_namespace.clone();
        let bare = kube::Client::try_from(config).map_err(|e| Error::Config(crate::http::chain(&e)))?;
        let service = tower::service_fn(move |request: Request<Body>| {
            let (bare, headers) = (bare.clone(), Arc::clone(&headers));
            async move {
                let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                let answer = bare.send(with_headers(request, &headers).await?).await?;
                Ok::<_, BoxError>(bounded(answer, is_watch))
            }
        });
        Ok(Self { inner: kube::Client::new(service, namespace), server: shown.into() })
    }

    /// The client itself, for what lists, watches and writes objects.
    pub(crate) fn kube(&self) -> kube::Client {
        self.inner.clone()
    }

    /// What the server is called in errors.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The namespace of the service account, or the kubeconfig's.
    #[must_use]
    pub fn own_namespace(&self) -> &str {
        self.inner.default_namespace()
    }

    /// Whether we hold a permission, by the server's own word.
    ///
    /// # Errors
    /// When the server does not answer the question.
    pub async fn may(&self, permission: &Permission) -> Result<bool, Error> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: some(&permission.verb),
                    group: some(&permission.group),
                    resource: some(&permission.resource),
                    subresource: some(&permission.subresource),
                    name: some(&permission.name),
                    namespace: permission.namespace.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.kube());
        let asked = Permission::new("create", "authorization.k8s.io", "selfsubjectaccessreviews", None);
        let answer = self.ask(&asked, reviews.create(&PostParams::default(), &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Waits for the answer to one question, within ten seconds.
    pub(crate) async fn ask<T>(
        &self,
        permission: &Permission,
        question: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(QUESTION_TIMEOUT, question).await {
            Ok(answer) => answer.map_err(|e| Error::new(&self.server, permission, &e)),
            Err(_) => Err(Error::Unreachable {
                server: self.server.to_string(),
                cause: format!("no answer within {QUESTION_TIMEOUT:?}"),
            }),
        }
    }
}

/// Adds who we are. Headers that the library set, such as `Accept`, stay.
async fn with_headers(
    mut request: Request<Body>,
    headers: &RequestHeaders,
) -> Result<Request<Body>, ScrapeError> {
    for (name, value) in headers.all().await? {
        if let Some(name) = name {
            request.headers_mut().insert(name, value);
        }
    }
    Ok(request)
}
