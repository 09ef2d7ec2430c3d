//! The spool: bounded, and honest about what it could not keep.

use support::exporter::Exporter;
use support::exposition::Exposition;
use support::generate;

use crate::world::{World, body, sequence};

/// Samples in every scrape that are the agent's own report of it.
const REPORT_SAMPLES: u64 = 6;

#[test]
fn a_full_one_drops_the_oldest_and_counts_its_samples() {
    let world = World::new();
    world.s3.set_down(true);
    let scrapes = 10;
    let exporter = Exporter::limited(scrapes, |n| {
        // Values that do not compress, so that few objects fill the spool.
        let mut big = Exposition::new();
        for series in 0..1000_u32 {
            let value = f64::from(series).sqrt() + n as f64 * 1.000_001;
            big.push("noise", &[("series", &format!("{series}"))], value, None);
        }
        big
    });
    // A scrape is an object, however busy the machine is, and every answer has the time that it needs.
    let config = world
        .config(&[exporter.address()])
        .replace("max_bytes: 64MiB", "max_bytes: 32KiB")
        .replace("max_age: 1s", "max_age: 1s, max_rows: 1000")
        .replace("500ms, scrape_timeout: 500ms", "1s, scrape_timeout: 1s");
    let mut agent = world.start_with(&config);
    exporter.wait_for_scrapes_after(scrapes);
    let full = [("reason", "spool_full")];
    agent.wait_until("a drop", |a| a.metric("agent_spool_dropped_samples_total", &full) > 0.0);
    agent.wait_until("the last batch to be sealed", |a| a.metric("agent_spool_objects", &[]) >= 1.0);
    world.s3.set_down(false);
    agent.wait_until("an empty spool", |a| a.metric("agent_spool_objects", &[]) == 0.0);
    let samples = agent.metric("agent_spool_dropped_samples_total", &full) as u64;
    let objects = agent.metric("agent_spool_dropped_objects_total", &full) as u64;
    let outcome = world.finish(agent);
    // Dropped are samples of the exporter and the reports of those scrapes.
    let ledger = world.ledger(&exporter);
    let missing = ledger.missing();
    assert!(missing > 0 && samples > missing, "{samples} counted, {missing} missing\n{}", outcome.stderr);
    assert_eq!((samples - missing) % REPORT_SAMPLES, 0, "{samples} counted, {missing} missing");
    ledger.dropped("spool_full", missing).check();
    // The gaps in what was delivered are the dropped objects. The first was in flight and stayed; of the others the oldest
    // went.
    let delivered: Vec<_> = world.s3.objects().iter().map(|stored| sequence(&stored.key)).collect();
    let (first, newest) = (delivered[0], delivered[delivered.len() - 1]);
    let gone: Vec<_> = (first..=newest).filter(|number| !delivered.contains(number)).collect();
    assert_eq!(gone.len() as u64, objects, "{delivered:?} delivered");
    assert!(delivered[1..].iter().all(|kept| gone.iter().all(|gone| gone < kept)), "{delivered:?} delivered");
}

#[test]
fn one_that_cannot_be_written_is_refused_at_the_start() {
    let world = World::new();
    let file = world.dir.path().join("file");
    std::fs::write(&file, "in the way").expect("to write a file");
    let exporter = Exporter::limited(1, body);
    let config = world.config(&[exporter.address()]).replace("/spool\"", "/file/spool\"");
    let outcome = world.start_with(&config).wait();
    assert!(!matches!(outcome.code, Some(0) | None), "{outcome:?}");
    assert!(
        outcome.stderr.contains("file/spool") && outcome.stderr.contains("spool.dir"),
        "{}",
        outcome.stderr
    );
    world.check_invariants(&outcome);
}

/// The disk fails for a while: samples wait in memory, and nothing is lost.
#[test]
fn a_disk_that_fails_for_a_while_costs_nothing() {
    let world = World::new();
    let exporter = Exporter::limited(6, body);
    let mut agent = world.start(&[&exporter]);
    world.s3.wait_for_objects(1);
    let away = world.dir.path().join("away");
    std::fs::rename(world.spool(), &away).expect("to take the spool away");
    std::fs::write(world.spool(), "in the way").expect("to put a file in its place");
    agent.wait_until("the failure to be counted", |a| a.metric("agent_spool_write_errors_total", &[]) > 0.0);
    std::fs::remove_file(world.spool()).expect("to remove the file");
    std::fs::rename(&away, world.spool()).expect("to put the spool back");
    exporter.wait_for_scrapes_after(6);
    world.finish_even(agent, &[&exporter]);
}

/// A body as large as a real one fits and arrives.
#[test]
fn many_series_pass_through_a_small_batch() {
    let world = World::new();
    let exporter = Exporter::limited(2, |n| {
        let mut body = Exposition::new();
        for (at, line) in
            generate::node(1, n as u64).lines().filter(|line| !line.starts_with('#')).enumerate()
        {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            body.push(name, &[("at", &at.to_string())], at as f64, None);
        }
        body
    });
    let config = world.config(&[exporter.address()]).replace("max_age: 1s", "max_age: 1s, max_rows: 500");
    let agent = world.start_with(&config);
    exporter.wait_for_scrapes_after(2);
    world.finish_even(agent, &[&exporter]);
}
