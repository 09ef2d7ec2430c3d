//! Opening and running the sinks: the spool, the upload, and what the upload needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pipeline::model::object::{Object, Writer};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::branch::{self, Below, Branch, Inlet};
use crate::file;
use crate::metrics::{DropReason, Metrics};
use crate::retry::{Backoff, Policy};
use crate::s3::{self, S3};
use crate::spool::{self, Lock, Spool};
use crate::status::{CredentialsStatus, Place, Progress, Sources, StatusHandle};
use crate::store::Store;
use crate::turn::{Backlog, Turn};
use crate::upload::Uploader;
use crate::{Config, clock};

/// How long uploading goes on after the stop: a container gets 30 s between SIGTERM and SIGKILL.
pub const DRAIN: Duration = Duration::from_secs(25);

/// How often it is looked at the end whether the store is worth waiting for.
const HOPELESS_LOOK: Duration = Duration::from_millis(500);

/// How often gauges of ages are written: oftener than anyone scrapes them.
const GAUGES: Duration = Duration::from_secs(5);

/// Why the sinks could not be opened or ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// S3 or the source of credentials cannot be set up.
    #[error("{0}")]
    S3(String),
    /// The section `sink` names no destination, or two.
    #[error("sink needs exactly one destination: s3 or file")]
    Sink,
    /// A part ended that should not have.
    #[error("{0} ended early, which is a defect of the agent")]
    Ended(&'static str),
}

/// The opened sinks: the spool is locked and knows who writes.
#[derive(Debug)]
pub struct Sinks {
    lock: Lock,
    spool: Arc<Spool>,
    store: StoreKind,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    status: StatusHandle,
    wanted: watch::Sender<bool>,
    branch: Option<Branch>,
}

/// The two kinds of store.
#[derive(Clone, Debug)]
pub(crate) enum StoreKind {
    S3(Arc<S3>),
    File(Arc<file::Directory>),
}

impl StoreKind {
    /// Why nothing could be delivered now, as far as the store knows.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::S3(s3) => s3.problem(),
            Self::File(_) => None,
        }
    }

    pub(crate) fn credentials(&self) -> Option<CredentialsStatus> {
        match self {
            Self::S3(s3) => Some(s3.credentials_status()),
            Self::File(_) => None,
        }
    }

    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Self::S3(s3) => s3.place(),
            Self::File(directory) => Some(directory.place()),
        }
    }

    pub(crate) fn clock_offset(&self) -> Option<f64> {
        match self {
            Self::S3(s3) => s3.clock_offset(),
            Self::File(_) => Some(0.0),
        }
    }
}

/// Opens the spool, takes its lock, and prepares the store. Blocks on the disk; nothing is sent yet.
///
/// `version` is the agent's, for the User-Agent header.
///
/// # Errors
/// When the spool is in use by another process or cannot be used, and when the store's configuration is unusable.
pub fn open(config: &Config, version: &str, metrics: Arc<Metrics>) -> Result<Sinks, Error> {
    let store = match (&config.sink.s3, &config.sink.file) {
        (Some(s3), None) => {
            StoreKind::S3(Arc::new(s3::open(s3, &config.credentials, version, &metrics).map_err(Error::S3)?))
        }
        (None, Some(file)) => StoreKind::File(Arc::new(file::Directory::new(PathBuf::clone(&file.dir)))),
        _ => return Err(Error::Sink),
    };
    let opened = clock::wall_seconds();
    let (spool, lock) = Spool::open(&config.spool, config.writer(), opened, Arc::clone(&metrics))?;
    let (spool, progress) = (Arc::new(spool), Arc::new(Progress::default()));
    let status = StatusHandle::new(Sources {
        spool: Arc::clone(&spool),
        progress: Arc::clone(&progress),
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        opened,
    });
    let (wanted, branch) = (watch::channel(false).0, None);
    Ok(Sinks { lock, spool, store, progress, metrics, status, wanted, branch })
}

impl Sinks {
    /// Who writes, and the sequence number of the next object.
    #[must_use]
    pub fn writer(&self) -> Writer {
        self.spool.writer()
    }

    /// Opens a second stream of objects, below a folder of its own (with its slash) and out of a spool of its own. Blocks on the
    /// disk. `metrics` are the branch's own.
    ///
    /// # Errors
    /// When its spool cannot be used.
    pub fn branch(
        &mut self,
        folder: &'static str,
        config: &spool::Config,
        metrics: Arc<Metrics>,
    ) -> Result<Inlet, Error> {
        let (writer, now) = (self.writer().id, clock::wall_seconds());
        let (branch, inlet) = branch::open(folder, config, &writer, &self.store, now, metrics)?;
        self.branch = Some(branch);
        Ok(inlet)
    }

    /// The sequence number below which every object has come to the spool durably, or was dropped and counted: then nobody
    /// else has to keep it. Lives on after `run` has ended.
    #[must_use]
    pub fn taken(&self) -> watch::Receiver<u64> {
        self.spool.taken()
    }

    /// Where to ask how things are, now and after `run` has ended.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.status.clone()
    }

    /// The spool for whoever keeps the Lease by which several agents take turns.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let beside = self.branch.as_ref().map(|branch| Arc::clone(&branch.spool));
        Backlog::new(Arc::clone(&self.spool), beside, self.wanted.subscribe())
    }

    /// Receives objects into the spool and uploads them while it is our turn, oldest first, until the channel is closed and the spool
    /// is empty or will have no turn, or [`DRAIN`] has passed since `stop` was cancelled (or the channel closed, whichever
    /// came first). Where there never were credentials and the last attempt to get them has failed, the end waits for none.
    /// What is left stays in the spool and goes first at the next start.
    ///
    /// # Errors
    /// When a part ends early, which is a defect of the agent and must end the process.
    pub async fn run(
        self,
        objects: mpsc::Receiver<Object>,
        turn: watch::Receiver<Turn>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let Self { lock, spool, store, progress, metrics, status, wanted, branch } = self;
        let run = Run { spool, progress, metrics, status, turn: turn.clone(), wanted };
        let result = match store {
            StoreKind::File(directory) => {
                let branch = run_branch(branch, Arc::clone(&directory), turn, stop.clone());
                let main = run.until_done(directory, std::future::pending(), objects, stop);
                tokio::try_join!(main, branch)
            }
            StoreKind::S3(s3) => {
                let branch = run_branch(branch, Arc::clone(&s3), turn, stop.clone());
                let refresher = Arc::clone(&s3);
                let refreshing = async move { refresher.keep_credentials().await };
                tokio::try_join!(run.until_done(s3, refreshing, objects, stop), branch)
            }
        };
        drop(lock);
        result.map(|_| ())
    }
}

/// Runs the second stream of objects beside the first, with whose credentials it goes.
async fn run_branch<S: Store>(
    branch: Option<Branch>,
    store: Arc<S>,
    turn: watch::Receiver<Turn>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let Some(Branch { folder, lock, spool, progress, metrics, status, objects }) = branch else {
        return Ok(());
    };
    // Whether a turn would be of use, the first stream says.
    let run = Run { spool, progress, metrics, status, turn, wanted: watch::channel(false).0 };
    let below = Arc::new(Below::new(store, folder));
    let result = run.until_done(below, std::future::pending(), objects, stop).await;
    drop(lock);
    result
}

/// What the parts share.
struct Run {
    spool: Arc<Spool>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    status: StatusHandle,
    turn: watch::Receiver<Turn>,
    wanted: watch::Sender<bool>,
}

impl Run {
    /// Runs the parts beside each other in this one task: none can die unseen.
    async fn until_done<S: Store>(
        self,
        store: Arc<S>,
        refreshing: impl Future<Output = ()>,
        mut objects: mpsc::Receiver<Object>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let closed = CancellationToken::new();
        let hopeless_store = Arc::clone(&store);
        let uploader = Uploader::new(
            store,
            Arc::clone(&self.spool),
            Arc::clone(&self.progress),
            Arc::clone(&self.metrics),
            self.turn.clone(),
            self.wanted.clone(),
        );
        let receiving = async {
            receive(&mut objects, &self.spool, &self.metrics, Policy::DISK).await;
            closed.cancel();
        };
        let deadline = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = closed.cancelled() => {}
            }
            sleep(DRAIN).await;
        };
        let hopeless = async {
            closed.cancelled().await;
            while !hopeless_store.is_hopeless() {
                sleep(HOPELESS_LOOK).await;
            }
        };
        let work = async { tokio::join!(receiving, uploader.run(closed.cancelled())) };
        let result = tokio::select! {
            _ = work => Ok(()),
            () = deadline => Ok(()),
            () = hopeless => Ok(()),
            () = refreshing => Err(Error::Ended("the refresher of credentials")),
            () = self.keep_gauges() => Err(Error::Ended("the clock of the gauges")),
        };
        // Without the disk there is no place for what still waits in the queue.
        objects.close();
        while let Ok(object) = objects.try_recv() {
            drop(Unwritten { object: Some(&object), metrics: &self.metrics });
        }
        self.say_what_is_left();
        result
    }

    /// Brings the gauges that change with time alone up to date, for ever.
    async fn keep_gauges(&self) {
        loop {
            self.status.write_gauges();
            sleep(GAUGES).await;
        }
    }

    fn say_what_is_left(&self) {
        let left = self.spool.status();
        if left.objects > 0 {
            let (objects, bytes) = (left.objects, left.bytes);
            tracing::warn!(
                objects,
                bytes,
                "not all was delivered, the spool keeps what is left for the next start"
            );
        }
    }
}

/// Receives objects into the spool until the channel is closed. While the disk refuses, one object waits in
/// memory and the queue fills, which is what holds the pipeline back.
async fn receive(objects: &mut mpsc::Receiver<Object>, spool: &Spool, metrics: &Metrics, policy: Policy) {
    while let Some(object) = objects.recv().await {
        let unwritten = Unwritten { object: Some(&object), metrics };
        let mut backoff = Backoff::new(policy);
        let mut failed = false;
        while let Err(error) = spool.add(&object).await {
            metrics.spool_write_errors.inc();
            if !std::mem::replace(&mut failed, true) {
                let sequence = object.sequence;
                tracing::error!(%error, sequence, "cannot write to the spool, trying again");
            }
            sleep(backoff.next()).await;
        }
        if failed {
            tracing::info!(sequence = object.sequence, "spool can be written again");
        }
        unwritten.done();
    }
}

/// Counts an object as dropped if the process ends before the disk has taken it.
struct Unwritten<'a> {
    object: Option<&'a Object>,
    metrics: &'a Metrics,
}

impl Unwritten<'_> {
    fn done(mut self) {
        self.object = None;
    }
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if let Some(object) = self.object {
            let (sequence, samples) = (object.sequence, object.samples);
            tracing::error!(sequence, samples, "dropped an object that the disk did not take in time");
            self.metrics.drop_objects(DropReason::NotWritten, 1, samples);
        }
    }
}

#[cfg(test)]
mod tests;
