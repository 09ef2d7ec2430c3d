//! Running the sinks: from the queue to the store, and to the end.

use std::path::Path;

use tokio::time::Instant;

use super::*;
use crate::SinkConfig;
use crate::spool::tests::{config, metrics, object};
use crate::store;

fn sinks(dir: &Path, metrics: &Arc<Metrics>) -> Sinks {
    let file = file::Config { dir: dir.join("objects") };
    let config = Config {
        spool: config(&dir.join("spool"), 1 << 20),
        sink: SinkConfig { s3: None, file: Some(file) },
        ..Config::default()
    };
    open(&config, "0.0.0", Arc::clone(metrics)).unwrap()
}

/// Files below the directory, at any depth.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_received_is_delivered_before_the_end() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let sinks = sinks(dir.path(), &metrics);
    let (status, (sender, receiver)) = (sinks.status(), mpsc::channel(4));
    let first = sinks.writer().next_sequence;
    let feed = async move {
        for sequence in first..first + 6 {
            sender.send(object(sequence)).await.unwrap();
        }
    };
    let (result, ()) = tokio::join!(sinks.run(receiver, Turn::always(), CancellationToken::new()), feed);
    result.unwrap();
    assert_eq!(files(&dir.path().join("objects")).len(), 6);
    let status = status.get();
    assert!(status.ready() && status.last_key.is_some() && status.last_upload.is_some(), "{status:?}");
    assert_eq!((status.spool.objects, metrics.samples_uploaded.get()), (0, 60));
}

/// Whoever keeps the Lease waits for both streams.
#[tokio::test]
async fn the_backlog_is_that_of_both_streams() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = sinks(dir.path(), &metrics());
    let spool = config(&dir.path().join("beside"), 1 << 20);
    let mut inlet = opened.branch(crate::EVENTS, &spool, metrics()).unwrap();
    let (backlog, (sender, receiver)) = (opened.backlog(), mpsc::channel(1));
    let (turn, is_turn) = watch::channel(Turn::Not);
    let feed = async {
        assert!(backlog.is_drained());
        let number = inlet.writer.next_sequence;
        inlet.objects.send(object(number)).await.unwrap();
        inlet.taken.wait_for(|taken| *taken > number).await.unwrap();
        assert!(!backlog.is_drained());
        turn.send_replace(Turn::Always);
        drop((inlet, sender));
    };
    let (result, ()) = tokio::join!(opened.run(receiver, is_turn, CancellationToken::new()), feed);
    result.unwrap();
    assert!(backlog.is_drained());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_costs_the_deadline_and_no_object() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    std::fs::write(dir.path().join("objects"), "a file where the directory should be").unwrap();
    let opened = sinks(dir.path(), &metrics);
    let (sender, receiver) = mpsc::channel(4);
    let (stop, begun) = (CancellationToken::new(), Instant::now());
    let stopping = stop.clone();
    let feed = async move {
        sender.send(object(1)).await.unwrap();
        sleep(Duration::from_secs(60)).await;
        stopping.cancel();
        sleep(Duration::from_secs(10)).await;
        sender.send(object(2)).await.unwrap();
    };
    let (result, ()) = tokio::join!(opened.run(receiver, Turn::always(), stop), feed);
    result.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 60 + DRAIN.as_secs());
    // They go first at the next start.
    std::fs::remove_file(dir.path().join("objects")).unwrap();
    let again = sinks(dir.path(), &metrics);
    assert_eq!(again.status().get().spool.objects, 2);
    let (_, closed) = mpsc::channel(1);
    again.run(closed, Turn::always(), CancellationToken::new()).await.unwrap();
    assert_eq!(files(&dir.path().join("objects")).len(), 2);
    assert_eq!(metrics.dropped_objects.with_label_values(&["not_written"]).get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_holds_the_queue_back_and_counts_what_is_lost_at_the_end() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let sinks = sinks(dir.path(), &metrics);
    std::fs::rename(dir.path().join("spool"), dir.path().join("gone")).unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let feed = async move {
        sender.send(object(1)).await.unwrap();
        sender.send(object(2)).await.unwrap();
        let third = tokio::time::timeout(Duration::from_secs(60), sender.send(object(3))).await;
        assert!(third.is_err(), "the queue is full");
        stopping.cancel();
    };
    let (result, ()) = tokio::join!(sinks.run(receiver, Turn::always(), stop), feed);
    result.unwrap();
    assert_eq!(metrics.dropped_samples.with_label_values(&["not_written"]).get(), 20);
    assert!(metrics.spool_write_errors.get() > 2);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_an_object_that_is_damaged() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let opened = sinks(dir.path(), &metrics);
    opened.spool.add(&object(1)).await.unwrap();
    let name = files(&dir.path().join("spool")).into_iter().find(|path| path.extension().is_some()).unwrap();
    std::fs::write(name, "damaged").unwrap();
    let ((_, closed), begun) = (mpsc::channel(1), Instant::now());
    opened.run(closed, Turn::always(), CancellationToken::new()).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 0);
    assert_eq!(metrics.dropped_samples.with_label_values(&["corrupt"]).get(), 10);
}

/// A store whose credentials never come.
struct Never {
    hopeless_after: Instant,
}

impl Store for Never {
    async fn ready(&self) {
        std::future::pending::<()>().await;
    }

    fn location(&self) -> Option<store::Location> {
        None
    }

    fn is_hopeless(&self) -> bool {
        Instant::now() >= self.hopeless_after
    }

    async fn server_time(&self) -> Result<i64, store::Error> {
        std::future::pending().await
    }

    async fn put(
        &self,
        _: &str,
        _: &store::Body,
        _: store::Condition,
    ) -> Result<store::Receipt, store::Error> {
        std::future::pending().await
    }

    async fn head(&self, _: &str) -> Result<Option<store::Stored>, store::Error> {
        std::future::pending().await
    }

    async fn largest_key_in(&self, _: &str, _: &str) -> Result<Option<String>, store::Error> {
        std::future::pending().await
    }

    async fn refresh(&self) -> bool {
        false
    }
}

/// Where no credentials ever came, the end waits until an attempt to get them has failed, and no longer.
#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_credentials_that_never_came() {
    for (after, expected) in [(0, 0), (3, 3), (60, DRAIN.as_secs())] {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
        let Sinks { spool, progress, metrics, status, wanted, lock: _lock, .. } = sinks(dir.path(), &metrics);
        let begun = Instant::now();
        let store = Arc::new(Never { hopeless_after: begun + Duration::from_secs(after) });
        let run = Run { spool: Arc::clone(&spool), progress, metrics, status, turn: Turn::always(), wanted };
        let (sender, objects) = mpsc::channel(1);
        sender.send(object(1)).await.unwrap();
        drop(sender);
        run.until_done(store, std::future::pending(), objects, CancellationToken::new()).await.unwrap();
        assert_eq!((begun.elapsed().as_secs(), spool.status().objects), (expected, 1), "{after}");
    }
}
