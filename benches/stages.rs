//! Question: what does each stage between a body and an object cost for each sample?
//!
//! Calls the stages in this process, one after another, on bodies in the shape of the usual exporters' and on a recorded one.
//! Prints a table with what is asked of each; asserts nothing about time.
#![expect(clippy::cast_precision_loss, reason = "a bench")]

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use pipeline::model::sample::{Parsed, Slot};
use pipeline::parse::{Cache, Lines, Secret, read};
use support::generate;

/// What does each stage cost for each sample?
#[derive(Parser)]
struct Arguments {
    /// Only the rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Times that everything is measured; the fastest counts, since a machine that others use only ever adds.
    #[arg(long, default_value_t = 15)]
    rounds: u32,
}

/// Bodies of one target, scraped one after the other.
type Scrapes = Vec<String>;

/// Scrapes of each target.
const SCRAPES: u64 = 4;

/// An exporter and some targets of it.
struct Input {
    name: &'static str,
    targets: Vec<Scrapes>,
    /// Nanoseconds for each sample that are asked of the steady state.
    asked: f64,
}

fn inputs() -> Result<Vec<Input>> {
    let targets = |count: u64, body: &dyn Fn(u64, u64) -> String| -> Vec<Scrapes> {
        (0..count).map(|target| (0..SCRAPES).map(|scrape| body(target, scrape)).collect()).collect()
    };
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/node_exporter.txt");
    let recorded = std::fs::read_to_string(recorded).context(recorded)?;
    let now = |scrape: u64| 1_700_000_000_000 + i64::try_from(scrape).unwrap_or_default() * 15_000;
    Ok(vec![
        Input { name: "node", targets: targets(20, &generate::node), asked: 15.0 },
        Input { name: "node, recorded", targets: vec![vec![recorded]], asked: 15.0 },
        Input {
            name: "kube-state",
            targets: targets(1, &|_, scrape| generate::kube_state(1000, scrape)),
            asked: 20.0,
        },
        Input {
            name: "cAdvisor",
            targets: targets(10, &|node, scrape| generate::cadvisor(node, 66, scrape, now(scrape))),
            asked: 45.0,
        },
        Input {
            name: "DCGM",
            targets: targets(20, &|node, scrape| generate::dcgm(node, 8, scrape)),
            asked: 20.0,
        },
    ])
}

/// What a row of the table says, nanoseconds for each sample.
struct Row {
    name: String,
    found: f64,
    asked: f64,
    baseline: (&'static str, f64),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut rows = Vec::new();
    for input in inputs()? {
        for (stage, asked, measure) in [
            ("parse, steady", input.asked, steady as fn(&Input, u32) -> f64),
            ("parse, first sight", f64::NAN, first_sight),
        ] {
            let name = format!("{stage}: {}", input.name);
            if name.contains(&arguments.only) {
                eprintln!("{name}");
                let found = measure(&input, arguments.rounds);
                rows.push(Row { name, found, asked, baseline: ("prometheus-parse", baseline(&input)) });
            }
        }
    }
    print!("{}", table(&rows));
    Ok(())
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<32}{:>12}{:>8}{:>8}  {:<18}{:>8}\n",
        "ns for each sample", "found", "asked", "", "baseline", "times"
    );
    for Row { name, found, asked, baseline: (baseline, theirs) } in rows {
        let (asked, verdict) = match asked {
            asked if asked.is_nan() => (String::new(), ""),
            asked => (format!("{asked:.0}"), if found <= asked { "met" } else { "missed" }),
        };
        let _ = writeln!(
            text,
            "{name:<32}{found:>12.1}{asked:>8}{verdict:>8}  {baseline:<18}{:>8.0}",
            theirs / found
        );
    }
    text
}

/// The fastest of some rounds, nanoseconds for each sample. A round says how many samples it read.
fn fastest(rounds: u32, mut round: impl FnMut() -> u64) -> f64 {
    let times = (0..rounds).map(|_| {
        let start = Instant::now();
        let samples = round();
        start.elapsed().as_secs_f64() * 1e9 / samples as f64
    });
    times.fold(f64::INFINITY, f64::min)
}

/// A target's memory, with as many series as it has lines.
struct Memory {
    cache: Cache,
    series: u32,
    samples: Vec<Parsed>,
}

impl Memory {
    fn new() -> Self {
        Self { cache: Cache::new(Secret::random(), Lines::new(10_000_000)), series: 0, samples: Vec::new() }
    }

    fn read(&mut self, body: &str) -> u64 {
        let Self { cache, series, samples } = self;
        let reading = read(body.as_bytes(), cache, 0, samples, |_| {
            *series += 1;
            Ok(Slot(*series))
        });
        std::hint::black_box(&samples);
        reading.samples
    }
}

/// Every line is where it was, with another value here and there.
fn steady(input: &Input, rounds: u32) -> f64 {
    let mut memories: Vec<_> = input.targets.iter().map(|_| Memory::new()).collect();
    let mut round = || {
        let all = input.targets.iter().zip(&mut memories);
        all.map(|(scrapes, memory)| scrapes.iter().map(|body| memory.read(body)).sum::<u64>()).sum()
    };
    round();
    fastest(rounds, round)
}

/// No line was ever seen: each is decoded. Without relabelling and interning.
fn first_sight(input: &Input, rounds: u32) -> f64 {
    let first = || input.targets.iter().filter_map(|scrapes| scrapes.first());
    fastest(rounds, || first().map(|body| Memory::new().read(body)).sum())
}

/// `prometheus-parse`, once.
fn baseline(input: &Input) -> f64 {
    let bodies: Vec<_> = input.targets.iter().filter_map(|scrapes| scrapes.first()).take(3).collect();
    fastest(3, || {
        let read = |body: &&String| {
            let scrape = prometheus_parse::Scrape::parse(body.lines().map(|line| Ok(line.to_owned())));
            std::hint::black_box(&scrape);
            body.lines().filter(|line| !line.starts_with('#')).count() as u64
        };
        bodies.iter().map(read).sum()
    })
}
