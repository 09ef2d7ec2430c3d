//! Credentials: they rotate, expire, are refused and are malformed, and no sample is lost for it.

use serde_json::json;
use support::cedana::Reply;
use support::exporter::Exporter;

use crate::world::{World, body};

#[test]
fn they_expire_and_rotate_during_the_run() {
    let world = World::new();
    world.cedana.set_lifetime(4);
    let exporter = Exporter::limited(14, body);
    let agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(14);
    world.finish_even(agent, &[&exporter]);
    assert!(world.cedana.issued() >= 3, "{} credentials in 7 s, each for 4 s", world.cedana.issued());
    let signers: std::collections::BTreeSet<_> =
        world.s3.puts().into_iter().map(|put| put.access_key_id).collect();
    assert!(signers.len() >= 2, "uploads were signed by {signers:?} only");
    let refused: Vec<_> = world.s3.puts().into_iter().filter(|put| put.status != 200).collect();
    assert!(refused.is_empty(), "rotation in time needs no refusal: {refused:?}");
}

/// Credential errors of S3 in the middle of a run: refreshed at once, the same upload signed again.
#[test]
fn what_s3_says_of_them_forces_a_refresh() {
    let check = |spoil: fn(&World), code: &str| {
        let world = World::new();
        let exporter = Exporter::limited(5, body);
        let agent = world.start(&[&exporter]);
        world.s3.wait_for_objects(1);
        spoil(&world);
        exporter.wait_for_scrapes_after(5);
        world.finish_even(agent, &[&exporter]);
        assert_eq!(world.cedana.issued(), 2, "{code}");
        let puts = world.s3.puts();
        let at =
            puts.iter().position(|put| put.code == code).unwrap_or_else(|| panic!("no {code}: {puts:#?}"));
        assert_eq!(puts[at].key, puts[at + 1].key, "the same upload again");
        assert_ne!(puts[at].access_key_id, puts[at + 1].access_key_id);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| check(|world| world.s3.registry().expire_all(), "ExpiredToken"));
        scope.spawn(|| check(|world| world.s3.registry().revoke_all(), "InvalidAccessKeyId"));
    });
}

#[test]
fn the_api_is_down_at_the_start() {
    let world = World::new();
    world.cedana.set_down(true);
    let exporter = Exporter::limited(6, body);
    let mut agent = world.start(&[&exporter]);
    let why = agent.wait_for_ready(503);
    assert!(why.contains("credentials"), "{why}");
    exporter.wait_for_scrapes_after(3);
    world.cedana.set_down(false);
    world.s3.wait_for_objects(1);
    agent.wait_for_ready(200);
    exporter.wait_for_scrapes_after(6);
    world.finish_even(agent, &[&exporter]);
}

#[test]
fn a_refused_token_is_said_and_a_rotated_one_taken() {
    let world = World::new();
    world.cedana.set_token("tok-of-tomorrow-5544332211");
    let exporter = Exporter::limited(6, body);
    let mut agent = world.start(&[&exporter]);
    agent.wait_for_log("401");
    let why = agent.wait_for_ready(503);
    assert!(why.contains("credentials"), "{why}");
    std::fs::write(world.dir.path().join("token"), "tok-of-tomorrow-5544332211\n")
        .expect("to rotate the token");
    world.s3.wait_for_objects(1);
    exporter.wait_for_scrapes_after(6);
    let outcome = world.finish_even(agent, &[&exporter]);
    let said = outcome.stderr.lines().filter(|line| line.contains("401")).count();
    assert!(said <= 2, "a failure is logged when its state changes, not each time:\n{}", outcome.stderr);
}

/// Answers that are none: each is an error that says so, and the next good answer is taken.
#[test]
fn malformed_answers_say_what_is_wrong() {
    let check = |reply: Reply, said: &str| {
        let world = World::new();
        world.cedana.script([reply.clone()]);
        let exporter = Exporter::limited(2, body);
        let mut agent = world.start(&[&exporter]);
        agent.wait_until("credentials", |_| world.cedana.asked().len() >= 2);
        exporter.wait_for_scrapes_after(2);
        let outcome = world.finish_even(agent, &[&exporter]);
        let found = outcome.stderr.lines().any(|line| line.contains("credentials") && line.contains(said));
        assert!(found, "{reply:?}: nothing of {said:?} in\n{}", outcome.stderr);
        assert!(!outcome.stderr.contains("oh no"), "the body of an error is echoed:\n{}", outcome.stderr);
    };
    let replies = [
        (Reply::Status(500, "{\"error\":\"oh no\"}"), "500"),
        (Reply::Status(403, "oh no"), "403"),
        (Reply::Body("{\"access_key_id\": \"oh no"), "not complete"),
        (Reply::Body("<html><body>oh no, please log in</body></html>"), "JSON"),
        (Reply::Changed(|answer| answer["access_key_id"] = json!("")), "access_key_id"),
        (Reply::Changed(|answer| answer["secret_access_key"] = json!("")), "secret_access_key"),
        (Reply::Changed(|answer| answer["expiration"] = json!("soon")), "expiration"),
        (Reply::IssueFor(-60), "expire"),
        (Reply::Padded(2 << 20), "larger than 1048576 bytes"),
        (Reply::Endless, "larger than 1048576 bytes"),
        (Reply::Cut, "credentials"),
    ];
    std::thread::scope(|scope| {
        for (reply, said) in replies {
            scope.spawn(move || check(reply, said));
        }
    });
}

#[test]
fn an_api_that_hangs_is_asked_again() {
    let world = World::new();
    world.cedana.script([Reply::Hang]);
    let exporter = Exporter::limited(2, body);
    let agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(2);
    let met = support::wait::for_some(std::time::Duration::from_secs(40), || {
        (!world.s3.objects().is_empty()).then_some(())
    });
    assert!(met.is_some(), "nothing within 40 s: {}", agent.stderr());
    world.finish_even(agent, &[&exporter]);
}

/// The answer says where to write, now and after it says otherwise.
#[test]
fn the_configured_prefix_comes_before_the_answers() {
    let world = World::new();
    let exporter = Exporter::limited(2, body);
    let sink = "force_path_style: true, prefix_suffix: parquet, writer: w7";
    let config = world.config(&[exporter.address()]).replace("force_path_style: true", sink);
    let agent = world.start_with(&config);
    exporter.wait_for_scrapes_after(2);
    let outcome = agent.terminate();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    world.ledger(&exporter).check();
    for stored in world.s3.objects() {
        let rest = stored.key.strip_prefix("org-1/v2/vector/data/parquet/").expect("the suffix");
        assert!(rest.contains("/w7-"), "{rest}");
    }
}
