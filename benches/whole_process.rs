//! Question: what does the whole agent cost, in CPU and memory, to scrape many node-exporters into S3?
//!
//! Runs the release binary against exporters, a Cedana API and an S3 that live in this process, so that the figures
//! are the agent's alone. Prints one table; asserts nothing about time.
#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Parser;
use support::agent::{Agent, Running};
use support::cedana::{Account, Cedana};
use support::s3::S3;
use support::server::{Answer, Server};
use support::{generate, objects, wait};

/// What does the whole agent cost to scrape many node-exporters into S3?
#[derive(Parser)]
struct Arguments {
    /// Targets of 1,311 samples each.
    #[arg(long, default_value_t = 100)]
    targets: u64,
    /// Time between two scrapes of a target.
    #[arg(long, default_value = "1s")]
    interval: String,
    /// Age at which a batch is sealed.
    #[arg(long, default_value = "15s")]
    max_age: String,
    /// Seconds measured, after ten to warm up.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Bodies served in turn by each target.
const BODIES: u64 = 8;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let bodies: Vec<Vec<Bytes>> = (0..arguments.targets)
        .map(|node| (0..BODIES).map(|scrape| generate::node(node, scrape).into()).collect())
        .collect();
    let body_bytes = bodies.iter().flatten().map(Bytes::len).sum::<usize>() as f64;
    let text_bytes = body_bytes / (arguments.targets * BODIES) as f64 / generate::NODE_SAMPLES as f64;
    let exporters = serve(bodies);
    let directory = tempfile::tempdir()?;
    let s3 = S3::start("metrics");
    let account = Account::new("metrics");
    let cedana = Cedana::start(&account, s3.registry());
    let config = config(&arguments, &exporters, &cedana, &s3, &account, directory.path());
    let mut agent =
        Agent::with_config(directory.path(), &config).env("CEDANA_AUTH_TOKEN", account.token.clone()).start();
    eprintln!("warming up for 10 s, then measuring for {} s", arguments.seconds);
    pause(&mut agent, 10);
    let before = Reading::of(&mut agent)?;
    pause(&mut agent, arguments.seconds);
    let after = Reading::of(&mut agent)?;
    let outcome = agent.terminate();
    ensure!(outcome.code == Some(0), "the agent failed: {}", outcome.stderr);
    let stored = s3.objects();
    let rows: u64 = stored.iter().map(|o| objects::read(&o.bytes).unwrap().rows.len() as u64).sum();
    let bytes: usize = stored.iter().map(|o| o.bytes.len()).sum();
    let samples = after.samples - before.samples;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let dropped = after.dropped - before.dropped;
    println!(
        "{} targets every {}, {text_bytes:.0} B of text per sample",
        arguments.targets, arguments.interval
    );
    println!("samples per second          {:>10.0}", samples / seconds);
    println!("samples dropped             {dropped:>10.0}");
    println!("CPU per sample, ns          {:>10.0}", (after.cpu - before.cpu) * 1e9 / samples);
    println!("CPU, % of a core            {:>10.2}", (after.cpu - before.cpu) / seconds * 100.0);
    println!("resident memory, MiB        {:>10.1}", after.resident);
    println!("peak resident memory, MiB   {:>10.1}", after.peak);
    println!("objects per minute          {:>10.1}", (after.objects - before.objects) / seconds * 60.0);
    println!("bytes per sample, all       {:>10.2}", bytes as f64 / rows as f64);
    println!("rows delivered in all       {rows:>10}");
    Ok(())
}

/// One server plays all targets, each below a path of its own.
fn serve(bodies: Vec<Vec<Bytes>>) -> Server {
    let turns: Vec<_> = bodies.iter().map(|_| std::sync::atomic::AtomicUsize::new(0)).collect();
    Server::start(move |request| {
        let node: usize = request.uri().path().trim_start_matches('/').parse().unwrap();
        let turn = turns.get(node).unwrap().fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = bodies.get(node).and_then(|b| b.get(turn % b.len())).unwrap().clone();
        Box::pin(async move { Answer::ok(body) })
    })
}

fn config(
    arguments: &Arguments,
    exporters: &Server,
    cedana: &Cedana,
    s3: &S3,
    account: &Account,
    directory: &std::path::Path,
) -> String {
    let Arguments { targets, interval, max_age, .. } = arguments;
    let mut text = format!(
        "global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\n\
         batch: {{max_age: {max_age}}}\n\
         spool: {{dir: \"{}\"}}\n\
         credentials: {{cedana: {{url: \"{}\", cluster_id: {}}}}}\n\
         sink: {{s3: {{endpoint_url: \"{}\", force_path_style: true}}}}\n\
         server: {{listen: \"127.0.0.1:0\"}}\n\
         internal_metrics: false\n\
         scrape_configs:\n- job_name: node\n  static_configs:\n",
        directory.join("spool").display(),
        cedana.url(),
        account.cluster_id,
        s3.url(),
    );
    for node in 0..*targets {
        let address = exporters.address();
        let labels =
            format!("{{instance: \"node-{node}:9100\", node: node-{node}, __metrics_path__: /{node}}}");
        let _ = writeln!(text, "  - {{targets: [\"{address}\"], labels: {labels}}}");
    }
    text
}

/// Waits, and fails early if the agent ends.
fn pause(agent: &mut Running, seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    wait::until("the time to pass", Duration::from_secs(seconds + 5), || Instant::now() >= end);
    assert!(agent.get("/healthz").0 == 200, "the agent is not healthy");
}

/// The agent's own account and the kernel's, at one moment.
struct Reading {
    at: Instant,
    samples: f64,
    dropped: f64,
    objects: f64,
    /// Seconds of CPU since the start.
    cpu: f64,
    /// MiB.
    resident: f64,
    /// MiB.
    peak: f64,
}

impl Reading {
    fn of(agent: &mut Running) -> Result<Self> {
        let samples = agent.metric("agent_samples_scraped_total", &[]);
        let reasons = ["duplicate", "metric_relabel", "scrape_failed"];
        let dropped =
            reasons.map(|r| agent.metric("agent_samples_dropped_total", &[("reason", r)])).iter().sum();
        let objects = agent.metric("agent_objects_sealed_total", &[]);
        let process = format!("/proc/{}", agent.id());
        let stat = std::fs::read_to_string(format!("{process}/stat"))?;
        // Fields 14 and 15 of proc_pid_stat(5), counted after the name in parentheses; a tick is 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
        let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).context("stat");
        let status = std::fs::read_to_string(format!("{process}/status"))?;
        let memory = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).context("status")?;
            Ok::<_, anyhow::Error>(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
        };
        Ok(Self {
            at: Instant::now(),
            samples,
            dropped,
            objects,
            cpu: (ticks(11)? + ticks(12)?) / 100.0,
            resident: memory("VmRSS:")?,
            peak: memory("VmHWM:")?,
        })
    }
}
