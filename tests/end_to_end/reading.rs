//! The commands that read objects, against those of the real agent and of a Vector that is made up from the same scrapes.

use serde_json::{Value, json};
use support::agent::{Agent, Outcome};
use support::exporter::{Exporter, Serve};
use support::exposition::{Exposed, Exposition};

use crate::world::{BUCKET, World};

/// The prefix of the old shipper's objects.
const OLD: &str = "org-old/vector";

/// What stays the same, what counts, and a histogram.
fn body(scrape: usize) -> Exposition {
    let n = f64::from(u32::try_from(scrape).expect("few scrapes"));
    let mut exposition = Exposition::new()
        .declare("capacity", "gauge")
        .sample("capacity", &[("gpu", "0")], 80.0)
        .sample("capacity", &[("gpu", "1")], 40.0)
        .declare("requests_total", "counter")
        .sample("requests_total", &[("path", "/a\"b\\c\nd")], 1000.0 + n)
        .declare("latency_seconds", "histogram");
    for (limit, count) in [("0.1", 10.0), ("1.0", 15.0), ("+Inf", 17.0)] {
        exposition = exposition.sample("latency_seconds_bucket", &[("le", limit)], count);
    }
    exposition.sample("latency_seconds_sum", &[], 8.25).sample("latency_seconds_count", &[], 17.0)
}

/// The same samples as Vector writes them, one scrape after another.
fn vector(scrapes: &[Vec<Exposed>], now: i64) -> Vec<Value> {
    let mut all = Vec::new();
    for (number, scrape) in (0_i64..).zip(scrapes) {
        let time = rfc3339(now + number);
        let mut add = |name: &str, tags: Value, kind: &str, value: Value| {
            all.push(json!({"name": name, "tags": tags, "timestamp": time, "kind": "absolute", kind: value}));
        };
        for sample in scrape {
            let mut tags = json!(sample.labels);
            tags["ts"] = json!(now.to_string());
            tags["collector"] = json!("job0");
            match sample.metric.as_str() {
                "capacity" => add("capacity", tags, "gauge", json!({"value": sample.value})),
                "requests_total" => add("requests_total", tags, "counter", json!({"value": sample.value})),
                "latency_seconds_count" => {
                    let buckets =
                        json!([{"upper_limit": 0.1, "count": 10}, {"upper_limit": 1.0, "count": 5}]);
                    let value = json!({"buckets": buckets, "count": 17, "sum": 8.25});
                    add("latency_seconds", tags, "aggregated_histogram", value);
                }
                _ => {}
            }
        }
    }
    all
}

fn rfc3339(unix: i64) -> String {
    jiff::Timestamp::from_second(unix).expect("a time").to_string()
}

/// An agent's delivery of two scrapes, and the old shipper's beside it.
fn delivered() -> (World, String) {
    let world = World::new();
    let exporter = Exporter::limited(2, body);
    let config = world.config(&[exporter.address()]);
    let agent = world.start_with(&config);
    exporter.wait_for_scrapes_after(2);
    world.s3.wait_for_objects(1);
    let outcome = agent.terminate();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let now = world.s3.clock().now() - 5;
    let elements = vector(&exporter.exposed()[..2], now);
    for (number, element) in elements.iter().enumerate() {
        world.s3.put_foreign(&format!("{OLD}/{now}/{now}-{number}.log"), json!([element]).to_string());
    }
    // More than one page before the range, more than one of the range, and one behind it.
    for number in 0..1100 {
        world.s3.put_foreign(&format!("{OLD}/{:010}/x-{number}.log", now - 90_000), "not looked at");
        world.s3.put_foreign(&format!("{OLD}/{now}/empty-{number:04}.log"), "[]");
    }
    world.s3.put_foreign(&format!("{OLD}/{:010}/x.log", now + 90_000), "not looked at");
    (world, config)
}

fn compare(world: &World, config: &str, more: &[&str]) -> Outcome {
    let prefix = world.s3.objects()[0].key.rsplitn(3, '/').nth(2).expect("a prefix").to_owned();
    let (old, new) = (format!("s3://{BUCKET}/{OLD}"), format!("s3://{BUCKET}/{prefix}"));
    let places = ["compare", &old, &new, "--from", "1h", "--to", "now"];
    let agent =
        places.iter().chain(more).fold(Agent::with_config(world.dir.path(), config), |a, word| a.arg(word));
    let outcome = agent.run();
    for secret in world.s3.registry().secrets().iter().chain(&world.cedana.secrets()) {
        assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "a secret is shown");
    }
    outcome
}

#[test]
fn two_shippers_of_the_same_scrapes_are_compared_in_their_bucket() {
    let (world, config) = delivered();
    // What the agent is granted is its own prefix alone.
    let refused = compare(&world, &config, &[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("allow s3:ListBucket on"), "{}", refused.stderr);
    world.s3.registry().allow_all();
    let outcome = compare(&world, &config, &[]);
    let text = format!("{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.code, Some(0), "{text}");
    assert!(outcome.stdout.ends_with("the new side has all that the old one has\n"), "{text}");
    assert!(text.contains("EXTRA") && text.contains("up "), "the agent's own: {text}");
    let listed: Vec<_> =
        world.s3.seen().into_iter().filter(|s| s.method == "LIST" && s.key.starts_with(OLD)).collect();
    assert!((2..=4).contains(&listed.len()), "only the pages of the range: {listed:#?}");
    assert!(world.s3.seen().iter().all(|seen| !seen.key.contains("/x-")), "objects of other times were read");

    // A series that the new side does not have, and an object that nobody can read.
    let now = world.s3.clock().now() - 4;
    let tags = json!({"collector": "job0", "gpu": "1"});
    let lost = json!([{"name": "lost", "tags": tags, "timestamp": rfc3339(now), "kind": "absolute", "gauge": {"value": 1}}]);
    world.s3.put_foreign(&format!("{OLD}/{now}/{now}-more.log"), lost.to_string());
    world.s3.put_foreign(&format!("{OLD}/{now}/{now}-broken.log"), "{{");
    let outcome = compare(&world, &config, &["--format", "json", "--slack", "0"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let found: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(
        (&found["totals"]["missing"], &found["old"]["unreadable"]),
        (&json!(1), &json!(1)),
        "{found:#}"
    );
    let rows = found["metrics"].as_array().expect("metrics");
    let row = |name: &str| rows.iter().find(|row| row["metric"] == name).expect(name);
    assert!(
        row("lost")["examples"][0]["series"].as_str().is_some_and(|s| s.contains("gpu=\"1\"")),
        "{found:#}"
    );
}

#[test]
fn an_object_of_the_bucket_is_shown() {
    let (world, config) = delivered();
    let key = world.s3.objects()[0].key.clone();
    let inspect = |more: &[&str]| {
        let place = format!("s3://{BUCKET}/{key}");
        let words = ["inspect", &place];
        let agent = words
            .iter()
            .chain(more)
            .fold(Agent::with_config(world.dir.path(), &config), |a, word| a.arg(word));
        agent.run()
    };
    let outcome = inspect(&[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for part in [key.as_str(), "Parquet", "sequence", "cedana-agent version", "labels.key_value.key", "ZSTD"]
    {
        assert!(outcome.stdout.contains(part), "no {part:?} in\n{}", outcome.stdout);
    }
    let outcome = inspect(&["--series", "--select", "{__name__=~\"latency.*\",le!=\"\"}"]);
    assert_eq!(outcome.stdout.lines().count(), 3, "{}", outcome.stdout);
    let samples = inspect(&["--samples", "--format", "json", "--limit", "0"]);
    let rows = samples.stdout.lines().count();
    assert_eq!(rows, support::objects::read(&world.s3.objects()[0].bytes).expect("Parquet").rows.len());
    let absent = Agent::with_config(world.dir.path(), &config)
        .arg("inspect")
        .arg(&format!("s3://{BUCKET}/{key}x.parquet"));
    let absent = absent.run();
    assert_eq!(absent.code, Some(1));
    assert!(absent.stderr.contains("there is no object s3://"), "{}", absent.stderr);
    let refused = Agent::with_config(world.dir.path(), &config).arg("inspect").arg("s3://").run();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

#[test]
fn tail_prints_what_is_asked_for_as_it_comes() {
    let world = World::new();
    let exporter = Exporter::start(|scrape| Serve::Good(body(scrape)));
    let config = world.config(&[exporter.address()]);
    let tail = |select: &str| {
        let agent = Agent::with_config(world.dir.path(), &config).arg("tail").arg(select);
        agent.arg("--limit").arg("3").arg("--format").arg("json").run()
    };
    let outcome = tail(r#"{__name__=~"requests_.*",job="job0"}"#);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let found: Vec<f64> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["value"].as_f64().expect("a number"))
        .collect();
    let exposed = exporter.exposed();
    let expected = exposed.iter().flatten().filter(|sample| sample.metric == "requests_total");
    let expected: Vec<f64> = expected.map(|sample| sample.value).take(3).collect();
    assert_eq!(found, expected);
    assert!(world.s3.objects().is_empty(), "something was sent");
    assert_eq!(tail("{requests").code, Some(2));
}
