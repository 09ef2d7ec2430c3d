//! Turns: one ends in the middle of an upload, somebody else writes, and the next one finds out what became of it.

use pipeline::model::object::Tenure;

use super::*;

const FIRST: Tenure = Tenure { transitions: 1, acquired: 100 };
const SECOND: Tenure = Tenure { transitions: 3, acquired: 200 };

fn until(seconds: u64, tenure: Tenure) -> Turn {
    Turn::Until { deadline: Instant::now() + Duration::from_secs(seconds), tenure }
}

/// A spool with objects, and what an uploader needs.
struct Scene {
    _dir: tempfile::TempDir,
    _lock: crate::spool::Lock,
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
    store: Arc<Scripted>,
    turn: watch::Sender<Turn>,
    wanted: watch::Receiver<bool>,
    uploader: Uploader<Scripted>,
}

async fn scene(steps: &[Step], sequences: &[u64], turn: Turn) -> Scene {
    let (dir, metrics, store) =
        (tempfile::tempdir().unwrap(), metrics(), Scripted::new(steps.iter().copied()));
    let (spool, lock) =
        Spool::open(&config(dir.path(), 1 << 20), Some("w0"), NOW, Arc::clone(&metrics)).unwrap();
    let spool = Arc::new(spool);
    for sequence in sequences {
        spool.add(&object(*sequence)).await.unwrap();
    }
    let ((turn, receiver), (wanted, is_wanted)) = (watch::channel(turn), watch::channel(false));
    let progress = Arc::new(Progress::default());
    let uploader = Uploader::new(
        Arc::clone(&store),
        Arc::clone(&spool),
        progress,
        Arc::clone(&metrics),
        receiver,
        wanted,
    );
    Scene { _dir: dir, _lock: lock, spool, metrics, store, turn, wanted: is_wanted, uploader }
}

/// Uploads one object, of which the first turn leaves what `steps` say; at 10 s somebody else writes, and at 20 s the second
/// turn begins. Gives all PUTs, and how many objects were confirmed.
async fn two_turns(
    steps: &[Step],
    second: Tenure,
    between: impl FnOnce(&mut Memory),
) -> (Vec<(String, u64)>, u64) {
    let Scene { spool, metrics, store, turn, uploader, _dir, _lock, .. } =
        scene(steps, &[1], until(6, FIRST)).await;
    let drive = async {
        sleep(Duration::from_secs(10)).await;
        assert_eq!(store.attempts().len(), 1, "the turn is over");
        {
            let mut memory = store.lock();
            memory.objects.insert("1795348810/x-0000000001.parquet".to_owned(), body("theirs"));
            between(&mut memory);
        }
        sleep(Duration::from_secs(10)).await;
        turn.send_replace(until(60, second));
        sleep(Duration::from_secs(50)).await;
    };
    tokio::select! {
        () = uploader.run(std::future::pending()) => {}
        () = drive => {}
    }
    assert!(spool.is_empty());
    let attempts = store.attempts().into_iter().map(|(key, _, at)| (key, at)).collect();
    (attempts, metrics.uploads_confirmed_late.get())
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_ends_in_the_middle_is_found_out_about_by_the_next() {
    let old = (key(NOW, 1), 0);
    let new = (key(NOW + 20, 1), 20);
    // It had not arrived: a new key, above theirs.
    assert_eq!(two_turns(&[Step::Hang], SECOND, |_| {}).await, (vec![old.clone(), new.clone()], 0));
    // It had.
    assert_eq!(two_turns(&[Step::StoreThenHang], SECOND, |_| {}).await, (vec![old.clone()], 1));
    // It had, but only after the turn, when theirs may have been there.
    let late = |memory: &mut Memory| {
        memory.times.insert(key(NOW, 1), NOW + 9);
    };
    assert_eq!(two_turns(&[Step::StoreThenHang], SECOND, late).await, (vec![old.clone(), new.clone()], 0));
    // Nobody else had a turn: the old key stays.
    let (attempts, late) = two_turns(&[Step::Hang], FIRST, |_| {}).await;
    assert_eq!((attempts, late), (vec![old.clone(), (old.0.clone(), 20)], 0));
}

/// Who may not look does not know whether it came in time, before others wrote larger keys.
#[tokio::test(start_paused = true)]
async fn who_may_not_look_gives_a_new_key() {
    let deny = |memory: &mut Memory| memory.head = Some(Next::Denied);
    let (old, new) = ((key(NOW, 1), 0), (key(NOW + 20, 1), 20));
    for step in [Step::StoreThenHang, Step::Hang] {
        assert_eq!(two_turns(&[step], SECOND, deny).await, (vec![old.clone(), new.clone()], 0), "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_turn_begins_above_what_others_wrote() {
    let Scene { spool, store, turn, uploader, _dir, _lock, .. } = scene(&[], &[1], until(6, FIRST)).await;
    let drive = async {
        sleep(Duration::from_secs(1)).await;
        turn.send_replace(Turn::Not);
        store.lock().objects.insert(key(NOW + 300, 77), body("theirs"));
        spool.add(&object(2)).await.unwrap();
        sleep(Duration::from_secs(100)).await;
        assert_eq!(store.attempts().len(), 1, "not our turn");
        turn.send_replace(until(60, SECOND));
        sleep(Duration::from_secs(30)).await;
        // Where listing is denied, time must do.
        turn.send_replace(Turn::Not);
        store.lock().list = Some(Next::Denied);
        spool.add(&object(3)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        turn.send_replace(until(60, FIRST));
        sleep(Duration::from_secs(30)).await;
    };
    tokio::select! {
        () = uploader.run(std::future::pending()) => {}
        () = drive => {}
    }
    let attempts: Vec<_> = store.attempts().into_iter().map(|(key, _, at)| (key, at)).collect();
    assert_eq!(attempts[..2], [(key(NOW, 1), 0), (key(NOW + 301, 2), 101)]);
    assert_eq!(attempts[2], (key(NOW + 301, 3), 132 + 5));
}

#[tokio::test(start_paused = true)]
async fn who_waits_with_objects_wants_a_turn_unless_the_store_is_out_of_reach() {
    let check = async |head: Option<Next>, sequences: &[u64], expected: bool| {
        let Scene { store, wanted, uploader, _dir, _lock, turn, .. } = scene(&[], sequences, Turn::Not).await;
        store.lock().head = head;
        let drive = sleep(Duration::from_secs(60));
        tokio::select! {
            () = uploader.run(std::future::pending()) => {}
            () = drive => {}
        }
        assert_eq!(*wanted.borrow(), expected, "{head:?} {sequences:?}");
        assert!(store.attempts().is_empty());
        drop(turn);
    };
    check(None, &[1], true).await;
    check(Some(Next::Denied), &[1], true).await;
    check(Some(Next::Unknown), &[1], false).await;
    check(None, &[], false).await;
}

#[tokio::test(start_paused = true)]
async fn without_any_turn_to_come_the_end_does_not_wait() {
    let Scene { spool, turn, uploader, _dir, _lock, .. } = scene(&[], &[1], Turn::Not).await;
    drop(turn);
    let ended = tokio::time::timeout(Duration::from_secs(1), uploader.run(std::future::ready(()))).await;
    assert!(ended.is_ok() && !spool.is_empty());
}
