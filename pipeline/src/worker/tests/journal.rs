//! The worker's thread with a journal: what a kill leaves, what is removed, and a disk that refuses.

use std::fs;
use std::path::Path;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::encode::vector::{Config, PARTS_MAX};
use crate::gate::Gate;
use crate::journal::{self, Opened};
use crate::model::units::Size;

/// A worker with its journal, from its start to its end.
struct Life {
    scrapes: mpsc::Sender<Arrival>,
    objects: mpsc::Receiver<Object>,
    taken: watch::Sender<u64>,
    problem: journal::Problem,
    is_stuck: watch::Receiver<Option<String>>,
    metrics: Arc<Metrics>,
    journal: Arc<journal::Metrics>,
    target: Arc<Target>,
    stopping: CancellationToken,
    tasks: JoinSet<()>,
}

impl Life {
    /// Starts one that seals after this many rows; objects below `taken` have come.
    fn start(dir: &Path, taken: u64, max_rows: u64) -> Self {
        let Bench { mut worker, metrics, target } = bench(plain());
        let registry = Registry::new();
        let config =
            journal::Config { commit_interval: crate::model::units::Duration(Duration::from_millis(1)) };
        let journal_metrics = Arc::new(journal::Metrics::new(&registry).unwrap());
        let Opened { left, journal, disk } =
            journal::open(dir, &config, taken, worker.objects_max(), Arc::clone(&journal_metrics)).unwrap();
        worker.keep_journal(&left);
        worker.batcher = Batcher::new(batch::Config { max_rows, ..batch::Config::default() });
        let (scrapes, queue) = mpsc::channel(8);
        let (sender, objects) = mpsc::channel(8);
        let (taken, is_taken) = watch::channel(taken);
        let (problem, stopping, runtime) = (journal.problem(), CancellationToken::new(), Handle::current());
        let gate = Gate::open();
        let (stuck, is_stuck) = watch::channel(None);
        let connections = Connections {
            scrapes: queue,
            objects: sender,
            journal: Some(journal),
            stuck,
            gate,
            rest: Rest::default(),
            stopping: stopping.clone(),
        };
        let mut tasks = JoinSet::new();
        let of_disk = runtime.clone();
        let stop = stopping.clone();
        tasks.spawn_blocking(move || disk.run(is_taken, &stop, &of_disk));
        tasks.spawn_blocking(move || run(worker, connections, &left, &runtime).unwrap());
        Self {
            scrapes,
            objects,
            taken,
            problem,
            is_stuck,
            metrics,
            journal: journal_metrics,
            target,
            stopping,
            tasks,
        }
    }

    async fn scrape(&self, time: i64, body: &str) {
        let exposition = Exposition::whole(Bytes::copy_from_slice(body.as_bytes()));
        let (target, duration) = (Arc::clone(&self.target), Duration::ZERO);
        let scrape = Scrape { target, time, duration, outcome: Ok(exposition) };
        self.scrapes.send(Arrival::Scrape(scrape)).await.unwrap();
    }

    async fn object(&mut self) -> Object {
        tokio::time::timeout(Duration::from_secs(20), self.objects.recv()).await.unwrap().unwrap()
    }

    /// Waits until this many scrapes were reported on and everything is synced.
    async fn committed(&self, scrapes: u64) {
        let reported = || self.metrics.samples_reported.get() / report::NAMES.len() as u64;
        until(|| reported() >= scrapes && self.journal.pending_bytes.get() == 0).await;
        let commits = self.journal.commits.get();
        until(|| self.journal.commits.get() > commits || commits > 0).await;
    }

    /// Scrapes all bodies; gives the directory as a kill would leave it then.
    async fn kill(&self, dir: &Path) -> tempfile::TempDir {
        for (scrape, body) in BODIES.iter().enumerate() {
            self.scrape(TIME + scrape as i64 * 1_000, body).await;
        }
        self.committed(BODIES.len() as u64).await;
        killed(dir)
    }

    async fn end(mut self) -> Vec<Object> {
        self.stopping.cancel();
        drop(self.scrapes);
        let mut objects = Vec::new();
        while let Some(object) = self.objects.recv().await {
            self.taken.send_replace(object.sequence + 1);
            objects.push(object);
        }
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        objects
    }
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The directory as a kill at this moment would leave it.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in names(dir) {
        fs::copy(dir.join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

const BODIES: [&str; 3] =
    ["a{x=\"1\"} 1\nb 2\n", "b 3\na{x=\"1\"} NaN\nnew 5 1700000000500\n", "# TYPE c counter\nc 7\n"];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_leaves_becomes_the_same_object() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::start(dir.path(), 7, 1_000);
    let copy = life.kill(dir.path()).await;
    let sealed = life.end().await;
    assert_eq!(sealed.len(), 1);
    assert_eq!(names(dir.path()), ["0000000000.series"], "the object has come");

    let mut again = Life::start(copy.path(), 7, 1_000);
    let replayed = again.object().await;
    assert_eq!(replayed, sealed[0]);
    let metrics = Arc::clone(&again.metrics);
    assert_eq!(metrics.samples_replayed.get(), replayed.samples);
    // Until it has come, a second kill would leave it again.
    assert!(names(copy.path()).contains(&"0000000007.samples".to_owned()));
    again.taken.send_replace(8);
    until(|| names(copy.path()).is_empty()).await;
    again.scrape(TIME + 9_000, "a 1\n").await;
    let next = again.end().await;
    assert_eq!(next[0].sequence, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_spool_has_is_not_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::start(dir.path(), 7, 1_000);
    life.scrape(TIME, BODIES[0]).await;
    life.committed(1).await;
    let copy = killed(dir.path());
    life.end().await;
    let again = Life::start(copy.path(), 8, 1_000);
    assert_eq!(again.end().await, []);
    assert_eq!(names(copy.path()), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_batches_under_way_come_back_in_order_and_by_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    // Each scrape is a batch.
    let life = Life::start(dir.path(), 7, 1);
    let copy = life.kill(dir.path()).await;
    let sealed = life.end().await;
    let again = Life::start(copy.path(), 7, 1);
    assert_eq!(again.end().await, sealed);
    assert_eq!(sealed.iter().map(|object| object.sequence).collect::<Vec<_>>(), [7, 8, 9]);
}

/// The encoding was another when they were scraped: no number was kept free, and a batch may be larger than an object.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_with_another_encoding_left_is_cut_into_objects() {
    const LAST: u64 = PARTS_MAX - 1;
    let dir = tempfile::tempdir().unwrap();
    let life = Life::start(dir.path(), 7, 30_000);
    for scrape in 0..2 {
        let body: String = (0..30_000).map(|n| format!("x{{n=\"{n}\"}} {scrape}\n")).collect();
        life.scrape(TIME + scrape, &body).await;
    }
    // It is made before the entry in it counts as written.
    until(|| names(dir.path()).contains(&"0000000008.samples".to_owned())).await;
    life.committed(2).await;
    let copy = killed(dir.path());
    let sealed = life.end().await;
    assert_eq!(sealed.iter().map(|object| object.sequence).collect::<Vec<_>>(), [7, 8]);

    // The second time some objects have come, and what was renamed keeps its number.
    let (first, second) = (7 + LAST, 7 + LAST + PARTS_MAX);
    let all = [7, 8, first, first + 1, first + 2, second];
    for (taken, expected) in [(7, &all[..]), (9, &[9, 10, first, first + 1, first + 2, second])] {
        let (metrics, config) =
            (journal::Metrics::new(&Registry::new()).unwrap(), journal::Config::default());
        let mut worker = vector::worker(&Config { max_bytes: Size(1 << 20), ..Config::default() });
        let opened =
            journal::open(copy.path(), &config, taken, worker.objects_max(), metrics.into()).unwrap();
        assert_eq!(opened.left.batches, [first, second]);
        worker.keep_journal(&opened.left);
        let mut objects = Vec::new();
        for sequence in &opened.left.batches {
            worker.replay(*sequence, opened.left.read(*sequence).unwrap(), |object| objects.push(object));
        }
        assert_eq!(objects.iter().map(|object| object.sequence).collect::<Vec<_>>(), expected);
        assert!(objects.iter().all(|object| object.bytes.len() < (2 << 20) + 1024));
        let samples = |objects: &[Object]| objects.iter().map(|object| object.samples).sum::<u64>();
        assert_eq!(samples(&objects), samples(&sealed));
        assert_eq!(worker.next_sequence(), second + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_scrape_is_counted_and_kept_aside_and_the_others_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::start(dir.path(), 7, 1_000);
    let copy = life.kill(dir.path()).await;
    let whole = life.end().await[0].samples;
    let file = copy.path().join("0000000007.samples");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    fs::write(&file, bytes).unwrap();

    let mut again = Life::start(copy.path(), 7, 1_000);
    let replayed = again.object().await;
    let lost = again.metrics.samples_dropped.with_label_values(&[reason::JOURNAL_CORRUPT]).get();
    assert!(lost > 0 && replayed.samples > 0);
    assert_eq!(replayed.samples + lost, whole);
    again.taken.send_replace(8);
    until(|| names(copy.path()) == ["0000000007.samples.corrupt"]).await;
    again.end().await;
}

/// Back-pressure: what is open becomes an object, and so does at once what is under way; the pool makes no more scrapes.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_refuses_everything_is_sealed_at_once() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, away) = (parent.path().join("journal"), parent.path().join("away"));
    fs::create_dir(&dir).unwrap();
    let mut life = Life::start(&dir, 7, 7);
    life.scrape(TIME, "a 1\nb 1\nc 1\n").await;
    assert_eq!(life.object().await.sequence, 7, "seven rows");
    life.committed(1).await;
    fs::rename(&dir, &away).unwrap();
    // Smaller than a batch, and sealed nevertheless: first because the disk fails, then because it has failed.
    for sequence in 8..10 {
        life.scrape(TIME + sequence, "a 2\n").await;
        assert_eq!(life.object().await.sequence, sequence.cast_unsigned());
    }
    assert!(life.problem.borrow().as_ref().is_some_and(|problem| problem.contains("cannot be written")));
    until(|| life.journal.errors.get() > 1).await;
    fs::rename(&away, &dir).unwrap();
    until(|| life.problem.borrow().is_none()).await;
    life.scrape(TIME + 10, "a 3\n").await;
    until(|| names(&dir).contains(&"0000000010.samples".to_owned())).await;
    assert_eq!(life.end().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_disk_refuses_seals_what_is_in_the_queue() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("journal");
    fs::create_dir(&dir).unwrap();
    let life = Life::start(&dir, 7, 1_000);
    fs::remove_dir(&dir).unwrap();
    life.scrape(TIME, "a 1\n").await;
    let mut problem = life.problem.clone();
    tokio::time::timeout(Duration::from_secs(20), problem.wait_for(Option::is_some)).await.unwrap().unwrap();
    life.scrape(TIME + 1_000, "a 2\n").await;
    let sealed = life.end().await;
    let samples: u64 = sealed.iter().map(|object| object.samples).sum();
    assert_eq!(samples, 2 * (1 + report::NAMES.len() as u64));
}

/// A spool that takes no objects: what waits for the worker is in no journal, so that no more may be scraped.
#[tokio::test(flavor = "multi_thread")]
async fn objects_that_nobody_takes_pause_scraping() {
    let dir = tempfile::tempdir().unwrap();
    // Each scrape is a batch; eight objects find room, and the ninth waits.
    let mut life = Life::start(dir.path(), 7, 1);
    for scrape in 0..9 {
        life.scrape(TIME + scrape, "a 1\n").await;
    }
    let mut is_stuck = life.is_stuck.clone();
    let said = tokio::time::timeout(Duration::from_secs(20), is_stuck.wait_for(Option::is_some)).await;
    assert!(said.unwrap().unwrap().as_ref().is_some_and(|text| text.contains("keep up")));
    assert_eq!(life.object().await.sequence, 7);
    tokio::time::timeout(Duration::from_secs(20), is_stuck.wait_for(Option::is_none)).await.unwrap().unwrap();
    assert_eq!(life.end().await.len(), 8);
}
