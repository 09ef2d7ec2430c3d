//! Uploading into a scripted store, under paused time.

mod formats;
mod places;
mod scripted;
mod storms;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use pipeline::model::object::Format;
use proptest::prelude::*;

use scripted::{Memory, Scripted, Step};

use super::*;
use crate::key::Key;
use crate::spool::tests::{NOW, config, metrics, object};
use crate::store::{Body, Error, Receipt, Stored};

/// One life of the agent.
struct Life {
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    left: u64,
}

impl Life {
    fn stopped(&self) -> Option<String> {
        self.progress.stopped()
    }
}

/// Opens the spool, adds objects, and uploads until the spool is empty or `patience` is over.
async fn live(dir: &Path, store: &Arc<Scripted>, sequences: &[u64], patience: Duration) -> Life {
    let (metrics, progress) = (metrics(), Arc::new(Progress::default()));
    let (spool, _lock) = Spool::open(&config(dir, 1 << 20), Some("w0"), NOW, Arc::clone(&metrics)).unwrap();
    let spool = Arc::new(spool);
    for sequence in sequences {
        spool.add(&object(*sequence)).await.unwrap();
    }
    let uploader = uploader(store, &spool, &progress, &metrics, Turn::always());
    let _ = tokio::time::timeout(patience, uploader.run(std::future::ready(()))).await;
    Life { metrics, progress, left: spool.status().objects }
}

/// A life that ends as soon as its first PUT has been answered, before anything comes of that.
async fn killed(dir: &Path, store: &Arc<Scripted>, sequences: &[u64]) {
    let answered = store.answered.notified();
    tokio::select! {
        _ = live(dir, store, sequences, HOUR) => panic!("it ended by itself"),
        () = answered => {}
    }
}

fn uploader(
    store: &Arc<Scripted>,
    spool: &Arc<Spool>,
    progress: &Arc<Progress>,
    metrics: &Arc<Metrics>,
    turn: watch::Receiver<Turn>,
) -> Uploader<Scripted> {
    let (spool, progress, metrics) = (Arc::clone(spool), Arc::clone(progress), Arc::clone(metrics));
    Uploader::new(Arc::clone(store), spool, progress, metrics, turn, watch::channel(false).0)
}

const HOUR: Duration = Duration::from_secs(3600);

fn key(unix: i64, sequence: u64) -> String {
    Key::next(None, unix, "w0", sequence, Format::Parquet).to_string()
}

fn body(text: &'static str) -> Body {
    Body { bytes: text.into(), crc32: crc32fast::hash(text.as_bytes()) }
}

#[tokio::test(start_paused = true)]
async fn objects_arrive_once_in_order_whatever_the_store_does() {
    let check = async |script: &[Step], attempts: usize| {
        let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new(script.iter().copied()));
        let life = live(dir.path(), &store, &[1, 2], 24 * HOUR).await;
        let memory = store.lock();
        let contents: Vec<_> = memory.arrived.iter().map(|key| memory.objects[key].bytes.clone()).collect();
        assert_eq!(contents, [object(1).bytes, object(2).bytes], "{script:?}");
        assert!(memory.arrived.is_sorted(), "{script:?}: {:?}", memory.arrived);
        assert_eq!(memory.attempts.len(), attempts, "{script:?}");
        assert_eq!(
            (life.left, life.metrics.objects_uploaded.get(), life.metrics.samples_uploaded.get()),
            (0, 2, 20)
        );
        assert_eq!(life.stopped(), None);
        // Every attempt for one object has one key.
        let keys: BTreeSet<_> = memory.attempts.iter().map(|(key, ..)| key).collect();
        assert_eq!(keys.len(), 2, "{script:?}");
    };
    check(&[], 2).await;
    check(&[Step::Fail(Next::Unknown), Step::Fail(Next::Unknown), Step::Ok], 4).await;
    check(&[Step::Fail(Next::Wait); 40], 42).await;
    // The answer was lost, the next attempt is told that the key is there.
    check(&[Step::Lost], 3).await;
    check(&[Step::Ok, Step::Lost, Step::Fail(Next::Unknown)], 4).await;
    check(&[Step::Twice, Step::Ok], 2).await;
    check(&[Step::Fail(Next::Refresh); 3], 5).await;
    check(&[Step::Fail(Next::Denied), Step::Fail(Next::Denied)], 4).await;
    check(&[Step::Fail(Next::Clock), Step::Fail(Next::Clock)], 4).await;
    check(&[Step::Fail(Next::Unconditional)], 3).await;
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_refreshed_and_the_same_upload_signed_again() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Refresh)]));
    live(dir.path(), &store, &[1], HOUR).await;
    assert_eq!(store.lock().refreshes, 1);
    let attempts = store.attempts();
    assert_eq!(attempts[0], attempts[1], "at once and under the same key");
}

#[tokio::test(start_paused = true)]
async fn denied_access_is_asked_about_once() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Denied); 5]));
    live(dir.path(), &store, &[1], HOUR).await;
    assert_eq!(store.lock().refreshes, 1);
    // Until there are new ones, and now and then, because those may be revoked too.
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Denied); 500]));
    store.lock().vain = 3;
    live(dir.path(), &store, &[1], HOUR / 4).await;
    assert!((5..=7).contains(&store.lock().refreshes), "{}", store.lock().refreshes);
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_soon_at_first_and_every_minute_later() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Unknown); 500]));
    let life = live(dir.path(), &store, &[1], HOUR).await;
    let attempts = store.attempts();
    // 30 s apart on average after the first minute: 120 an hour. Chernoff: outside 80..180 once in 10^6.
    assert!((80..180).contains(&attempts.len()), "{}", attempts.len());
    assert!(attempts[1].2 <= 1 && attempts[2].2 <= 3, "{attempts:?}");
    assert!(attempts.windows(2).all(|pair| pair[1].2 - pair[0].2 <= 60));
    assert_eq!(life.left, 1);
    assert_eq!(life.metrics.upload_errors.with_label_values(&["scripted"]).get(), attempts.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_refused_object_is_set_aside_and_the_next_one_goes() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Reject)]));
    let life = live(dir.path(), &store, &[1, 2], HOUR).await;
    assert_eq!(store.lock().arrived.len(), 1);
    assert_eq!(life.metrics.dropped_samples.with_label_values(&["rejected"]).get(), 10);
    let name = format!("0000000001.10.{:08x}.parquet.rejected", object(1).crc32);
    assert!(dir.path().join(name).exists());
}

/// Two refusals in a row are not the objects' fault: a store that refuses everything must not empty the spool.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_everything_costs_one_object() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Reject); 500]));
    let life = live(dir.path(), &store, &[1, 2, 3], HOUR).await;
    assert_eq!(life.metrics.dropped_samples.with_label_values(&["rejected"]).get(), 10);
    assert_eq!(life.left, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_conditions_is_asked_without() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Unconditional)]));
    live(dir.path(), &store, &[1, 2], HOUR).await;
    let conditions: Vec<_> = store.attempts().into_iter().map(|(_, condition, _)| condition).collect();
    assert_eq!(conditions, [Condition::Absent, Condition::None, Condition::None]);
}

/// One that takes no notice of conditions and never says so: the same key and the same bytes again.
#[tokio::test(start_paused = true)]
async fn a_store_that_ignores_conditions_gets_the_same_again() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Lost, Step::Lost, Step::Ok]));
    store.lock().careless = true;
    let life = live(dir.path(), &store, &[1, 2], HOUR).await;
    assert_eq!((life.left, life.stopped()), (0, None));
    let memory = store.lock();
    assert_eq!(memory.arrived, [key(NOW, 1), key(NOW, 1), key(NOW, 1), memory.arrived[3].clone()]);
    assert_eq!((memory.objects.len(), &memory.objects[&key(NOW, 1)].bytes), (2, &object(1).bytes));
}

#[tokio::test(start_paused = true)]
async fn an_existing_key_at_the_first_attempt_is_another_writer() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Exists)]));
    let life = live(dir.path(), &store, &[1, 2], HOUR).await;
    assert!(life.stopped().is_some_and(|text| text.contains("another writer has the id w0")));
    assert_eq!((store.attempts().len(), life.left, life.metrics.upload_stopped.get()), (1, 2, 1));
    // It is not forgotten by a restart: nothing is sent under a key that is somebody else's.
    let life = live(dir.path(), &store, &[], HOUR).await;
    assert!(life.stopped().is_some());
    assert_eq!((store.attempts().len(), life.left), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_different_object_under_the_key_is_another_writer() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Unknown)]));
    store.lock().list = Some(Next::Denied);
    store.lock().objects.insert(key(NOW + 5, 1), body("another's"));
    let life = live(dir.path(), &store, &[1], HOUR).await;
    assert!(life.stopped().is_some(), "{:?}", store.attempts());
    assert_eq!(life.left, 1);
}

#[tokio::test(start_paused = true)]
async fn permission_to_put_alone_suffices() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Lost]));
    store.lock().head = Some(Next::Denied);
    store.lock().list = Some(Next::Denied);
    let life = live(dir.path(), &store, &[1], HOUR).await;
    assert_eq!((life.left, life.stopped()), (0, None));
    assert_eq!(life.metrics.uploads_confirmed_late.get(), 1);
    // Not listing costs five seconds, so that a key of the last second of an earlier process is below.
    assert_eq!(store.attempts()[0], (key(NOW + 5, 1), Condition::Absent, 5));
}

#[tokio::test(start_paused = true)]
async fn the_first_key_is_above_the_largest_in_the_store() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([]));
    store.lock().objects.insert(key(NOW + 100, 50), body("earlier"));
    live(dir.path(), &store, &[1, 60], HOUR).await;
    assert_eq!(store.lock().arrived, [key(NOW + 101, 1), key(NOW + 101, 60)]);
}

#[tokio::test(start_paused = true)]
async fn keys_increase_when_the_clock_goes_back() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([]));
    live(dir.path(), &store, &[1], HOUR).await;
    store.lock().clock = NOW - 600;
    live(dir.path(), &store, &[2], HOUR).await;
    assert_eq!(store.lock().arrived, [key(NOW, 1), key(NOW, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_recorded_key_too_far_ahead_stops_until_the_servers_get_there() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([]));
    store.lock().clock = NOW + 3600;
    live(dir.path(), &store, &[1], HOUR).await;
    store.lock().clock = NOW;
    let life = live(dir.path(), &store, &[2], Duration::from_secs(2000)).await;
    let reason = life.stopped().unwrap_or_default();
    assert!(reason.contains("ahead of the servers' time"), "{reason}");
    assert_eq!((life.left, store.lock().arrived.len(), life.metrics.upload_stopped.get()), (1, 1, 1));
    let life = live(dir.path(), &store, &[], HOUR).await;
    assert_eq!((life.left, life.stopped(), life.metrics.upload_stopped.get()), (0, None, 0));
    assert!(store.lock().arrived.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn the_key_is_durable_before_the_first_byte() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Lost]));
    // The process dies after the bytes have arrived and before the answer has.
    killed(dir.path(), &store, &[1]).await;
    assert_eq!(store.attempts().len(), 1);
    store.lock().clock = NOW + 500;
    let life = live(dir.path(), &store, &[2], HOUR).await;
    let attempts = store.attempts();
    assert_eq!((attempts[0].0.clone(), life.left), (key(NOW, 1), 0));
    assert_eq!(attempts[1].0, key(NOW, 1), "the recorded key is kept");
    assert_eq!(store.lock().arrived.len(), 2, "and the object arrives once");
    assert_eq!(life.metrics.uploads_confirmed_late.get(), 1);
}

#[derive(Clone, Debug)]
enum Happening {
    Upload,
    Clock(i64),
    Restart,
    /// The spool is carried to another node.
    Carry,
    Lost,
    Fail,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => Just(Happening::Upload),
        2 => (-7200_i64..7200).prop_map(Happening::Clock),
        1 => Just(Happening::Restart),
        1 => Just(Happening::Carry),
        1 => Just(Happening::Lost),
        1 => Just(Happening::Fail),
    ];
    proptest::collection::vec(one, 1..25)
}

/// Lives through what happens and gives the keys in the order of arrival.
async fn arrivals(happenings: Vec<Happening>) -> (usize, Vec<String>) {
    let (mut dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([]));
    let (mut sequence, mut waiting) = (0, Vec::new());
    for happening in happenings {
        match happening {
            Happening::Upload => {
                sequence += 1;
                waiting.push(sequence);
            }
            Happening::Clock(step) => store.lock().clock += step,
            Happening::Restart => {
                live(dir.path(), &store, &waiting, Duration::from_millis(3)).await;
                // A process that has ended writes no more: the only thread for files has done what was asked of it.
                crate::blocking::blocking(|| ()).await;
                waiting.clear();
            }
            Happening::Carry => {
                let there = tempfile::tempdir().unwrap();
                for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
                    std::fs::copy(entry.path(), there.path().join(entry.file_name())).unwrap();
                }
                dir = there;
            }
            Happening::Lost => store.lock().puts.push_back(Step::Lost),
            Happening::Fail => store.lock().puts.push_back(Step::Fail(Next::Unknown)),
        }
    }
    live(dir.path(), &store, &waiting, 400 * HOUR).await;
    let arrived = store.lock().arrived.clone();
    (sequence as usize, arrived)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn keys_strictly_increase_through_clocks_failures_and_restarts(happenings in happenings()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).max_blocking_threads(1).build().unwrap();
        let (objects, arrived) = runtime.block_on(arrivals(happenings));
        prop_assert_eq!(arrived.len(), objects);
        prop_assert!(arrived.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", arrived);
    }
}
