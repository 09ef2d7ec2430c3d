//! Objects as Vector wrote them: the same promises as of Parquet, kill and restart included.

use std::collections::BTreeSet;

use support::agent::{Agent, Outcome, Running};
use support::exporter::{Exporter, Serve};
use support::exposition::{Exposed, Exposition, NAN};
use support::ledger::Ledger;
use support::objects::Row;
use support::s3::Fault;
use support::{vector, wait};

use crate::world::{World, second};

/// One of everything that Vector knew, and parts of what it would have put together; values that JSON says exactly.
fn exposed(scrape: usize) -> Exposition {
    let n = f64::from(u32::try_from(scrape).expect("few scrapes"));
    Exposition::new()
        .declare("requests_total", "counter")
        .sample("requests_total", &[("method", "GET"), ("path", "/a\"b\\c\nd")], n * 10.0 + 1_234_567.0)
        .declare("temperature_celsius", "gauge")
        .sample("temperature_celsius", &[("room", "server"), ("rack", "")], 21.5 - n)
        .sample("temperature_celsius", &[("room", "unknown")], f64::NAN)
        .declare("latency_seconds", "histogram")
        .sample("latency_seconds_bucket", &[("route", "/x"), ("le", "0.1")], n)
        .sample("latency_seconds_bucket", &[("route", "/x"), ("le", "2.5")], n + 2.0)
        .sample("latency_seconds_bucket", &[("route", "/x"), ("le", "+Inf")], n + 3.0)
        .sample("latency_seconds_sum", &[("route", "/x")], n / 4.0)
        .sample("latency_seconds_count", &[("route", "/x")], n + 3.0)
        .sample("latency_seconds_bucket", &[("route", "/part"), ("le", "2.5")], n)
        .declare("rpc_seconds", "summary")
        .sample("rpc_seconds", &[("quantile", "0.5")], n / 8.0)
        .sample("rpc_seconds", &[("quantile", "0.99")], f64::NAN)
        .sample("rpc_seconds_sum", &[], n)
        .sample("rpc_seconds_count", &[], n)
        .sample("limit", &[("namespace", "team-a"), ("pod", "app-1"), ("node", "n1")], f64::INFINITY)
}

fn config(world: &World, exporter: &Exporter, compression: &str) -> String {
    let encoding = format!("encoding: vector_json\nvector_json: {{compression: {compression}}}\n");
    world.config(&[exporter.address()]) + &encoding
}

fn rows(world: &World) -> Vec<Row> {
    let objects = world.s3.objects();
    objects.iter().flat_map(|stored| vector::read(&stored.bytes).expect(&stored.key)).collect()
}

/// What JSON cannot say is null to its readers.
fn ledger(world: &World, exporter: &Exporter) -> Ledger {
    let sayable = |sample: Exposed| match sample.value.is_finite() {
        true => sample,
        false => Exposed { value: NAN, ..sample },
    };
    let scrapes: Vec<Vec<Exposed>> =
        exporter.exposed().into_iter().map(|scrape| scrape.into_iter().map(sayable).collect()).collect();
    Ledger::of(&scrapes, &rows(world), &exporter.address())
}

/// Ends the agent and checks that nothing was lost, nothing came twice, and keys are Vector's and strictly increase.
fn finish(world: &World, agent: Running, exporter: &Exporter, extensions: &[&str]) -> Outcome {
    let outcome = agent.terminate();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    world.s3.check_order();
    let ledger = ledger(world, exporter);
    assert!(ledger.exposed() > 0, "nothing was exposed");
    if let Err(text) = ledger.close() {
        panic!("{text}\nlog:\n{}", outcome.stderr);
    }
    let pattern =
        r"^/(\d{10})/(\d{10})-[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\.(log|log\.gz)$";
    let pattern = regex::Regex::new(pattern).expect("a pattern");
    let objects = world.s3.objects();
    let mut found = BTreeSet::new();
    for stored in &objects {
        let rest = stored.key.strip_prefix(&world.account.prefix).expect(&stored.key);
        let parts = pattern.captures(rest).unwrap_or_else(|| panic!("{rest} is not a key of Vector's"));
        assert_eq!(parts[1], parts[2], "{rest}");
        assert_eq!(stored.content_type, "text/x-log");
        found.insert(parts[3].to_owned());
    }
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), extensions);
    for two in objects.windows(2) {
        assert!(second(&two[0].key) < second(&two[1].key), "{} then {}", two[0].key, two[1].key);
    }
    for put in world.s3.puts() {
        let is_gzip = put.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
        assert_eq!(is_gzip, put.key.ends_with(".gz"), "{put:#?}");
    }
    outcome
}

/// Vector has written below the same prefix until now, and its last key is of the second that is coming.
#[test]
fn it_goes_on_where_vector_ended() {
    let world = World::new();
    let last = world.s3.clock().now() + 2;
    let above = format!("{}/{last}/{last}-ffffffff-ffff-4fff-bfff-ffffffffffff.log", world.account.prefix);
    world.s3.put_foreign(&above, "[]");
    let exporter = Exporter::limited(6, exposed);
    let agent = world.start_with(&config(&world, &exporter, "none"));
    exporter.wait_for_scrapes_after(6);
    finish(&world, agent, &exporter, &["log"]);
    let objects = world.s3.objects();
    assert!(objects.len() > 1 && objects.iter().all(|stored| stored.key > above), "{above}");
    let kinds: BTreeSet<_> = rows(&world).into_iter().map(|row| (row.kind, row.metric)).collect();
    for (kind, metric) in [
        ("aggregated_histogram", "latency_seconds_sum"),
        ("aggregated_summary", "rpc_seconds_count"),
        ("counter", "latency_seconds_bucket"),
        ("counter", "requests_total"),
        ("gauge", "limit"),
        ("gauge", "up"),
    ] {
        assert!(kinds.contains(&(kind.to_owned(), metric.to_owned())), "{kind} {metric}: {kinds:?}");
    }
}

/// The process is killed between storing and knowing, with a batch open; the next run, which compresses, repeats nothing.
#[test]
fn a_kill_costs_nothing_and_repeats_nothing() {
    let world = World::new();
    world.s3.script([Fault::StoreThenHang]);
    let exporter = Exporter::limited(3, exposed);
    let mut agent = world.start_with(&config(&world, &exporter, "none"));
    world.s3.wait_for_objects(1);
    exporter.wait_for_scrapes_after(4);
    agent.wait_until("everything to be sealed", |agent| {
        agent.metric("agent_spool_objects", &[]) >= 2.0 || ledger(&world, &exporter).close().is_ok()
    });
    assert_eq!(agent.kill().code, None, "killed");
    let idle = Exporter::limited(1, exposed);
    let agent = world.start_with(&config(&world, &idle, "gzip"));
    idle.wait_for_scrapes_after(1);
    wait::until("what was left", std::time::Duration::from_secs(20), || {
        ledger(&world, &exporter).close().is_ok()
    });
    finish(&world, agent, &idle, &["log", "log.gz"]);
    ledger(&world, &exporter).check();
    let puts = world.s3.puts();
    assert_eq!(puts[0].key, puts[1].key, "the same object under the same key: {puts:#?}");
    assert_eq!(puts[1].status, 412);
}

#[test]
fn a_dry_run_says_what_would_be_uploaded() {
    let world = World::new();
    let exporter = Exporter::start(|n| Serve::Good(exposed(n)));
    let outcome =
        Agent::with_config(world.dir.path(), &config(&world, &exporter, "gzip")).arg("--dry-run").run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for part in [".log.gz\n", "vector_json: text/x-log", "rows              20 "] {
        assert!(outcome.stderr.contains(part), "no {part:?} for people:\n{}", outcome.stderr);
    }
    assert_eq!(world.s3.seen().len(), 0, "it sends nothing");
}
