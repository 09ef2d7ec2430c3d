//! Bucket or prefix change, with the credentials or between two starts; and the record of the last key is lost.

use std::fs;

use super::*;

#[tokio::test(start_paused = true)]
async fn keys_increase_at_every_place_and_across_them() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([]));
    live(dir.path(), &store, &[1], HOUR).await;
    store.lock().move_to("b");
    store.lock().objects.insert(key(NOW + 100, 7), body("of an earlier life"));
    live(dir.path(), &store, &[2], HOUR).await;
    // Back again, where somebody has written meanwhile.
    store.lock().move_to("a");
    store.lock().objects.insert(key(NOW + 200, 8), body("another's"));
    live(dir.path(), &store, &[3], HOUR).await;
    live(dir.path(), &store, &[4], HOUR).await;
    let expected = [key(NOW, 1), key(NOW + 101, 2), key(NOW + 201, 3), key(NOW + 201, 4)];
    assert_eq!(store.lock().arrived, expected);
}

/// One object is sent with an unknown outcome; then objects go elsewhere, where there is `there`. Gives the keys of all
/// attempts. The move is seen by the same process or by the next.
async fn moved(step: Step, there: Option<i64>, may_list: bool, restart: bool) -> Vec<String> {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([step]));
    let change = |store: &Scripted| {
        let mut memory = store.lock();
        memory.move_to("b");
        memory.list = (!may_list).then_some(Next::Denied);
        if let Some(there) = there {
            memory.objects.insert(key(there, 1), body("of an earlier life"));
        }
    };
    if restart {
        killed(dir.path(), &store, &[1]).await;
        change(&store);
        live(dir.path(), &store, &[], HOUR).await;
    } else {
        let answered = store.answered.notified();
        let soon = async {
            answered.await;
            change(&store);
        };
        tokio::join!(live(dir.path(), &store, &[1], HOUR), soon);
    }
    let memory = store.lock();
    assert_eq!(memory.objects.last_key_value().unwrap().1.bytes, object(1).bytes, "the same bytes");
    memory.attempts.iter().map(|(key, ..)| key.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_to_the_old_place_keeps_its_key_unless_that_would_not_be_read() {
    for restart in [false, true] {
        for step in [Step::Lost, Step::Fail(Next::Unknown)] {
            let old = key(NOW, 1);
            assert_eq!(moved(step, None, true, restart).await, [old.clone(), old.clone()]);
            assert_eq!(moved(step, Some(NOW - 50), true, restart).await, [old.clone(), old.clone()]);
            assert_eq!(moved(step, Some(NOW + 50), true, restart).await, [old.clone(), key(NOW + 51, 1)]);
            // Who may not look there waits a moment and takes a key of then.
            let keys = moved(step, None, false, restart).await;
            assert_eq!(keys.len(), 2);
            assert!(keys[1] >= key(NOW + 5, 1), "{keys:?}");
        }
    }
}

/// What the other place has under the key at the first attempt there is another's.
#[tokio::test(start_paused = true)]
async fn the_same_key_at_the_new_place_is_another_writers() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Lost, Step::Fail(Next::Exists)]));
    killed(dir.path(), &store, &[1]).await;
    store.lock().move_to("b");
    let life = live(dir.path(), &store, &[], HOUR).await;
    assert!(life.stopped().is_some_and(|text| text.contains("another writer")));
}

/// It arrived at the first place, its outcome is unknown at the second, and objects go to the first again.
#[tokio::test(start_paused = true)]
async fn what_comes_back_to_a_place_is_found_there() {
    for there in [None, Some(NOW + 50)] {
        let (dir, store) =
            (tempfile::tempdir().unwrap(), Scripted::new([Step::Lost, Step::Fail(Next::Unknown)]));
        killed(dir.path(), &store, &[1]).await;
        store.lock().move_to("b");
        if let Some(there) = there {
            store.lock().objects.insert(key(there, 7), body("of an earlier life"));
        }
        killed(dir.path(), &store, &[]).await;
        {
            let mut memory = store.lock();
            memory.move_to("a");
            memory.objects = memory.elsewhere[0].clone();
        }
        let life = live(dir.path(), &store, &[], HOUR).await;
        assert_eq!((life.left, life.stopped(), life.metrics.uploads_confirmed_late.get()), (0, None, 1));
        assert_eq!(store.lock().arrived, [key(NOW, 1)]);
    }
}

/// Half of the state is lost, and perhaps the half with the last key: the store is asked what that was.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_lost_from_the_record_is_found_in_the_store() {
    for denied in [(None, None), (Some(Next::Denied), None), (None, Some(Next::Denied))] {
        lose_a_key(denied).await;
    }
}

/// Listing and looking may be denied only because of credentials that are not good any more.
async fn lose_a_key(denied: (Option<Next>, Option<Next>)) {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([Step::Ok, Step::Lost]));
    live(dir.path(), &store, &[1], HOUR).await;
    let before = fs::read(dir.path().join("state")).unwrap();
    // Its answer is lost, and the process dies.
    killed(dir.path(), &store, &[2]).await;
    assert_eq!(store.lock().arrived.len(), 2);
    let after = fs::read(dir.path().join("state")).unwrap();
    let mut torn = after.clone();
    let half = torn.len() / 2;
    // Whichever slot has the key of the second object is damaged.
    let slots = [0..half, half..torn.len()];
    let second =
        slots.into_iter().find(|slot| after[slot.clone()].windows(10).any(|w| w == b"0000000002")).unwrap();
    assert_ne!(before, after);
    torn[second.start + 20] ^= 1;
    fs::write(dir.path().join("state"), torn).unwrap();
    // A process that ends before it could ask does not forget that it has to be.
    drop(Spool::open(&config(dir.path(), 1 << 20), Some("w0"), NOW, metrics()).unwrap());
    store.lock().clock = NOW + 500;
    {
        let mut memory = store.lock();
        (memory.list, memory.head, memory.heals) = (denied.0, denied.1, true);
    }
    let life = live(dir.path(), &store, &[3], HOUR).await;
    assert_eq!((life.left, life.stopped(), life.metrics.uploads_confirmed_late.get()), (0, None, 1));
    let memory = store.lock();
    assert_eq!(memory.arrived.len(), 3, "the second is not sent again: {:?}", memory.arrived);
    assert!(memory.arrived.is_sorted());
}

/// Two agents have one id, or one spool was copied: keys of ours that we did not give. Found at the start, and while running.
#[tokio::test(start_paused = true)]
async fn another_writer_with_our_id_is_noticed_by_its_keys() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new([]));
    live(dir.path(), &store, &[1], HOUR).await;
    let copy = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join("state"), copy.path().join("state")).unwrap();
    live(dir.path(), &store, &[2], HOUR).await;
    let life = live(copy.path(), &store, &[2, 3], HOUR).await;
    assert!(life.stopped().is_some_and(|text| text.contains("another writer has the id w0")));
    assert_eq!((life.left, store.lock().arrived.len()), (2, 2), "nothing is sent twice, and the spool keeps");
    // Whoever may not list goes on, and is noticed by the conditional write alone.
    store.lock().list = Some(Next::Denied);
    assert_eq!(live(dir.path(), &store, &[4], HOUR).await.left, 0);
}

#[tokio::test(start_paused = true)]
async fn another_writer_with_our_id_is_noticed_within_minutes() {
    let (dir, store, metrics) = (tempfile::tempdir().unwrap(), Scripted::new([]), metrics());
    let (spool, _lock) =
        Spool::open(&config(dir.path(), 1 << 20), Some("w0"), NOW, Arc::clone(&metrics)).unwrap();
    let (spool, progress) = (Arc::new(spool), Arc::new(Progress::default()));
    let uploader = uploader(&store, &spool, &progress, &metrics, Turn::always());
    let drive = async {
        for sequence in 1..60 {
            spool.add(&object(sequence)).await.unwrap();
            sleep(Duration::from_secs(7)).await;
            if sequence > 20 {
                let theirs = key(NOW + store.elapsed() as i64, 1000 + sequence);
                store.lock().objects.insert(theirs, body("another's"));
            }
            sleep(Duration::from_secs(8)).await;
        }
    };
    tokio::select! {
        () = uploader.run(std::future::pending()) => {}
        () = drive => {}
    }
    assert!(progress.stopped().is_some_and(|text| text.contains("another writer has the id w0")));
    assert!((20..42).contains(&store.lock().arrived.len()), "{}", store.lock().arrived.len());
}
