//! Objects as Vector wrote them, alone and among others: the same promises, other names.

use pipeline::model::object::Object;

use super::*;

/// Puts objects into the spool, each as what the number says.
async fn spooled(dir: &Path, sequences: &[u64], format: impl Fn(u64) -> Format) {
    let (spool, _lock) = Spool::open(&config(dir, 1 << 20), Some("w0"), NOW, metrics()).unwrap();
    for sequence in sequences {
        spool.add(&Object { format: format(*sequence), ..object(*sequence) }).await.unwrap();
    }
}

fn second(key: &str) -> i64 {
    key.parse::<Key>().unwrap().unix
}

#[tokio::test(start_paused = true)]
async fn each_has_a_second_of_its_own_above_what_vector_left() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([]));
    // Vector's last objects, in the second that is now; the list tells of them, since nothing is recorded.
    let theirs = format!("{NOW}/{NOW}-ffffffff-d9cb-469f-a165-70867728950e.log");
    store.lock().objects.insert(theirs.clone(), body("theirs"));
    spooled(dir.path(), &[1, 2, 3], |_| Format::VectorJson).await;
    live(dir.path(), &store, &[], HOUR).await;
    let arrived = store.lock().arrived.clone();
    assert_eq!(arrived.iter().map(|key| second(key) - NOW).collect::<Vec<_>>(), [1, 2, 3], "{arrived:?}");
    assert!(arrived.iter().all(|key| *key > theirs && key.ends_with(".log")), "{arrived:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_is_set_aside_under_its_name() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Fail(Next::Reject)]));
    spooled(dir.path(), &[1, 2], |_| Format::VectorJsonGzip).await;
    let life = live(dir.path(), &store, &[], HOUR).await;
    assert_eq!(life.metrics.dropped_samples.with_label_values(&["rejected"]).get(), 10);
    assert!(dir.path().join(format!("0000000001.10.{:08x}.log.gz.rejected", object(1).crc32)).exists());
    assert_eq!(store.lock().arrived.len(), 1);
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Ok),
        1 => Just(Step::Lost),
        1 => Just(Step::Hang),
        1 => Just(Step::StoreThenHang),
        1 => Just(Step::Fail(Next::Unknown)),
        1 => Just(Step::Twice),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Lives end whenever the store hangs; the encoding changes between them.
    #[test]
    fn all_arrive_once_under_increasing_keys_across_restarts_and_changes_of_encoding(
        lives in proptest::collection::vec(
            (proptest::collection::vec(step(), 0..6), 1..5_u64, proptest::sample::select(&Format::ALL[..])),
            1..5,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([]));
        let (mut sequence, mut formats) = (0, BTreeMap::new());
        runtime.block_on(async {
            for (steps, count, format) in lives {
                let sequences: Vec<u64> = (sequence + 1..=sequence + count).collect();
                formats.extend(sequences.iter().map(|sequence| (*sequence, format)));
                sequence += count;
                store.lock().puts.extend(steps);
                spooled(dir.path(), &sequences, |_| format).await;
                live(dir.path(), &store, &[], HOUR / 60).await;
            }
            store.lock().puts.clear();
            live(dir.path(), &store, &[], HOUR).await;
        });
        let memory = store.lock();
        prop_assert!(memory.arrived.windows(2).all(|two| two[0] < two[1]), "{:?}", memory.arrived);
        let number = |key: &String| key.parse::<Key>().unwrap().sequence_of("w0").unwrap();
        let numbers: Vec<u64> = memory.arrived.iter().map(number).collect();
        prop_assert_eq!(numbers, (1..=sequence).collect::<Vec<_>>());
        for key in &memory.arrived {
            prop_assert_eq!(Format::of_name(key), formats.get(&number(key)).copied());
        }
        let keys: BTreeSet<_> = memory.attempts.iter().map(|(key, ..)| key).collect();
        prop_assert_eq!(keys.len() as u64, sequence, "every attempt for one object has one key");
    }
}
