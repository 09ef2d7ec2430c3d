//! Kubernetes events: what happened in the cluster, as rows and as counters.
//!
//! ```text
//! watch { events, pods } ==queue==> account > rows ==objects==> sinks        counters > job `kubernetes-events`
//!                                        '--> position (on disk)
//! ```
//!
//! Takes `events.k8s.io/v1` of the API server, and of pods how their containers ended; gives objects of rows for a spool and a
//! folder of their own, and the exposition of `kube_events_total`. Each pair of a thing's identity and its count is shipped once,
//! which is argued so:
//!
//! 1. A row is made when a count is larger than the one remembered. The memory is in the process.
//! 2. Rows are sealed as the object of number N. Before it leaves, a block with the number N and the counts of its rows is added
//!    to the position and synced. One object is on its way at a time: N + 1 is not begun before the spool has taken N.
//! 3. The spool takes N by a rename, and remembers durably which numbers have come. Then, and not before, the block counts: the
//!    counters that are exposed grow by it.
//! 4. A process that is killed before the block is whole: neither the block nor the object is there. Between the block and the
//!    rename: the spool says that N has not come, so that the block is void and N is given again. After the rename: the
//!    spool says that N has come, and the block counts.
//! 5. What the next process remembers is therefore exactly what the spool has taken. The first thing it does is to list
//!    everything, and to make rows of what is not remembered. Kubernetes keeps its events for an hour (`--event-ttl`): what is
//!    away for longer than that has missed some, and what repeats meanwhile is one row with the last count.
//!
//! An object that the spool drops (full, refused) has come and is counted there as dropped, like those of metrics. Of several
//! agents only the holder of the Lease, or the shard 0, watches. A new holder does not know what the one before has
//! shipped: it ships again what the API server still has, which the table absorbs by `(uid, count)`, and counts only what happened
//! since its turn began. Of what repeats across that moment it counts the last time, and every one that it sees from then on.

mod account;
mod config;
mod counters;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keep;
mod metrics;
mod object;
mod owners;
mod pod;
mod position;
mod rows;
mod run;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

pub use self::config::{Config, Namespaces};
pub use self::metrics::Metrics;
pub(crate) use self::run::Watcher;

use self::account::{Account, Limits};
use self::counters::Exposed;
use self::object::KubeEvent;
use self::pod::Pod;
use self::position::Position;
use crate::clock;
use crate::kubernetes::watch::need;
use crate::kubernetes::{Permission, Server};
use crate::model::object::{Object, Writer};

/// The job of the counters.
pub const JOB: &str = "kubernetes-events";

/// Why the position cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use the position of Kubernetes events in {dir}: {problem}; it needs a directory that the agent may write to"
)]
pub struct Error {
    dir: String,
    problem: std::io::Error,
}

/// Where objects go.
#[derive(Debug)]
pub struct Outlet {
    /// Who writes them, as their spool says.
    pub writer: Writer,
    /// Takes them.
    pub objects: mpsc::Sender<Object>,
    /// The number below which every object has come to the spool, or was dropped and counted.
    pub taken: watch::Receiver<u64>,
}

/// What has to be permitted, and by which server.
#[must_use]
pub fn permissions(config: &Config) -> Vec<(Server, Permission)> {
    let (server, mut all) = (config.server(), Vec::new());
    for namespace in config.scopes() {
        need::<KubeEvent>(&server, namespace.as_deref(), &mut all);
        need::<Pod>(&server, namespace.as_deref(), &mut all);
    }
    all
}

/// Opens the position in `dir` and makes everything ready. Blocks on the disk; asks nobody anything yet.
pub(crate) fn open(
    config: &Config,
    dir: &Path,
    cluster_id: &str,
    limits: &crate::Limits,
    outlet: Outlet,
    metrics: Metrics,
) -> Result<(Watcher, Exposed), Error> {
    let failed = |problem| Error { dir: dir.display().to_string(), problem };
    let (mut position, left) = Position::open(dir, outlet.writer.taken).map_err(failed)?;
    let (exposed, now) = (Exposed::default(), clock::now_millis());
    let limits = Limits {
        rows: config.max_object_rows,
        series: config.max_counter_series,
        remembered: config.max_remembered,
        ahead: limits.max_timestamp_ahead.as_millis(),
        behind: limits.max_timestamp_behind.as_millis(),
    };
    let mut account = Account::new(limits, left, now, exposed.clone(), metrics.clone());
    position.replace(&account.whole(outlet.writer.next_sequence, now)).map_err(failed)?;
    let watcher =
        Watcher::new(config.clone(), cluster_id, account, Arc::new(Mutex::new(position)), outlet, metrics);
    Ok((watcher, exposed))
}
