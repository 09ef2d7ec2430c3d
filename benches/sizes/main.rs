//! Question: does the cost of a sample and of a series stay the same however many targets and series there are?
//!
//! Ten to ten thousand targets with a thousand to ten million series between them, through the worker in this process; bodies
//! in the shape of node-exporter's are made up as they are needed. Prints a table, and draws it as a chart where a path is
//! given; asserts nothing.
#![expect(clippy::cast_precision_loss, reason = "a bench")]

mod chart;

use std::alloc::System;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::fleet::Fleet;
use benches::table::{self, Row};
use bytes::Bytes;
use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::generate;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Does the cost stay the same however many targets and series there are?
#[derive(Parser)]
struct Arguments {
    /// Where the chart is drawn, as SVG.
    #[arg(long)]
    chart: Option<PathBuf>,
    /// The most series; ten million take about four gigabytes.
    #[arg(long, default_value_t = 10_000_000)]
    series_max: usize,
}

const TARGETS: [usize; 4] = [10, 100, 1_000, 10_000];
const SERIES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Series of a target that an exporter can have, at least and at most.
const EACH: std::ops::RangeInclusive<usize> = 10..=100_000;
/// The most that a row may be above the least of all of its kind to be called flat: caches are not of any size.
const FLAT: f64 = 3.0;
/// Samples of each series in an object.
const OPEN: u64 = 2;

/// What was found with so many targets and series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) targets: usize,
    pub(crate) series: usize,
    /// From a body to the open batch, in the steady state; nanoseconds for each sample.
    pub(crate) take: f64,
    /// From the open batch to an object whose series are those of the one before; nanoseconds for each sample.
    pub(crate) seal: f64,
    /// Bytes on the heap for each series, with an empty batch.
    pub(crate) bytes: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut points = Vec::new();
    for targets in TARGETS {
        for series in SERIES.into_iter().filter(|series| *series <= arguments.series_max) {
            if EACH.contains(&(series / targets)) {
                eprintln!("{targets} targets with {series} series");
                points.push(measure(targets, series));
            }
        }
    }
    let name = |what: &str, point: &Point| {
        format!("{what}, {} targets, {:.0e} series", point.targets, point.series as f64)
    };
    let mut rows = Vec::new();
    for (what, unit, figure) in chart::FIGURES {
        let least = points.iter().map(figure).fold(f64::INFINITY, f64::min);
        rows.extend(points.iter().map(|point| Row {
            name: name(what, point),
            unit,
            found: figure(point),
            ..Row::default()
        }));
        let most = points.iter().map(figure).fold(0.0, f64::max);
        let name = format!("{what}: most against least");
        rows.push(Row { name, unit: "times", found: most / least, asked: Some(FLAT), ..Row::default() });
    }
    print!("{}", table::print(&rows));
    if let Some(path) = arguments.chart {
        std::fs::write(&path, chart::draw(&points)).with_context(|| path.display().to_string())?;
        println!("the chart is in {}", path.display());
    }
    Ok(())
}

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn measure(targets: usize, series: usize) -> Point {
    let mut fleet = Fleet::of("node-exporter", targets);
    let (before, each) = (held(), series / targets);
    let scrape = |fleet: &mut Fleet, number: u64| {
        let mut taken = Duration::ZERO;
        for target in 0..targets {
            let scrape =
                fleet.scrape(target, number, Bytes::from(generate::sized(target as u64, each, number)));
            let start = Instant::now();
            fleet.take(scrape);
            taken += start.elapsed();
        }
        taken
    };
    // Small ones are measured more often: what is short is disturbed more easily.
    let rounds = (3_000_000 / series).clamp(1, 10);
    let (mut take, mut seal, mut bytes) = (f64::INFINITY, f64::INFINITY, 0.0);
    // Each target's report on itself is of six series.
    let samples = (series + 6 * targets) as f64;
    let mut number = 0;
    for round in 0..rounds + 2 {
        for _ in 0..OPEN {
            let taken = scrape(&mut fleet, number);
            number += 1;
            if round > 0 {
                take = take.min(taken.as_secs_f64() * 1e9 / samples);
            }
        }
        let start = Instant::now();
        let object = fleet.seal();
        let sealed = start.elapsed();
        if round > 1 {
            seal = seal.min(sealed.as_secs_f64() * 1e9 / object.samples as f64);
        }
        drop(object);
        bytes = (held() - before) as f64 / samples;
    }
    Point { targets, series, take, seal, bytes }
}
