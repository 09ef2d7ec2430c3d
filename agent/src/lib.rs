//! The process: builds the pipeline and the sinks, connects them by a bounded queue, and stops them in order.
//!
//! ```text
//! config > pipeline ==objects==> sinks        beside them: admin (HTTP), telemetry (logs, metrics)
//! ```
//!
//! Everything that one command of the command line does is in `commands`; `main` owns the exit code.

pub mod cli;
pub mod commands;
pub mod config;

pub mod admin;
mod api;
mod clock;
pub mod compare;
pub mod doctor;
pub mod dry_run;
pub mod inspect;
pub mod lease;
mod memory;
pub mod migrate;
pub mod objects;
mod page;
pub mod problems;
mod progress;
pub mod reload;
pub mod samples;
mod signals;
pub mod tail;
pub mod targets;
pub mod telemetry;

#[cfg(any(test, fuzzing))]
pub use config::fuzz;

use std::sync::Arc;
use std::time::Duration;

use pipeline::Pipeline;
use pipeline::scrape::Render;
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use config::{Config, Loaded};
use problems::RecentProblems;
use reload::Reloader;

/// Objects between the pipeline and the sinks. The sinks take them as fast as the disk does; two bridge a pause, and more
/// would only be lost in a crash.
pub(crate) const OBJECTS_MAX: usize = 2;

/// The journal's directory in the spool's, whose lock keeps a second process out of both.
const JOURNAL: &str = "journal";
/// The spool of Kubernetes events, and what of them was shipped: in the spool's directory, too.
const EVENTS: &str = "events";
/// Their share of what the spool may take: one part in so many.
const EVENTS_SHARE: u64 = 16;

/// What the pipeline and the sinks may take in all to stop, above the sinks' own deadline.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Why the agent cannot start or ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A metric cannot be registered, which is a defect.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// The HTTP server cannot listen.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// The pipeline cannot start or ended early.
    #[error("the pipeline failed")]
    Pipeline(#[from] pipeline::Error),
    /// The sinks cannot start or ended early.
    #[error("the sinks failed")]
    Sinks(#[from] sinks::Error),
    /// The API server that keeps the Lease cannot be asked.
    #[error("leader election cannot begin")]
    Lease(#[from] pipeline::kubernetes::Error),
    /// A part ended although nobody asked it to, which is a defect.
    #[error("{0} ended early")]
    Ended(&'static str),
    /// A task panicked, which is a defect.
    #[error("a task failed")]
    Task(#[from] tokio::task::JoinError),
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] std::io::Error),
    /// A second signal came.
    #[error("stopped at once by a second signal: samples not yet in the spool are lost")]
    Interrupted,
    /// Stopping took too long.
    #[error("not stopped within {0:?}: samples not yet in the spool may be lost")]
    Deadline(Duration),
}

/// Runs until SIGTERM or SIGINT, then stops in order; a second signal ends it at once. `problems` are shown to whoever asks.
///
/// # Errors
/// When the agent cannot start, when a part ends early, and on the second signal.
pub async fn run_until_signal(loaded: Loaded, problems: RecentProblems) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let signals = signals::listen().map_err(Error::Signals)?;
    tokio::select! {
        ended = run(loaded, problems, stop.clone()) => ended,
        () = signals.handle(&stop) => Err(Error::Interrupted),
    }
}

/// Runs until `stop`, then stops in order: no more scrapes, the open batch sealed, everything spooled and uploaded until
/// the deadline. What is left stays in the spool.
///
/// # Errors
/// When the agent cannot start, and when a part ends early.
pub async fn run(loaded: Loaded, problems: RecentProblems, stop: CancellationToken) -> Result<(), Error> {
    let hangups = signals::hangups().map_err(Error::Signals)?;
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let mut config = loaded.config.clone();
    let registry = telemetry::registry()?;
    let listener = admin::bind(&config.server).await?;
    // Port 0 is a port of the kernel's choice, which nobody could know otherwise.
    let listen = listener.local_addr().unwrap_or(config.server.listen);
    let sink_metrics = Arc::new(sinks::Metrics::new(&registry)?);
    let of_events = divide_spool(&mut config);
    let mut sinks = sinks::open(&config.sinks, telemetry::VERSION, sink_metrics)?;
    let own = config.internal_metrics.then(|| own_metrics(&registry));
    let writer = sinks.writer();
    let mut pipeline = Pipeline::new(&config.pipeline, own, &writer, &config.cluster_id, &registry)?;
    let journal = config.sinks.spool.dir.join(JOURNAL);
    pipeline.keep_journal(&journal, &config.pipeline.journal, &writer, &registry)?;
    let events = match &of_events {
        Some(spool) => Some(watch_events(&config, spool, &mut pipeline, &mut sinks, &registry)?),
        None => None,
    };
    let election = match config.leader_election.enabled {
        true => Some(lease::open(&config.leader_election, &mut pipeline, &sinks, &registry).await?),
        false => None,
    };
    let source = loaded.source.to_string();
    let (reloader, requests, effective) = Reloader::new(loaded, pipeline.reloader(), hangups, &registry)?;
    let reload = config.reload.enable_lifecycle.then_some(requests);
    let shown = Shown { config: effective, source: source.clone(), problems, reload };
    let views = views(registry, &pipeline, &sinks, events, election.as_ref(), shown, stop.clone());
    tracing::info!(
        version = telemetry::VERSION,
        config = %source,
        jobs = config.pipeline.scrape_configs.len(),
        %listen,
        sink = %sink(&config),
        spool = %config.sinks.spool.dir.display(),
        memory_bytes_max = memory::bytes_max(&config),
        "agent started"
    );
    let (sender, objects) = mpsc::channel(OBJECTS_MAX);
    let mut parts = JoinSet::new();
    let reloader_stop = stop.clone();
    parts.spawn(async move {
        reloader.run(reloader_stop).await;
        ("reloading", Ok(()))
    });
    // Who takes turns notes when its scraping ends, and then ends it.
    let pipeline_stop = if election.is_some() { CancellationToken::new() } else { stop.clone() };
    let scraping = pipeline_stop.clone();
    let taken = sinks.taken();
    parts.spawn(async move {
        ("the pipeline", pipeline.run(sender, taken, pipeline_stop).await.map_err(Error::from))
    });
    let turn = election.as_ref().map_or_else(sinks::Turn::always, lease::Election::turn);
    let (sinks_stop, drained) = (stop.clone(), CancellationToken::new());
    let is_drained = drained.clone().drop_guard();
    parts.spawn(async move {
        let _is_drained = is_drained;
        ("the sinks", sinks.run(objects, turn, sinks_stop).await.map_err(Error::from))
    });
    if let Some(election) = election {
        let election_stop = stop.clone();
        parts.spawn(async move {
            election.run(election_stop, scraping, drained).await;
            ("leader election", Ok(()))
        });
    }
    // The server answers until everything else has ended.
    let served = CancellationToken::new();
    let serving = admin::serve(listener, views, served.clone());
    let running = async {
        let ended = join(parts, &stop).await;
        served.cancel();
        ended
    };
    let (ended, ()) = tokio::join!(running, serving);
    tracing::info!("agent stopped");
    ended
}

/// The spool of the Kubernetes events, if they are watched here: a share of the whole.
fn divide_spool(config: &mut Config) -> Option<sinks::spool::Config> {
    if !config.watches_events() {
        return None;
    }
    let whole = &mut config.sinks.spool;
    let share = whole.max_bytes.0 / EVENTS_SHARE;
    whole.max_bytes.0 -= share;
    Some(sinks::spool::Config { dir: whole.dir.join(EVENTS), max_bytes: pipeline::model::units::Size(share) })
}

/// Connects the watch of Kubernetes events with a stream of objects of its own.
fn watch_events(
    config: &Config,
    spool: &sinks::spool::Config,
    pipeline: &mut Pipeline,
    sinks: &mut sinks::Sinks,
    registry: &Registry,
) -> Result<sinks::StatusHandle, Error> {
    let metrics = Arc::new(sinks::Metrics::new(&telemetry::registry_of_events(registry)?)?);
    let sinks::Inlet { writer, taken, objects, status } = sinks.branch(sinks::EVENTS, spool, metrics)?;
    let outlet = pipeline::kube_events::Outlet { writer, objects, taken };
    pipeline.watch_events(&config.pipeline, &spool.dir, &config.cluster_id, outlet, registry)?;
    Ok(status)
}

/// Waits for all parts. The first that fails, or ends before it was asked to, stops the others.
async fn join(
    mut parts: JoinSet<(&'static str, Result<(), Error>)>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let all = async {
        let mut outcome = Ok(());
        while let Some(joined) = parts.join_next().await {
            let ended = match joined {
                Ok((part, Ok(()))) if !stop.is_cancelled() => Err(Error::Ended(part)),
                Ok((_, ended)) => ended,
                Err(panicked) => Err(panicked.into()),
            };
            if let Err(error) = ended {
                tracing::error!(
                    error = commands::with_causes(&error),
                    "stopping: a part of the agent ended early"
                );
                stop.cancel();
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    };
    let limit = sinks::DRAIN + STOP_MAX;
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        outcome = all => outcome,
        () = deadline => Err(Error::Deadline(limit)),
    }
}

/// What the HTTP server shows and no part of the agent knows.
struct Shown {
    config: watch::Receiver<String>,
    source: String,
    problems: RecentProblems,
    reload: Option<reload::Requests>,
}

/// What the HTTP server shows.
fn views(
    registry: Registry,
    pipeline: &Pipeline,
    sinks: &sinks::Sinks,
    events: Option<sinks::StatusHandle>,
    election: Option<&lease::Election>,
    shown: Shown,
    stop: CancellationToken,
) -> Arc<admin::Views> {
    let election = election.map(lease::Election::status);
    let doing = election.clone();
    let targets = pipeline.targets();
    let journal = pipeline.journal_problem();
    let (status, sinks) = (sinks.status(), sinks.status());
    Arc::new(admin::Views {
        registry,
        not_ready: Box::new(move || {
            let stopping = stop.is_cancelled().then(|| "stopping".to_owned());
            let election = election.as_ref().and_then(lease::StatusHandle::not_ready);
            let journal = journal.as_ref().and_then(|problem| problem.borrow().clone());
            let own = [stopping, election, journal].into_iter().flatten();
            let metrics = status.get().not_ready;
            let of_events = events.iter().flat_map(|events| events.get().not_ready);
            // What keeps both from their store is said once.
            let of_events: Vec<_> = of_events.filter(|reason| !metrics.contains(reason)).collect();
            let of_events = of_events.into_iter().map(|reason| format!("Kubernetes events: {reason}"));
            own.chain(metrics).chain(of_events).collect()
        }),
        doing: Box::new(move || doing.as_ref().map(lease::StatusHandle::line)),
        targets: Box::new(move || targets.jobs()),
        sinks: Box::new(move || sinks.get()),
        config: Box::new(move || shown.config.borrow().clone()),
        source: shown.source,
        problems: shown.problems,
        reload: shown.reload,
    })
}

/// The agent's own metrics as an exposition, for the job `agent`.
fn own_metrics(registry: &Registry) -> Render {
    let registry = registry.clone();
    Arc::new(move || telemetry::render(&registry).into_bytes())
}

/// Where objects go, as far as the configuration says.
fn sink(config: &Config) -> String {
    match (&config.sinks.sink.s3, &config.sinks.sink.file) {
        (Some(s3), _) => match &s3.bucket {
            Some(bucket) => format!("s3 bucket {bucket}"),
            None => "s3 bucket of the credentials".to_owned(),
        },
        (None, Some(file)) => format!("directory {}", file.dir.display()),
        (None, None) => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Part = (&'static str, Result<(), Error>);

    /// Joins two parts: one that does as it is told, and one given.
    async fn join_with(
        part: impl Future<Output = Part> + Send + 'static,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut parts = JoinSet::new();
        let good = stop.clone();
        parts.spawn(async move {
            good.cancelled().await;
            ("good", Ok(()))
        });
        parts.spawn(part);
        join(parts, stop).await
    }

    #[tokio::test]
    async fn a_part_that_ends_early_stops_the_others() {
        let stop = CancellationToken::new();
        let ended = join_with(async { ("bad", Ok(())) }, &stop).await;
        assert!(matches!(ended, Err(Error::Ended("bad"))), "{ended:?}");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_part_that_panics_stops_the_others() {
        let stop = CancellationToken::new();
        let ended = join_with(async { panic!("a defect") }, &stop).await;
        assert!(matches!(ended, Err(Error::Task(_))), "{ended:?}");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn stopping_when_asked_is_a_success() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(join_with(async { ("other", Ok(())) }, &stop).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_stop_is_given_up() {
        let stop = CancellationToken::new();
        stop.cancel();
        let ended = join_with(std::future::pending(), &stop).await;
        assert!(matches!(ended, Err(Error::Deadline(_))), "{ended:?}");
    }
}
