//! Question: what does the worker hold in memory for each active series?
//!
//! A program of its own, because it counts what the whole process allocates. Counted is what was asked of the allocator, after
//! some scrapes of the same series, with an open batch that is empty and with one of seven scrapes.
#![expect(clippy::cast_precision_loss, reason = "a bench")]

use std::alloc::System;

use benches::fleet::{Fleet, time};
use benches::table::{self, Row};
use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::cluster::mixed;
use support::generate;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are asked for each series.
const ASKED: f64 = 120.0;
/// Targets in the shape of node-exporter: 131,100 series.
const NODES: usize = 100;
/// Scrapes in the open batch.
const OPEN: u64 = 7;

fn main() {
    let mut rows = Vec::new();
    let node = |target: usize, scrape: u64| generate::node(target as u64, scrape);
    measure("node", || Fleet::of("node-exporter", NODES), NODES, node, &mut rows);
    let members = mixed();
    let body = |target: usize, scrape: u64| {
        members.get(target).map_or_else(String::new, |member| member.body(scrape, time(scrape), 0))
    };
    measure("mixed cluster", || Fleet::mixed(&members), members.len(), body, &mut rows);
    print!("{}", table::print(&rows));
}

/// Bytes on the heap.
fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn measure(
    name: &str,
    fleet: impl Fn() -> Fleet,
    targets: usize,
    body: impl Fn(usize, u64) -> String,
    rows: &mut Vec<Row>,
) {
    let mut fleet = fleet();
    let before = held();
    let scrape = |fleet: &mut Fleet, number: u64| {
        for target in 0..targets {
            let scrape = fleet.scrape(target, number, Bytes::from(body(target, number)));
            fleet.take(scrape);
        }
    };
    (0..3).for_each(|number| scrape(&mut fleet, number));
    drop(fleet.seal());
    (3..6).for_each(|number| scrape(&mut fleet, number));
    drop(fleet.seal());
    let series = fleet.worker().open().1.len() as f64;
    let mut row = |what: &str, found: usize| {
        let name = format!("memory of a series, {what}: {name}");
        rows.push(Row {
            name,
            unit: "B",
            found: found as f64 / series,
            asked: Some(ASKED),
            ..Row::default()
        });
    };
    row("empty batch", held() - before);
    (6..6 + OPEN).for_each(|number| scrape(&mut fleet, number));
    row("7 scrapes open", held() - before);
}
