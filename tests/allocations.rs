//! In the steady state a scrape costs a few allocations, however many samples it has.
//!
//! A program of its own, because it counts what the whole process allocates.

use std::alloc::System;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::encode::{self, Encoder};
use pipeline::model::labels::Labels;
use pipeline::model::scrape::{Exposition, Scrape};
use pipeline::model::target::{Job, Target};
use pipeline::worker::{Settings, Worker};
use pipeline::{Limits, Metrics, batch};
use prometheus::Registry;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::generate;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TIME: i64 = 1_700_000_000_000;
/// Scrapes before anything is counted: until every buffer has found its size.
const WARM_UP: u64 = 3;
/// Scrapes that are counted, all of them into one open batch.
const SCRAPES: u64 = 50;
/// Allocations that each scrape may take, whatever its size.
const EACH_MAX: usize = 2;
/// Allocations that the vectors of the open batch may take on their way from nothing to fifty scrapes: each doubles, so that
/// ten times as many samples are some four more for each of three.
const GROWTH_MAX: usize = 30;

fn worker() -> Worker {
    let settings = Settings {
        batch: batch::Config::default(),
        limits: Limits::default(),
        external: Labels::from_pairs([("cluster_id", "c1")]),
        next_sequence: 1,
    };
    let encoder = Encoder::new(&encode::Config::default(), "w0", "c1").unwrap();
    Worker::new(settings, encoder, Arc::new(Metrics::new(&Registry::new()).unwrap()))
}

fn target() -> Arc<Target> {
    let job = Job { name: "j".to_owned(), honor_timestamps: true, ..Job::default() };
    let labels = Labels::from_pairs([("job", "j"), ("instance", "a:1")]);
    Arc::new(Target::new(Arc::new(job), labels, Labels::default().into(), "http://a:1/metrics".to_owned()))
}

/// Allocations of [`SCRAPES`] scrapes in the steady state, and the samples that they brought.
fn allocations(body: &dyn Fn(u64, i64) -> String) -> (usize, usize) {
    let (mut worker, target) = (worker(), target());
    let scrape = |number: u64| {
        let time = TIME + i64::try_from(number).unwrap() * 15_000;
        let exposition = Exposition::whole(Bytes::from(body(number, time)));
        let duration = Duration::from_millis(5);
        Scrape { target: Arc::clone(&target), time, duration, outcome: Ok(exposition) }
    };
    for number in 0..WARM_UP {
        worker.take(scrape(number), Instant::now());
    }
    assert!(worker.seal().is_some());
    let scrapes: Vec<Scrape> = (WARM_UP..WARM_UP + SCRAPES).map(scrape).collect();
    let region = Region::new(ALLOCATOR);
    for scrape in scrapes {
        worker.take(scrape, Instant::now());
    }
    let change = region.change();
    (change.allocations + change.reallocations, worker.open().0.len())
}

/// Node-exporters on `count` nodes that answer with one body, each with metrics of its own.
fn nodes(count: u64, scrape: u64) -> String {
    let body = |node: u64| generate::node(node, scrape).replace("node_", &format!("node{node}_"));
    (0..count).map(body).collect()
}

#[test]
fn a_scrape_does_not_allocate_for_each_sample() {
    let check = |name: &str, samples: u64, body: &dyn Fn(u64, i64) -> String| -> usize {
        let (count, added) = allocations(body);
        // Its own report is six samples.
        assert_eq!(added as u64, (samples + 6) * SCRAPES, "{name}");
        let max = EACH_MAX * SCRAPES as usize + GROWTH_MAX;
        assert!(count <= max, "{name}: {count} allocations for {SCRAPES} scrapes of {samples} samples");
        count
    };
    let few = check("node", 1_311, &|scrape, _| nodes(1, scrape));
    let many = check("ten nodes", 13_110, &|scrape, _| nodes(10, scrape));
    assert!(many <= few + GROWTH_MAX, "{few} allocations for 1,311 samples, {many} for ten times as many");
    let per_pod = generate::CADVISOR_SAMPLES_PER_POD as u64;
    let few = check("cAdvisor", 20 * per_pod, &|scrape, time| generate::cadvisor(0, 20, scrape, time));
    let many =
        check("cAdvisor, ten times", 200 * per_pod, &|scrape, time| generate::cadvisor(0, 200, scrape, time));
    assert!(many <= few + GROWTH_MAX, "{few} allocations with 20 pods, {many} with 200");
}
