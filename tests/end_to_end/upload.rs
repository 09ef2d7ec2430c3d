//! Uploads: S3 fails in every way it has, and each object arrives once, in order.

use support::exporter::Exporter;
use support::s3::{Conditional, Fault};

use crate::world::{World, body, second};

/// Faults that pass: nothing is lost and nothing comes twice.
#[test]
fn faults_that_pass_cost_nothing() {
    let check = |prepare: fn(&World), puts_least: usize| {
        let world = World::new();
        prepare(&world);
        let exporter = Exporter::limited(4, body);
        let agent = world.start(&[&exporter]);
        exporter.wait_for_scrapes_after(4);
        let outcome = world.finish_even(agent, &[&exporter]);
        assert_eq!(world.s3.script_left(), 0, "the script was not played to its end:\n{}", outcome.stderr);
        assert!(world.s3.puts().len() >= puts_least, "{:#?}", world.s3.puts());
    };
    use Fault::{Pass, ResetBeforeBody, Status, StoreThenReset};
    let runs: [(fn(&World), usize); 7] = [
        (|w| w.s3.script([Status(503, "SlowDown"), Status(503, "SlowDown"), Pass]), 3),
        (|w| w.s3.script([Status(500, "InternalError"), Pass]), 2),
        (|w| w.s3.script([ResetBeforeBody, Pass]), 2),
        (|w| w.s3.script([StoreThenReset]), 2),
        (|w| (w.s3.deny_head(true), w.s3.script([StoreThenReset])).1, 2),
        (|w| (w.s3.deny_listing(true), w.s3.script([Pass])).1, 1),
        (|w| w.s3.set_conditional(Conditional::NotImplemented), 1),
    ];
    std::thread::scope(|scope| {
        for (prepare, puts_least) in runs {
            scope.spawn(move || check(prepare, puts_least));
        }
    });
}

#[test]
fn an_object_that_had_arrived_is_not_sent_twice() {
    let world = World::new();
    world.s3.script([Fault::StoreThenReset]);
    let exporter = Exporter::limited(2, body);
    let agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(2);
    world.finish_even(agent, &[&exporter]);
    let puts = world.s3.puts();
    assert_eq!((puts[0].key.as_str(), puts[1].status), (puts[1].key.as_str(), 412), "{puts:#?}");
    for put in &puts {
        assert_eq!(put.headers.get("if-none-match").map(String::as_str), Some("*"));
        assert!(
            put.headers.contains_key("x-amz-checksum-crc32") || put.headers.contains_key("x-amz-trailer")
        );
    }
}

#[test]
fn another_writer_with_this_id_stops_the_upload() {
    let world = World::new();
    world.s3.script([Fault::Overtaken]);
    let exporter = Exporter::limited(3, body);
    let mut agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(3);
    agent.wait_until("uploading to stop", |agent| agent.metric("agent_upload_stopped", &[]) > 0.0);
    let why = agent.wait_for_ready(503);
    assert!(why.contains("writer"), "{why}");
    agent.wait_until("all samples in the spool", |agent| agent.metric("agent_spool_objects", &[]) >= 1.0);
    let outcome = world.finish(agent);
    assert_eq!(world.s3.objects().len(), 0, "nothing is uploaded any more");
    let kept = std::fs::read_dir(world.spool()).expect("the spool").count();
    assert!(kept >= 3, "lock, state and at least one object; log:\n{}", outcome.stderr);
}

/// What a person must mend: said with names, nothing dropped, delivered once it is mended.
#[test]
fn a_bucket_that_does_not_exist() {
    let world = World::new();
    world.s3.rename_bucket("another");
    let exporter = Exporter::limited(3, body);
    let mut agent = world.start(&[&exporter]);
    agent.wait_until("the missing bucket to be named", |agent| {
        let log = agent.stderr();
        log.lines().any(|line| line.contains("NoSuchBucket") && line.contains(crate::world::BUCKET))
    });
    assert!(agent.metric("agent_upload_errors_total", &[("class", "bucket")]) >= 1.0);
    exporter.wait_for_scrapes_after(3);
    world.s3.rename_bucket(crate::world::BUCKET);
    world.s3.wait_for_objects(1);
    world.finish_even(agent, &[&exporter]);
}

#[test]
fn access_denied_names_the_action_and_the_key() {
    let world = World::new();
    let exporter = Exporter::limited(2, body);
    let config = world.config(&[exporter.address()]);
    let agent = world
        .start_with(&config.replace("force_path_style: true", "force_path_style: true, prefix: elsewhere"));
    let mut agent = agent;
    agent.wait_until("the refusal to be said", |agent| {
        agent.stderr().lines().any(|line| {
            line.contains("AccessDenied") && line.contains("PutObject") && line.contains("elsewhere/")
        })
    });
    assert!(agent.metric("agent_upload_errors_total", &[("class", "access_denied")]) >= 1.0);
    assert_eq!(world.cedana.issued(), 2, "AccessDenied forces one refresh");
    assert_eq!(world.s3.objects().len(), 0);
    agent.wait_until("what cannot go to be kept", |agent| agent.metric("agent_spool_objects", &[]) >= 1.0);
    assert!(agent.metric("agent_spool_dropped_objects_total", &[]) == 0.0);
}

/// The local clock is an hour off, in both directions: keys carry the servers' time, and signatures are valid.
#[test]
fn keys_carry_the_servers_time() {
    let check = |ahead: i64| {
        let world = World::with_clock_ahead(ahead);
        let exporter = Exporter::limited(3, body);
        let agent = world.start(&[&exporter]);
        exporter.wait_for_scrapes_after(3);
        let outcome = world.finish_even(agent, &[&exporter]);
        for stored in world.s3.objects() {
            let behind = stored.time_millis / 1000 - second(&stored.key);
            assert!((-2..=30).contains(&behind), "{ahead}: {} is {behind} s behind the server", stored.key);
        }
        assert!(outcome.stderr.contains("clock"), "a wrong clock is reported:\n{}", outcome.stderr);
    };
    std::thread::scope(|scope| {
        for ahead in [3600, -3600] {
            scope.spawn(move || check(ahead));
        }
    });
}

#[test]
fn keys_stay_above_what_is_there() {
    let world = World::new();
    let ahead = world.s3.clock().now() + 300;
    let above = format!("{}/{ahead:010}/aaaaaaaaaa-0000000001.parquet", world.account.prefix);
    world.s3.put_foreign(&above, "of an earlier life");
    let exporter = Exporter::limited(2, body);
    let agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(2);
    world.finish_even(agent, &[&exporter]);
    for stored in world.s3.objects() {
        assert!(stored.key > above, "{} would never be read: {above} is there", stored.key);
    }
}
