//! Loops: started, kept and stopped, with the time paused where only time matters.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Change, Clock, Error, Pool};
use super::*;
use crate::discovery::Look;
use crate::gate::{Gate, Moment};
use crate::model::labels::Labels;
use crate::model::scrape::Scrape;
use crate::model::target::{TargetGroup, TargetSet};

/// A wall clock that follows the runtime's, paused or not.
fn clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || i64::try_from(start.elapsed().as_millis()).unwrap())
}

/// A job whose expositions come from this process.
fn in_process(interval: &str) -> ResolvedJob {
    let global: GlobalConfig = serde_norway::from_str(&format!("{{scrape_interval: {interval}}}")).unwrap();
    ResolvedJob::in_process(&global, Arc::new(|| b"up 1\n".to_vec()))
}

fn groups(addresses: &[&str]) -> TargetSet {
    let targets = addresses.iter().map(|a| Labels::from_pairs([("__address__", a)])).collect();
    TargetSet::of(vec![TargetGroup { targets, ..TargetGroup::default() }])
}

/// The queue of scrapes whose bodies are small.
struct Scrapes(mpsc::Receiver<Arrival>);

impl Scrapes {
    async fn recv(&mut self) -> Option<Scrape> {
        self.0.recv().await.map(scrape)
    }

    fn try_recv(&mut self) -> Result<Scrape, mpsc::error::TryRecvError> {
        self.0.try_recv().map(scrape)
    }
}

fn scrape(arrival: Arrival) -> Scrape {
    match arrival {
        Arrival::Scrape(scrape) => scrape,
        Arrival::Part(part) => panic!("{part:?}"),
    }
}

/// A pool that runs until the test ends.
struct Running {
    scrapes: Scrapes,
    groups: watch::Sender<TargetSet>,
    _changes: mpsc::Sender<Change>,
    view: super::super::TargetsView,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinSet<Result<(), Error>>,
    pause: watch::Sender<Option<String>>,
    rest: Rest,
}

fn run(job: ResolvedJob, first: &[&str], queue: usize) -> Running {
    run_behind(Gate::open(), job, first, queue)
}

fn run_behind(gate: Gate, job: ResolvedJob, first: &[&str], queue: usize) -> Running {
    let (sender, scrapes) = mpsc::channel(queue);
    let metrics = metrics();
    let mut pool = Pool::new(sender, Size(1 << 20), Arc::clone(&metrics), clock());
    pool.set_gate(gate);
    let (pause, is_paused) = watch::channel(None);
    pool.pause_for(is_paused);
    let (view, rest) = (pool.targets(), pool.rest());
    let (groups, receiver) = watch::channel(groups(first));
    let stop = CancellationToken::new();
    let mut task = JoinSet::new();
    let (changes, receiver_of_changes) = mpsc::channel(1);
    let look = move |_: &ResolvedJob| Look::of(receiver.clone());
    task.spawn(pool.run(vec![job], look, receiver_of_changes, stop.clone()));
    Running { _changes: changes, scrapes: Scrapes(scrapes), groups, view, metrics, pause, rest, stop, task }
}

impl Running {
    async fn next(&mut self) -> Scrape {
        tokio::time::timeout(Duration::from_secs(3600), self.scrapes.recv()).await.unwrap().unwrap()
    }

    async fn stop(mut self) -> Result<(), Error> {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.task.join_next()).await.unwrap().unwrap().unwrap()
    }
}

/// People are told when to look again.
#[tokio::test(start_paused = true)]
async fn the_next_scrape_is_known_while_somebody_makes_it() {
    let mut pool = run(in_process("15s"), &["a"], 16);
    for _ in 0..3 {
        let Scrape { target, time, .. } = pool.next().await;
        assert_eq!(target.next_scrape(), Some(time + 15_000));
    }
    let target = pool.next().await.target;
    pool.stop().await.unwrap();
    assert_eq!(target.next_scrape(), None);
}

#[tokio::test(start_paused = true)]
async fn each_target_is_scraped_once_per_interval_at_its_moment() {
    let mut pool = run(in_process("15s"), &["a", "b", "c"], 16);
    let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for _ in 0..30 {
        let scrape = pool.next().await;
        assert!(scrape.outcome.is_ok());
        times.entry(scrape.target.instance().to_owned()).or_default().push(scrape.time);
    }
    assert_eq!(times.len(), 3);
    for (instance, times) in &times {
        assert_eq!(times.len(), 10, "{instance}");
        assert!((0..15_000).contains(&times[0]), "{instance}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 15_000), "{instance}: {times:?}");
    }
    assert_eq!(pool.metrics.skipped.with_label_values(&["slow"]).get(), 0);
    assert_eq!(pool.metrics.scrapes.with_label_values(&["agent", "ok"]).get(), 30);
    pool.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_the_loop_and_what_it_missed_is_counted() {
    let mut pool = run(in_process("1s"), &["a"], 1);
    // One scrape lies in the queue and one waits to get in.
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    let (first, second) = (pool.next().await, pool.next().await);
    assert_eq!(second.time - first.time, 1_000);
    // The third begins late, and then all is as it was.
    let (_, fourth) = (pool.next().await, pool.next().await);
    let missed = pool.metrics.skipped.with_label_values(&["backpressure"]).get();
    assert_eq!(fourth.time - second.time, 1_000 * i64::try_from(missed + 2).unwrap(), "missed {missed}");
    assert!((7..=9).contains(&missed), "missed {missed}");
    pool.stop().await.unwrap();
}

/// The one who takes the scrapes rests meanwhile, unless the queue fills.
#[tokio::test(start_paused = true)]
async fn a_queue_that_fills_is_in_a_hurry() {
    let mut pool = run(in_process("10s"), &["a"], 4);
    let is_hurried = |pool: &Running| {
        let start = std::time::Instant::now();
        pool.rest.rest(SHORT);
        start.elapsed() < SHORT
    };
    for _ in 0..3 {
        pool.next().await;
        assert!(!is_hurried(&pool));
    }
    // The third finds two before it.
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(!is_hurried(&pool));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(is_hurried(&pool));
    pool.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn loops_follow_the_set_of_targets() {
    let mut pool = run(in_process("10s"), &["a", "b"], 16);
    let seen = async |pool: &mut Running, count: usize| {
        let mut instances: Vec<String> = Vec::new();
        for _ in 0..count {
            instances.push(pool.next().await.target.instance().to_owned());
        }
        instances.sort();
        instances
    };
    assert_eq!(seen(&mut pool, 2).await, ["a", "b"]);
    let kept = |pool: &Running, instance: &str| {
        let jobs = pool.view.jobs();
        let active = jobs[0].active.iter().find(|active| active.target.instance() == instance).unwrap();
        Arc::clone(&active.target)
    };
    let b = kept(&pool, "b");
    pool.groups.send(groups(&["b", "c"])).unwrap();
    assert_eq!(seen(&mut pool, 4).await, ["b", "b", "c", "c"]);
    assert!(Arc::ptr_eq(&b, &kept(&pool, "b")), "the loop of b went on");
    let jobs = pool.view.jobs();
    assert_eq!((jobs.len(), jobs[0].active.len(), jobs[0].job.as_str()), (1, 2, "agent"));
    assert_eq!(pool.metrics.targets.with_label_values(&["agent", "active"]).get(), 2);
    pool.groups.send(TargetSet::default()).unwrap();
    let nothing = tokio::time::timeout(Duration::from_secs(100), pool.scrapes.recv()).await;
    assert!(nothing.is_err(), "a loop was left: {nothing:?}");
    pool.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stopping_closes_the_queue_at_once() {
    let mut pool = run(in_process("10s"), &["a", "b"], 1);
    pool.next().await;
    let start = Instant::now();
    pool.stop.cancel();
    while pool.scrapes.recv().await.is_some() {}
    assert!(start.elapsed() < Duration::from_secs(1));
    pool.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_nobody_listens_to_says_so() {
    let mut pool = run(in_process("10s"), &["a"], 1);
    pool.scrapes.0.close();
    let ended = tokio::time::timeout(Duration::from_secs(60), pool.task.join_next()).await;
    assert!(matches!(ended.unwrap().unwrap().unwrap(), Err(Error::QueueClosed)));
}

#[tokio::test(start_paused = true)]
async fn a_set_that_will_not_change_any_more_goes_on() {
    let mut pool = run(in_process("10s"), &["a"], 1);
    let (other, _) = watch::channel(TargetSet::default());
    drop(std::mem::replace(&mut pool.groups, other));
    for _ in 0..3 {
        pool.next().await;
    }
    pool.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn too_many_targets_fail_without_being_asked() {
    let mut job = in_process("10s");
    job.target_limit = 1;
    let mut pool = run(job, &["a", "b"], 16);
    for _ in 0..2 {
        assert_eq!(pool.next().await.outcome.unwrap_err(), ScrapeError::TargetLimit(1));
    }
    // One less, and the rest is scraped.
    pool.groups.send(groups(&["a"])).unwrap();
    assert!(pool.next().await.outcome.is_ok());
    pool.stop().await.unwrap();
}

#[tokio::test]
async fn a_round_asks_everyone_once() {
    let server = Server::always(ok("up 1\n")).await;
    let address = server.address;
    let http = job(&format!("static_configs: [{{targets: ['{address}', 'localhost:{}']}}]", address.port()));
    let own = in_process("10s");
    let jobs: Vec<_> = [http, own]
        .into_iter()
        .map(|job| {
            let groups = TargetSet::of(job.static_groups.clone());
            (job, groups)
        })
        .collect();
    let (sender, mut scrapes) = mpsc::channel(16);
    let pool = Pool::new(sender, Size(1 << 20), metrics(), clock());
    pool.scrape_once(&jobs, usize::MAX).await.unwrap();
    let view = pool.targets();
    drop(pool);
    let mut count = 0;
    while let Some(arrival) = scrapes.recv().await {
        let exposition = scrape(arrival).outcome.unwrap();
        assert_eq!((exposition.before, exposition.pieces.concat()), (0, b"up 1\n".to_vec()));
        count += 1;
    }
    assert_eq!((count, view.jobs().len(), server.requests().len()), (3, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_scraped_behind_a_closed_gate() {
    let (mut gate, keeper) = Gate::closed();
    let mut pool = run_behind(gate.clone(), in_process("10s"), &["a", "b"], 16);
    let nothing = tokio::time::timeout(Duration::from_secs(100), pool.scrapes.recv()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!(pool.view.jobs()[0].active.len(), 2, "the targets are known");
    keeper.open(None, None);
    let first = pool.next().await;
    pool.next().await;
    keeper.close(Duration::ZERO);
    let version = gate.closing_to_seal().await;
    assert!(pool.scrapes.try_recv().is_err());
    gate.set_sealed(version, 7);
    assert_eq!(keeper.sealed(), Some(7));
    let nothing = tokio::time::timeout(Duration::from_secs(100), pool.scrapes.recv()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    // A changed set is taken note of meanwhile.
    pool.groups.send(groups(&["b", "c"])).unwrap();
    keeper.open(None, None);
    let mut instances = [pool.next().await, pool.next().await].map(|s| s.target.instance().to_owned());
    instances.sort();
    assert_eq!(instances, ["b", "c"]);
    assert!(!first.target.instance().is_empty());
    pool.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_due_since_a_moment_is_made_up_for() {
    let (gate, keeper) = Gate::closed();
    let mut pool = run_behind(gate, in_process("10s"), &["a", "b", "c", "d", "e", "f"], 64);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let at = Instant::now();
    // Half an interval ago: who was due since then is asked at once, the others when they are due.
    let from = Moment { at: at - Duration::from_secs(5), time: 95_000 };
    keeper.open(Some(from), None);
    let mut late = 0;
    let mut seen = BTreeMap::new();
    for _ in 0..12 {
        let scrape = pool.next().await;
        assert!(scrape.time >= 95_000, "{}", scrape.time);
        late += usize::from(scrape.time == 100_000 && at.elapsed() < Duration::from_millis(50));
        seen.entry(scrape.target.instance().to_owned()).or_insert_with(Vec::new).push(scrape.time);
    }
    // In each interval of ten seconds from there on, one of each.
    for times in seen.values() {
        let intervals: Vec<_> = times.iter().map(|time| (time - 95_000) / 10_000).collect();
        assert_eq!(intervals, [0, 1], "{seen:?}");
    }
    assert!((1..6).contains(&late), "{late} were late: {seen:?}");
    pool.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_kept_is_not_scraped_and_counted() {
    let mut pool = run(in_process("10s"), &["a", "b"], 16);
    pool.next().await;
    pool.next().await;
    pool.pause.send_replace(Some("the disk is full".to_owned()));
    let nothing = tokio::time::timeout(Duration::from_secs(100), pool.scrapes.recv()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    let skipped = pool.metrics.skipped.with_label_values(&["backpressure"]);
    // Ten of each, one more or less at the ends.
    assert!((19..=21).contains(&skipped.get()), "{}", skipped.get());
    pool.pause.send_replace(None);
    pool.next().await;
    pool.stop().await.unwrap();
}
