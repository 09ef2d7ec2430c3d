//! The spool on a real directory: order, limits, restarts and damage.

mod claims;
mod ledger;
mod memory;

use std::fs;

use pipeline::model::object::Object;

use super::files::Name;
use super::*;
use crate::turn::Claim;

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
        format: Format::Parquet,
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
        let Some(next) = spool.oldest().await.unwrap() else { continue };
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
    assert_eq!(names(dir.path()), ["lock", "state"]);
    assert_eq!((metrics.spool_objects.get(), metrics.spool_bytes.get()), (0, 0));
}

#[tokio::test]
async fn a_full_spool_drops_the_oldest_but_never_the_one_in_flight() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 30, &metrics);
    for sequence in 1..=3 {
        spool.add(&object(sequence)).await.unwrap();
    }
    assert_eq!(spool.oldest().await.unwrap().unwrap().sequence, 1);
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
        .record(InFlight {
            sequence: first + 5,
            key: "k".into(),
            conflict: false,
            tenure: None,
            location: None,
        })
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
        dir.path()
            .join(Name { sequence, samples: 10, crc32, format: Format::Parquet, undecided: None }.text())
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
