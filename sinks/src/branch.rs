//! A second stream of objects: to the same store and in the same turns, below a folder of its own and out of a spool of its own.
//!
//! So all that holds for the sinks holds for each of the two by itself: one writer, keys that only increase, one PUT in flight,
//! a gap in the sequence is a dropped object. A folder is named so that it sorts below every key without one, and lies deeper
//! than a queue table for those looks.

use std::sync::Arc;

use pipeline::model::object::{Object, Writer};
use tokio::sync::{mpsc, watch};

use crate::metrics::Metrics;
use crate::run::StoreKind;
use crate::spool::{self, Lock, Spool};
use crate::status::{Progress, Sources, StatusHandle};
use crate::store::{Body, Condition, Error, Location, Receipt, Store, Stored};

/// The folder of Kubernetes events, with its slash. `-` sorts below all digits, so that no key of metrics lies below it.
pub const EVENTS: &str = "0-events/";

/// Objects between whoever makes them and the spool.
const OBJECTS_MAX: usize = 1;

/// The end of a branch that objects are put into.
#[derive(Debug)]
pub struct Inlet {
    /// Who writes, and the sequence number of the next object.
    pub writer: Writer,
    /// The number below which every object has come to the spool durably, or was dropped and counted.
    pub taken: watch::Receiver<u64>,
    /// Takes objects; dropped, it ends the branch.
    pub objects: mpsc::Sender<Object>,
    /// Where to ask how things are.
    pub status: StatusHandle,
}

/// An opened branch.
#[derive(Debug)]
pub(crate) struct Branch {
    pub folder: &'static str,
    pub lock: Lock,
    pub spool: Arc<Spool>,
    pub progress: Arc<Progress>,
    pub metrics: Arc<Metrics>,
    pub status: StatusHandle,
    pub objects: mpsc::Receiver<Object>,
}

/// Opens a branch. Blocks on the disk.
///
/// # Errors
/// When its spool cannot be used.
pub(crate) fn open(
    folder: &'static str,
    config: &spool::Config,
    writer: &str,
    store: &StoreKind,
    opened: i64,
    metrics: Arc<Metrics>,
) -> Result<(Branch, Inlet), spool::Error> {
    let (spool, lock) = Spool::open(config, Some(writer), opened, Arc::clone(&metrics))?;
    let (spool, progress) = (Arc::new(spool), Arc::new(Progress::default()));
    let status = StatusHandle::new(Sources {
        spool: Arc::clone(&spool),
        progress: Arc::clone(&progress),
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        opened,
    });
    let (sender, objects) = mpsc::channel(OBJECTS_MAX);
    let inlet =
        Inlet { writer: spool.writer(), taken: spool.taken(), objects: sender, status: status.clone() };
    Ok((Branch { folder, lock, spool, progress, metrics, status, objects }, inlet))
}

/// A store whose keys all lie below one folder of another.
#[derive(Clone, Debug)]
pub(crate) struct Below<S> {
    store: Arc<S>,
    folder: &'static str,
}

impl<S> Below<S> {
    pub(crate) fn new(store: Arc<S>, folder: &'static str) -> Self {
        Self { store, folder }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.folder)
    }
}

impl<S: Store> Store for Below<S> {
    async fn ready(&self) {
        self.store.ready().await;
    }

    fn location(&self) -> Option<Location> {
        let Location { bucket, prefix } = self.store.location()?;
        let slash = if prefix.is_empty() { "" } else { "/" };
        Some(Location { bucket, prefix: format!("{prefix}{slash}{}", self.folder.trim_end_matches('/')) })
    }

    fn is_hopeless(&self) -> bool {
        self.store.is_hopeless()
    }

    async fn server_time(&self) -> Result<i64, Error> {
        self.store.server_time().await
    }

    async fn put(&self, key: &str, body: &Body, condition: Condition) -> Result<Receipt, Error> {
        self.store.put(&self.key(key), body, condition).await
    }

    async fn head(&self, key: &str) -> Result<Option<Stored>, Error> {
        self.store.head(&self.key(key)).await
    }

    async fn largest_key_in(&self, folder: &str, after: &str) -> Result<Option<String>, Error> {
        self.store.largest_key_in(&self.key(folder), after).await
    }

    async fn refresh(&self) -> bool {
        self.store.refresh().await
    }
}

#[cfg(test)]
mod tests {
    use pipeline::model::object::Format;

    use super::*;
    use crate::file::Directory;
    use crate::key::Key;
    use crate::store::conformance;

    /// The folder is a store like any other, beside objects of metrics.
    #[tokio::test]
    async fn a_folder_is_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Directory::new(dir.path().to_owned()));
        conformance::check(&*store).await;
        conformance::check(&Below::new(Arc::clone(&store), EVENTS)).await;
        let now = store.server_time().await.unwrap();
        let keys = |folder: &'static str| {
            let store = Arc::clone(&store);
            async move { store.largest_key_in(folder, &format!("{:010}", now - 100)).await.unwrap().unwrap() }
        };
        assert!(keys("").await.parse::<Key>().is_ok() && keys(EVENTS).await.parse::<Key>().is_ok());
    }

    /// A pointer of an S3Queue compares whole keys.
    #[test]
    fn its_keys_sort_below_all_others() {
        let last = Key::next(None, 9_999_999_999, "zzz", u64::MAX, Format::Parquet).to_string();
        let first = Key::next(None, 0, "0", 0, Format::Parquet).to_string();
        assert!(format!("{EVENTS}{last}") < first, "{EVENTS}{last} {first}");
        // A table for `*/*.parquet` looks one folder deep.
        assert_eq!(format!("{EVENTS}{first}").matches('/').count(), 2);
    }
}
