//! Discovery: who is to be scraped. Publishes the whole set of target groups of a job, whenever it changes.
//!
//! Takes where to look, gives a `watch` channel per job that always holds the complete set. What cannot be looked at keeps
//! its last targets and is said, counted and tried again. Never relabels and never connects to a target.

mod config;
mod dns;
mod file;
mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod http;
mod kubernetes;
mod list;
mod metrics;
mod outlet;

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

pub use self::config::{DnsConfig, FileConfig, HttpConfig};
pub use self::kubernetes::{AttachMetadata, KubernetesConfig, Namespaces, Role, Selector};
pub use self::metrics::Metrics;

use self::kubernetes::Watches;
use self::metrics::Counted;
use crate::kubernetes::{Permission, Server};
use crate::model::target::{TargetGroup, TargetSet};

/// Where the targets of a job are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// They stand in the configuration.
    Static(Vec<TargetGroup>),
    /// A Kubernetes cluster knows them.
    Kubernetes(Box<KubernetesConfig>),
    /// Files list them.
    File(FileConfig),
    /// A web server lists them.
    Http(Box<HttpConfig>),
    /// DNS lists them.
    Dns(DnsConfig),
}

/// What the discovery of all jobs shares.
#[derive(Debug)]
pub struct Discovery {
    watches: Arc<Watches>,
    metrics: Arc<Metrics>,
}

impl Discovery {
    /// Discovery that counts in `metrics`.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let metrics = Arc::new(metrics);
        Self { watches: Arc::new(Watches::new(&metrics)), metrics }
    }

    /// What has to be permitted for everything that is watched, and by which API server.
    #[must_use]
    pub fn permissions(&self) -> Vec<(Server, Permission)> {
        self.watches.permissions()
    }

    /// Starts to look in `sources` for the targets of `job`.
    #[must_use]
    pub fn start(&self, job: &str, sources: Vec<Source>) -> Look {
        let (outlets, sets) = outlet::outlets(job, sources.len(), &self.metrics);
        let mut tasks = JoinSet::new();
        for (source, outlet) in sources.into_iter().zip(outlets) {
            let metrics = Arc::clone(&self.metrics);
            let looking: Pin<Box<dyn Future<Output = ()> + Send>> = match source {
                Source::Static(groups) => {
                    outlet.replace(groups.into_iter().map(Arc::new).collect(), Vec::new());
                    continue;
                }
                Source::Kubernetes(config) => {
                    Box::pin(kubernetes::run(*config, Arc::clone(&self.watches), outlet))
                }
                Source::File(config) => Box::pin(follow::files(config, outlet, metrics)),
                Source::Http(config) => Box::pin(follow::server(*config, outlet, metrics)),
                Source::Dns(config) => Box::pin(follow::names(config, outlet, metrics)),
            };
            tasks.spawn(looking);
        }
        Look { sets, tasks, _counted: Some(Counted::new(job, &self.metrics)) }
    }
}

/// The search for the targets of one job. Dropped, it ends.
#[derive(Debug)]
pub struct Look {
    sets: watch::Receiver<TargetSet>,
    tasks: JoinSet<()>,
    _counted: Option<Counted>,
}

impl Look {
    /// A search that somebody else makes.
    #[cfg(test)]
    pub(crate) fn of(sets: watch::Receiver<TargetSet>) -> Self {
        Self { sets, tasks: JoinSet::new(), _counted: None }
    }

    /// The whole set of groups as it is now.
    pub fn set(&mut self) -> TargetSet {
        self.sets.borrow_and_update().clone()
    }

    /// Waits until the set is another one.
    ///
    /// # Errors
    /// When a source panicked, which is a defect.
    pub async fn changed(&mut self) -> Result<(), JoinError> {
        let Self { sets, tasks, .. } = self;
        tokio::select! {
            Ok(()) = sets.changed() => Ok(()),
            error = failed(tasks) => Err(error),
        }
    }

    /// Waits until no source is still looking for the first time, at most until `deadline`.
    ///
    /// # Errors
    /// When a source panicked, which is a defect.
    pub async fn settled(&mut self, deadline: Instant) -> Result<(), JoinError> {
        let Self { sets, tasks, .. } = self;
        tokio::select! {
            // A sender that is gone has said its last, too.
            _ = sets.wait_for(|set| set.waiting == 0) => Ok(()),
            () = tokio::time::sleep_until(deadline) => Ok(()),
            error = failed(tasks) => Err(error),
        }
    }
}

/// Waits for a source that panicked; one that ends has nothing more to say.
async fn failed(tasks: &mut JoinSet<()>) -> JoinError {
    loop {
        match tasks.join_next().await {
            Some(Err(error)) => return error,
            Some(Ok(())) => {}
            None => std::future::pending().await,
        }
    }
}
