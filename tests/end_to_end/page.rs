//! What the page shows and what stands behind it: `/api/v1` of the real binary, while it scrapes, uploads and warns.

use serde_json::Value;
use support::agent::Running;
use support::exporter::Exporter;
use support::server::Reserved;

use crate::world::{World, body};

/// The metrics that the scripts of the page read.
const READ_BY_THE_PAGE: [&str; 4] = [
    include_str!("../../agent/src/page/main.js"),
    include_str!("../../agent/src/page/picture.js"),
    include_str!("../../agent/src/page/status.js"),
    include_str!("../../agent/src/page/targets.js"),
];

fn data(agent: &mut Running, path: &str) -> Value {
    let (status, body) = agent.get(path);
    let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
    assert_eq!((status, &answer["status"]), (200, &"success".into()), "{path}: {answer}");
    answer["data"].clone()
}

fn named<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
    let found = list.as_array().and_then(|list| list.iter().find(|one| one[field] == name));
    found.unwrap_or_else(|| panic!("nothing with {field}={name} in {list:#}"))
}

#[test]
fn the_api_says_how_targets_and_delivery_are() {
    let world = World::new();
    let good = Exporter::limited(1000, body);
    let refusing = Reserved::new();
    let mut agent = world.start_with(&world.config(&[good.address(), refusing.address().to_string()]));
    agent.wait_until("an upload and both targets to be asked", |agent| {
        let targets = data(agent, "/api/v1/targets?state=active&labels=false&sort=-health");
        targets["matching"]["unknown"] == 0 && agent.metric("agent_objects_uploaded_total", &[]) > 0.0
    });

    let targets = data(&mut agent, "/api/v1/targets");
    let up = named(&targets["activeTargets"], "instance", &good.address());
    assert_eq!((&up["health"], &up["lastError"]), (&"up".into(), &"".into()), "{up:#}");
    assert_eq!(up["scrapeUrl"], format!("http://{}/metrics", good.address()));
    assert_eq!(up["labels"]["job"], up["scrapePool"]);
    assert_eq!(up["discoveredLabels"]["__address__"], good.address());
    assert!(up["samplesScraped"].as_u64() > Some(0), "{up:#}");
    // The next scrape lies within the interval.
    let time = |value: &Value| value.as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339");
    let next = time(&up["nextScrape"]).duration_since(time(&targets["now"])).as_millis();
    assert!((-10_000..=500).contains(&next), "{next} ms");
    let down = named(&targets["activeTargets"], "health", "down");
    assert_eq!(down["lastError"], "connection refused");
    let only = data(&mut agent, "/api/v1/targets?health=down&limit=1");
    assert_eq!(only["matching"]["active"], 1);
    assert_eq!(only["activeTargets"][0]["id"], down["id"]);

    let status = data(&mut agent, "/api/v1/status");
    assert_eq!(status["ready"], true, "{status:#}");
    assert_eq!(status["credentials"]["source"], "cedana");
    assert!(
        time(&status["credentials"]["expires"]) > time(&status["credentials"]["refreshed"]),
        "{status:#}"
    );
    assert!(status["lastKey"].as_str().is_some_and(|key| key.ends_with(".parquet")), "{status:#}");
    let job = named(&status["jobs"], "scrapePool", "job1");
    assert_eq!((&job["active"], &job["down"]), (&1.into(), &1.into()));
    check_metrics(&status["metrics"]);

    let config = data(&mut agent, "/api/v1/status/config");
    let yaml = config["yaml"].as_str().expect("a text");
    assert!(yaml.contains("  max_series: ") && yaml.contains("auth_token_file: "), "{yaml}");
    let problems = data(&mut agent, "/api/v1/status/problems");
    let failed = named(&problems["problems"], "text", "scrape failed");
    assert!(failed["fields"].as_str().is_some_and(|fields| fields.contains("job=job1")), "{failed}");
    assert_eq!(agent.get("/api/v1/targets?state=sick").0, 400);
    let (status, html) = agent.get("/");
    assert!(status == 200 && html.starts_with("<!doctype html>"), "{status} {html}");
    let _ = world.finish(agent);
}

/// What the page reads is there from the start, under the name by which it asks.
fn check_metrics(metrics: &Value) {
    let pattern = regex::Regex::new(r"\b(?:agent|process)_[a-z_]+\b").expect("a pattern");
    let names = READ_BY_THE_PAGE.iter().flat_map(|script| pattern.find_iter(script));
    let names: std::collections::BTreeSet<_> = names.map(|found| found.as_str()).collect();
    assert!(names.len() > 15, "{names:?}");
    // Counted from the first of its kind on.
    let later = ["agent_scrapes_skipped_total", "agent_upload_errors_total"];
    for name in names.iter().filter(|name| !later.contains(name)) {
        assert!(metrics.get(name).is_some(), "no {name} in {metrics:#}");
    }
}
