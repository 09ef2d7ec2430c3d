//! Several agents, one at work: who holds a Lease of Kubernetes scrapes and uploads, the others stand by.
//!
//! Takes the Lease, gives the pipeline its gate and the sinks their turn. A holder that cannot renew the Lease stops
//! uploading before anybody can take it, and goes on scraping into its spool; what it scraped after somebody else's beginning
//! is dropped and counted, everything before is delivered when it is its turn again, for which it asks. What to do and when
//! is decided by `machine`; here are the questions to the API server and what follows from the answers.

pub mod config;
mod machine;
mod metrics;
#[cfg(test)]
mod simulation;
mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use pipeline::Pipeline;
use pipeline::gate::{Keeper, Moment};
use pipeline::kubernetes::{Client, Error, Lease, Leases, WriteError};
use pipeline::model::object::Tenure;
use prometheus::Registry;
use sinks::{Backlog, Claim, Sinks, Turn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use metrics::Metrics;
pub use status::{Status, StatusHandle};

use crate::clock;
use machine::{Around, Machine, Now, PATIENCE, SOON};

/// What one question may take; two of them and a pause fit into the time that a holder has to renew the Lease.
const QUESTION_MAX: Duration = Duration::from_secs(2);
/// After somebody else has written first.
const AT_ONCE: Duration = Duration::from_millis(20);
/// What giving the Lease back may take. Without it the next one waits ten seconds.
const GIVE_BACK_MAX: Duration = Duration::from_secs(2);

/// Makes an election ready: puts the gate before the pipeline. Asks nothing yet.
///
/// # Errors
/// When the configuration names no API server that could be asked.
pub async fn open(
    config: &Config,
    pipeline: &mut Pipeline,
    sinks: &Sinks,
    registry: &Registry,
) -> Result<Election, crate::Error> {
    let client = Client::open(&config.server()).await?;
    let leases = Leases::new(client, config.lease_namespace.as_deref(), &config.lease_name);
    let me = config.identity(&sinks.writer().id);
    let metrics = Metrics::new(registry)?;
    let mut election = Election::new(leases, &me, pipeline.keeper(), sinks.backlog(), metrics);
    election.machine.learn_undecided(pipeline.undecided());
    Ok(election)
}

/// Keeps the Lease. See the module.
pub struct Election {
    leases: Leases,
    machine: Machine,
    keeper: Keeper,
    backlog: Backlog,
    turn: watch::Sender<Turn>,
    metrics: Metrics,
    status: StatusHandle,
    applied: Applied,
}

/// What the rest of the process was told last.
#[derive(Debug, Default)]
struct Applied {
    claim: Option<Claim>,
    open: Option<(Tenure, Option<Moment>)>,
}

impl Election {
    /// An election in which `me` takes part. The gate is closed, and nothing is uploaded, until it is won.
    pub fn new(leases: Leases, me: &str, keeper: Keeper, backlog: Backlog, metrics: Metrics) -> Self {
        let machine = Machine::new(me, backlog.undecided());
        let status = StatusHandle::new(me, &leases.shown());
        Self {
            leases,
            machine,
            keeper,
            backlog,
            turn: watch::channel(Turn::Not).0,
            metrics,
            status,
            applied: Applied::default(),
        }
    }

    /// Whose turn it is to upload, for the sinks.
    #[must_use]
    pub fn turn(&self) -> watch::Receiver<Turn> {
        self.turn.subscribe()
    }

    /// How things are.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.status.clone()
    }

    /// Keeps the Lease until the sinks are `drained`, and then gives it back. At `stop` it notes the time and ends
    /// `scraping`; from then on the Lease is not sought any more.
    pub async fn run(
        mut self,
        stop: CancellationToken,
        scraping: CancellationToken,
        drained: CancellationToken,
    ) {
        // However this ends, the pipeline must not wait for it.
        let scraping = scraping.drop_guard();
        self.keep(&stop, true).await;
        self.machine.stop(now());
        self.apply().await;
        drop(scraping);
        self.keep(&drained, false).await;
        // Where an upload was broken off at the end, its bytes may still arrive: then the next one waits until the Lease has
        // run out.
        if drained.is_cancelled() && self.backlog.is_drained() {
            let _ = tokio::time::timeout(GIVE_BACK_MAX, self.give_back()).await;
            self.apply().await;
        }
    }

    /// Looks at the Lease again and again, until told otherwise, or while it is ours.
    async fn keep(&mut self, until: &CancellationToken, seek: bool) {
        while !until.is_cancelled() && (seek || self.machine.held.is_some()) {
            let began = Instant::now();
            let again = self.round(until).await;
            until.run_until_cancelled(sleep(again.saturating_sub(began.elapsed()))).await;
        }
    }

    /// One look at the Lease and what follows; gives how long after its beginning the next one is due. Only questions are
    /// broken off at `until`, not what follows from answers.
    async fn round(&mut self, until: &CancellationToken) -> Duration {
        let outcome = match until.run_until_cancelled(self.leases.read(QUESTION_MAX)).await {
            Some(Ok(lease)) => self.follow(lease.as_ref(), until).await,
            Some(Err(error)) => Err(error.into()),
            None => Ok(()),
        };
        self.apply().await;
        let uncertain = self.machine.held.is_some() && !self.machine.is_certain(Instant::now());
        match &outcome {
            Ok(()) => self.status.set_problem(None),
            // Another one was faster.
            Err(WriteError::Conflict) => return AT_ONCE,
            Err(WriteError::Failed(error)) => self.note_failure(error, uncertain),
        }
        self.note_duty();
        let pause = self.machine.pause(self.backlog.wants_turn());
        if outcome.is_err() && self.machine.held.is_some() { SOON } else { pause }
    }

    async fn follow(&mut self, lease: Option<&Lease>, until: &CancellationToken) -> Result<(), WriteError> {
        self.machine.learn_undecided(self.backlog.undecided());
        let wanted = self.machine.decide(now(), lease, self.around());
        // What was lost is settled before anything new is won.
        self.apply().await;
        let Some(wanted) = wanted else { return Ok(()) };
        let sent = now();
        if let Some(stored) = until.run_until_cancelled(self.leases.write(&wanted, QUESTION_MAX)).await {
            self.machine.wrote(&stored?, sent);
        }
        Ok(())
    }

    fn around(&self) -> Around {
        let sealed = self.keeper.sealed();
        let settled = sealed.is_some_and(|next_sequence| self.backlog.has_come(next_sequence));
        let drained = self.backlog.is_drained() && (settled || sealed.is_none());
        Around { wants_turn: self.backlog.wants_turn(), settled, drained }
    }

    /// Tells the rest of the process what is so now.
    async fn apply(&mut self) {
        match self.machine.held {
            Some(held) => {
                let open = self.machine.ended().is_none().then_some((held.tenure, held.from));
                // Closed before anything that takes time: what is scraped after the end is the next one's.
                if open.is_none() {
                    self.set_gate(None, PATIENCE);
                }
                let ours_until = held.ours_until.div_euclid(1_000);
                self.claim(Claim::Holding { tenure: held.tenure, ours_until }).await;
                let turn = Turn::Until { deadline: held.deadline(), tenure: held.tenure };
                self.turn.send_if_modified(|before| std::mem::replace(before, turn) != turn);
                if open.is_some() {
                    self.set_gate(open, PATIENCE);
                }
            }
            None => {
                self.end_turn();
                self.set_gate(None, Duration::ZERO);
                if let Some(lost) = self.machine.lost {
                    let ours_until = lost.ours_until.div_euclid(1_000);
                    self.claim(Claim::Lost { tenure: lost.tenure, ours_until }).await;
                }
            }
        }
    }

    /// Ends the turn at once. Its deadline stays known where it has passed, since it tells what was sent in time.
    fn end_turn(&self) {
        let now = Instant::now();
        self.turn.send_if_modified(|turn| match turn {
            Turn::Until { deadline, .. } if *deadline > now => {
                *deadline = now;
                true
            }
            _ => false,
        });
    }

    fn set_gate(&mut self, open: Option<(Tenure, Option<Moment>)>, patience: Duration) {
        if open == self.applied.open {
            return;
        }
        match open {
            Some((tenure, from)) => self.keeper.open(from, Some(tenure)),
            None => self.keeper.close(patience),
        }
        self.applied.open = open;
    }

    async fn claim(&mut self, claim: Claim) {
        if self.applied.claim == Some(claim) {
            return;
        }
        if let Claim::Holding { ours_until, .. } | Claim::Lost { ours_until, .. } = claim {
            self.keeper.set_ours_until(ours_until);
        }
        self.backlog.claim(claim).await;
        self.applied.claim = Some(claim);
    }

    /// Gives the Lease back, so that the next one need not wait until it runs out.
    async fn give_back(&mut self) {
        for _ in 0..3 {
            let Ok(Some(lease)) = self.leases.read(QUESTION_MAX).await else { return };
            let Some(wanted) = self.machine.give_back(&lease) else { return };
            match self.leases.write(&wanted, QUESTION_MAX).await {
                Ok(stored) => {
                    self.machine.wrote(&stored, now());
                    tracing::info!(lease = self.leases.shown(), "gave the lease back");
                    return;
                }
                Err(WriteError::Conflict) => {}
                Err(WriteError::Failed(error)) => {
                    tracing::warn!(%error, "cannot give the lease back, the next agent waits until it runs out");
                    return;
                }
            }
        }
    }

    fn note_failure(&self, error: &Error, uncertain: bool) {
        if self.machine.held.is_some() {
            self.metrics.renew_failures.inc();
        }
        let what = if uncertain {
            "uploading paused, scraping goes on into the spool"
        } else if self.machine.held.is_some() {
            "trying again"
        } else {
            "nothing is scraped by this agent"
        };
        self.status.set_problem(Some((format!("cannot ask for the lease: {error}"), what)));
    }

    fn note_duty(&self) {
        let certain = self.machine.is_certain(Instant::now());
        self.metrics.leader.set(i64::from(certain));
        let status = match (self.machine.held, &self.machine.handing_over) {
            (Some(_), Some(_)) => Status::HandingOver,
            (Some(_), None) if certain => Status::Holder,
            (Some(_), None) => Status::Uncertain,
            (None, _) if !self.machine.has_seen() => Status::Unknown,
            (None, _) => Status::Standby { holder: self.machine.holder().map(str::to_owned) },
        };
        if self.status.set(status) {
            self.metrics.transitions.inc();
        }
    }
}

fn now() -> Now {
    Now::new(Instant::now(), clock::now_millis())
}
