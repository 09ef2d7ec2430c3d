//! Two agents and one Lease: the holder dies, stops for a while, is cut off from the API server, or ends in order. The other
//! goes on, keys only increase, and no interval is delivered twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::agent::{Agent, Outcome, Running};
use support::exporter::{Exporter, Serve};
use support::leases::{Door, Leases};
use support::s3::Fault;
use support::wait;

use crate::world::{World, body};

/// A takeover takes at most this long.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);

/// Two agents in one world.
struct Two {
    world: World,
    leases: Leases,
    doors: [Door; 2],
    exporter: Exporter,
}

impl Two {
    fn new() -> Self {
        let (world, leases) = (World::new(), Leases::new());
        let exporter = Exporter::start(|scrape| Serve::Good(body(scrape)));
        let doors = ["a", "b"].map(|name| {
            let directory = world.dir.path().join(name);
            std::fs::create_dir(&directory).expect("a directory");
            leases.door(&directory)
        });
        Self { world, leases, doors, exporter }
    }

    fn directory(&self, which: usize) -> PathBuf {
        self.world.dir.path().join(["a", "b"][which])
    }

    fn start(&self, which: usize) -> Running {
        let directory = self.directory(which);
        let spool = format!("{}/spool", self.world.dir.path().display());
        let config = self.world.config(&[self.exporter.address()]).replace("500ms", "1s");
        let config = config.replace(&spool, &format!("{}/spool", directory.display()));
        let kubeconfig = self.doors[which].kubeconfig().display();
        let election = format!("leader_election: {{enabled: true, kubeconfig_file: \"{kubeconfig}\"}}\n");
        Agent::with_config(&directory, &format!("{config}{election}"))
            .env("POD_NAME", format!("pod-{which}"))
            .start()
    }

    /// Starts both; the first holds the Lease, and has delivered something.
    fn start_both(&self) -> [Running; 2] {
        let mut first = self.start(0);
        self.wait_for_holder(0);
        self.world.s3.wait_for_objects(2);
        let mut second = self.start(1);
        let ready = second.wait_for_ready(200);
        assert!(
            ready.contains("standing by: the lease cedana-monitoring/cedana-agent is held by pod-0_"),
            "{ready}"
        );
        assert!(first.wait_for_ready(200).contains("holding the lease"));
        [first, second]
    }

    fn wait_for_holder(&self, which: usize) -> Duration {
        let begun = Instant::now();
        wait::until(&format!("pod-{which} to hold the lease"), Duration::from_secs(30), || {
            self.leases.holder().starts_with(&format!("pod-{which}_"))
        });
        begun.elapsed()
    }

    /// Waits until this agent delivers.
    fn wait_for_delivery(&self, agent: &mut Running) {
        let before = agent.metric("agent_objects_uploaded_total", &[]);
        agent.wait_until("another delivery", |agent| {
            agent.metric("agent_objects_uploaded_total", &[]) > before
        });
    }

    /// What holds in every run: keys only increase, one PUT at a time, no scrape and no interval delivered twice.
    fn check(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.world.check_invariants(outcome);
        }
        let logs =
            || outcomes.iter().map(|outcome| outcome.stderr.as_str()).collect::<Vec<_>>().join("\n---\n");
        let rows = self.world.rows();
        let mut scrapes: BTreeMap<u64, u32> = BTreeMap::new();
        let mut seconds: BTreeMap<i64, u32> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.metric == "latency_seconds_count") {
            *scrapes.entry(row.value.to_bits()).or_default() += 1;
            *seconds.entry(row.timestamp).or_default() += 1;
        }
        assert!(scrapes.len() > 3, "{scrapes:?}");
        assert!(scrapes.values().all(|count| *count == 1), "a scrape twice: {scrapes:?}\n{}", logs());
        assert!(seconds.values().all(|count| *count == 1), "an interval twice: {seconds:?}\n{}", logs());
    }

    /// Scrapes that the exporter answered and nobody delivered.
    fn missing(&self) -> u64 {
        let ledger = self.world.ledger(&self.exporter);
        let each = ledger.exposed() / self.exporter.scrapes().len() as u64;
        ledger.missing() / each
    }
}

#[test]
fn a_holder_that_is_killed_is_followed_and_delivers_its_spool_when_it_is_back() {
    let two = Two::new();
    let [mut first, mut second] = two.start_both();
    // What the first scrapes from now on lies in its spool when it dies.
    two.world.s3.set_down(true);
    first.wait_until("objects in the spool", |agent| agent.metric("agent_spool_objects", &[]) >= 2.0);
    let killed = first.kill();
    two.world.s3.set_down(false);
    let took = two.wait_for_holder(1);
    assert!(took < TAKEOVER_MAX, "{took:?}");
    two.wait_for_delivery(&mut second);
    let mut first = two.start(0);
    first.wait_until("its spool to be delivered", |agent| {
        agent.metric("agent_objects_uploaded_total", &[]) >= 2.0
            && agent.metric("agent_spool_objects", &[]) <= 1.0
    });
    assert_eq!(first.metric("agent_leader", &[]), 1.0);
    assert_eq!(second.metric("agent_leader", &[]), 0.0);
    let stopped = [second.terminate(), first.terminate()];
    assert!(stopped.iter().all(|outcome| outcome.code == Some(0)), "{stopped:?}");
    assert_eq!(two.leases.holder(), "", "given back");
    let [second, first] = stopped;
    two.check(&[killed, second, first]);
    // What was in the open batch when it was killed.
    assert!(two.missing() <= 3, "{} scrapes missing", two.missing());
}

#[test]
fn a_holder_that_stands_still_in_the_middle_of_an_upload_finds_out_what_became_of_it() {
    let two = Two::new();
    let [mut first, mut second] = two.start_both();
    let before = two.world.s3.puts().len();
    two.world.s3.script([Fault::Delay(Duration::from_secs(2))]);
    wait::until("an upload under way", Duration::from_secs(20), || two.world.s3.puts().len() > before);
    first.pause();
    let took = two.wait_for_holder(1);
    assert!(took < TAKEOVER_MAX, "{took:?}");
    two.wait_for_delivery(&mut second);
    first.resume();
    first.wait_for_log("standing by");
    // It cannot know that the object arrived, asks for its turn and looks.
    two.wait_for_holder(0);
    two.wait_for_delivery(&mut first);
    assert_eq!(first.metric("agent_uploads_confirmed_late_total", &[]), 1.0);
    let taken_over = first.metric("agent_spool_dropped_samples_total", &[("reason", "taken_over")]);
    let outcomes = [first.terminate(), second.terminate()];
    two.check(&outcomes);
    assert!(
        two.missing() as f64 <= taken_over / 17.0 + 2.0,
        "{} missing, {taken_over} counted",
        two.missing()
    );
}

#[test]
fn a_holder_that_is_cut_off_scrapes_on_and_delivers_what_is_its_own() {
    let two = Two::new();
    let [mut first, mut second] = two.start_both();
    two.doors[0].set_shut(true);
    first.wait_for_log("uploading paused, scraping into the spool");
    let why = first.wait_for_ready(503);
    assert!(why.contains("leader election: cannot ask for the lease"), "{why}");
    let took = two.wait_for_holder(1);
    assert!(took < TAKEOVER_MAX, "{took:?}");
    two.wait_for_delivery(&mut second);
    let (holds, spooled) = (first.metric("agent_leader", &[]), first.metric("agent_spool_objects", &[]));
    assert!(holds == 0.0 && spooled > 0.0, "{holds} {spooled}");
    two.doors[0].set_shut(false);
    // It has something that is its own, asks for its turn and gets it.
    two.wait_for_holder(0);
    two.wait_for_delivery(&mut first);
    first.wait_until("an empty spool", |agent| agent.metric("agent_spool_objects", &[]) <= 1.0);
    let taken_over = first.metric("agent_spool_dropped_samples_total", &[("reason", "taken_over")]);
    assert!(taken_over > 0.0, "it scraped on after the takeover");
    let outcomes = [first.terminate(), second.terminate()];
    two.check(&outcomes);
    // Each scrape has 17 samples, its report included; those under way at the takeover are given up.
    let missing = two.missing() as f64;
    assert!(missing <= taken_over / 17.0 + 1.0, "{missing} missing, {taken_over} samples counted");
    assert_eq!(two.leases.holders().len(), 4, "{:?}", two.leases.holders());
}

#[test]
fn a_holder_that_ends_in_order_is_followed_at_once_and_nothing_is_lost() {
    let two = Two::new();
    let [first, mut second] = two.start_both();
    let begun = Instant::now();
    let first = first.terminate();
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    two.wait_for_holder(1);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    two.wait_for_delivery(&mut second);
    let second = second.terminate();
    two.check(&[first, second]);
    assert_eq!(two.missing(), 0, "{:?}", two.world.ledger(&two.exporter).close());
}

#[test]
fn without_the_permission_nothing_is_scraped_and_the_rule_is_named() {
    let two = Two::new();
    two.leases.deny(&["update", "create"]);
    let mut agent = two.start(0);
    let why = agent.wait_for_ready(503);
    let parts =
        ["may not create leases.coordination.k8s.io in namespace cedana-monitoring", "verbs: [create]"];
    agent.wait_until("the reason", |agent| {
        let why = agent.get("/readyz").1;
        parts.iter().all(|part| why.contains(part))
    });
    assert_eq!(two.exporter.scrapes().len(), 0, "{why}");
    two.leases.deny(&[]);
    two.wait_for_holder(0);
    two.exporter.wait_for_scrapes_after(1);
    let _ = agent.wait_for_ready(200);
    let outcome = agent.terminate();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}
