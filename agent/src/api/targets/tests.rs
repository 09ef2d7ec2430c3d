//! The list of targets: its shape, what it leaves out, its order and its pages.

use super::*;
use pipeline::model::target::{Job, Target};
use pipeline::scrape::DropReason;

const NOW: i64 = 1_795_303_367_401;

fn target(job: &str, instance: &str) -> Target {
    let labels = Labels::from_pairs([("instance", instance), ("job", job)]);
    let discovered = Labels::from_pairs([("__address__", instance)]);
    Target::new(Arc::new(Job::default()), labels, discovered.into(), format!("http://{instance}/metrics"))
}

fn scraped(job: &str, instance: &str) -> ActiveTarget {
    ActiveTarget {
        target: Arc::new(target(job, instance)),
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
    }
}

fn left_out(address: &str) -> DroppedTarget {
    let discovered = Labels::from_pairs([("__address__", address), ("__meta_zone", "Nowhere")]);
    DroppedTarget { discovered: discovered.into(), reason: DropReason::Relabelling }
}

fn job(name: &str, active: &[&str], dropped: &[&str]) -> Arc<JobTargets> {
    Arc::new(JobTargets {
        job: name.to_owned(),
        active: active.iter().map(|instance| scraped(name, instance)).collect(),
        dropped: dropped.iter().map(|address| left_out(address)).collect(),
        ..JobTargets::default()
    })
}

fn ask(jobs: &[Arc<JobTargets>], query: &str) -> Data {
    list(jobs, &Query::read(query).unwrap(), NOW)
}

fn names(jobs: &[Arc<JobTargets>], query: &str) -> String {
    let Data { data, .. } = ask(jobs, query);
    let field = |list: &str, name: &str| -> Vec<String> {
        let list = data[list].as_array().unwrap();
        list.iter().map(|target| target[name].as_str().unwrap().to_owned()).collect()
    };
    [field("activeTargets", "instance"), field("droppedTargets", "address")].concat().join(" ")
}

#[test]
fn a_target_has_prometheus_fields_and_ours() {
    let jobs = [job("a", &["x:1"], &["y:2"])];
    let Data { data, warnings } = ask(&jobs, "");
    let mut active = data["activeTargets"][0].clone();
    let id = active["id"].take();
    assert_eq!(id.as_str().unwrap().len(), 16);
    let expected = json!({
        "discoveredLabels": {"__address__": "x:1"},
        "labels": {"instance": "x:1", "job": "a"},
        "scrapePool": "a",
        "scrapeUrl": "http://x:1/metrics",
        "globalUrl": "http://x:1/metrics",
        "lastError": "",
        "lastScrape": "0001-01-01T00:00:00Z",
        "lastScrapeDuration": 0.0,
        "health": "unknown",
        "scrapeInterval": "15s",
        "scrapeTimeout": "10s",
        "id": null,
        "instance": "x:1",
        "absent": false,
        "nextScrape": null,
        "samplesScraped": null,
        "samplesKept": null,
        "badLines": null,
        "firstBadLine": null,
    });
    assert_eq!(active, expected);
    let dropped = &data["droppedTargets"][0];
    assert_eq!(dropped["discoveredLabels"], json!({"__address__": "y:2", "__meta_zone": "Nowhere"}));
    assert_eq!(dropped["reason"], "dropped by relabel_configs");
    assert_eq!(data["droppedTargetCounts"], json!({"a": 1}));
    let matching = json!({"active": 1, "dropped": 1, "up": 0, "down": 0, "unknown": 1, "absent": 0});
    assert_eq!(data["matching"], matching);
    assert_eq!(data["now"], "2026-11-21T23:22:47.401Z");
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn lists_are_filtered() {
    let jobs = [job("a", &["x:1", "Y:2"], &["z:3"]), job("b", &["v:4"], &[])];
    let check = |query: &str, expected: &str| assert_eq!(names(&jobs, query), expected, "{query}");
    check("", "x:1 Y:2 v:4 z:3");
    check("state=any", "x:1 Y:2 v:4 z:3");
    check("state=active", "x:1 Y:2 v:4");
    check("state=dropped", "z:3");
    check("scrapePool=b", "v:4");
    check("scrapePool=nobody", "");
    check("search=y%3A2", "Y:2");
    // Every word, wherever it stands.
    check("search=metrics+X", "x:1");
    check("search=metrics+x+absent", "");
    check("search=job%3Da+instance%3D", "x:1 Y:2");
    check("search=nowhere", "z:3");
    check("search=relabel_configs", "z:3");
    check("health=up", "");
    check("health=down,unknown&state=active", "x:1 Y:2 v:4");
    check("search=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E", "");
}

#[test]
fn one_target_can_be_asked_for() {
    let jobs = [job("a", &["x:1", "y:2"], &["z:3"])];
    let Data { data, .. } = ask(&jobs, "labels=false");
    for (list, position) in [("activeTargets", 0), ("activeTargets", 1), ("droppedTargets", 0)] {
        let found = &data[list][position];
        assert_eq!(found.get("labels").or(found.get("discoveredLabels")), None, "{found}");
        let id = found["id"].as_str().unwrap();
        let Data { data: one, .. } = ask(&jobs, &format!("id={id}"));
        assert_eq!(one[list][0]["id"], found["id"]);
        assert!(one[list][0]["discoveredLabels"].is_object());
        let matching = &one["matching"];
        assert_eq!(matching["active"].as_u64().unwrap() + matching["dropped"].as_u64().unwrap(), 1, "{one}");
    }
}

#[test]
fn lists_are_sorted() {
    let jobs = [job("a", &["b:1", "c:2", "a:3"], &[])];
    let check =
        |sort: &str, expected: &str| assert_eq!(names(&jobs, &format!("sort={sort}")), expected, "{sort}");
    check("job", "b:1 c:2 a:3");
    check("-job", "a:3 c:2 b:1");
    check("instance", "a:3 b:1 c:2");
    check("-instance", "c:2 b:1 a:3");
    // Where nothing tells them apart, they stay as they are.
    for sort in ["health", "-health", "lastScrape", "duration", "-samples", "nextScrape"] {
        check(sort, "b:1 c:2 a:3");
    }
}

#[test]
fn lists_come_in_pages() {
    let jobs = [job("a", &["a:1", "b:2", "c:3"], &["d:4", "e:5"])];
    let check = |query: &str, expected: &str| {
        assert_eq!(names(&jobs, query), expected, "{query}");
        assert!(ask(&jobs, query).warnings.is_empty(), "{query}");
        assert_eq!(ask(&jobs, query).data["matching"]["dropped"], 2, "{query}");
    };
    check("limit=2", "a:1 b:2");
    check("limit=2&offset=2", "c:3 d:4");
    check("limit=2&offset=4", "e:5");
    check("limit=2&offset=5", "");
    check("offset=18446744073709551615", "");
}

#[test]
fn an_answer_is_bounded_in_targets() {
    let addresses: Vec<_> = (0..LIMIT_MAX + 5).map(|n| format!("host-{n}:1")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let jobs = [job("a", &addresses, &[])];
    let Data { data, warnings } = ask(&jobs, "offset=1&labels=false");
    assert_eq!(data["activeTargets"].as_array().unwrap().len(), LIMIT_MAX);
    assert_eq!(data["matching"]["active"], LIMIT_MAX + 5);
    assert_eq!(warnings, ["1000 targets from 1 of 1005 are in this answer: ask for more with offset=1001"]);
}

#[test]
fn an_answer_is_bounded_in_bytes() {
    let long = "x".repeat(ANSWER_BYTES_MAX / 2);
    let group = |n: usize| {
        let discovered = Labels::from_pairs([("__address__", n.to_string()), ("__meta_note", long.clone())]);
        DroppedTarget { discovered: discovered.into(), reason: DropReason::Relabelling }
    };
    let dropped = (0..5).map(group).collect();
    let jobs = [Arc::new(JobTargets { dropped, ..JobTargets::default() })];
    let mut seen = String::new();
    for offset in 0..5 {
        let Data { data, warnings } = ask(&jobs, &format!("offset={offset}&limit=5"));
        let listed = data["droppedTargets"].as_array().unwrap();
        assert_eq!(listed.len(), 1, "one at a time, and never none");
        assert_eq!(warnings.is_empty(), offset == 4, "{warnings:?}");
        seen.push_str(listed[0]["address"].as_str().unwrap());
    }
    assert_eq!(seen, "01234");
}

#[test]
fn how_a_target_is() {
    let last = |health: Health| LastScrape {
        time: 0,
        duration: Duration::ZERO,
        health,
        samples_scraped: 0,
        samples_kept: 0,
        lines_bad: 0,
        first_bad_line: None,
    };
    let check = |health: Option<Health>, expected: Condition| {
        assert_eq!(condition(health.map(last).as_ref()), expected);
    };
    check(None, Condition::Unknown);
    check(Some(Health::Up), Condition::Up);
    check(Some(Health::Down("no".to_owned())), Condition::Down);
    check(Some(Health::NotRunning), Condition::Absent);
}
