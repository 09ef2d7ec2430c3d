//! The spool on a real directory: order, limits, restarts and damage.

use std::fs;

use pipeline::model::object::Tenure;

use super::*;

pub(crate) const NOW: i64 = 1_795_348_800;

pub(crate) fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap())
}

pub(crate) fn config(dir: &Path, bytes_max: u64) -> Config {
    Config { dir: dir.to_owned(), max_bytes: Size(bytes_max) }
}

/// An object of ten bytes with ten samples.
pub(crate) fn object(sequence: u64) -> Object {
    let bytes = Bytes::from(format!("{sequence:010}"));
    Object {
        sequence,
        samples: 10,
        time_min: 0,
        time_max: 0,
        last_scrape: 0,
        crc32: crc32fast::hash(&bytes),
        bytes,
        tenure: None,
    }
}

fn open(dir: &Path, bytes_max: u64, metrics: &Arc<Metrics>) -> (Spool, Lock) {
    Spool::open(&config(dir, bytes_max), None, NOW, Arc::clone(metrics)).unwrap()
}

fn dropped(metrics: &Metrics, reason: DropReason) -> (u64, u64) {
    let objects = metrics.dropped_objects.with_label_values(&[reason.reason()]).get();
    (objects, metrics.dropped_samples.with_label_values(&[reason.reason()]).get())
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Takes everything out, as the upload does, and says in which order it came.
async fn drain(spool: &Spool) -> Vec<u64> {
    let mut order = Vec::new();
    while !spool.is_empty() {
        let next = spool.oldest().await.unwrap();
        assert_eq!(next.bytes, object(next.sequence).bytes);
        order.push(next.sequence);
        spool.delivered(next.sequence).await;
    }
    order
}

#[tokio::test]
async fn objects_come_out_oldest_first_also_after_a_restart() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    let writer = spool.writer();
    assert!(crate::key::is_writer(&writer.id) && writer.id.len() == 10, "{writer:?}");
    assert_eq!(writer.next_sequence, NOW as u64);
    for sequence in [12, 10, 11] {
        spool.add(&object(sequence)).await.unwrap();
    }
    assert_eq!(spool.status().samples, 30);
    drop((spool, lock));

    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    assert_eq!(spool.writer().id, writer.id);
    spool.add(&object(13)).await.unwrap();
    assert_eq!(drain(&spool).await, [10, 11, 12, 13]);
    assert_eq!(names(dir.path()), ["lock", "state.json"]);
    assert_eq!((metrics.spool_objects.get(), metrics.spool_bytes.get()), (0, 0));
}

#[tokio::test]
async fn a_full_spool_drops_the_oldest_but_never_the_one_in_flight() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 30, &metrics);
    for sequence in 1..=3 {
        spool.add(&object(sequence)).await.unwrap();
    }
    assert_eq!(spool.oldest().await.unwrap().sequence, 1);
    for sequence in 4..=6 {
        spool.add(&object(sequence)).await.unwrap();
    }
    assert_eq!(dropped(&metrics, DropReason::SpoolFull), (3, 30));
    assert_eq!(drain(&spool).await, [1, 5, 6]);
}

#[tokio::test]
async fn an_object_larger_than_the_spool_is_dropped_and_counted() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 9, &metrics);
    spool.add(&object(1)).await.unwrap();
    assert!(spool.is_empty());
    assert_eq!(dropped(&metrics, DropReason::SpoolFull), (1, 10));
}

#[tokio::test]
async fn an_object_that_cannot_fit_costs_no_other() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 30, &metrics);
    spool.add(&object(1)).await.unwrap();
    let large = Object { bytes: vec![7; 31].into(), ..object(2) };
    spool.add(&large).await.unwrap();
    assert_eq!(drain(&spool).await, [1]);
    assert_eq!(dropped(&metrics, DropReason::SpoolFull), (1, 10));
}

#[test]
fn a_second_process_is_refused() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (_spool, lock) = open(dir.path(), 30, &metrics);
    let refused = Spool::open(&config(dir.path(), 30), None, NOW, Arc::clone(&metrics)).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    drop(lock);
    open(dir.path(), 30, &metrics);
}

#[tokio::test]
async fn numbers_are_not_used_again() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    let first = spool.writer().next_sequence;
    spool.add(&object(first + 5)).await.unwrap();
    spool
        .record(InFlight { sequence: first + 5, key: "k".into(), conflict: false, tenure: None })
        .await
        .unwrap();
    spool.delivered(first + 5).await;
    drop((spool, lock));
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    assert_eq!(spool.writer().next_sequence, first + 6);
    spool.add(&object(first + 9)).await.unwrap();
    spool.oldest().await.unwrap();
    spool.discard(first + 9, DropReason::Rejected).await;
    drop((spool, lock));
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    assert_eq!(spool.writer().next_sequence, first + 10);
    assert_eq!(spool.in_flight().unwrap().sequence, first + 5);
    assert_eq!(dropped(&metrics, DropReason::Rejected), (1, 10));
}

/// Whoever keeps an object until the spool has it learns so when it is durable, or counted as dropped; not before.
#[tokio::test]
async fn it_is_told_which_objects_have_come() {
    let (parent, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let dir = parent.path().join("spool");
    let (spool, lock) = open(&dir, 25, &metrics);
    let (taken, first) = (spool.taken(), spool.writer().next_sequence);
    assert_eq!((*taken.borrow(), spool.writer().taken), (0, 0), "nothing has ever come to a new spool");
    spool.add(&object(first)).await.unwrap();
    assert_eq!(*taken.borrow(), first + 1);
    fs::rename(&dir, parent.path().join("gone")).unwrap();
    spool.add(&object(first + 1)).await.unwrap_err();
    assert_eq!(*taken.borrow(), first + 1);
    fs::rename(parent.path().join("gone"), &dir).unwrap();
    spool.add(&Object { bytes: vec![7; 26].into(), ..object(first + 1) }).await.unwrap();
    assert_eq!((*taken.borrow(), dropped(&metrics, DropReason::SpoolFull)), (first + 2, (1, 10)));
    spool.claim(Claim::Lost { tenure: TENURE, ours_until: 0 }).await;
    spool.add(&object(first + 2)).await.unwrap();
    assert_eq!((*taken.borrow(), dropped(&metrics, DropReason::TakenOver)), (first + 3, (1, 10)));
    drop((spool, lock));
    assert_eq!(*taken.borrow(), first + 3, "it can be asked after the end");
}

/// A restart must neither ask for an object again that was delivered nor let go of one that never came.
#[tokio::test]
async fn what_has_come_is_known_after_a_restart_as_far_as_the_state_is() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let reopened = || open(dir.path(), 1000, &metrics);
    let (spool, lock) = reopened();
    let first = spool.writer().next_sequence;
    drop((spool, lock));
    // A new spool beside an old journal, and a crash before anything came out of that.
    let (spool, lock) = reopened();
    assert_eq!((spool.writer().taken, spool.writer().next_sequence), (0, first));
    // The old numbering goes on first.
    spool.add(&object(7)).await.unwrap();
    assert_eq!((spool.writer().taken, spool.writer().next_sequence), (8, first));
    spool.record(InFlight { sequence: 7, key: "k".into(), conflict: false, tenure: None }).await.unwrap();
    spool.delivered(7).await;
    drop((spool, lock));
    let (spool, lock) = reopened();
    assert_eq!((spool.writer().taken, spool.writer().next_sequence), (8, first));
    spool.add(&object(first + 4)).await.unwrap();
    drop((spool, lock));
    fs::write(dir.path().join("state.json"), "{").unwrap();
    let (spool, lock) = reopened();
    assert_eq!((spool.writer().taken, spool.writer().next_sequence), (first + 5, first + 5));
    drop((spool, lock));
    // An earlier version knew of no difference.
    let mut state = state::State { taken: None, ..state::open(dir.path(), NOW).unwrap() };
    state.next_sequence += 3;
    state::write(dir.path(), &state).unwrap();
    assert_eq!(reopened().0.writer().taken, first + 8);
}

#[tokio::test]
async fn a_configured_writer_wins_over_the_one_in_the_spool() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    drop(open(dir.path(), 1000, &metrics));
    let (spool, _lock) = Spool::open(&config(dir.path(), 1000), Some("w3"), NOW, metrics).unwrap();
    assert_eq!(spool.writer().id, "w3");
}

#[tokio::test]
async fn damaged_objects_are_set_aside_and_the_rest_goes_on() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    for sequence in 1..=4 {
        spool.add(&object(sequence)).await.unwrap();
    }
    drop((spool, lock));
    let path = |sequence: u64| {
        let crc32 = object(sequence).crc32;
        dir.path().join(Name { sequence, samples: 10, crc32, undecided: None }.text())
    };
    fs::write(path(1), b"000000000X").unwrap();
    fs::write(path(2), b"").unwrap();
    fs::write(dir.path().join("0000000009.10.00000000.parquet.tmp"), b"half").unwrap();
    fs::write(dir.path().join("a note by the operator"), b"").unwrap();
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    fs::remove_file(path(3)).unwrap();
    assert_eq!(drain(&spool).await, [4]);
    assert_eq!(dropped(&metrics, DropReason::Corrupt), (3, 30));
    let names = names(dir.path());
    assert_eq!(names.iter().filter(|name| name.ends_with(".corrupt")).count(), 2, "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    assert!(names.contains(&"a note by the operator".to_owned()));
}

#[tokio::test]
async fn a_damaged_state_is_set_aside_and_a_new_writer_begins() {
    for damage in ["", "{", "{}", r#"{"version": 1, "crc32": "00000000", "state": {}}"#] {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
        let (spool, lock) = open(dir.path(), 1000, &metrics);
        let before = spool.writer();
        spool.add(&object(NOW as u64 + 7)).await.unwrap();
        drop((spool, lock));
        fs::write(dir.path().join("state.json"), damage).unwrap();
        let (spool, _lock) = open(dir.path(), 1000, &metrics);
        assert_ne!(spool.writer().id, before.id, "{damage}");
        assert_eq!(spool.writer().next_sequence, NOW as u64 + 8, "{damage}");
        assert_eq!(drain(&spool).await, [NOW as u64 + 7], "{damage}");
        assert!(dir.path().join("state.json.corrupt").exists(), "{damage}");
    }
}

#[test]
fn every_flipped_byte_of_the_state_is_noticed() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    let state = spool.lock().state.clone();
    drop((spool, lock));
    let path = dir.path().join("state.json");
    let content = fs::read(&path).unwrap();
    for at in 0..content.len() {
        let mut flipped = content.clone();
        flipped[at] ^= 1;
        fs::write(&path, flipped).unwrap();
        match state::read(dir.path()) {
            Ok(state::Read::State(read)) => assert_eq!(read, state, "byte {at}"),
            Ok(state::Read::Damaged(_)) | Err(Error::Version { .. }) => {}
            Ok(state::Read::Missing) | Err(_) => panic!("byte {at}"),
        }
    }
}

#[test]
fn the_state_of_a_later_version_is_refused() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    fs::write(dir.path().join("state.json"), r#"{"version": 2, "crc32": "", "state": null}"#).unwrap();
    let refused = Spool::open(&config(dir.path(), 1), None, NOW, metrics).unwrap_err();
    assert!(refused.to_string().contains("has version 2, this agent knows 1"), "{refused}");
}

#[test]
fn a_place_that_cannot_be_written_is_refused_with_its_name() {
    let (file, metrics) = (tempfile::NamedTempFile::new().unwrap(), metrics());
    let refused = Spool::open(&config(&file.path().join("spool"), 1), None, NOW, metrics).unwrap_err();
    assert!(matches!(refused, Error::Unusable { .. }), "{refused}");
    assert!(refused.to_string().contains(&*file.path().to_string_lossy()), "{refused}");
}

#[tokio::test]
async fn an_object_that_cannot_be_written_may_be_tried_again() {
    let (parent, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let dir = parent.path().join("spool");
    let (spool, _lock) = open(&dir, 1000, &metrics);
    fs::rename(&dir, parent.path().join("gone")).unwrap();
    spool.add(&object(1)).await.unwrap_err();
    assert!(spool.is_empty());
    fs::rename(parent.path().join("gone"), &dir).unwrap();
    spool.add(&object(1)).await.unwrap();
    assert_eq!(drain(&spool).await, [1]);
}

const TENURE: Tenure = Tenure { transitions: 3, acquired: 1_795_348_800_000_000 };

fn scraped(sequence: u64, last_scrape: i64) -> Object {
    Object { last_scrape, ..object(sequence) }
}

#[tokio::test]
async fn what_is_undecided_is_kept_and_decided_later_also_after_a_restart() {
    let check = async |claim: Claim, kept: &[u64], lost: u64| {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
        let (spool, lock) = open(dir.path(), 1000, &metrics);
        spool.claim(Claim::Holding { tenure: TENURE, ours_until: 100 }).await;
        for (sequence, last_scrape) in [(1, 99), (2, 100), (3, 150)] {
            spool.add(&scraped(sequence, last_scrape)).await.unwrap();
        }
        assert_eq!((spool.undecided(), spool.is_drained()), (Some(TENURE), false));
        assert!(names(dir.path()).iter().any(|name| name.ends_with(".3_1795348800000000_150.parquet")));
        drop((spool, lock));
        let (spool, _lock) = open(dir.path(), 1000, &metrics);
        assert_eq!(spool.undecided(), Some(TENURE));
        spool.claim(claim).await;
        assert_eq!(spool.undecided(), None);
        assert_eq!(drain(&spool).await, kept, "{claim:?}");
        assert_eq!(dropped(&metrics, DropReason::TakenOver), (lost, 10 * lost), "{claim:?}");
        assert_eq!(names(dir.path()), ["lock", "state.json"]);
    };
    check(Claim::Holding { tenure: TENURE, ours_until: 200 }, &[1, 2, 3], 0).await;
    check(Claim::Lost { tenure: TENURE, ours_until: 150 }, &[1, 2], 1).await;
    check(Claim::Lost { tenure: TENURE, ours_until: i64::MIN }, &[1], 2).await;
    check(Claim::All, &[1, 2, 3], 0).await;
}

#[tokio::test]
async fn what_comes_after_a_loss_is_judged_at_once() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    let first = spool.writer().next_sequence;
    spool.claim(Claim::Lost { tenure: TENURE, ours_until: 100 }).await;
    spool.add(&scraped(first, 99)).await.unwrap();
    spool.add(&scraped(first + 1, 100)).await.unwrap();
    assert_eq!((spool.status().objects, spool.writer().next_sequence), (1, first + 2));
    assert_eq!(dropped(&metrics, DropReason::TakenOver), (1, 10));
}

/// While it is undecided it is not given out; what has its key may have arrived and is not dropped.
#[tokio::test]
async fn undecided_objects_wait() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    spool.claim(Claim::Holding { tenure: TENURE, ours_until: 100 }).await;
    spool.add(&scraped(1, 100)).await.unwrap();
    spool.add(&scraped(2, 100)).await.unwrap();
    assert!(spool.is_drained() && !spool.is_empty());
    let later = async { spool.claim(Claim::Holding { tenure: TENURE, ours_until: 101 }).await };
    let (next, ()) = tokio::join!(spool.oldest(), later);
    assert_eq!(next.unwrap().sequence, 1);
    spool.claim(Claim::Holding { tenure: TENURE, ours_until: 100 }).await;
    spool.add(&scraped(3, 100)).await.unwrap();
    spool.record(InFlight { sequence: 3, key: "k".into(), conflict: false, tenure: None }).await.unwrap();
    spool.claim(Claim::Lost { tenure: TENURE, ours_until: 100 }).await;
    assert_eq!(drain(&spool).await, [1, 2, 3]);
}

/// What comes out of the journal knows in which turn it was scraped. The present claim may not have been made yet, or be
/// of another turn; neither decides about it.
#[tokio::test]
async fn an_object_of_an_earlier_turn_is_judged_by_that_turn() {
    let later = Tenure { transitions: 5, acquired: TENURE.acquired + 1 };
    let of_earlier =
        |sequence, last_scrape| Object { tenure: Some(TENURE), ..scraped(sequence, last_scrape) };
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    spool.add(&of_earlier(1, 100)).await.unwrap();
    assert_eq!(spool.undecided(), Some(TENURE), "no claim was made");
    spool.claim(Claim::Holding { tenure: later, ours_until: 1000 }).await;
    spool.add(&of_earlier(2, 200)).await.unwrap();
    spool.add(&scraped(3, 999)).await.unwrap();
    assert_eq!((spool.undecided(), spool.status().objects), (Some(TENURE), 3));
    drop((spool, lock));
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    spool.claim(Claim::Lost { tenure: TENURE, ours_until: 200 }).await;
    spool.add(&of_earlier(4, 199)).await.unwrap();
    spool.add(&of_earlier(5, 200)).await.unwrap();
    assert_eq!((spool.undecided(), drain(&spool).await), (None, vec![1, 3, 4]));
    assert_eq!(dropped(&metrics, DropReason::TakenOver), (2, 20));
}

/// A single agent delivers them all, in whatever turn they were scraped.
#[tokio::test]
async fn who_takes_no_turns_delivers_what_was_scraped_in_one() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    spool.add(&Object { tenure: Some(TENURE), ..object(1) }).await.unwrap();
    assert_eq!(drain(&spool).await, [1]);
}
