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
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::config::{DnsConfig, FileConfig, HttpConfig};
pub use self::kubernetes::{AttachMetadata, KubernetesConfig, Namespaces, Role, Selector};
pub use self::metrics::Metrics;

use self::kubernetes::Watches;
use crate::kubernetes::{Permission, Server};
use crate::model::target::{TargetGroup, TargetSet};

/// Where the targets of a job are looked for.
#[derive(Clone, Debug)]
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

    /// Starts to look in `sources` for the targets of `job`, in tasks of `tasks`, until `stop`.
    ///
    /// The receiver holds the whole set of groups. A sender that is gone means that the set will not change any more.
    pub fn start(
        &self,
        job: &str,
        sources: Vec<Source>,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> watch::Receiver<TargetSet> {
        let (outlets, receiver) = outlet::outlets(job, sources.len(), &self.metrics);
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
            let stop = stop.clone();
            tasks.spawn(async move {
                let _ = stop.run_until_cancelled(looking).await;
            });
        }
        receiver
    }
}

/// The first set in which no source is still looking, or what there is after `longest`.
pub async fn first_set(receiver: &mut watch::Receiver<TargetSet>, longest: Duration) -> TargetSet {
    // A sender that is gone has said its last, too.
    let _ = tokio::time::timeout(longest, receiver.wait_for(|set| set.waiting == 0)).await;
    receiver.borrow_and_update().clone()
}
