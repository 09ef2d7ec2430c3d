//! Question: what does the journal cost for each sample, in CPU and in bytes?
//!
//! Runs the pipeline in this process, from expositions in memory to objects that are thrown away, with the journal and without it
//! in turn. Prints one table; asserts nothing about time.
#![expect(clippy::cast_precision_loss, reason = "a bench")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use pipeline::model::object::{Object, Writer};
use pipeline::{Config, Pipeline, journal};
use prometheus::Registry;
use support::generate;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What does the journal cost for each sample?
#[derive(Parser)]
struct Arguments {
    /// Pods in the exposition of kube-state-metrics that is scraped: about 55 samples each.
    #[arg(long, default_value_t = 1_000)]
    pods: u64,
    /// Time between two scrapes.
    #[arg(long, default_value = "250ms")]
    interval: String,
    /// Seconds of each run that are measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds before that: every series is new once, which is no part of what a sample costs.
    #[arg(long, default_value_t = 4)]
    warm_up: u64,
    /// Runs with the journal, and as many without.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Where the journal is written.
    #[arg(long, default_value = "target/bench-journal")]
    dir: std::path::PathBuf,
}

/// Bodies served in turn.
const BODIES: u64 = 4;

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    samples: f64,
    /// Seconds of CPU.
    cpu: f64,
    /// Written to the journal.
    bytes: f64,
    commits: f64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.cpu += other.cpu;
        self.bytes += other.bytes;
        self.commits += other.commits;
    }

    fn since(self, before: Self) -> Self {
        Self {
            samples: self.samples - before.samples,
            cpu: self.cpu - before.cpu,
            bytes: self.bytes - before.bytes,
            commits: self.commits - before.commits,
        }
    }

    fn cpu_per_sample(&self) -> f64 {
        self.cpu * 1e9 / self.samples
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let bodies: Vec<Vec<u8>> =
        (0..BODIES).map(|scrape| generate::kube_state(arguments.pods, scrape).into_bytes()).collect();
    let bodies = Arc::new(bodies);
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut without, mut with) = (Cost::default(), Cost::default());
    for run in 0..arguments.runs {
        eprintln!(
            "run {} of {}: {} s without, {} s with",
            run + 1,
            arguments.runs,
            arguments.seconds,
            arguments.seconds
        );
        without.add(runtime.block_on(measure(&arguments, &bodies, None))?);
        with.add(runtime.block_on(measure(&arguments, &bodies, Some(&arguments.dir)))?);
    }
    std::fs::remove_dir_all(&arguments.dir)?;
    let (before, after) = (without.cpu_per_sample(), with.cpu_per_sample());
    println!("samples of all runs                {:>12.0}", without.samples + with.samples);
    println!("CPU per sample without, ns         {before:>12.1}");
    println!("CPU per sample with, ns            {after:>12.1}");
    println!("journal, ns per sample             {:>12.1}", after - before);
    println!("journal, % of parse to object      {:>12.1}", (after / before - 1.0) * 100.0);
    println!("journal, bytes per sample          {:>12.2}", with.bytes / with.samples);
    println!(
        "journal, syncs per second          {:>12.2}",
        with.commits / (arguments.seconds * u64::from(arguments.runs)) as f64
    );
    Ok(())
}

/// One life of the pipeline.
async fn measure(arguments: &Arguments, bodies: &Arc<Vec<Vec<u8>>>, dir: Option<&Path>) -> Result<Cost> {
    let registry = Registry::new();
    let mut config = Config::default();
    config.global.scrape_interval = arguments.interval.parse().map_err(anyhow::Error::msg)?;
    config.global.scrape_timeout = Some(config.global.scrape_interval);
    let (turn, served) = (AtomicUsize::new(0), Arc::clone(bodies));
    let render = Arc::new(move || {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        served.get(turn % served.len()).cloned().unwrap_or_default()
    });
    let writer = Writer { id: "bench".to_owned(), next_sequence: 1, taken: 1 };
    let mut pipeline = Pipeline::new(&config, Some(render), &writer, "bench", &registry)?;
    if let Some(dir) = dir {
        pipeline.keep_journal(dir, &journal::Config::default(), &writer, &registry)?;
    }
    let (objects, mut sealed) = mpsc::channel::<Object>(2);
    let (taken, is_taken) = watch::channel(1);
    let stop = CancellationToken::new();
    let measured = async {
        tokio::time::sleep(Duration::from_secs(arguments.warm_up)).await;
        let before = so_far(&registry)?;
        tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
        let after = so_far(&registry)?;
        stop.cancel();
        Ok::<_, anyhow::Error>(after.since(before))
    };
    let take = async {
        while let Some(object) = sealed.recv().await {
            taken.send_replace(object.sequence + 1);
        }
        Ok(())
    };
    let run = async { Ok(pipeline.run(objects, is_taken, stop.clone()).await?) };
    let ((), cost, ()) = tokio::try_join!(run, measured, take)?;
    Ok(cost)
}

/// What the pipeline and this process have taken since they began.
fn so_far(registry: &Registry) -> Result<Cost> {
    let families = registry.gather();
    let read = |name: &str| {
        let family = families.iter().find(|family| family.name() == name);
        family
            .and_then(|family| family.get_metric().first())
            .map_or(0.0, |metric| metric.get_counter().get_value())
    };
    Ok(Cost {
        samples: read("agent_samples_scraped_total"),
        cpu: cpu()?,
        bytes: read("agent_journal_bytes_total"),
        commits: read("agent_journal_commits_total"),
    })
}

/// Seconds of CPU that this process has used.
fn cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Fields 14 and 15 of proc_pid_stat(5), counted after the name in parentheses; a tick is 10 ms.
    let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).context("stat");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
