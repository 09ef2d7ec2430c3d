//! The Lease by which several agents take turns (coordination.k8s.io/v1), with client-go's fields and their meaning.
//!
//! Reads it and writes it whole, on the condition that nobody has written since it was read. Who may do what and when is
//! not decided here.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;

use super::client::Client;
use super::error::Error;
use super::permission::Permission;

/// The annotation by which an agent whose objects wait asks the holder for its turn.
const ASK: &str = "cedana.ai/asks-for-turn";
const GROUP: &str = "coordination.k8s.io";
const RESOURCE: &str = "leases";

/// What a Lease says. All times are those of the clock of who wrote them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lease {
    /// Who holds it; `None` where it was given back.
    pub holder: Option<String>,
    /// How long a holder that is not heard of is believed to be there.
    pub duration: Duration,
    /// When the holder took it, microseconds since the Unix epoch.
    pub acquired: i64,
    /// When the holder was last there, microseconds since the Unix epoch.
    pub renewed: i64,
    /// How often the holder has changed.
    pub transitions: i64,
    /// Who asks for its turn, and a text that changes each time.
    pub ask: Option<Ask>,
    /// What it was read from: all that is nobody's business here, and the version that a write is conditional on.
    pub origin: Origin,
}

/// Somebody asks for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who.
    pub identity: String,
    /// Changes each time, so that one who asked and died is told from one who asks.
    pub count: u64,
}

/// What a Lease was read from; kept as it is for its writing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin(Box<Object>);

/// Why a Lease was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Somebody else wrote first: read it again.
    #[error("somebody else wrote the Lease first")]
    Conflict,
    /// It cannot be told whether it was written.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// The one Lease that matters.
#[derive(Clone, Debug)]
pub struct Leases {
    client: Client,
    namespace: String,
    name: String,
}

impl Leases {
    /// The Lease of this name; without a namespace in that of the service account.
    #[must_use]
    pub fn new(client: Client, namespace: Option<&str>, name: &str) -> Self {
        let namespace = namespace.unwrap_or_else(|| client.own_namespace()).to_owned();
        Self { client, namespace, name: name.to_owned() }
    }

    /// Its namespace and name, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What taking turns needs: for whoever looks before.
    #[must_use]
    pub fn permissions(&self) -> [Permission; 3] {
        [self.permission("get"), self.permission("create"), self.permission("update")]
    }

    /// Reads it; `None` if there is none.
    ///
    /// # Errors
    /// When the server does not answer the question, or not within `timeout`.
    pub async fn read(&self, timeout: Duration) -> Result<Option<Lease>, Error> {
        let (api, permission) = (self.api(), self.permission("get"));
        let reading = self.client.ask(&permission, api.get_opt(&self.name));
        Ok(self.within(timeout, reading).await?.map(Lease::from_object))
    }

    /// Writes it as it was read and changed since, or makes it if there was none. Gives what is stored now.
    ///
    /// # Errors
    /// When somebody else wrote first, and when the server does not answer within `timeout`.
    pub async fn write(&self, lease: &Lease, timeout: Duration) -> Result<Lease, WriteError> {
        let (api, params) = (self.api(), PostParams::default());
        let object = lease.object(&self.namespace, &self.name);
        let exists = object.metadata.resource_version.is_some();
        let permission = self.permission(if exists { "update" } else { "create" });
        let written = if exists {
            self.within(timeout, self.client.ask(&permission, api.replace(&self.name, &params, &object)))
                .await
        } else {
            self.within(timeout, self.client.ask(&permission, api.create(&params, &object))).await
        };
        match written {
            Ok(object) => Ok(Lease::from_object(object)),
            // Written, made or deleted since.
            Err(Error::Refused { code: 409, .. }) => Err(WriteError::Conflict),
            Err(Error::Refused { code: 404, .. }) if exists => Err(WriteError::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    fn api(&self) -> Api<Object> {
        Api::namespaced(self.client.kube(), &self.namespace)
    }

    fn permission(&self, verb: &str) -> Permission {
        // Who creates has no name yet, so that no rule can name one.
        let name = if verb == "create" { String::new() } else { self.name.clone() };
        Permission { name, ..Permission::new(verb, GROUP, RESOURCE, Some(&self.namespace)) }
    }

    async fn within<T>(
        &self,
        timeout: Duration,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(timeout, asking).await.unwrap_or_else(|_| {
            let cause = format!("no answer within {timeout:?}");
            Err(Error::Unreachable { server: self.client.server().to_owned(), cause })
        })
    }
}

impl Lease {
    fn from_object(object: Object) -> Self {
        let spec = object.spec.clone().unwrap_or_default();
        let micros = |time: &Option<MicroTime>| time.as_ref().map_or(0, |time| time.0.as_microsecond());
        let ask = object.metadata.annotations.as_ref().and_then(|all| all.get(ASK));
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            duration: Duration::from_secs(
                spec.lease_duration_seconds.unwrap_or(0).max(0).unsigned_abs().into(),
            ),
            acquired: micros(&spec.acquire_time),
            renewed: micros(&spec.renew_time),
            transitions: spec.lease_transitions.unwrap_or(0).into(),
            ask: ask.and_then(|text| Ask::parse(text)),
            origin: Origin(Box::new(object)),
        }
    }

    fn object(&self, namespace: &str, name: &str) -> Object {
        let mut object = (*self.origin.0).clone();
        let time = |micros| Timestamp::from_microsecond(micros).ok().map(MicroTime);
        object.metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..object.metadata
        };
        let annotations = object.metadata.annotations.get_or_insert_with(BTreeMap::new);
        match &self.ask {
            Some(ask) => annotations.insert(ASK.to_owned(), format!("{} {}", ask.identity, ask.count)),
            None => annotations.remove(ASK),
        };
        object.spec = Some(LeaseSpec {
            // client-go gives a Lease back by the empty text.
            holder_identity: Some(self.holder.clone().unwrap_or_default()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: time(self.acquired),
            renew_time: time(self.renewed),
            lease_transitions: i32::try_from(self.transitions).ok(),
            ..object.spec.unwrap_or_default()
        });
        object
    }
}

impl Ask {
    fn parse(text: &str) -> Option<Self> {
        let (identity, count) = text.rsplit_once(' ')?;
        Some(Self { identity: identity.to_owned(), count: count.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nobodys_business_stays() {
        let text = r#"{"metadata": {"name": "l", "namespace": "n", "resourceVersion": "7", "labels": {"a": "b"},
            "annotations": {"x": "y", "cedana.ai/asks-for-turn": "pod-1_ab 3"}},
            "spec": {"holderIdentity": "pod-0_cd", "leaseDurationSeconds": 10, "leaseTransitions": 4,
            "acquireTime": "2026-11-22T12:00:00.000001Z", "renewTime": "2026-11-22T12:00:01.500000Z"}}"#;
        let object: Object = serde_norway::from_str(text).unwrap();
        let lease = Lease::from_object(object.clone());
        assert_eq!(lease.holder.as_deref(), Some("pod-0_cd"));
        assert_eq!((lease.acquired, lease.renewed), (1_795_348_800_000_001, 1_795_348_801_500_000));
        assert_eq!((lease.duration, lease.transitions), (Duration::from_secs(10), 4));
        assert_eq!(lease.ask, Some(Ask { identity: "pod-1_ab".to_owned(), count: 3 }));
        assert_eq!(lease.object("n", "l"), object);
        let given_back = Lease { holder: None, ask: None, ..lease }.object("n", "l");
        assert_eq!(given_back.spec.as_ref().unwrap().holder_identity.as_deref(), Some(""));
        assert_eq!(given_back.metadata.annotations.as_ref().unwrap().len(), 1);
        assert_eq!(given_back.metadata.labels, object.metadata.labels);
        assert_eq!(Lease::from_object(given_back).holder, None);
    }

    #[test]
    fn a_bare_lease_is_one_that_nobody_holds() {
        let lease = Lease::from_object(Object::default());
        assert_eq!(lease, Lease::default());
        assert_eq!(Ask::parse("nonsense"), None);
    }
}
