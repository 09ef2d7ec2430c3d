//! From scrape targets to Parquet objects.
//!
//! ```text
//! discovery > scrape ==scrapes==> worker { parse > intern > relabel > report > batch > encode } ==objects==> sinks
//!                                                                              '==entries==> journal
//! ```
//!
//! All queues are bounded. The modules below stand in the order data passes: `discovery` publishes target groups,
//! `scrape` asks each target and sends what came back, `worker` is one thread that calls the pure stages and sends an
//! object whenever a batch is full; `journal` keeps on disk what no object holds yet. A slow sink fills the second queue, then the worker stands still, then the first queue
//! fills, then scrapes are skipped and counted.

pub mod model;
pub mod schema;

// The roads to servers, for everything below.
pub mod http;

pub mod kubernetes;

// Asynchronous I/O.
pub mod discovery;
pub mod scrape;

// Plain function calls, in the order data passes; blank lines keep the order.
mod worker;

pub mod parse;

mod intern;

pub mod relabel;

mod report;

pub mod batch;
pub mod encode;

// Blocking I/O, on a thread of its own.
pub mod journal;

// Beside the road.
mod clock;
mod dry_run;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gate;
mod limits;
mod metrics;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use dry_run::{DryRun, find_targets};
pub use limits::Limits;
pub use metrics::Metrics;

use discovery::Discovery;
use encode::Encoder;
use model::labels::{CLUSTER_ID, Labels, LabelsBuilder};
use model::object::{Object, Tenure, Writer};
use model::scrape::Scrape;
use scrape::{GlobalConfig, Pool, Render, ResolvedJob, ScrapeConfig, Sharding, TargetsView};
use worker::{Connections, Settings, Worker};

/// Scrapes that wait for the worker. Their bodies are bounded by `limits.max_body_bytes`.
const SCRAPES_MAX: usize = 256;

/// The sections of the configuration that the pipeline obeys.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `global`.
    pub global: GlobalConfig,
    /// `scrape_configs`.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// `sharding`.
    pub sharding: Sharding,
    /// Not in the file: labels that say where this process runs, for its own metrics.
    #[serde(skip)]
    pub own_labels: BTreeMap<String, String>,
    /// `batch`.
    pub batch: batch::Config,
    /// `journal`.
    pub journal: journal::Config,
    /// `parquet`.
    pub parquet: encode::Config,
    /// `limits`.
    pub limits: Limits,
}

impl Config {
    /// The jobs, ready to be scraped. `own_metrics` is one of them, by the name of `agent`.
    ///
    /// # Errors
    /// A configuration that `check` refuses: paths and problems.
    pub fn jobs(&self, own_metrics: Option<Render>) -> Result<Vec<ResolvedJob>, Vec<(String, String)>> {
        let (mut jobs, mut problems) = (Vec::new(), Vec::new());
        for (i, section) in self.scrape_configs.iter().enumerate() {
            match section.resolve(&self.global) {
                Ok(job) => jobs.push(job.shared(&self.sharding)),
                Err(found) => {
                    problems.extend(found.into_iter().map(|(p, t)| (format!("scrape_configs[{i}].{p}"), t)));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let own_labels = Labels::from_pairs(&self.own_labels);
        // Every agent reports itself, whoever else there is.
        jobs.extend(
            own_metrics.map(|render| ResolvedJob::in_process(&self.global, render).labelled(&own_labels)),
        );
        Ok(jobs)
    }
}

/// Why the pipeline cannot start or ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is refused; `check` would have said so.
    #[error("configuration refused: {}", list(.0))]
    Config(Vec<(String, String)>),
    /// A metric is registered twice, which is a defect.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// Scraping ended.
    #[error("scraping stopped")]
    Scrape(#[from] scrape::Error),
    /// Nobody takes the objects any more.
    #[error("nobody takes the objects any more")]
    ObjectsClosed,
    /// A task panicked, which is a defect.
    #[error("a task of the pipeline failed")]
    Task(#[from] tokio::task::JoinError),
}

fn list(problems: &[(String, String)]) -> String {
    let lines = problems.iter().map(|(path, problem)| format!("{path}: {problem}"));
    lines.collect::<Vec<_>>().join("; ")
}

/// The pipeline, ready to run.
pub struct Pipeline {
    jobs: Vec<ResolvedJob>,
    discovery: Discovery,
    pool: Pool,
    scrapes: mpsc::Receiver<Scrape>,
    worker: Worker,
    journal: Option<journal::Opened>,
}

impl Pipeline {
    /// Makes everything ready and starts nothing. `own_metrics` is scraped as the job `agent`; `cluster_id` is used where
    /// the external labels name none.
    ///
    /// # Errors
    /// A configuration that `check` refuses.
    pub fn new(
        config: &Config,
        own_metrics: Option<Render>,
        writer: &Writer,
        cluster_id: &str,
        registry: &Registry,
    ) -> Result<Self, Error> {
        let jobs = config.jobs(own_metrics).map_err(Error::Config)?;
        let mut external = LabelsBuilder::default();
        external.set(CLUSTER_ID, cluster_id);
        for (name, value) in &config.global.external_labels {
            external.set(name, value);
        }
        let external = external.build();
        let encoder =
            Encoder::new(&config.parquet, &writer.id, external.value(CLUSTER_ID)).map_err(Error::Config)?;
        let settings = Settings {
            batch: config.batch.clone(),
            limits: config.limits.clone(),
            external,
            next_sequence: writer.next_sequence,
        };
        let worker = Worker::new(settings, encoder, Arc::new(Metrics::new(registry)?));
        let (queue, scrapes) = mpsc::channel(SCRAPES_MAX);
        let scrape_metrics = Arc::new(scrape::Metrics::new(registry)?);
        let pool =
            Pool::new(queue, config.limits.max_body_bytes, scrape_metrics, Arc::new(clock::now_millis));
        let discovery = Discovery::new(discovery::Metrics::new(registry)?);
        Ok(Self { jobs, discovery, pool, scrapes, worker, journal: None })
    }

    /// Has what is scraped written to the journal in this directory, and what an earlier process left there sealed first.
    /// `writer` as it was given to [`Self::new`]. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn keep_journal(
        &mut self,
        dir: &Path,
        config: &journal::Config,
        writer: &Writer,
        registry: &Registry,
    ) -> Result<(), Error> {
        let metrics = Arc::new(journal::Metrics::new(registry)?);
        let opened = journal::open(dir, config, writer.taken, metrics)?;
        self.worker.keep_journal(&opened.left);
        self.journal = Some(opened);
        Ok(())
    }

    /// The turn in which an earlier process scraped what it left in the journal, which is sealed when this runs.
    #[must_use]
    pub fn undecided(&self) -> Option<Tenure> {
        self.journal.as_ref()?.left.tenure()
    }

    /// Why the journal cannot be written; stays valid while the pipeline runs.
    #[must_use]
    pub fn journal_problem(&self) -> Option<journal::Problem> {
        Some(self.journal.as_ref()?.journal.problem())
    }

    /// The targets as they are now; stays valid while the pipeline runs.
    #[must_use]
    pub fn targets(&self) -> TargetsView {
        self.pool.targets()
    }

    /// Puts a gate before the targets, closed: nothing is scraped until its keeper opens it.
    pub fn keeper(&mut self) -> gate::Keeper {
        let (gate, keeper) = gate::Gate::closed();
        self.pool.set_gate(gate);
        keeper
    }

    /// Runs until `stop`; then seals what is open, sends it and returns. `taken`: the sequence number below which all
    /// objects are kept by somebody else or were counted as dropped.
    ///
    /// # Errors
    /// When a part ends before `stop`.
    pub async fn run(
        self,
        objects: mpsc::Sender<Object>,
        taken: watch::Receiver<u64>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let Self { jobs, discovery, mut pool, scrapes, worker, journal } = self;
        let mut discoveries = JoinSet::new();
        let jobs = jobs
            .into_iter()
            .map(|job| {
                let sets = discovery.start(&job.job.name, job.sources(), &mut discoveries, &stop);
                (job, sets)
            })
            .collect();
        let mut tasks = JoinSet::new();
        let runtime = Handle::current();
        let (left, journal) = match journal {
            Some(journal::Opened { left, journal, disk }) => {
                let (runtime, stopping) = (runtime.clone(), stop.clone());
                pool.pause_for(journal.problem());
                tasks.spawn_blocking(move || {
                    disk.run(taken, &stopping, &runtime);
                    Ok(())
                });
                (left, Some(journal))
            }
            None => (journal::Left::default(), None),
        };
        let (gate, stopping) = (pool.gate(), stop.clone());
        let (stuck, is_stuck) = watch::channel(None);
        pool.pause_for(is_stuck);
        let connections = Connections { scrapes, objects, journal, stuck, gate, stopping };
        tasks.spawn_blocking(move || worker::run(worker, connections, &left, &runtime));
        tasks.spawn(async move { Ok(pool.run(jobs, stop).await?) });
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(ended) => ended??,
                    None => break,
                },
                // A source that ends has nothing more to say; one that panics is a defect that must not stay unseen.
                Some(ended) = discoveries.join_next() => ended?,
            }
        }
        while let Some(ended) = discoveries.join_next().await {
            ended?;
        }
        Ok(())
    }
}
