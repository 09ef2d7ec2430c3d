//! Exporters that misbehave in every way they have, beside one that does not: it loses nothing, and each of them is
//! said to do what it does.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use support::exporter::{Exporter, Serve, gzip};
use support::exposition::Exposition;
use support::server::Reserved;

use crate::world::{World, body};

/// A job whose exporter is bad as a whole: nothing of it is kept but its report, and `/targets` says why.
struct Bad {
    serve: fn() -> Serve,
    /// What stands in its section beside the target.
    options: &'static str,
    /// What `/targets` says.
    said: &'static str,
}

/// Sixteen megabytes that travel as sixteen kilobytes.
static BOMB: LazyLock<Bytes> = LazyLock::new(|| gzip(&vec![b'\n'; 16 << 20]).into());

fn text() -> String {
    body(0).text
}

const BAD: [Bad; 13] = [
    Bad { serve: || Serve::Status(500, "oh no".to_owned()), options: "", said: "HTTP status 500" },
    Bad { serve: || Serve::Status(404, text()), options: "", said: "HTTP status 404" },
    Bad {
        serve: || {
            Serve::Body(
                "text/html",
                Bytes::from_static(b"<!DOCTYPE html>\n<html>\n<body>Welcome!</body>\n</html>\n"),
            )
        },
        options: "",
        said: "not an exposition",
    },
    Bad {
        serve: || Serve::Body("text/plain", Bytes::from_static(&[0xff, 0xfe, 0, 1, b'\n'])),
        options: "",
        said: "not an exposition",
    },
    Bad {
        serve: || Serve::Endless(Bytes::from("endless{a=\"b\"} 1\n".repeat(1000))),
        options: "body_size_limit: 1MiB",
        said: "body_size_limit",
    },
    Bad {
        serve: || Serve::SaidGzip(BOMB.clone()),
        options: "body_size_limit: 1MiB",
        said: "body_size_limit",
    },
    Bad { serve: || Serve::Truncated(text()), options: "", said: "cut off" },
    Bad {
        serve: || {
            let whole = gzip(text().as_bytes());
            Serve::SaidGzip(Bytes::from(whole).slice(..100))
        },
        options: "",
        said: "decompress",
    },
    Bad { serve: || Serve::SaidGzip(Bytes::from(text())), options: "", said: "decompress" },
    Bad { serve: || Serve::Slow(Duration::from_secs(30), text()), options: "", said: "scrape_timeout" },
    Bad { serve: || Serve::Cut, options: "", said: "cut off" },
    Bad { serve: || Serve::Good(body(0)), options: "sample_limit: 9", said: "sample_limit" },
    Bad { serve: || Serve::Good(body(0)), options: "label_limit: 3", said: "label_limit" },
];

#[test]
fn a_bad_one_is_named_and_costs_nothing_else() {
    let world = World::new();
    LazyLock::force(&BOMB);
    let good = Exporter::limited(5, body);
    let bad: Vec<_> = BAD.iter().map(|bad| (bad, Exporter::start(move |_| (bad.serve)()))).collect();
    let refusing = Reserved::new();
    let mut jobs = format!("- {{job_name: good, static_configs: [{{targets: [\"{}\"]}}]}}\n", good.address());
    jobs +=
        &format!("- {{job_name: refusing, static_configs: [{{targets: [\"{}\"]}}]}}\n", refusing.address());
    for (n, (bad, exporter)) in bad.iter().enumerate() {
        let comma = if bad.options.is_empty() { "" } else { ", " };
        let (address, options) = (exporter.address(), bad.options);
        jobs += &format!(
            "- {{job_name: bad{n}, static_configs: [{{targets: [\"{address}\"]}}]{comma}{options}}}\n"
        );
    }
    // Half a second is not enough for sixteen megabytes and thirteen exporters on a small machine.
    let global = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n";
    let mut agent = world.start_with(&format!("{global}{jobs}{}", world.rest()));
    good.wait_for_scrapes_after(5);
    let targets = agent.get("/targets").1;
    let targets: serde_json::Value = serde_json::from_str(&targets).expect("/targets to be JSON");
    let said = |job: &str| find(&targets, job).unwrap_or_else(|| panic!("{job} is not in {targets:#}"));
    assert!(said("refusing").contains("connection refused"), "{}", said("refusing"));
    for (n, (bad, _)) in bad.iter().enumerate() {
        let text = said(&format!("bad{n}"));
        assert!(text.contains(bad.said), "bad{n} should say {:?}: {text}", bad.said);
    }
    let outcome = world.finish_even(agent, &[&good]);
    let rows = world.rows();
    for job in (0..bad.len()).map(|n| format!("bad{n}")).chain(["refusing".to_owned()]) {
        let rows: Vec<_> = rows.iter().filter(|row| row.label("job") == job).collect();
        let up: Vec<_> = rows.iter().filter(|row| row.metric == "up").collect();
        assert!(!up.is_empty() && up.iter().all(|row| row.value == 0.0), "{job}: {up:?}\n{}", outcome.stderr);
        let others = rows.iter().find(|row| row.metric != "up" && !row.metric.starts_with("scrape_"));
        assert!(others.is_none(), "{job} is down, and {others:?} was shipped");
    }
}

/// The first object that mentions the job, as text.
fn find(value: &serde_json::Value, job: &str) -> Option<String> {
    match value {
        serde_json::Value::Array(values) => values.iter().find_map(|value| find(value, job)),
        serde_json::Value::Object(fields) => {
            let is_it = fields
                .values()
                .any(|value| value == job || value.get("job").is_some_and(|value| value == job));
            if is_it { Some(value.to_string()) } else { fields.values().find_map(|value| find(value, job)) }
        }
        _ => None,
    }
}

/// Lines that are bad cost themselves and nothing else; they are counted and reported with their number.
#[test]
fn a_bad_line_costs_that_line() {
    let million = (0..1_000_000).map(|n| format!("l{n}=\"v\",")).collect::<String>();
    let bad = vec![
        "no value".to_owned(),
        "{} 1".to_owned(),
        "unclosed{a=\"b 1".to_owned(),
        "9starts_with_a_digit 1".to_owned(),
        "text_as_value{a=\"b\"} one".to_owned(),
        "text_as_timestamp 1 soon".to_owned(),
        format!("one_megabyte{{a=\"{}\"}} 1", "x".repeat(1 << 20)),
        format!("a_million_labels{{{million}}} 1"),
    ];
    let count = bad.len();
    let world = World::new();
    let exporter = Exporter::limited(2, move |n| bad.iter().fold(body(n), |body, line| body.line(line)));
    let config = world.config(&[exporter.address()]).replace("500ms", "2s");
    let mut agent = world.start_with(&config);
    exporter.wait_for_scrapes_after(2);
    let lines = |agent: &mut support::agent::Running| agent.metric("agent_lines_bad_total", &[]);
    agent.wait_until("bad lines to be counted", |agent| lines(agent) >= 2.0 * count as f64);
    assert_eq!(lines(&mut agent), 2.0 * count as f64);
    let first = body(0).text.lines().count() + 1;
    let outcome = world.finish_even(agent, &[&exporter]);
    let said = outcome.stderr.lines().filter(|line| line.contains("no value")).collect::<Vec<_>>();
    assert_eq!(said.len(), 1, "said once, not for each scrape: {said:?}");
    assert!(said[0].contains(&first.to_string()) && said[0].contains("job0"), "{first}: {}", said[0]);
    assert!(outcome.stderr.len() < 100_000, "long lines are shortened in the log");
}

#[test]
fn invalid_utf8_costs_its_line() {
    let world = World::new();
    let exporter = Exporter::start(|n| {
        let good = body(n);
        let mut bytes = good.text.clone().into_bytes();
        bytes.extend_from_slice(b"broken{a=\"\xff\xfe\"} 1\nafter 2\n");
        if n < 2 {
            Serve::Body("text/plain; version=0.0.4", bytes.into())
        } else {
            Serve::Status(503, String::new())
        }
    });
    let agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(2);
    let outcome = world.finish(agent);
    let rows = world.rows();
    let after = rows.iter().filter(|row| row.metric == "after").count();
    let broken = rows.iter().filter(|row| row.metric == "broken").count();
    assert_eq!((after, broken), (2, 0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("UTF-8"), "{}", outcome.stderr);
}

/// Explicit timestamps far off would make a table's insert fail: dropped, and counted.
#[test]
fn wild_timestamps_are_dropped_and_counted() {
    let world = World::new();
    let exporter = Exporter::limited(2, |n| {
        let now = support::clock::machine_millis() + i64::try_from(n).expect("small");
        Exposition::new()
            .sample_at("ahead", &[], 1.0, now + 3_600_000)
            .sample_at("behind", &[], 1.0, now - 2 * 86_400_000)
            .sample_at("zero", &[], 1.0, 0)
            .sample_at("fine", &[], 1.0, now - 3_600_000)
    });
    let mut agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(3);
    let mut dropped = 0;
    agent.wait_until("six drops to be counted", |agent| {
        dropped = agent.metric("agent_samples_dropped_total", &[]) as u64;
        dropped >= 6
    });
    world.finish(agent);
    let ledger = world.ledger(&exporter);
    assert_eq!((ledger.found(), dropped), (2, 6));
    ledger.dropped("timestamp", dropped).check();
}

/// Two targets that end with equal labels, and a series that comes twice: as Prometheus, and said.
#[test]
fn duplicates_within_a_scrape_are_dropped_and_counted() {
    let world = World::new();
    let exporter = Exporter::limited(2, |n| {
        let value = n as f64;
        Exposition::new().sample("twice", &[("a", "b")], value).sample("twice", &[("a", "b")], value + 0.5)
    });
    let mut agent = world.start(&[&exporter]);
    exporter.wait_for_scrapes_after(3);
    let mut dropped = 0;
    agent.wait_until("two drops to be counted", |agent| {
        dropped = agent.metric("agent_samples_dropped_total", &[]) as u64;
        dropped >= 2
    });
    world.finish(agent);
    let ledger = world.ledger(&exporter);
    assert_eq!((ledger.found(), dropped), (2, 2));
    ledger.dropped("duplicate", dropped).check();
}
