//! Jobs that change while they are scraped: which loops go on, which are followed, and that no scrape is lost between two.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Change, Changed, Error, Pool, Render, TargetsView};
use super::*;
use crate::discovery::{self, Discovery, Look};
use crate::gate::Gate;
use crate::model::scrape::Scrape;
use crate::model::target::{TargetGroup, TargetSet};

/// A pool that runs, on a clock that stands still while nothing is awaited.
struct Running {
    scrapes: mpsc::Receiver<Arrival>,
    changes: mpsc::Sender<Change>,
    view: TargetsView,
    metrics: Arc<Metrics>,
    gate: Gate,
    stop: CancellationToken,
    task: JoinSet<Result<(), Error>>,
    render: Render,
}

/// Jobs inside this process: name, interval, addresses.
type Jobs<'a> = &'a [(&'a str, &'a str, &'a [&'a str])];

fn resolve(jobs: Jobs<'_>, render: &Render) -> Vec<ResolvedJob> {
    let one = |&(name, interval, addresses): &(&str, &str, &[&str])| {
        let global: GlobalConfig =
            serde_norway::from_str(&format!("{{scrape_interval: {interval}}}")).unwrap();
        let mut job = ResolvedJob::in_process_named(name, &global, Arc::clone(render));
        job.static_groups[0].targets =
            addresses.iter().map(|a| Labels::from_pairs([("__address__", a)])).collect();
        job
    };
    jobs.iter().map(one).collect()
}

fn run(jobs: Jobs<'_>) -> Running {
    let discovery = Discovery::new(discovery::Metrics::new(&Registry::new()).unwrap());
    run_with(jobs, Gate::open(), move |job| discovery.start(&job.job.name, job.sources()))
}

fn run_with(
    jobs: Jobs<'_>,
    gate: Gate,
    look: impl Fn(&ResolvedJob) -> Look + Send + Sync + 'static,
) -> Running {
    let render: Render = Arc::new(|| b"up 1\n".to_vec());
    let (sender, scrapes) = mpsc::channel(4096);
    let metrics = metrics();
    let start = Instant::now();
    let clock = Arc::new(move || i64::try_from(start.elapsed().as_millis()).unwrap());
    let mut pool = Pool::new(sender, Size(1 << 20), Arc::clone(&metrics), clock);
    pool.set_gate(gate.clone());
    let (view, stop) = (pool.targets(), CancellationToken::new());
    let (changes, receiver) = mpsc::channel(1);
    let mut task = JoinSet::new();
    task.spawn(pool.run(resolve(jobs, &render), look, receiver, stop.clone()));
    Running { scrapes, changes, view, metrics, gate, stop, task, render }
}

impl Running {
    async fn change(&self, jobs: Vec<ResolvedJob>) -> Changed {
        let (made, changed) = oneshot::channel();
        self.changes.send(Change { jobs, made }).await.ok().unwrap();
        changed.await.unwrap()
    }

    /// The next scrapes for so many seconds: of each instance the times.
    async fn times(&mut self, seconds: u64) -> BTreeMap<String, Vec<i64>> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        while let Ok(Arrival::Scrape(Scrape { target, time, outcome, .. })) = self.scrapes.try_recv() {
            assert!(outcome.is_ok(), "{outcome:?}");
            times.entry(target.instance().to_owned()).or_default().push(time);
        }
        times
    }

    fn target(&self, job: usize, instance: &str) -> Arc<Target> {
        let jobs = self.view.jobs();
        let active = jobs[job].active.iter().find(|active| active.target.instance() == instance);
        Arc::clone(&active.expect("an active target").target)
    }

    fn skipped(&self) -> u64 {
        ["slow", "stopped", "backpressure"]
            .map(|reason| self.metrics.skipped.with_label_values(&[reason]).get())
            .iter()
            .sum()
    }

    async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.task.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    }
}

/// That these are all moments of a grid of so many milliseconds, none left out.
fn check_regular(times: &[i64], interval: i64) {
    assert!(times.len() > 1 && times.windows(2).all(|pair| pair[1] - pair[0] == interval), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_gains_a_target_leaves_the_others_alone() {
    let mut pool = run(&[("one", "1s", &["a", "b"]), ("two", "1s", &["x"])]);
    let mut times = pool.times(5).await;
    let before = [pool.target(0, "b"), pool.target(1, "x")];
    let jobs = resolve(&[("two", "1s", &["x"]), ("one", "1s", &["b", "c"])], &pool.render);
    assert_eq!(pool.change(jobs).await, Changed { added: 0, removed: 0, changed: 1, kept: 1 });
    for (instance, later) in pool.times(5).await {
        times.entry(instance).or_default().extend(later);
    }
    let counts: BTreeMap<_, _> =
        times.iter().map(|(instance, times)| (instance.as_str(), times.len())).collect();
    assert_eq!(counts, [("a", 5), ("b", 10), ("c", 5), ("x", 10)].into());
    times.values().for_each(|times| check_regular(times, 1_000));
    // In the order of the configuration.
    let jobs = pool.view.jobs();
    assert_eq!(jobs.iter().map(|job| job.job.as_str()).collect::<Vec<_>>(), ["two", "one"]);
    let after = [pool.target(1, "b"), pool.target(0, "x")];
    assert!(before.iter().zip(&after).all(|(before, after)| Arc::ptr_eq(before, after)));
    assert_eq!(pool.skipped(), 0);
    pool.stop().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_come_and_go() {
    let mut pool = run(&[("one", "1s", &["a"])]);
    pool.times(3).await;
    let jobs = resolve(&[("two", "1s", &["b", "c"])], &pool.render);
    assert_eq!(pool.change(jobs).await, Changed { added: 1, removed: 1, changed: 0, kept: 0 });
    let times = pool.times(3).await;
    assert_eq!(times.keys().collect::<Vec<_>>(), ["b", "c"]);
    let states = pool.metrics.targets.clone();
    let shown: BTreeSet<_> = prometheus::core::Collector::collect(&states)[0]
        .get_metric()
        .iter()
        .map(|metric| metric.get_label()[0].value().to_owned())
        .collect();
    assert_eq!(shown, BTreeSet::from(["two".to_owned()]), "nothing is said of a job that is gone");
    // None at all, and then again.
    assert_eq!(pool.change(Vec::new()).await, Changed { removed: 1, ..Changed::default() });
    assert!(pool.times(3).await.is_empty() && pool.view.jobs().is_empty());
    let jobs = resolve(&[("one", "1s", &["a"])], &pool.render);
    assert_eq!(pool.change(jobs).await, Changed { added: 1, ..Changed::default() });
    assert_eq!(pool.times(3).await["a"].len(), 3);
    pool.stop().await;
}

/// Whatever is different in how targets are scraped: their loops are followed by others, and none of their moments is left out
/// or used twice.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_scraped_differently_loses_no_scrape() {
    let mut pool = run(&[("one", "1s", &["a", "b", "c", "d", "e", "f", "g", "h"])]);
    let mut times = pool.times(3).await;
    for round in 1_u64..40 {
        let before = pool.target(0, "a");
        let mut jobs = resolve(&[("one", "1s", &["a", "b", "c", "d", "e", "f", "g", "h"])], &pool.render);
        jobs[0].body_limit = 1_000 + round;
        assert_eq!(pool.change(jobs).await, Changed { changed: 1, ..Changed::default() });
        // At every moment of the second, and twice in one, too.
        tokio::time::sleep(Duration::from_millis(50 * (round % 7) + round % 3)).await;
        assert!(!Arc::ptr_eq(&before, &pool.target(0, "a")), "it is scraped as it was before");
    }
    for (instance, later) in pool.times(5).await {
        times.entry(instance).or_default().extend(later);
    }
    assert_eq!(times.len(), 8);
    times.values().for_each(|times| check_regular(times, 1_000));
    assert_eq!(pool.skipped(), 0);
    pool.stop().await;
}

/// A scrape that is under way ends as it began; only then the next loop begins, however often its moments come.
#[tokio::test]
async fn the_next_loop_waits_for_the_scrape_that_is_under_way() {
    let addresses: Vec<String> = (0..40).map(|i| format!("t{i}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut pool = run(&[]);
    let (begun, mut has_begun) = watch::channel(0_usize);
    let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = std::sync::Mutex::new(held);
    let hold: Render = Arc::new(move || {
        begun.send_modify(|begun| *begun += 1);
        // Until the sender is gone.
        let _ = held.lock().unwrap().recv();
        b"up 1\n".to_vec()
    });
    let slow = resolve(&[("one", "10s", &addresses)], &pool.render).remove(0);
    pool.change(vec![slow.read_by(hold, "held".to_owned())]).await;
    has_begun.wait_for(|begun| *begun > 0).await.unwrap();
    pool.change(resolve(&[("one", "100ms", &addresses)], &pool.render)).await;
    let held = *has_begun.borrow();
    let others = loop {
        let times = pool.times(0).await;
        if times.values().map(Vec::len).sum::<usize>() > 0 {
            // Several of their moments.
            tokio::time::sleep(Duration::from_millis(500)).await;
            break pool.times(0).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(others.len(), addresses.len() - held, "{held} are held: {others:?}");
    drop(release);
    let mut seen = BTreeSet::new();
    while seen.len() < addresses.len() {
        seen.extend(pool.times(0).await.into_keys());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(pool.metrics.skipped.with_label_values(&["stopped"]).get(), 0);
    pool.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_interval_counts_from_the_change() {
    let mut pool = run(&[("one", "1m", &["a"])]);
    pool.times(125).await;
    pool.change(resolve(&[("one", "1s", &["a"])], &pool.render)).await;
    let times = &pool.times(10).await["a"];
    assert_eq!(times.len(), 10, "{times:?}");
    check_regular(times, 1_000);
    assert!(times[0] <= 126_000, "{times:?}");
    pool.stop().await;
}

/// Those that were known are scraped until the others are.
#[tokio::test(start_paused = true)]
async fn a_search_that_takes_its_time_leaves_no_gap() {
    let groups = |addresses: &[&str]| {
        let targets = addresses.iter().map(|a| Labels::from_pairs([("__address__", a)])).collect();
        TargetSet::of(vec![TargetGroup { targets, ..TargetGroup::default() }])
    };
    let (old, old_sets) = watch::channel(groups(&["a", "b"]));
    let (new, new_sets) = watch::channel(TargetSet { waiting: 1, ..TargetSet::default() });
    let look = move |job: &ResolvedJob| {
        let is_old = job.static_groups[0].targets[0].value("__address__") == "old";
        Look::of(if is_old { old_sets.clone() } else { new_sets.clone() })
    };
    let mut pool = run_with(&[("one", "1s", &["old"])], Gate::open(), look);
    // Between two moments of the grid.
    tokio::time::sleep(Duration::from_millis(25)).await;
    let mut times = pool.times(3).await;
    pool.change(resolve(&[("one", "1s", &["new"])], &pool.render)).await;
    let mut go_on = |later: BTreeMap<String, Vec<i64>>| {
        for (instance, later) in later {
            times.entry(instance).or_default().extend(later);
        }
    };
    // What the search before finds still counts.
    old.send(groups(&["a", "b", "z"])).unwrap();
    go_on(pool.times(3).await);
    new.send(groups(&["b", "c"])).unwrap();
    go_on(pool.times(3).await);
    let counts: BTreeMap<_, _> =
        times.iter().map(|(instance, times)| (instance.as_str(), times.len())).collect();
    assert_eq!(counts, [("a", 6), ("b", 9), ("c", 3), ("z", 3)].into());
    times.values().for_each(|times| check_regular(times, 1_000));
    pool.stop().await;
}

/// A source that never answers does not keep the others' targets waiting for ever.
#[tokio::test(start_paused = true)]
async fn a_search_that_never_ends_is_not_waited_for() {
    let discovery = Discovery::new(discovery::Metrics::new(&Registry::new()).unwrap());
    let (waiting, sets) = watch::channel(TargetSet { waiting: 1, ..TargetSet::default() });
    let look = move |job: &ResolvedJob| match job.static_groups[0].targets.len() {
        1 => discovery.start("one", job.sources()),
        _ => Look::of(sets.clone()),
    };
    let mut pool = run_with(&[("one", "1s", &["a"])], Gate::open(), look);
    pool.change(resolve(&[("one", "1s", &["never", "answered"])], &pool.render)).await;
    let times = pool.times(60).await;
    assert_eq!((times.len(), times["a"].len()), (1, 30), "{times:?}");
    drop(waiting);
    pool.stop().await;
}

/// A turn that ends is carried out by all jobs that there are then.
#[tokio::test(start_paused = true)]
async fn the_gate_waits_for_the_jobs_there_are() {
    let (gate, keeper) = Gate::closed();
    let discovery = Discovery::new(discovery::Metrics::new(&Registry::new()).unwrap());
    let look = move |job: &ResolvedJob| discovery.start(&job.job.name, job.sources());
    let mut pool = run_with(&[("one", "1s", &["a"]), ("two", "1s", &["b"])], gate, look);
    pool.change(resolve(&[("two", "1s", &["b"]), ("three", "1s", &["c"])], &pool.render)).await;
    assert!(pool.times(3).await.is_empty(), "the gate is closed");
    keeper.open(None, None);
    assert_eq!(pool.times(3).await.len(), 2);
    pool.change(resolve(&[("three", "1s", &["c"])], &pool.render)).await;
    assert_eq!(pool.times(3).await.keys().collect::<Vec<_>>(), ["c"]);
    keeper.close(Duration::ZERO);
    let mut gate = pool.gate.clone();
    let version = tokio::time::timeout(LONG, gate.closing_to_seal()).await.expect("all are idle");
    gate.set_sealed(version, 7);
    assert_eq!(keeper.sealed(), Some(7));
    pool.stop().await;
}
