//! Whose the objects are.

use pipeline::model::object::Tenure;

use super::*;

pub(super) const TENURE: Tenure = Tenure { transitions: 3, acquired: 1_795_348_800_000_000 };

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
        assert_eq!(names(dir.path()), ["lock", "state"]);
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
    tokio::join!(spool.added(), later);
    assert_eq!(spool.oldest().await.unwrap().unwrap().sequence, 1);
    spool.claim(Claim::Holding { tenure: TENURE, ours_until: 100 }).await;
    spool.add(&scraped(3, 100)).await.unwrap();
    spool
        .record(InFlight { sequence: 3, key: "k".into(), conflict: false, tenure: None, location: None })
        .await
        .unwrap();
    spool.claim(Claim::Lost { tenure: TENURE, ours_until: 100 }).await;
    assert_eq!(drain(&spool).await, [3, 1, 2], "what has its key goes first");
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

/// The disk refuses a new name: uploading goes by what was decided, and the name follows with the next claim.
#[tokio::test]
async fn an_object_is_deliverable_although_its_file_keeps_the_old_name() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (spool, _lock) = open(dir.path(), 1000, &metrics);
    spool.claim(Claim::Holding { tenure: TENURE, ours_until: 100 }).await;
    for (sequence, last_scrape) in [(1, 100), (2, 110)] {
        spool.add(&scraped(sequence, last_scrape)).await.unwrap();
    }
    let crc32 = object(1).crc32;
    let in_the_way = dir
        .path()
        .join(Name { sequence: 1, samples: 10, crc32, format: Format::Parquet, undecided: None }.text());
    fs::create_dir(&in_the_way).unwrap();
    spool.claim(Claim::Holding { tenure: TENURE, ours_until: 200 }).await;
    assert_eq!((spool.undecided(), metrics.spool_write_errors.get()), (None, 1));
    assert_eq!(spool.oldest().await.unwrap().unwrap().sequence, 1);
    fs::remove_dir(&in_the_way).unwrap();
    spool.claim(Claim::Holding { tenure: TENURE, ours_until: 201 }).await;
    assert!(in_the_way.exists());
    assert!(!names(dir.path()).iter().any(|name| name.contains("_")), "{:?}", names(dir.path()));
    assert_eq!(drain(&spool).await, [1, 2]);
    assert_eq!(names(dir.path()), ["lock", "state"]);
}
