//! Scrapes in, samples out: the worker as a whole, which is where the ledger has to close.

use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;

use super::*;
use crate::encode;
use crate::model::labels::METRIC_NAME;
use crate::model::scrape::{Arrival, Exposition, Part};
use crate::model::target::Job;
use crate::model::target::Limits as JobLimits;
use crate::relabel::{RelabelConfig, Rules};
use crate::rest::Rest;

mod alike;
mod journal;
mod parts;
mod short_cut;
mod vector;

const TIME: i64 = 1_700_000_000_000;

struct Bench {
    worker: Worker,
    metrics: Arc<Metrics>,
    target: Arc<Target>,
}

fn rules(yaml: &str) -> Rules {
    let configs: Vec<RelabelConfig> = serde_norway::from_str(yaml).unwrap();
    Rules::compile(&configs).unwrap()
}

fn bench_with(job: Job, limits: Limits) -> Bench {
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let external = Labels::from_pairs([("cluster_id", "c1"), ("zone", "z")]);
    let settings = Settings { batch: batch::Config::default(), limits, external, next_sequence: 7 };
    let encoder = Encoder::new(&encode::Config::default(), "w0", "c1").unwrap();
    let worker = Worker::new(settings, encoder, Arc::clone(&metrics));
    let target = target(Arc::new(job), "a:1");
    Bench { worker, metrics, target }
}

fn bench(job: Job) -> Bench {
    bench_with(job, Limits::default())
}

fn target(job: Arc<Job>, instance: &str) -> Arc<Target> {
    let labels = Labels::from_pairs([("job", "j"), ("instance", instance)]);
    Arc::new(Target::new(job, labels, Labels::default().into(), format!("http://{instance}/metrics")))
}

fn plain() -> Job {
    Job { name: "j".to_owned(), honor_timestamps: true, ..Job::default() }
}

impl Bench {
    fn scrape(&mut self, time: i64, body: &str) {
        let exposition = Exposition::whole(Bytes::copy_from_slice(body.as_bytes()));
        self.outcome(time, Ok(exposition));
    }

    fn outcome(&mut self, time: i64, outcome: Result<Exposition, ScrapeError>) {
        let (target, duration) = (Arc::clone(&self.target), Duration::from_millis(5));
        self.worker.take(Scrape { target, time, duration, outcome }, Instant::now());
    }

    /// Everything in the open batch but the report samples, as text.
    fn samples(&self) -> Vec<String> {
        self.all()
            .into_iter()
            .filter(|s| !s.contains("__name__=\"scrape_") && !s.contains("\"up\""))
            .collect()
    }

    /// A report sample of the last scrape.
    fn report(&self, name: &str) -> f64 {
        let (batch, table) = self.worker.open();
        let of = |id| table.get(id).unwrap().value(METRIC_NAME);
        batch.iter().filter(|(id, ..)| of(*id) == name).last().unwrap().2
    }

    fn all(&self) -> Vec<String> {
        let (batch, table) = self.worker.open();
        let line = |(id, time, value)| {
            format!("{} {value} @{}", table.get(id).unwrap().to_series().labels, time - TIME)
        };
        batch.iter().map(line).collect()
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.metrics.samples_dropped.with_label_values(&[reason]).get()
    }

    fn health(&self) -> Health {
        self.target.last().unwrap().health
    }
}

#[test]
fn a_sample_gets_the_targets_and_the_external_labels() {
    let mut bench = bench(plain());
    bench.scrape(TIME, "m{x=\"1\",zone=\"own\"} 5\n");
    assert_eq!(
        bench.samples(),
        [r#"{__name__="m",cluster_id="c1",instance="a:1",job="j",x="1",zone="own"} 5 @0"#]
    );
    assert_eq!(bench.all().len(), 7);
    assert!(bench.all()[1].contains(r#"__name__="up",cluster_id="c1",instance="a:1",job="j",zone="z""#));
    let report = ["up", "scrape_samples_scraped", "scrape_series_added", "scrape_body_size_bytes"];
    assert_eq!(report.map(|name| bench.report(name)), [1.0, 1.0, 1.0, 22.0]);
    bench.scrape(TIME + 1, "m{x=\"1\",zone=\"own\"} 6\n");
    assert_eq!(bench.report("scrape_series_added"), 0.0);
}

/// However often the count of scrapes has gone round meanwhile.
#[test]
fn a_series_that_was_away_is_an_added_one() {
    let mut bench = bench(plain());
    let mut scrapes = 0;
    let mut scrape = |body: &str| {
        scrapes += 1;
        // One that no other scrape has.
        bench.scrape(TIME + scrapes, &format!("{body}only_{scrapes} 1\n"));
        bench.report("scrape_series_added") - 1.0
    };
    for away in [1, 2, 100, 253, 254, 255, 256, 257, 509, 510, 511] {
        assert_eq!(scrape("a 1\nb 1\n"), if away == 1 { 2.0 } else { 0.0 });
        (0..away).for_each(|_| assert_eq!(scrape("a 1\n"), 0.0));
        assert_eq!(scrape("a 1\nb 1\n"), 1.0, "{away} scrapes without it");
    }
}

/// Whatever an exporter says, its samples are those of this cluster; only the operator's rules may say otherwise.
#[test]
fn no_exporter_names_the_cluster() {
    let check = |honor_labels: bool, relabel: &str, body: &str, expected: &str| {
        let metric_relabel = rules(relabel);
        let mut bench = bench(Job { honor_labels, metric_relabel, ..plain() });
        bench.scrape(TIME, body);
        let rest = r#"instance="a:1",job="j",zone="z""#;
        assert_eq!(
            bench.samples(),
            [format!("{{__name__=\"m\",{expected},{rest}}} 1 @0")],
            "{honor_labels} {body}"
        );
        let reports = bench.all().into_iter().filter(|sample| sample.contains("\"up\""));
        assert!(reports.into_iter().all(|sample| sample.contains(r#"cluster_id="c1""#)));
    };
    let own = r#"cluster_id="c1""#;
    for honor_labels in [false, true] {
        let renamed = format!(r#"{own},exported_cluster_id="c2""#);
        check(honor_labels, "[]", "m{cluster_id=\"c2\"} 1\n", &renamed);
        let both = format!(r#"{own},exported_cluster_id="x",exported_exported_cluster_id="c2""#);
        check(honor_labels, "[]", "m{cluster_id=\"c2\",exported_cluster_id=\"x\"} 1\n", &both);
        check(honor_labels, "[]", "m{cluster_id=\"\"} 1\n", own);
        check(honor_labels, "[{regex: cluster_id, action: labeldrop}]", "m 1\n", own);
        let moved = "[{source_labels: [exported_cluster_id], target_label: cluster_id}]";
        let by_rule = r#"cluster_id="c2",exported_cluster_id="c2""#;
        check(honor_labels, moved, "m{cluster_id=\"c2\"} 1\n", by_rule);
    }
}

#[test]
fn exposed_labels_that_the_target_has_too() {
    let check = |honor_labels: bool, body: &str, expected: &str| {
        let mut bench = bench(Job { honor_labels, ..plain() });
        bench.scrape(TIME, body);
        assert_eq!(bench.samples(), [expected.to_owned()], "{honor_labels} {body}");
    };
    let rest = r#"cluster_id="c1""#;
    check(
        false,
        "m{job=\"x\"} 1\n",
        &format!(r#"{{__name__="m",{rest},exported_job="x",instance="a:1",job="j",zone="z"}} 1 @0"#),
    );
    check(
        false,
        "m{job=\"x\",exported_job=\"y\"} 1\n",
        &format!(
            r#"{{__name__="m",{rest},exported_exported_job="x",exported_job="y",instance="a:1",job="j",zone="z"}} 1 @0"#
        ),
    );
    check(
        true,
        "m{job=\"x\"} 1\n",
        &format!(r#"{{__name__="m",{rest},instance="a:1",job="x",zone="z"}} 1 @0"#),
    );
    check(true, "m{job=\"\"} 1\n", &format!(r#"{{__name__="m",{rest},instance="a:1",zone="z"}} 1 @0"#));
    check(
        false,
        "m{job=\"\"} 1\n",
        &format!(r#"{{__name__="m",{rest},instance="a:1",job="j",zone="z"}} 1 @0"#),
    );
}

#[test]
fn metric_relabelling_decides_once_per_series_and_is_counted_per_sample() {
    let metric_relabel = rules("[{source_labels: [__name__], regex: drop_.*, action: drop}]");
    let mut bench = bench(Job { metric_relabel, ..plain() });
    for i in 0..3 {
        bench.scrape(TIME + i, "drop_me 1\nkeep_me 2\n");
    }
    assert_eq!((bench.samples().len(), bench.dropped(reason::RELABELLED)), (3, 3));
    assert_eq!(bench.report("scrape_samples_post_metric_relabeling"), 1.0);
}

#[test]
fn the_first_of_equal_samples_stays() {
    let mut bench = bench(plain());
    // Two spellings of one series.
    bench.scrape(TIME, "m{a=\"1\",b=\"2\"} 1\nm{b=\"2\",a=\"1\"} 2\nm{a=\"1\",b=\"2\"} 3\n");
    assert_eq!((bench.samples().len(), bench.dropped(reason::DUPLICATE)), (1, 2));
    assert!(bench.samples()[0].contains("} 1 @0"));
}

#[test]
fn explicit_timestamps() {
    let mut bench = bench(plain());
    bench.scrape(TIME, &format!("m 1 {}\n", TIME - 5));
    bench.scrape(TIME + 10, &format!("m 1 {}\n", TIME - 5));
    bench.scrape(TIME + 20, &format!("m 1 {}\n", TIME + 15));
    let times: Vec<_> = bench.samples().iter().map(|s| s.rsplit('@').next().unwrap().to_owned()).collect();
    assert_eq!((times, bench.dropped(reason::REPEATED)), (vec!["-5".to_owned(), "15".to_owned()], 1));
    bench.scrape(TIME, &format!("far 1 {}\nold 1 {}\n", TIME + 601_000, TIME - 86_401_000));
    assert_eq!((bench.dropped(reason::AHEAD), bench.dropped(reason::BEHIND)), (1, 1));
    let mut deaf = self::bench(Job { honor_timestamps: false, ..plain() });
    deaf.scrape(TIME, &format!("m 1 {}\n", TIME - 5));
    assert!(deaf.samples()[0].ends_with("@0"));
}

#[test]
fn a_failed_scrape_leaves_its_report_and_nothing_else() {
    let limits = |limits: JobLimits| Job { limits, ..plain() };
    let check = |job: Job, body: &str, expected: &str| {
        let mut bench = bench(job);
        bench.scrape(TIME, body);
        let Health::Down(error) = bench.health() else { panic!("{body} is not refused") };
        assert!(error.contains(expected), "{error}");
        assert_eq!((bench.samples().len(), bench.report("up"), bench.all().len()), (0, 0.0, 6));
        let samples = body.lines().filter(|line| !line.starts_with('<')).count() as u64;
        let counted = (bench.metrics.samples_scraped.get(), bench.dropped(reason::SCRAPE_FAILED));
        assert_eq!(counted, (samples, samples), "the ledger of {body}");
        let refused: u64 = ["limit", "unreadable"]
            .map(|r| bench.metrics.scrapes_refused.with_label_values(&[r]).get())
            .iter()
            .sum();
        assert_eq!(refused, 1);
        assert_eq!(bench.worker.table.len(), 6, "series of a failed scrape stay");
    };
    check(limits(JobLimits { samples: 2, ..JobLimits::default() }), "a 1\nb 1\nc 1\nd 1\n", "sample_limit");
    check(limits(JobLimits { labels: 4, ..JobLimits::default() }), "a{x=\"1\",y=\"2\"} 1\n", "label_limit");
    check(
        limits(JobLimits { label_name_bytes: 10, ..JobLimits::default() }),
        "ok 1\na{x2345678901=\"1\"} 1\n",
        "label_name_length_limit",
    );
    check(
        limits(JobLimits { label_value_bytes: 5, ..JobLimits::default() }),
        "ok 1\na{x=\"123456\"} 1\n",
        "label_value_length_limit",
    );
    check(plain(), "<html>\n<body>it works</body>\n", "line 1");
}

#[test]
fn all_series_together_are_bounded() {
    let mut bench = bench_with(plain(), Limits { max_series: 8, ..Limits::default() });
    bench.scrape(TIME, "a 1\nb 1\n");
    assert_eq!(bench.health(), Health::Up);
    bench.scrape(TIME + 1, "a 1\nb 1\nc 1\n");
    assert!(matches!(bench.health(), Health::Down(error) if error.contains("limits.max_series")));
    assert!(bench.worker.is_due(Instant::now()), "what is gone makes room with the next object");
    bench.worker.seal();
    bench.scrape(TIME + 2, "a 1\nb 1\n");
    assert_eq!((bench.health(), bench.worker.table.len()), (Health::Up, 8));
}

#[test]
fn a_target_whose_series_all_change_finds_room_again() {
    let mut bench = bench_with(plain(), Limits { max_series: 16, ..Limits::default() });
    let body = |version: u8| (0..8).map(|i| format!("m{i}{{version=\"{version}\"}} 1\n")).collect::<String>();
    bench.scrape(TIME, &body(1));
    assert_eq!(bench.health(), Health::Up);
    bench.scrape(TIME + 1, &body(2));
    bench.worker.seal();
    bench.scrape(TIME + 2, &body(2));
    assert_eq!(bench.health(), Health::Up);
}

/// What an exporter can make us hold is bounded: series that come and go before an object, labels of any length, and scrapes
/// that fail after a million new series.
#[test]
fn nothing_that_an_exporter_says_takes_more_than_its_room() {
    let limits = || Limits { max_series: 100, ..Limits::default() };
    let body = |version: i64| {
        (0..20).map(|i| format!("m{{i=\"{i}\",version=\"{version}\"}} 1\n")).collect::<String>()
    };
    let mut bench = bench_with(plain(), limits());
    let mut due = 0;
    for version in 0..40 {
        bench.scrape(TIME + version, &body(version));
        assert!(bench.worker.open().1.slots() <= 100, "held: {}", bench.worker.open().1.slots());
        if bench.worker.is_due(Instant::now()) {
            bench.worker.seal();
            due += 1;
        }
    }
    assert!(due > 5, "objects are made earlier, so that there is room: {due}");
    assert_eq!(bench.health(), Health::Up);
    // Two texts of the greatest length that a line may have are more than a hundred series of 256 bytes.
    let mut bench = bench_with(plain(), limits());
    let (long, other) = ("x".repeat(20_000), "y".repeat(20_000));
    bench.scrape(TIME, &format!("a{{l=\"{long}\"}} 1\nb{{l=\"{other}\"}} 1\nc 1\n"));
    assert!(matches!(bench.health(), Health::Down(text) if text.contains("limits.max_series")));
    // Failed scrapes leave nothing, however many there are before the next object.
    let mut bench =
        bench_with(Job { limits: JobLimits { samples: 19, ..JobLimits::default() }, ..plain() }, limits());
    for version in 0..40 {
        bench.scrape(TIME + version, &body(version));
        assert!(bench.worker.open().1.slots() <= 30, "held: {}", bench.worker.open().1.slots());
    }
    assert!(matches!(bench.health(), Health::Down(text) if text.contains("sample_limit")));
}

#[test]
fn a_target_that_is_down_is_reported() {
    let mut bench = bench(plain());
    bench.outcome(TIME, Err(ScrapeError::Status(500)));
    assert_eq!((bench.report("up"), bench.report("scrape_body_size_bytes")), (0.0, 0.0));
    bench.outcome(TIME, Err(ScrapeError::BodySize(9)));
    assert_eq!(bench.report("scrape_body_size_bytes"), -1.0);
    let mut optional = self::bench(Job { optional: true, ..plain() });
    optional.outcome(TIME, Err(ScrapeError::Refused));
    assert_eq!(optional.health(), Health::NotRunning);
}

#[test]
fn series_are_freed_when_they_or_their_target_go() {
    let mut bench = bench(plain());
    bench.scrape(TIME, "a 1\nb 1\n");
    for i in 1..3 {
        bench.scrape(TIME + i, "a 1\n");
    }
    assert_eq!(bench.worker.table.len(), 7);
    assert_eq!(bench.worker.seal().map(|o| (o.sequence, o.samples)), Some((7, 4 + 3 * 6)));
    assert_eq!(bench.worker.table.len(), 7);
    // A new target takes the free slots, and its rows are its own.
    bench.target = target(Arc::new(plain()), "b:1");
    bench.scrape(TIME, "c 1\n");
    assert!(bench.samples()[0].contains("b:1"));
    bench.worker.seal();
    assert_eq!(bench.worker.table.len(), 7);
    assert_eq!(bench.worker.targets.len(), 1);
}

#[test]
fn the_ledger_closes() {
    let metric_relabel = rules("[{source_labels: [__name__], regex: d, action: drop}]");
    let mut bench = bench(Job { metric_relabel, ..plain() });
    for i in 0..10 {
        let body = format!(
            "a 1\na 2\nb 1 {}\nc 1 {}\nd 1\nbad\ne{{i=\"{i}\"}} 1\n",
            TIME + i / 2,
            TIME - 90_000_000
        );
        bench.scrape(TIME + i, &body);
    }
    let sealed = bench.worker.seal().unwrap().samples;
    let dropped: u64 = reason::ALL.iter().map(|r| bench.dropped(r)).sum();
    let read = bench.metrics.samples_scraped.get() + bench.metrics.samples_reported.get();
    assert_eq!((read, sealed), (60 + 60, read - dropped));
    assert_eq!(bench.metrics.lines_bad.get(), 10);
    assert_eq!(
        [reason::RELABELLED, reason::DUPLICATE, reason::REPEATED, reason::BEHIND].map(|r| bench.dropped(r)),
        [10, 10, 5, 10]
    );
}

#[test]
fn an_object_is_cut_where_somebody_else_may_have_begun() {
    let mut bench = bench(plain());
    assert!(!bench.worker.is_cut(TIME, TIME), "there is nothing to cut");
    bench.scrape(TIME - 1, "a 1\n");
    assert!(!bench.worker.is_cut(TIME - 1, TIME));
    assert!(bench.worker.is_cut(TIME, TIME));
    assert!(!bench.worker.is_cut(TIME, i64::MAX));
    bench.scrape(TIME, "a 2\n");
    // One that is late to come stays with the others.
    assert!(!bench.worker.is_cut(TIME - 1, TIME));
    assert!(!bench.worker.is_cut(TIME + 999, TIME));
    assert!(bench.worker.is_cut(TIME + 1_000, TIME));
    assert_eq!(bench.worker.seal().unwrap().last_scrape, TIME);
    bench.scrape(TIME + 5, "a 3\n");
    assert_eq!(bench.worker.seal().unwrap().last_scrape, TIME + 5);
}

/// The thread: cuts, and says when a closing is sealed.
#[tokio::test]
async fn a_closing_seals_what_is_in_the_queue() {
    let Bench { worker, target, .. } = bench(plain());
    let (gate, keeper) = crate::gate::Gate::closed();
    keeper.open(None, None);
    keeper.set_ours_until(TIME);
    let (scrapes, queue) = tokio::sync::mpsc::channel(8);
    let (objects, mut sealed) = tokio::sync::mpsc::channel(8);
    let (runtime, stopping) = (tokio::runtime::Handle::current(), tokio_util::sync::CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    let stuck = tokio::sync::watch::channel(None).0;
    let rest = Rest::default();
    let connections = Connections { scrapes: queue, objects, journal: None, stuck, gate, rest, stopping };
    tasks.spawn_blocking(move || run(worker, connections, &Left::default(), &runtime));
    for time in [TIME - 1, TIME] {
        let exposition = Exposition::whole(Bytes::from_static(b"a 1\n"));
        let (target, duration) = (Arc::clone(&target), Duration::ZERO);
        let scrape = Scrape { target, time, duration, outcome: Ok(exposition) };
        scrapes.send(Arrival::Scrape(scrape)).await.unwrap();
    }
    assert_eq!(sealed.recv().await.unwrap().last_scrape, TIME - 1);
    keeper.close(Duration::ZERO);
    assert_eq!(sealed.recv().await.unwrap().last_scrape, TIME);
    let done = async {
        while keeper.sealed().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
    assert_eq!(keeper.sealed(), Some(9), "two objects from 7 on");
    drop(scrapes);
    tasks.join_next().await.unwrap().unwrap().unwrap();
}
