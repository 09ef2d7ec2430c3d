//! From a body to samples in the open batch: reading alone, and all of it through the worker.

use anyhow::{Context, Result};
use benches::callgrind::{Fastest, fastest};
use benches::fleet::{Fleet, time};
use bytes::Bytes;
use pipeline::model::sample::Slot;
use pipeline::model::scrape::Scrape;
use pipeline::parse::{Cache, Lines, Progress, Secret, read};
use support::generate;

use crate::Stages;

/// Bodies of one target, scraped one after the other.
pub(crate) type Scrapes = Vec<Bytes>;

/// Scrapes of each target.
const SCRAPES: u64 = 4;

/// An exporter and some targets of it.
pub(crate) struct Input {
    pub(crate) name: &'static str,
    /// Nanoseconds for each sample that are asked of the steady state.
    asked: f64,
    pub(crate) targets: fn() -> Result<Vec<Scrapes>>,
}

pub(crate) const INPUTS: [Input; 5] = [
    Input { name: "node", asked: 15.0, targets: || Ok(targets(20, generate::node)) },
    Input { name: "node, recorded", asked: 15.0, targets: recorded },
    Input {
        name: "kube-state",
        asked: 20.0,
        targets: || Ok(targets(1, |_, scrape| generate::kube_state(1000, scrape))),
    },
    Input {
        name: "cAdvisor",
        asked: 45.0,
        targets: || Ok(targets(10, |node, scrape| generate::cadvisor(node, 66, scrape, time(scrape)))),
    },
    Input {
        name: "DCGM",
        asked: 20.0,
        targets: || Ok(targets(20, |node, scrape| generate::dcgm(node, 8, scrape))),
    },
];

/// Nanoseconds that are asked of a series at first sight.
const FIRST_SIGHT: f64 = 600.0;

fn targets(count: u64, body: impl Fn(u64, u64) -> String) -> Vec<Scrapes> {
    let scrapes = |target| (0..SCRAPES).map(|scrape| Bytes::from(body(target, scrape))).collect();
    (0..count).map(scrapes).collect()
}

fn recorded() -> Result<Vec<Scrapes>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/node_exporter.txt");
    Ok(vec![vec![Bytes::from(std::fs::read(path).context(path)?)]])
}

pub(crate) fn rows(stages: &mut Stages) -> Result<()> {
    type Measure = fn(&[Scrapes], u32) -> Fastest;
    for input in INPUTS {
        let measures: [(&str, Option<f64>, Measure); 4] = [
            ("parse, steady", Some(input.asked), steady),
            ("parse, first sight", None, first_sight),
            ("parse to batch, steady", None, worker_steady),
            ("first sight", Some(FIRST_SIGHT), worker_first_sight),
        ];
        for (stage, asked, measure) in measures {
            let name = format!("{stage}: {}", input.name);
            let row = stages.time(&name, asked, |rounds| Ok(measure(&(input.targets)()?, rounds)))?;
            if let Some(row) = row {
                row.baseline = Some(("prometheus-parse", baseline(&(input.targets)()?)));
            }
        }
    }
    Ok(())
}

/// A target's memory, with as many series as it has lines.
struct Memory {
    cache: Cache,
    series: u32,
    samples: Progress,
}

impl Memory {
    fn new() -> Self {
        Self {
            cache: Cache::new(Secret::random(), Lines::new(10_000_000)),
            series: 0,
            samples: Progress::default(),
        }
    }

    fn read(&mut self, body: &[u8]) -> u64 {
        let Self { cache, series, samples } = self;
        let reading = read(body, cache, 0, samples, |_| {
            *series += 1;
            Ok(Slot(*series))
        });
        std::hint::black_box(&samples);
        reading.samples
    }
}

/// Every line is where it was, with another value here and there.
fn steady(targets: &[Scrapes], rounds: u32) -> Fastest {
    let mut memories: Vec<_> = targets.iter().map(|_| Memory::new()).collect();
    let round = |memories: &mut Vec<Memory>| {
        let all = targets.iter().zip(memories);
        all.map(|(scrapes, memory)| scrapes.iter().map(|body| memory.read(body)).sum::<u64>()).sum()
    };
    // A value is kept when it comes a second time, and one of the inputs is a single body.
    (0..3).for_each(|_| {
        let _: u64 = round(&mut memories);
    });
    fastest(rounds, &mut memories, |_| (), |memories, ()| round(memories))
}

/// No line was ever seen: each is decoded. Without relabelling and interning.
fn first_sight(targets: &[Scrapes], rounds: u32) -> Fastest {
    let first = || targets.iter().filter_map(|scrapes| scrapes.first());
    fastest(rounds, &mut (), |()| (), |(), ()| first().map(|body| Memory::new().read(body)).sum())
}

/// The scrapes of all targets, and the samples that they hold.
struct Round {
    scrapes: Vec<Scrape>,
    samples: u64,
}

impl Round {
    fn new(fleet: &Fleet, targets: &[Scrapes], number: u64, per_target: u64) -> Self {
        let mut round = Self { scrapes: Vec::new(), samples: 0 };
        for turn in 0..per_target {
            for (target, bodies) in targets.iter().enumerate() {
                let body = bodies.iter().cycle().nth(turn as usize).cloned().unwrap_or_default();
                let lines = body.split(|byte| *byte == b'\n');
                round.samples += lines.filter(|line| !matches!(line, [] | [b'#', ..])).count() as u64;
                round.scrapes.push(fleet.scrape(target, number * per_target + turn, body));
            }
        }
        round
    }

    fn take(self, fleet: &mut Fleet) -> u64 {
        self.scrapes.into_iter().for_each(|scrape| fleet.take(scrape));
        self.samples
    }
}

/// Into the open batch, every line where it was; what becomes of the batch is another row.
fn worker_steady(targets: &[Scrapes], rounds: u32) -> Fastest {
    let mut state = (Fleet::of("bench", targets.len()), 0);
    let prepare = |(fleet, number): &mut (Fleet, u64)| {
        *number += 1;
        if *number > 1 {
            fleet.seal();
        }
        Round::new(fleet, targets, *number, SCRAPES)
    };
    let first = prepare(&mut state);
    first.take(&mut state.0);
    fastest(rounds, &mut state, prepare, |(fleet, _), round| round.take(fleet))
}

/// Decoded, labelled, relabelled and interned: a worker that has seen none of the targets. For each series.
fn worker_first_sight(targets: &[Scrapes], rounds: u32) -> Fastest {
    let mut fleet = Fleet::of("bench", targets.len());
    let prepare = |fleet: &mut Fleet| {
        *fleet = Fleet::of("bench", targets.len());
        Round::new(fleet, targets, 0, 1)
    };
    fastest(rounds, &mut fleet, prepare, |fleet, round| round.take(fleet))
}

/// `prometheus-parse`, once, on some of the targets.
fn baseline(targets: &[Scrapes]) -> f64 {
    let bodies: Vec<_> =
        targets.iter().take(3).filter_map(|scrapes| std::str::from_utf8(scrapes.first()?).ok()).collect();
    let read = |body: &&str| {
        let scrape = prometheus_parse::Scrape::parse(body.lines().map(|line| Ok(line.to_owned())));
        std::hint::black_box(&scrape);
        body.lines().filter(|line| !line.starts_with('#')).count() as u64
    };
    fastest(3, &mut (), |()| (), |(), ()| bodies.iter().map(read).sum()).nanoseconds
}
