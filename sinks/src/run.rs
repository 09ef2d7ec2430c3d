//! Opening and running the sinks: the spool, the upload, and what the upload needs.

use std::sync::Arc;
use std::time::Duration;

use pipeline::model::object::{Object, Writer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::metrics::Metrics;
use crate::status::StatusHandle;

/// How long uploading goes on after the stop: a container gets 30 s between SIGTERM and SIGKILL.
pub const DRAIN: Duration = Duration::from_secs(25);

/// Why the sinks could not be opened or ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// todo
    #[error("todo")]
    Todo,
}

/// The opened sinks: the spool is locked and knows who writes.
pub struct Sinks {
    writer: Writer,
    status: StatusHandle,
}

/// Opens the spool, takes its lock, and prepares the store. Blocks on the disk; nothing is sent yet.
///
/// `version` is the agent's, for the User-Agent header.
///
/// # Errors
/// When the spool is in use by another process or cannot be used, and when the store's configuration is unusable.
pub fn open(config: &Config, version: &str, metrics: Arc<Metrics>) -> Result<Sinks, Error> {
    let _ = (config, version, metrics);
    Err(Error::Todo)
}

impl Sinks {
    /// Who writes, and the sequence number of the next object.
    #[must_use]
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Where to ask how things are, now and after `run` has ended.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.status.clone()
    }

    /// Receives objects into the spool and uploads them, oldest first, until the channel is closed and the spool
    /// is empty, or [`DRAIN`] has passed since `stop` was cancelled (or the channel closed, whichever came first).
    /// What is left stays in the spool and goes first at the next start.
    ///
    /// # Errors
    /// When a part ends early, which is a defect of the agent and must end the process.
    pub async fn run(self, objects: mpsc::Receiver<Object>, stop: CancellationToken) -> Result<(), Error> {
        let _ = (objects, stop);
        Err(Error::Todo)
    }
}
