//! What is remembered across restarts, and what happens where it cannot be written.

use std::os::unix::fs::MetadataExt as _;

use proptest::prelude::*;

use super::claims::TENURE;
use super::slots::{self, SLOT_BYTES, Slots};
use super::state::State;
use super::*;

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
    spool
        .record(InFlight { sequence: 7, key: "k".into(), conflict: false, tenure: None, location: None })
        .await
        .unwrap();
    spool.delivered(7).await;
    drop((spool, lock));
    let (spool, lock) = reopened();
    assert_eq!((spool.writer().taken, spool.writer().next_sequence), (8, first));
    spool.add(&object(first + 4)).await.unwrap();
    drop((spool, lock));
    fs::write(dir.path().join("state"), "{").unwrap();
    let (spool, lock) = reopened();
    assert_eq!((spool.writer().taken, spool.writer().next_sequence), (first + 5, first + 5));
    drop((spool, lock));
    // An earlier version knew of no difference.
    let slots::Opened { mut slots, state, .. } = slots::open(dir.path(), NOW).unwrap();
    let next_sequence = state.next_sequence + 3;
    slots.write(&State { taken: None, next_sequence, ..state }).unwrap();
    assert_eq!(reopened().0.writer().taken, first + 8);
}

#[tokio::test]
async fn a_damaged_state_is_set_aside_and_a_new_writer_begins() {
    for damage in ["", "{", "{}", "00000000 {}", r#"46eb1da5 {"version":2}"#] {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
        let (spool, lock) = open(dir.path(), 1000, &metrics);
        let before = spool.writer();
        spool.add(&object(NOW as u64 + 7)).await.unwrap();
        drop((spool, lock));
        fs::write(dir.path().join("state"), damage).unwrap();
        let (spool, _lock) = open(dir.path(), 1000, &metrics);
        assert_ne!(spool.writer().id, before.id, "{damage}");
        assert_eq!(spool.writer().next_sequence, NOW as u64 + 8, "{damage}");
        assert_eq!(drain(&spool).await, [NOW as u64 + 7], "{damage}");
        assert!(dir.path().join("state.corrupt").exists(), "{damage}");
    }
}

/// As the version before this one wrote it.
const STATE_V1: &str = r#"{"version": 1, "crc32": "CRC", "state": {"in_flight": {"conflict": false, "key": "1795348801/old-0000000004.parquet", "sequence": 4},
    "last_key": "1795348801/old-0000000004.parquet", "next_sequence": 9, "writer": "old"}}"#;

fn v1() -> String {
    let value: serde_json::Value = serde_json::from_str(STATE_V1).unwrap();
    STATE_V1.replace("CRC", &format!("{:08x}", crc32fast::hash(value["state"].to_string().as_bytes())))
}

#[test]
fn the_state_of_version_1_is_taken_over() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    fs::write(dir.path().join("state.json"), v1()).unwrap();
    for _ in 0..2 {
        let (spool, _lock) = open(dir.path(), 1000, &metrics);
        let expected = Writer { id: "old".into(), next_sequence: 9, taken: 9 };
        assert_eq!((spool.writer(), spool.in_flight().unwrap().sequence), (expected, 4));
        assert_eq!(names(dir.path()), ["lock", "state"], "one that is not kept up would mislead");
    }
}

#[test]
fn a_damaged_state_of_version_1_is_set_aside() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    fs::write(dir.path().join("state.json"), v1().replace("\"old\"", "\"new\"")).unwrap();
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    assert!(spool.writer().id.len() == 10 && spool.is_doubtful());
    assert_eq!(names(dir.path()), ["lock", "state", "state.json.corrupt"]);
}

#[test]
fn the_state_of_a_later_version_is_refused() {
    let json = r#"{"version":3,"count":1,"state":{}}"#;
    let slot = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    for (file, content) in
        [("state", slot.as_str()), ("state.json", r#"{"version": 3, "crc32": "", "state": null}"#)]
    {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
        fs::write(dir.path().join(file), content).unwrap();
        let refused = Spool::open(&config(dir.path(), 1), None, NOW, metrics).unwrap_err();
        assert!(refused.to_string().contains("has version 3, this agent knows 2"), "{refused}");
    }
}

/// A state whose `next_sequence` says which one it is.
fn state(count: u64) -> State {
    State { writer: "w0".into(), next_sequence: count, ..State::new(NOW) }
}

/// States that were written one after the other.
fn written(dir: &Path, counts: std::ops::RangeInclusive<u64>) -> Slots {
    let mut slots = slots::open(dir, NOW).unwrap().slots;
    for count in counts {
        slots.write(&state(count)).unwrap();
    }
    slots
}

/// So that a full disk cannot refuse it: it stays where it is and asks for no block more.
#[test]
fn the_state_is_written_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut slots = written(dir.path(), 1..=1);
    let place = || fs::metadata(dir.path().join("state")).map(|m| (m.ino(), m.len(), m.blocks())).unwrap();
    let before = place();
    for count in 2..50 {
        slots.write(&state(count)).unwrap();
        assert_eq!(place(), before);
        let found = slots::open(dir.path(), NOW).unwrap();
        assert_eq!((found.state.next_sequence, found.doubtful), (count, false));
    }
    assert!(before.2 * 512 >= before.1, "the blocks are there: {before:?}");
}

#[test]
fn a_state_file_that_was_taken_away_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut slots = written(dir.path(), 1..=2);
    fs::remove_file(dir.path().join("state")).unwrap();
    slots.write(&state(3)).unwrap();
    slots.write(&state(4)).unwrap();
    assert_eq!(slots::open(dir.path(), NOW).unwrap().state.next_sequence, 4);
}

proptest! {
    /// Power was lost in the middle of a write: any part of the slot is new, old, or neither.
    #[test]
    fn a_torn_write_leaves_what_was_true_before_or_after_it(
        count in 1_u64..5,
        cuts in proptest::collection::vec((0..SLOT_BYTES, 0..3_u8), 0..6),
        noise: u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut slots = written(dir.path(), 1..=count);
        let old = fs::read(&path).unwrap();
        slots.write(&state(count + 1)).unwrap();
        let new = fs::read(&path).unwrap();
        let slot = if old[..SLOT_BYTES] == new[..SLOT_BYTES] { SLOT_BYTES..2 * SLOT_BYTES } else { 0..SLOT_BYTES };
        prop_assert!(old[..slot.start] == new[..slot.start] && old[slot.end..] == new[slot.end..], "one slot is written");
        let mut torn = new.clone();
        for (from, what) in cuts {
            for at in slot.start + from..slot.end {
                torn[at] = match what { 0 => old[at], 1 => new[at], _ => noise };
            }
        }
        fs::write(&path, &torn).unwrap();
        let found = slots::open(dir.path(), NOW).unwrap();
        let whole = torn[slot.clone()].trim_ascii_end() == new[slot].trim_ascii_end();
        prop_assert_eq!(found.state.next_sequence, if whole { count + 1 } else { count });
    }
}

#[test]
fn every_flipped_byte_of_the_state_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    written(dir.path(), 1..=2);
    let content = fs::read(&path).unwrap();
    for at in 0..content.len() {
        let to_the_end = &content[at..at.next_multiple_of(SLOT_BYTES).max(at + 1)];
        let padding = to_the_end.trim_ascii_start().is_empty();
        // One in a thousand blanks stands for them all.
        if padding && at % 1000 != 0 {
            continue;
        }
        let mut flipped = content.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let found = slots::open(dir.path(), NOW).unwrap();
        assert!(found.state.next_sequence == 2 || found.doubtful, "byte {at}");
        assert!(padding || found.doubtful, "byte {at}");
    }
}

fn in_flight(sequence: u64) -> InFlight {
    InFlight { sequence, key: format!("key {sequence}"), conflict: false, tenure: None, location: None }
}

/// Whoever waits for it may go away; the next one must not overtake it on the disk.
#[tokio::test]
async fn a_key_whose_recording_nobody_waits_for_comes_before_the_next() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    for sequence in 1..40 {
        let mut abandoned = Box::pin(spool.record(in_flight(sequence)));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(abandoned.as_mut().poll(context)));
        let _ = polled.await;
        drop(abandoned);
        if sequence % 3 == 0 {
            spool.record(in_flight(100 + sequence)).await.unwrap();
            assert_eq!(spool.in_flight(), Some(in_flight(100 + sequence)));
        }
    }
    drop((spool, lock));
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    assert_eq!(spool.in_flight(), Some(in_flight(139)));
}

/// A directory in the file's place: it can be neither removed nor written.
fn block(path: &Path) {
    fs::rename(path, path.with_extension("kept")).unwrap();
    fs::create_dir(path).unwrap();
    fs::write(path.join("inside"), "").unwrap();
}

fn unblock(path: &Path) {
    fs::remove_dir_all(path).unwrap();
    fs::rename(path.with_extension("kept"), path).unwrap();
}

fn file(dir: &Path, sequence: u64) -> PathBuf {
    let crc32 = object(sequence).crc32;
    dir.join(Name { sequence, samples: 10, crc32, format: Format::Parquet, undecided: None }.text())
}

async fn deliver(spool: &Spool, sequence: u64) {
    assert_eq!(spool.oldest().await.unwrap().unwrap().sequence, sequence);
    spool.record(in_flight(sequence)).await.unwrap();
    spool.delivered(sequence).await;
}

/// The receipt is durable before the file goes; while it cannot be recorded the file stays, and the key is known.
#[tokio::test]
async fn a_file_goes_after_its_receipt_is_recorded() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    let first = spool.writer().next_sequence;
    spool.add(&object(first)).await.unwrap();
    spool.oldest().await.unwrap();
    spool.record(in_flight(first)).await.unwrap();
    let state = dir.path().join("state");
    block(&state);
    spool.delivered(first).await;
    assert!(file(dir.path(), first).exists() && spool.is_empty());
    assert_eq!(metrics.spool_write_errors.get(), 1);
    unblock(&state);
    // A process that ends here leaves it in flight.
    let found = slots::open(dir.path(), NOW).unwrap().state;
    assert!(
        found.in_flight.is_some_and(|object| object.sequence == first)
            && !found.done.contains(&(first, first))
    );
    spool.add(&object(first + 1)).await.unwrap();
    deliver(&spool, first + 1).await;
    assert_eq!(names(dir.path()), ["lock", "state"]);
    drop((spool, lock));
}

/// A file that cannot be removed is not sent again, neither by this process nor by a later one, however many come between.
#[tokio::test]
async fn what_was_delivered_is_not_delivered_again_where_its_file_stays() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    let first = spool.writer().next_sequence;
    for sequence in first..first + 3 {
        spool.add(&object(sequence)).await.unwrap();
    }
    let stuck = file(dir.path(), first);
    spool.oldest().await.unwrap();
    spool.record(in_flight(first)).await.unwrap();
    block(&stuck);
    spool.delivered(first).await;
    deliver(&spool, first + 1).await;
    spool.oldest().await.unwrap();
    spool.record(in_flight(first + 2)).await.unwrap();
    assert!(metrics.spool_write_errors.get() > 0);
    drop((spool, lock));
    for _ in 0..2 {
        let (spool, lock) = open(dir.path(), 1000, &metrics);
        assert_eq!(spool.status().objects, 1);
        drop((spool, lock));
    }
    unblock(&stuck);
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    assert_eq!(drain(&spool).await, [first + 2]);
    assert_eq!(names(dir.path()), ["lock", "state"]);
}

/// A loss of power may bring a removed file back, until the directory is synced.
#[tokio::test]
async fn a_file_that_comes_back_is_known_until_the_directory_is_synced() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, lock) = open(dir.path(), 1000, &metrics);
    let first = spool.writer().next_sequence;
    for sequence in first..first + 2 {
        spool.add(&object(sequence)).await.unwrap();
    }
    deliver(&spool, first).await;
    deliver(&spool, first + 1).await;
    assert_eq!(spool.lock().state.done, [(first, first + 1)]);
    drop((spool, lock));
    fs::write(file(dir.path(), first), object(first).bytes).unwrap();
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    assert!(spool.is_empty());
    // Writing an object syncs the directory.
    spool.add(&object(first + 2)).await.unwrap();
    deliver(&spool, first + 2).await;
    assert_eq!(spool.lock().state.done, [(first + 2, first + 2)]);
}

/// What has its key may be stored, so that it goes before an older one that was decided about since.
#[tokio::test]
async fn the_object_that_has_its_key_goes_first() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 40, &metrics);
    for sequence in 1..=4 {
        spool.add(&object(sequence)).await.unwrap();
    }
    spool.record(in_flight(3)).await.unwrap();
    assert_eq!(spool.oldest().await.unwrap().unwrap().sequence, 3);
    spool.add(&object(5)).await.unwrap();
    spool.add(&object(6)).await.unwrap();
    spool.add(&object(7)).await.unwrap();
    assert_eq!(drain(&spool).await, [3, 5, 6, 7]);
}
