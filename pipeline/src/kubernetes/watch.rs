//! One watch: a list, then every change, for as long as the process runs.
//!
//! Takes a resource, a namespace and selectors; gives what it brings to a [`Keep`]. A watch that ends is resumed from the
//! last version that it saw (bookmarks keep that young); where the server has forgotten that version (410), the list is
//! taken again. Never gives up: it waits longer and longer, thirty seconds at most.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Status;
use prometheus::{IntCounter, IntGauge};
use tokio::time::Instant;

use super::delay::Delay;
use super::object::{Name, Object, Received};
use super::road::Road;
use super::{Client, Error, Permission, Server};

/// Objects in one page of a list: a few megabytes of pods.
const PAGE_OBJECTS: u32 = 500;
/// One page of a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// After this the server ends a watch, which is then resumed. Bounds for how long a connection that died silently is
/// taken for a quiet one.
const WATCH_SECONDS: u32 = 120;
/// How much longer than that we listen.
const WATCH_MARGIN: Duration = Duration::from_secs(5);
/// A watch that ends sooner than this is no progress.
const WATCH_SHORT: Duration = Duration::from_secs(1);
/// The longest wait for a server that does not answer. A few requests in that time cost nobody anything.
const AWAY_MAX: Duration = Duration::from_secs(5);
/// Refusals in a row after which the version is held to be the reason.
const REFUSALS_MAX: u32 = 3;

/// Which objects of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// `None` for all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) field: Option<String>,
}

/// What becomes of the objects that a watch brings. Whoever waits in one of these holds the watch back.
pub(crate) trait Keep<T>: Send + Sync {
    /// A whole list is about to come; one that has begun and not ended is void.
    fn begin(&mut self) -> impl Future<Output = ()> + Send;

    /// An object of the list.
    fn list(&mut self, object: T) -> impl Future<Output = ()> + Send;

    /// The list is whole: what it lacked is gone. How many objects are different.
    fn end(&mut self) -> impl Future<Output = u64> + Send;

    /// An object that came or changed. Whether it is different.
    fn apply(&mut self, object: T) -> impl Future<Output = bool> + Send;

    /// An object that is gone, or cannot be understood any more. Whether it was there.
    fn delete(&mut self, key: &Name, last: Option<T>) -> impl Future<Output = bool> + Send;

    /// What keeps the watch from going on, or that nothing does any more.
    fn set_problem(&mut self, problem: Option<String>);

    /// How many objects are held.
    fn len(&self) -> usize;
}

/// What a watch counts.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// Whole lists that were asked for.
    pub(crate) lists: IntCounter,
    /// Requests that failed.
    pub(crate) failures: IntCounter,
    /// Objects that cannot be understood.
    pub(crate) refused: IntCounter,
    /// Objects that became different.
    pub(crate) changes: IntCounter,
    /// Objects that are held.
    pub(crate) objects: IntGauge,
}

/// Adds what has to be permitted for a watch of this resource, unless it is there.
pub(crate) fn need<T: Object>(server: &Server, namespace: Option<&str>, all: &mut Vec<(Server, Permission)>) {
    for verb in ["list", "watch"] {
        let permission = Permission::new(verb, T::GROUP, T::RESOURCE, namespace);
        // One rule covers all selectors.
        if !all.iter().any(|(of, known)| of == server && *known == permission) {
            all.push((server.clone(), permission));
        }
    }
}

/// What a watch has.
pub(crate) struct Watch<T, K> {
    road: Arc<Road>,
    scope: Scope,
    keep: K,
    counts: Counts,
    kind: PhantomData<fn() -> T>,
    /// The last error, so that one that lasts is said once.
    said: Option<Error>,
    /// Whether an object that cannot be understood has been met, which is said once.
    said_refused: bool,
    /// Objects in the store, as far as they are counted.
    held: i64,
}

/// Why a list or a watch ended.
enum End {
    /// The server has forgotten the version: take the list again.
    Expired,
    Failed(Error),
}

impl<T, K> Drop for Watch<T, K> {
    fn drop(&mut self) {
        self.counts.objects.sub(self.held);
    }
}

impl<T: Object, K: Keep<T>> Watch<T, K> {
    pub(crate) fn new(road: Arc<Road>, scope: Scope, keep: K, counts: Counts) -> Self {
        Self { road, scope, keep, counts, kind: PhantomData, said: None, said_refused: false, held: 0 }
    }

    /// Follows the objects; returns never.
    pub(crate) async fn run(mut self) {
        let (mut delay, mut refusals) = (Delay::default(), 0);
        let mut version = None;
        loop {
            let (start, before) = (Instant::now(), version.clone());
            match self.follow(&mut version).await {
                Ok(()) if version != before || start.elapsed() >= WATCH_SHORT => {
                    refusals = 0;
                    delay.reset();
                }
                // Something on the way cuts it off each time, or this version cannot be gone on from.
                Ok(()) => {
                    refusals += 1;
                    if refusals >= REFUSALS_MAX {
                        (version, refusals) = (None, 0);
                        let cause = format!("the watch of {} ends at once, again and again", T::RESOURCE);
                        let server = self.road.server().to_string();
                        self.fail(Error::Unreachable { server, cause }).await;
                    }
                }
                Err(End::Expired) => {
                    tracing::debug!(resource = T::RESOURCE, "the watch is too old: listing again");
                    version = None;
                }
                Err(End::Failed(error)) => {
                    // A server that has too much to do already (429, 503) is not asked for more.
                    let blames = matches!(&error, Error::Refused { code, .. } if !matches!(code, 429 | 503));
                    refusals = if blames { refusals + 1 } else { 0 };
                    if refusals >= REFUSALS_MAX {
                        (version, refusals) = (None, 0);
                    }
                    // A server that is just back refuses for a moment: no reason to wait as long as for its return.
                    let is_away = |error: &Error| matches!(error, Error::Unreachable { .. });
                    if self.said.as_ref().is_some_and(is_away) && !is_away(&error) {
                        delay.reset();
                    }
                    self.fail(error).await;
                }
            }
            if start.elapsed() < WATCH_SHORT || self.said.is_some() {
                // A server that was away may be back at any moment; a permission takes someone to add it.
                let away = matches!(self.said, Some(Error::Unreachable { .. }));
                let wait = delay.next();
                tokio::time::sleep(if away { wait.min(AWAY_MAX) } else { wait }).await;
            }
        }
    }

    /// Lists unless there is a version, then watches until the watch ends.
    async fn follow(&mut self, version: &mut Option<String>) -> Result<(), End> {
        let client = self.road.client().await.map_err(End::Failed)?;
        let api: Api<Received<T>> = match &self.scope.namespace {
            Some(namespace) => Api::namespaced_with(client.kube(), namespace, &()),
            None => Api::all_with(client.kube(), &()),
        };
        let from = match version {
            Some(version) => version,
            None => version.insert(self.list(&client, &api).await?),
        };
        self.watch(&client, &api, from).await
    }

    /// Takes the whole list, page by page. Returns its version.
    async fn list(&mut self, client: &Client, api: &Api<Received<T>>) -> Result<String, End> {
        self.counts.lists.inc();
        let mut params = ListParams {
            label_selector: self.scope.label.clone(),
            field_selector: self.scope.field.clone(),
            limit: Some(PAGE_OBJECTS),
            ..ListParams::default()
        };
        self.keep.begin().await;
        loop {
            let page = self.ask("list", client, api.list(&params)).await?;
            for received in page.items {
                match received.object {
                    Ok(object) => self.keep.list(object).await,
                    Err(problem) => self.refuse(&problem),
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    let changes = self.keep.end().await;
                    self.count(changes);
                    return Ok(page.metadata.resource_version.unwrap_or_default());
                }
            }
        }
    }

    /// Takes changes until the watch ends. `version` stays that of the last thing seen.
    async fn watch(
        &mut self,
        client: &Client,
        api: &Api<Received<T>>,
        version: &mut String,
    ) -> Result<(), End> {
        let params = WatchParams {
            label_selector: self.scope.label.clone(),
            field_selector: self.scope.field.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let changes = self.ask("watch", client, api.watch(&params, version)).await?;
        let mut changes = std::pin::pin!(changes);
        self.succeed();
        let silence_max = Duration::from_secs(u64::from(WATCH_SECONDS)) + WATCH_MARGIN;
        // A watch that says nothing for longer than it may last has died without a word.
        while let Ok(Some(change)) = tokio::time::timeout(silence_max, changes.next()).await {
            let (received, is_there) = match change {
                Ok(WatchEvent::Added(received) | WatchEvent::Modified(received)) => (received, true),
                Ok(WatchEvent::Deleted(received)) => (received, false),
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    *version = bookmark.metadata.resource_version;
                    continue;
                }
                Ok(WatchEvent::Error(status)) => return Err(self.ended(client, "watch", &status)),
                Err(kube::Error::Api(status)) => return Err(self.ended(client, "watch", &status)),
                Err(error) => {
                    // Connections break. Whether the server is away will be seen when the watch is resumed.
                    tracing::debug!(resource = T::RESOURCE, %error, "a watch broke off");
                    self.counts.failures.inc();
                    return Ok(());
                }
            };
            if let Some(seen) = kube::ResourceExt::resource_version(&received) {
                *version = seen;
            }
            self.take(received, is_there).await;
        }
        Ok(())
    }

    /// Takes one change.
    async fn take(&mut self, received: Received<T>, is_there: bool) {
        let key = received.key();
        let changed = match received.object {
            last if !is_there => self.keep.delete(&key, last.ok()).await,
            Ok(object) => self.keep.apply(object).await,
            Err(problem) => {
                self.refuse(&format!("{key}: {problem}"));
                // What it was before is no longer true.
                self.keep.delete(&key, None).await
            }
        };
        self.count(u64::from(changed));
    }

    fn count(&mut self, changes: u64) {
        self.counts.changes.inc_by(changes);
        let held = i64::try_from(self.keep.len()).unwrap_or(i64::MAX);
        self.counts.objects.add(held - self.held);
        self.held = held;
    }

    /// Leaves an object out.
    fn refuse(&mut self, problem: &str) {
        self.counts.refused.inc();
        if !std::mem::replace(&mut self.said_refused, true) {
            tracing::warn!(
                resource = T::RESOURCE,
                error = problem,
                "an object cannot be understood and is left out"
            );
        }
    }

    fn permission(&self, verb: &str) -> Permission {
        Permission::new(verb, T::GROUP, T::RESOURCE, self.scope.namespace.as_deref())
    }

    async fn ask<A>(
        &self,
        verb: &str,
        client: &Client,
        question: impl Future<Output = Result<A, kube::Error>>,
    ) -> Result<A, End> {
        match tokio::time::timeout(LIST_TIMEOUT, question).await {
            Ok(answer) => answer.map_err(|error| self.failed(client, verb, &error)),
            Err(_) => Err(End::Failed(Error::Unreachable {
                server: client.server().to_owned(),
                cause: format!("no answer within {LIST_TIMEOUT:?}"),
            })),
        }
    }

    fn failed(&self, client: &Client, verb: &str, error: &kube::Error) -> End {
        match error {
            kube::Error::Api(status) => self.ended(client, verb, status),
            other => End::Failed(Error::new(client.server(), &self.permission(verb), other)),
        }
    }

    fn ended(&self, client: &Client, verb: &str, status: &Status) -> End {
        match status.code {
            410 => End::Expired,
            _ => End::Failed(Error::from_status(client.server().to_owned(), &self.permission(verb), status)),
        }
    }

    /// Notes a failure: always counted, said when it is another than before.
    async fn fail(&mut self, error: Error) {
        self.counts.failures.inc();
        self.road.fail(&error).await;
        if self.said.as_ref() != Some(&error) {
            match &error {
                Error::Forbidden { .. } => {
                    tracing::error!(resource = T::RESOURCE, %error, "not permitted to look at a resource of the cluster");
                }
                Error::Refused { .. } => {
                    tracing::warn!(resource = T::RESOURCE, %error, "a look at a resource of the cluster was refused");
                }
                Error::Config(_) | Error::Unreachable { .. } | Error::Unauthorized { .. } => {}
            }
        }
        self.keep.set_problem(Some(error.to_string()));
        self.said = Some(error);
    }

    /// Notes that the watch is on.
    fn succeed(&mut self) {
        self.road.succeed();
        self.keep.set_problem(None);
        if let Some(Error::Forbidden { .. } | Error::Refused { .. }) = self.said.take() {
            tracing::info!(resource = T::RESOURCE, server = %self.road.server(), "a resource of the cluster can be looked at again");
        }
    }
}
