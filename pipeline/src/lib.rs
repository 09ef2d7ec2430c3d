//! From scrape targets to objects.
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
pub mod kube_events;
pub mod scrape;

// Blocking reads, for one target of `scrape`.
pub mod host;

// Plain function calls, in the order data passes; blank lines keep the order.
pub mod worker;

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
pub mod decode;
mod dry_run;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gate;
mod limits;
mod metrics;
mod rest;
pub mod selector;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use dry_run::{DryRun, Preview, find_targets};
pub use limits::Limits;
pub use metrics::Metrics;

use discovery::Discovery;
use encode::{Encoder, Encoding};
use host::Host;
use kube_events::Watcher;
use model::labels::{CLUSTER_ID, Labels, LabelsBuilder};
use model::object::{Object, Tenure, Writer};
use model::scrape::Arrival;
use scrape::{
    Change, Changed, GlobalConfig, Pool, Render, ResolvedJob, ScrapeConfig, Sharding, StaticConfig,
    TargetsView,
};
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
    /// `host_metrics`.
    pub host_metrics: host::Config,
    /// `sharding`.
    pub sharding: Sharding,
    /// Not in the file: labels that say where this process runs, for its own metrics.
    #[serde(skip)]
    pub own_labels: BTreeMap<String, String>,
    /// `batch`.
    pub batch: batch::Config,
    /// `journal`.
    pub journal: journal::Config,
    /// `encoding`.
    pub encoding: Encoding,
    /// `parquet`.
    pub parquet: encode::Config,
    /// `vector_json`.
    pub vector_json: encode::vector::Config,
    /// `limits`.
    pub limits: Limits,
    /// `kubernetes_events`.
    pub kubernetes_events: kube_events::Config,
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
        jobs.extend(self.host_job()?);
        // Every agent reports itself, whoever else there is.
        jobs.extend(own_metrics.map(|render| {
            ResolvedJob::in_process(&self.global, render).labelled(&Labels::from_pairs(&self.own_labels))
        }));
        Ok(jobs)
    }

    /// The job that counts the Kubernetes events which this agent watches.
    fn events_job(&self, render: Render) -> ResolvedJob {
        let job = ResolvedJob::in_process_named(kube_events::JOB, &self.global, render);
        // The others of this process's own labels mean the thing that a Kubernetes event is about.
        let own = self.own_labels.iter().filter(|(name, _)| *name == "instance");
        job.labelled(&Labels::from_pairs(own))
    }
}

/// Of the time that a scrape may take, the rest is for handing over what was read.
const READING_SHARE: f64 = 0.9;

impl Config {
    /// The section `host_metrics` as a scrape section, whose checks it has to pass.
    #[must_use]
    pub fn host_section(&self) -> ScrapeConfig {
        let section = &self.host_metrics;
        let target =
            StaticConfig { targets: vec![scrape::IN_PROCESS_ADDRESS.to_owned()], labels: BTreeMap::new() };
        ScrapeConfig {
            job_name: section.job_name.clone(),
            scrape_interval: section.scrape_interval,
            scrape_timeout: section.scrape_timeout,
            metric_relabel_configs: section.metric_relabel_configs.clone(),
            static_configs: vec![target],
            ..ScrapeConfig::default()
        }
    }

    /// The job that reads the host. Its target is called as the node is.
    fn host_job(&self) -> Result<Option<ResolvedJob>, Vec<(String, String)>> {
        if !self.host_metrics.enabled {
            return Ok(None);
        }
        let below = |found: Vec<(String, String)>| {
            found.into_iter().map(|(path, text)| (format!("host_metrics.{path}"), text)).collect::<Vec<_>>()
        };
        let problems = self.host_metrics.check();
        if !problems.is_empty() {
            return Err(below(problems));
        }
        let mut section = self.host_section();
        let node = self.own_labels.get("node").map(String::as_str);
        let patience = section.timeout(&self.global).0.mul_f64(READING_SHARE);
        let host = Host::new(&self.host_metrics, node, patience)
            .map_err(|error| vec![("host_metrics".to_owned(), error.to_string())])?;
        let labels = section.static_configs.iter_mut().map(|group| &mut group.labels);
        for labels in labels {
            let instance = node.map(str::to_owned).or_else(|| host.name());
            labels.extend(instance.map(|name| ("instance".to_owned(), name)));
            labels.extend(node.map(|node| ("node".to_owned(), node.to_owned())));
        }
        let job = section.resolve(&self.global).map_err(below)?;
        let (host, reads) = (Arc::new(host), format!("{:?} within {patience:?}", self.host_metrics));
        Ok(Some(job.read_by(Arc::new(move || host.render()), reads)))
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
    /// The position of Kubernetes events cannot be used.
    #[error(transparent)]
    KubeEvents(#[from] kube_events::Error),
    /// The pipeline does not run any more.
    #[error("the pipeline has stopped")]
    Stopped,
    /// A task panicked, which is a defect.
    #[error("a task of the pipeline failed")]
    Task(#[from] tokio::task::JoinError),
}

fn list(problems: &[(String, String)]) -> String {
    let lines = problems.iter().map(|(path, problem)| format!("{path}: {problem}"));
    lines.collect::<Vec<_>>().join("; ")
}

/// The jobs inside this process, which no configuration names.
#[derive(Clone, Default)]
struct Residents {
    own_metrics: Option<Render>,
    events: Option<Render>,
}

impl Residents {
    /// The jobs of a configuration, these among them.
    fn with(&self, config: &Config) -> Result<Vec<ResolvedJob>, Error> {
        let mut jobs = config.jobs(self.own_metrics.clone()).map_err(Error::Config)?;
        jobs.extend(self.events.clone().map(|render| config.events_job(render)));
        Ok(jobs)
    }
}

/// Gives a pipeline that runs other jobs.
pub struct Reloader {
    residents: Residents,
    changes: mpsc::Sender<Change>,
}

impl Reloader {
    /// Has the jobs of this configuration scraped from now on. What is the same in both goes on untouched; of the sections, only
    /// `global` without its external labels, `scrape_configs` and `host_metrics` are looked at.
    ///
    /// # Errors
    /// A configuration that `check` refuses, which changes nothing; and a pipeline that does not run.
    pub async fn reload(&self, config: &Config) -> Result<Changed, Error> {
        let jobs = self.residents.with(config)?;
        let (made, changed) = oneshot::channel();
        self.changes.send(Change { jobs, made }).await.map_err(|_| Error::Stopped)?;
        changed.await.map_err(|_| Error::Stopped)
    }
}

/// The pipeline, ready to run.
pub struct Pipeline {
    jobs: Vec<ResolvedJob>,
    residents: Residents,
    changes: Option<mpsc::Receiver<Change>>,
    discovery: Discovery,
    pool: Pool,
    scrapes: mpsc::Receiver<Arrival>,
    worker: Worker,
    journal: Option<journal::Opened>,
    watcher: Option<Watcher>,
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
        let residents = Residents { own_metrics, events: None };
        let jobs = residents.with(config)?;
        let mut external = LabelsBuilder::default();
        external.set(CLUSTER_ID, cluster_id);
        for (name, value) in &config.global.external_labels {
            external.set(name, value);
        }
        let external = external.build();
        let (mut batch, cluster_id) = (config.batch.clone(), external.value(CLUSTER_ID));
        let encoder = match config.encoding {
            Encoding::Parquet => {
                Encoder::new(&config.parquet, &writer.id, cluster_id).map_err(Error::Config)?
            }
            Encoding::VectorJson => {
                batch.max_bytes = config.vector_json.max_bytes;
                Encoder::vector(&config.vector_json)
            }
        };
        let settings =
            Settings { batch, limits: config.limits.clone(), external, next_sequence: writer.next_sequence };
        let worker = Worker::new(settings, encoder, Arc::new(Metrics::new(registry)?));
        let (queue, scrapes) = mpsc::channel(SCRAPES_MAX);
        let scrape_metrics = Arc::new(scrape::Metrics::new(registry)?);
        let pool =
            Pool::new(queue, config.limits.max_body_bytes, scrape_metrics, Arc::new(clock::now_millis));
        let discovery = Discovery::new(discovery::Metrics::new(registry)?);
        let (changes, journal, watcher) = (None, None, None);
        Ok(Self { jobs, residents, changes, discovery, pool, scrapes, worker, journal, watcher })
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
        let opened = journal::open(dir, config, writer.taken, self.worker.objects_max(), metrics)?;
        self.worker.keep_journal(&opened.left);
        self.journal = Some(opened);
        Ok(())
    }

    /// Has the Kubernetes events watched: rows go to `outlet`, counters are scraped as the job `kubernetes-events`. What was
    /// shipped is remembered in `dir`. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn watch_events(
        &mut self,
        config: &Config,
        dir: &Path,
        cluster_id: &str,
        outlet: kube_events::Outlet,
        registry: &Registry,
    ) -> Result<(), Error> {
        let (section, metrics) = (&config.kubernetes_events, kube_events::Metrics::new(registry)?);
        let (watcher, exposed) =
            kube_events::open(section, dir, cluster_id, &config.limits, outlet, metrics)?;
        let render: Render = Arc::new(move || exposed.render());
        self.jobs.push(config.events_job(Arc::clone(&render)));
        self.residents.events = Some(render);
        self.watcher = Some(watcher);
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

    /// Who gives it other jobs while it runs; asked for once everything else is made ready.
    pub fn reloader(&mut self) -> Reloader {
        let (changes, receiver) = mpsc::channel(1);
        self.changes = Some(receiver);
        Reloader { residents: self.residents.clone(), changes }
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
        let Self { jobs, changes, discovery, mut pool, scrapes, worker, journal, watcher, .. } = self;
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
        if let Some(watcher) = watcher {
            let (gate, stop) = (pool.gate(), stop.clone());
            tasks.spawn(async move {
                watcher.run(gate, stop).await;
                Ok(())
            });
        }
        let (gate, stopping) = (pool.gate(), stop.clone());
        let (stuck, is_stuck) = watch::channel(None);
        pool.pause_for(is_stuck);
        let rest = pool.rest();
        let connections = Connections { scrapes, objects, journal, stuck, gate, rest, stopping };
        tasks.spawn_blocking(move || worker::run(worker, connections, &left, &runtime));
        let look = move |job: &ResolvedJob| discovery.start(&job.job.name, job.sources());
        // Nobody changes what nobody can reload.
        let changes = changes.unwrap_or_else(|| mpsc::channel(1).1);
        tasks.spawn(async move { Ok(pool.run(jobs, look, changes, stop).await?) });
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}
