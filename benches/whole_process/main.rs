//! Question: what does the whole agent cost, in CPU and memory, to scrape a cluster's exporters into S3?
//!
//! Two loads: many node-exporters every second, or kube-state-metrics, DCGM exporters and cAdvisors every five. Runs the
//! release binary against exporters, a Cedana API and an S3 that live in this process, so that the figures are the agent's
//! alone. Prints one table; asserts nothing about time.
#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench")]

mod floor;

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::table::{self, Row};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use support::agent::{Agent, Running};
use support::cedana::{Account, Cedana};
use support::s3::S3;
use support::server::{Answer, Server};
use support::{generate, objects, wait};

/// What does the whole agent cost to scrape a cluster's exporters into S3?
#[derive(Parser)]
struct Arguments {
    /// What is scraped.
    #[arg(long, value_enum, default_value_t = Load::Nodes)]
    load: Load,
    /// Targets of 1,311 samples each, with the load `nodes`.
    #[arg(long, default_value_t = 100)]
    targets: u64,
    /// Time between two scrapes of a target; a second with the load `nodes`, and five with `mixed`.
    #[arg(long)]
    interval: Option<String>,
    /// Age at which a batch is sealed.
    #[arg(long, default_value = "15s")]
    max_age: String,
    /// Seconds measured, after those that it takes to warm up and to seal a first object.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Measure no agent, but the least that a client does to receive the same bodies: the floor.
    #[arg(long)]
    floor: bool,
}

/// Seconds before measuring begins: longer than a batch grows old, so that every series has been seen and put in order once.
const WARM_UP: u64 = 25;

/// What is scraped.
#[derive(Clone, Copy, ValueEnum)]
enum Load {
    /// node-exporters of 1,311 samples.
    Nodes,
    /// A kube-state-metrics of 20,020 samples, ten DCGM exporters with eight GPUs, and twenty cAdvisors of 5,025 samples.
    Mixed,
}

impl Load {
    /// Time between two scrapes of a target.
    fn interval(self) -> &'static str {
        match self {
            Self::Nodes => "1s",
            Self::Mixed => "5s",
        }
    }

    /// Nanoseconds of CPU that are asked for each sample.
    fn nanoseconds(self) -> f64 {
        match self {
            Self::Nodes => 120.0,
            Self::Mixed => 350.0,
        }
    }

    /// MiB that are asked of the whole process.
    fn memory(self) -> Option<f64> {
        match self {
            Self::Nodes => Some(40.0),
            Self::Mixed => None,
        }
    }

    /// What each target answers, turn after turn. Bodies of the second load are large, and so they are fewer; but more than an
    /// object holds of one target, whose timestamps would come twice.
    fn bodies(self, targets: u64) -> Vec<Vec<Bytes>> {
        let turns =
            |count: u64, body: &dyn Fn(u64) -> String| (0..count).map(|turn| body(turn).into()).collect();
        match self {
            Self::Nodes => (0..targets).map(|node| turns(8, &|turn| generate::node(node, turn))).collect(),
            Self::Mixed => {
                let now = jiff::Timestamp::now().as_millisecond();
                let time = |turn: u64| now + i64::try_from(turn).unwrap() * 5_000;
                let kube_state = turns(5, &|turn| long_names(&generate::kube_state(364, turn)));
                let dcgm = (0..10).map(|node| turns(5, &|turn| generate::dcgm(node, 8, turn)));
                let cadvisor = (0..20).map(|node| {
                    turns(5, &|turn| long_names(&generate::cadvisor(node, 67, turn, time(turn))))
                });
                std::iter::once(kube_state).chain(dcgm).chain(cadvisor).collect()
            }
        }
    }
}

/// Images of a private registry, long namespaces, and control groups below the kubelet's own, as in kind: 459 bytes of text per
/// sample.
fn long_names(body: &str) -> String {
    let names = [
        ("registry.example/", "000000000000.dkr.ecr.us-east-1.amazonaws.com/platform/production/"),
        ("\"/kubepods.slice", "\"/kubelet.slice/kubelet-kubepods.slice"),
        ("kubepods-burstable", "kubelet-kubepods-burstable"),
        ("namespace=\"", "namespace=\"production-workloads-eu-"),
    ];
    names.iter().fold(body.to_owned(), |body, (short, long)| body.replace(short, long))
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    let load = arguments.load;
    let interval = arguments.interval.get_or_insert_with(|| load.interval().to_owned()).clone();
    let bodies = load.bodies(arguments.targets);
    let targets = bodies.len();
    let sizes = bodies.iter().filter_map(|turns| turns.first()).map(|body| {
        let samples = body.split(|byte| *byte == b'\n').filter(|line| !matches!(line, [] | [b'#', ..]));
        (body.len() as f64, samples.count() as f64)
    });
    let (body_bytes, round) = sizes.fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
    println!(
        "{targets} targets every {interval}, {round:.0} samples a time, {:.0} B of text per sample",
        body_bytes / round
    );
    let exporters = serve(bodies);
    if arguments.floor {
        print!(
            "{}",
            table::print(&[floor::row(load, targets, round, exporters.address(), arguments.seconds)?])
        );
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let s3 = S3::start("metrics");
    let account = Account::new("metrics");
    let cedana = Cedana::start(&account, s3.registry());
    let config = config(&arguments, targets, &exporters, &cedana, &s3, &account, directory.path());
    let mut agent =
        Agent::with_config(directory.path(), &config).env("CEDANA_AUTH_TOKEN", account.token.clone()).start();
    eprintln!("warming up for {WARM_UP} s, then measuring for {} s", arguments.seconds);
    pause(&mut agent, WARM_UP);
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
    let row = |name: &str, unit, found| Row { name: name.to_owned(), unit, found, ..Row::default() };
    let name = load.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let nanoseconds = (after.cpu - before.cpu) * 1e9 / samples;
    let rows = [
        Row {
            asked: Some(load.nanoseconds()),
            ..row(&format!("whole process, {name}: CPU"), "ns", nanoseconds)
        },
        Row {
            asked: load.memory(),
            ..row(&format!("whole process, {name}: peak memory"), "MiB", after.peak)
        },
        row("resident memory", "MiB", after.resident),
        row("CPU, share of a core", "%", (after.cpu - before.cpu) / seconds * 100.0),
        row("samples per second", "", samples / seconds),
        row("samples dropped", "", dropped),
        row("objects per minute", "", (after.objects - before.objects) / seconds * 60.0),
        row("object, each sample", "B", bytes as f64 / rows as f64),
        row("rows delivered in all", "", rows as f64),
    ];
    print!("{}", table::print(&rows));
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
    targets: usize,
    exporters: &Server,
    cedana: &Cedana,
    s3: &S3,
    account: &Account,
    directory: &std::path::Path,
) -> String {
    let Arguments { load, interval, max_age, .. } = arguments;
    let interval = interval.as_deref().unwrap_or_else(|| load.interval());
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
    for node in 0..targets {
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
        let reasons = ["duplicate", "metric_relabel", "scrape_failed", "repeated_timestamp"];
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
