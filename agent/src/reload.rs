//! A changed configuration, taken up while the agent runs: at SIGHUP, at `POST /-/reload`, or when its file is another.
//!
//! Takes the configuration from where it came from at the start, and the same environment. It is checked whole, and applied or
//! refused whole: whatever is wrong is said with all its problems, and the one in force stays. What is read only at the start
//! must be the same.

use std::time::Duration;

use pipeline::model::units;
use pipeline::scrape::Changed;
use prometheus::{Gauge, IntGauge, Registry};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config as Whole, Loaded, Problem};
use crate::{clock, memory};

/// Section `reload`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether `POST /-/reload` is served: false, as Prometheus' flag of that name, since whoever reaches the port could ask.
    pub enable_lifecycle: bool,
    /// How often the file is looked at; one that has changed is taken up. 0s for never, which is the default.
    pub auto_reload_interval: units::Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { enable_lifecycle: false, auto_reload_interval: units::Duration(Duration::ZERO) }
    }
}

/// Requests that wait for their turn; more are told to come again.
const REQUESTS_MAX: usize = 4;

/// Why a configuration is not taken up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read, or something is wrong in it.
    #[error(transparent)]
    Refused(#[from] config::Error),
    /// It is sound, and changes what cannot change while the agent runs.
    #[error("{}", restart(.0))]
    Restart(Vec<Problem>),
    /// The pipeline does not take it.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// Loading it failed, which is a defect.
    #[error("the configuration could not be loaded")]
    Load(#[from] JoinError),
}

fn restart(problems: &[Problem]) -> String {
    let mut text = "what has changed takes a restart, so that nothing of it is taken up:".to_owned();
    problems.iter().for_each(|problem| text = format!("{text}\n  {problem}"));
    text
}

/// How a request went: the text is for whoever asked.
pub type Answer = Result<(), String>;

/// Asks for a reload, from anywhere in the process.
#[derive(Clone, Debug)]
pub struct Requests(mpsc::Sender<oneshot::Sender<Answer>>);

impl Requests {
    /// Has the configuration loaded again and says how that went.
    ///
    /// # Errors
    /// What is wrong with it, or that nobody can look at it now.
    pub async fn reload(&self) -> Answer {
        let (answer, answered) = oneshot::channel();
        let busy = || "several reloads are under way already: ask again".to_owned();
        self.0.try_send(answer).map_err(|_| busy())?;
        answered.await.unwrap_or_else(|_| Err("the agent is stopping".to_owned()))
    }
}

/// What went on, for Prometheus, under its names.
struct Metrics {
    successful: IntGauge,
    succeeded_at: Gauge,
}

impl Metrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let successful = IntGauge::new(
            "agent_config_last_reload_successful",
            "Whether the last attempt to take up the configuration succeeded; 1 after the start.",
        )?;
        let succeeded_at = Gauge::new(
            "agent_config_last_reload_success_timestamp_seconds",
            "Unix time at which the configuration in force was taken up.",
        )?;
        registry.register(Box::new(successful.clone()))?;
        registry.register(Box::new(succeeded_at.clone()))?;
        let metrics = Self { successful, succeeded_at };
        metrics.succeeded();
        Ok(metrics)
    }

    fn succeeded(&self) {
        self.successful.set(1);
        self.succeeded_at.set(clock::now_seconds());
    }
}

/// See the module.
pub struct Reloader {
    /// In force.
    loaded: Loaded,
    pipeline: pipeline::Reloader,
    /// For people, the configuration in force.
    shown: watch::Sender<String>,
    metrics: Metrics,
    hangups: Signal,
    requests: mpsc::Receiver<oneshot::Sender<Answer>>,
    /// Digest of the text that was looked at last, successfully or not; `None` if it could not be read.
    seen: Option<u64>,
}

impl Reloader {
    /// One for the configuration that is in force from now on; with it whoever asks, and what is to be shown.
    ///
    /// # Errors
    /// When its metrics cannot be registered, which is a defect.
    pub fn new(
        loaded: Loaded,
        pipeline: pipeline::Reloader,
        hangups: Signal,
        registry: &Registry,
    ) -> Result<(Self, Requests, watch::Receiver<String>), prometheus::Error> {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let (shown, view) = watch::channel(loaded.effective.clone());
        let (metrics, seen) = (Metrics::new(registry)?, Some(loaded.digest));
        let reloader = Self { loaded, pipeline, shown, metrics, hangups, requests: receiver, seen };
        Ok((reloader, Requests(requests), view))
    }

    /// Waits for whoever asks, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let waiting = async {
            let interval = self.loaded.config.reload.auto_reload_interval.0;
            loop {
                tokio::select! {
                    Some(()) = self.hangups.recv() => {
                        // It is logged, and whoever sent the signal is not there to be told.
                        let _ = self.reload("SIGHUP").await;
                    }
                    Some(answer) = self.requests.recv() => {
                        let result = self.reload("POST /-/reload").await;
                        // Whoever asked may have gone.
                        let _ = answer.send(result.map_err(|error| crate::commands::with_causes(&error)));
                    }
                    () = next_look(interval) => {
                        if self.is_changed().await {
                            let _ = self.reload("the file has changed").await;
                        }
                    }
                }
            }
        };
        stop.run_until_cancelled(waiting).await;
    }

    /// Whether the text is not the one that was looked at last; one that cannot be read is looked at once, too.
    async fn is_changed(&self) -> bool {
        let source = self.loaded.source.clone();
        let text = spawn_blocking(move || source.text().ok()).await;
        text.is_ok_and(|text| text.as_deref().map(config::digest) != self.seen)
    }

    /// Loads the configuration again and takes it up, or says why not.
    async fn reload(&mut self, reason: &str) -> Result<(), Error> {
        let result = self.take_up().await;
        match &result {
            Ok(Changed { added, removed, changed, kept }) => {
                self.metrics.succeeded();
                tracing::info!(
                    reason,
                    config = %self.loaded.source,
                    jobs_added = added,
                    jobs_removed = removed,
                    jobs_changed = changed,
                    jobs_unchanged = kept,
                    memory_bytes_max = memory::bytes_max(&self.loaded.config),
                    "configuration reloaded"
                );
            }
            Err(error) => {
                self.metrics.successful.set(0);
                let error = crate::commands::with_causes(error);
                tracing::error!(reason, error, "configuration not reloaded: the one in force stays");
            }
        }
        result.map(drop)
    }

    async fn take_up(&mut self) -> Result<Changed, Error> {
        let (source, environment) = (self.loaded.source.clone(), self.loaded.environment.clone());
        let text = {
            let source = source.clone();
            spawn_blocking(move || source.text()).await?
        };
        self.seen = text.as_deref().ok().map(config::digest);
        let loaded = config::load_text(text, source, &environment, config::Purpose::Run)?;
        let fixed = fixed(&self.loaded.config, &loaded.config);
        if !fixed.is_empty() {
            return Err(Error::Restart(fixed));
        }
        for warning in &loaded.warnings {
            tracing::warn!(%warning, "configuration");
        }
        let changed = self.pipeline.reload(&loaded.config.pipeline).await?;
        self.shown.send_replace(loaded.effective.clone());
        self.loaded = loaded;
        Ok(changed)
    }
}

/// Waits until the file is to be looked at; for ever where it never is.
async fn next_look(interval: Duration) {
    if interval.is_zero() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(interval).await;
}

/// What is read only at the start, and is not the same.
fn fixed(old: &Whole, new: &Whole) -> Vec<Problem> {
    // All of them, by name: a section that is added has to be thought of.
    let Whole { pipeline, sinks, ingestion, leader_election, server, reload, internal_metrics, cluster_id } =
        new;
    let pipeline::Config {
        global,
        scrape_configs: _,
        host_metrics: _,
        kubernetes_events,
        sharding,
        own_labels: _,
        batch,
        journal,
        encoding,
        parquet,
        vector_json,
        limits,
    } = pipeline;
    let was = &old.pipeline;
    let same = [
        (
            "global.external_labels",
            global.external_labels == was.global.external_labels && *cluster_id == old.cluster_id,
        ),
        ("kubernetes_events", *kubernetes_events == was.kubernetes_events),
        ("sharding", *sharding == was.sharding),
        ("leader_election", *leader_election == old.leader_election),
        ("batch", *batch == was.batch),
        ("journal", *journal == was.journal),
        ("encoding", *encoding == was.encoding),
        ("parquet", *parquet == was.parquet),
        ("vector_json", *vector_json == was.vector_json),
        ("limits", *limits == was.limits),
        ("spool", sinks.spool == old.sinks.spool),
        ("credentials", sinks.credentials == old.sinks.credentials),
        ("sink", sinks.sink == old.sinks.sink),
        ("ingestion", *ingestion == old.ingestion),
        ("server", *server == old.server),
        ("reload", *reload == old.reload),
        ("internal_metrics", *internal_metrics == old.internal_metrics),
    ];
    let changed = same.into_iter().filter(|(_, is_same)| !is_same);
    let problem = |(path, _): (&str, bool)| Problem {
        path: path.to_owned(),
        value: None,
        text: "is read at the start only: restart the agent, or take the change back".to_owned(),
    };
    changed.map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Purpose, Source};

    fn load(text: &str) -> Whole {
        let environment =
            Environment::from_pairs([("CEDANA_AUTH_TOKEN_FILE", "/token"), ("CLUSTER_ID", "c")]);
        let source = Source::File("config.yaml".into());
        config::load_text(Ok(text.to_owned()), source, &environment, Purpose::Run).unwrap().config
    }

    #[test]
    fn jobs_may_change_and_what_is_read_at_the_start_may_not() {
        let old = load("scrape_configs: [{job_name: a}]");
        let check = |text: &str, expected: &[&str]| {
            let found = fixed(&old, &load(text));
            assert_eq!(
                found.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(),
                expected,
                "{text}"
            );
        };
        check("scrape_configs: [{job_name: b}]", &[]);
        check("{global: {scrape_interval: 5s, sample_limit: 3}, host_metrics: {enabled: true}}", &[]);
        check("global: {external_labels: {zone: z}}", &["global.external_labels"]);
        check("global: {external_labels: {cluster_id: d}}", &["global.external_labels"]);
        let sections = "{kubernetes_events: {enabled: true}, sharding: {total: 2, index: 0}, ingestion: partitioned, batch: {max_age: 3s}, \
            encoding: vector_json, parquet: {promote: [zone]}, limits: {max_series: 7}, spool: {dir: x}, sink: {s3: {bucket: b}}, \
            credentials: {aws: {}}, server: {listen: 127.0.0.1:1}, reload: {enable_lifecycle: true}, internal_metrics: false}";
        let found = fixed(&old, &load(sections));
        let found: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
        let expected = [
            "kubernetes_events",
            "sharding",
            "batch",
            "encoding",
            "parquet",
            "limits",
            "spool",
            "credentials",
            "sink",
            "ingestion",
            "server",
            "reload",
            "internal_metrics",
        ];
        assert_eq!(found, expected);
    }
}
