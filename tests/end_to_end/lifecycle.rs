//! Start, stop, restart, crash: what was sealed is delivered, once and in order.

use std::time::{Duration, Instant};

use support::exporter::Exporter;
use support::s3::Fault;

use crate::world::{World, body};

#[test]
fn sigterm_seals_and_delivers_what_is_open() {
    let world = World::new();
    let exporter = Exporter::limited(2, body);
    // A batch that would stay open for an hour.
    let config = world.config(&[exporter.address()]).replace("max_age: 1s", "max_age: 1h");
    let agent = world.start_with(&config);
    exporter.wait_for_scrapes_after(2);
    assert_eq!(world.s3.objects().len(), 0);
    let started = Instant::now();
    world.finish_even(agent, &[&exporter]);
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    assert_eq!(world.s3.objects().len(), 1);
}

/// The bucket is unreachable: the agent ends at its deadline with 0, and the next run delivers what is left, first.
#[test]
fn what_is_left_at_the_deadline_goes_first_at_the_next_start() {
    let world = World::new();
    world.s3.set_down(true);
    let exporter = Exporter::limited(3, body);
    let agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(3);
    let started = Instant::now();
    let outcome = agent.terminate();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(30), "took {took:?}, Kubernetes kills after 30 s");
    world.check_invariants(&outcome);
    world.s3.set_down(false);
    let second = Exporter::limited(2, |n| body(100 + n));
    let agent = world.start(&[&second]);
    second.wait_for_scrapes_after(2);
    world.finish_even(agent, &[&exporter, &second]);
    let writers: std::collections::BTreeSet<_> = world
        .s3
        .objects()
        .iter()
        .filter_map(|s| Some(s.key.rsplit_once('/')?.1.split('-').next()?.to_owned()))
        .collect();
    assert_eq!(writers.len(), 1, "a spool keeps its writer: {writers:?}");
}

/// The process is killed between storing and knowing: the next run finds out, and nothing comes twice.
#[test]
fn a_crash_in_the_middle_of_an_upload_repeats_nothing() {
    let world = World::new();
    world.s3.script([Fault::StoreThenHang]);
    let exporter = Exporter::limited(3, body);
    let mut agent = world.start(&[&exporter]);
    world.s3.wait_for_objects(1);
    exporter.wait_for_scrapes_after(4);
    let in_flight = world.rows().len();
    agent.wait_until("everything to be sealed", |agent| {
        agent.metric("agent_spool_objects", &[]) >= 2.0 || world.ledger(&exporter).close().is_ok()
    });
    assert!(in_flight > 0);
    let outcome = agent.kill();
    assert_eq!(outcome.code, None, "killed");
    let idle = Exporter::limited(1, body);
    let agent = world.start(&[&idle]);
    idle.wait_for_scrapes_after(1);
    world.finish_even(agent, &[&exporter]);
    let puts = world.s3.puts();
    assert_eq!(puts[0].key, puts[1].key, "the same object under the same key: {puts:#?}");
    assert_eq!(puts[1].status, 412);
}

#[test]
fn two_agents_cannot_share_a_spool() {
    let world = World::new();
    let exporter = Exporter::limited(1, body);
    let mut first = world.start(&[&exporter]);
    first.address();
    let second = world.start(&[&exporter]).wait();
    assert!(!matches!(second.code, Some(0) | None), "{second:?}");
    assert!(second.stderr.contains("in use by another process"), "{}", second.stderr);
    let _ = world.finish(first);
}
