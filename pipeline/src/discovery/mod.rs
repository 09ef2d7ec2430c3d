//! Discovery: who is to be scraped. Publishes the whole set of target groups of a job, whenever it changes.
//!
//! Takes where to look, gives a `watch` channel per job that always holds the complete set. Never relabels and never
//! connects to a target.

mod config;
mod dns;
mod file;
mod http;
mod kubernetes;
mod list;
mod static_targets;

pub use self::config::{DnsConfig, FileConfig, HttpConfig};
pub use self::kubernetes::{AttachMetadata, KubernetesConfig, Namespaces, Role, Selector};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::model::target::TargetGroup;

/// Where the targets of a job are looked for.
#[derive(Clone, Debug)]
pub enum Source {
    /// They stand in the configuration.
    Static(Vec<TargetGroup>),
}

/// Starts to look in `source`, in a task of `tasks` where one is needed, until `stop`.
///
/// The receiver holds the whole set of groups. A sender that is gone means that the set will not change any more.
pub fn start(
    source: Source,
    _tasks: &mut JoinSet<()>,
    _stop: &CancellationToken,
) -> watch::Receiver<Vec<TargetGroup>> {
    match source {
        Source::Static(groups) => static_targets::publish(groups),
    }
}
