//! Whether targets are scraped: open for a single agent, kept by whoever knows whose turn it is among several.
//!
//! Takes the keeper's word, gives it to the loops and to the worker, and says when a closing has been carried out: no loop
//! runs, what they scraped is sealed, and the object is on its way. Also knows which scrapes are surely ours, because the
//! worker cuts its batches there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::object::Tenure;

/// How finely batches are cut where somebody else may have begun to scrape, milliseconds.
const CUT: i64 = 1_000;
/// Later than this many cuts nobody is likely to begin, and batches are sealed as usual.
const CUTS_MAX: i64 = 30;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the monotonic clock.
    pub at: Instant,
    /// By the wall clock, milliseconds since the Unix epoch.
    pub time: i64,
}

/// What the keeper says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    version: u64,
    pub(crate) is_open: bool,
    /// From when on every due scrape is ours; `None`: from whenever a loop starts.
    pub(crate) from: Option<Moment>,
    /// How long scrapes that are under way may take to end when it closes.
    pub(crate) patience: Duration,
    /// The turn that scrapes belong to, also those that are still on their way when it closes.
    pub(crate) tenure: Option<Tenure>,
}

/// What has been sealed of a closing.
#[derive(Clone, Copy, Debug, Default)]
struct Sealed {
    version: u64,
    next_sequence: u64,
}

/// The gate, as the loops and the worker see it.
#[derive(Clone, Debug)]
pub struct Gate {
    state: watch::Receiver<State>,
    ours_until: Arc<AtomicI64>,
    /// Of each job: the last closing that it has carried out.
    idle: watch::Sender<HashMap<usize, u64>>,
    sealed: watch::Sender<Sealed>,
}

/// Opens and closes the gate. Dropped, it leaves the gate as it is.
#[derive(Debug)]
pub struct Keeper {
    state: watch::Sender<State>,
    ours_until: Arc<AtomicI64>,
    sealed: watch::Receiver<Sealed>,
}

impl Gate {
    /// A gate that is open for ever.
    #[must_use]
    pub fn open() -> Self {
        let (gate, keeper) = Self::kept(i64::MAX);
        keeper.open(None, None);
        gate
    }

    /// A closed gate and its keeper. No scrape is surely ours yet.
    #[must_use]
    pub fn closed() -> (Self, Keeper) {
        Self::kept(i64::MIN)
    }

    fn kept(ours_until: i64) -> (Self, Keeper) {
        let state = State { version: 1, is_open: false, from: None, patience: Duration::ZERO, tenure: None };
        let (state, receiver) = watch::channel(state);
        let (sealed, is_sealed) = watch::channel(Sealed::default());
        let ours_until = Arc::new(AtomicI64::new(ours_until));
        let keeper = Keeper { state, ours_until: Arc::clone(&ours_until), sealed: is_sealed };
        (Self { state: receiver, ours_until, idle: watch::channel(HashMap::new()).0, sealed }, keeper)
    }

    /// What the keeper says now.
    pub(crate) fn state(&mut self) -> State {
        *self.state.borrow_and_update()
    }

    /// What the keeper says next.
    pub(crate) async fn changed(&mut self) -> State {
        if self.state.changed().await.is_err() {
            // Without a keeper nothing will change.
            std::future::pending::<()>().await;
        }
        self.state()
    }

    /// Makes the gate wait for this job, too, when it closes.
    pub(crate) fn expect_job(&self, job: usize) {
        self.idle.send_modify(|idle| _ = idle.insert(job, 0));
    }

    /// A job that was taken out of the configuration has ended: all its scrapes are in the queue.
    pub(crate) fn forget_job(&self, job: usize) {
        self.idle.send_modify(|idle| _ = idle.remove(&job));
    }

    /// A job says that it has carried out the closing `state`: none of its loops runs.
    pub(crate) fn set_idle(&self, job: usize, state: &State) {
        self.idle.send_modify(|idle| {
            if let Some(version) = idle.get_mut(&job) {
                *version = state.version;
            }
        });
    }

    /// Waits until there is a closing that all jobs have carried out and that is not sealed yet. All their scrapes are in
    /// the queue then.
    pub(crate) async fn closing_to_seal(&mut self) -> u64 {
        let mut idle = self.idle.subscribe();
        loop {
            let state = self.state();
            let all = idle.borrow_and_update().values().all(|version| *version >= state.version);
            if !state.is_open && all && self.sealed.borrow().version < state.version {
                return state.version;
            }
            tokio::select! {
                _ = self.changed() => {}
                // The sender is our own.
                _ = idle.changed() => {}
            }
        }
    }

    /// The worker says that everything scraped before the closing `version` is in objects below `next_sequence`, and those
    /// are on their way.
    pub(crate) fn set_sealed(&self, version: u64, next_sequence: u64) {
        self.sealed.send_replace(Sealed { version, next_sequence });
    }

    /// The turn that scrapes belong to.
    pub(crate) fn tenure(&self) -> Option<Tenure> {
        self.state.borrow().tenure
    }

    /// Scrapes of earlier times are ours whatever happens, milliseconds since the Unix epoch.
    pub(crate) fn ours_until(&self) -> i64 {
        self.ours_until.load(Ordering::Relaxed)
    }
}

impl Keeper {
    /// Lets targets be scraped in the turn `tenure`. With `from`, scrapes that have been due since then are made up for, late.
    pub fn open(&self, from: Option<Moment>, tenure: Option<Tenure>) {
        self.state.send_modify(|state| {
            let version = state.version + 1;
            *state = State { version, is_open: true, from, patience: Duration::ZERO, tenure };
        });
    }

    /// Ends all scraping. A scrape that is under way may end within `patience` and is given up then.
    pub fn close(&self, patience: Duration) {
        self.state.send_modify(|state| {
            *state = State { version: state.version + 1, is_open: false, from: None, patience, ..*state };
        });
    }

    /// Says until when scrapes are ours whatever happens, milliseconds since the Unix epoch.
    pub fn set_ours_until(&self, time: i64) {
        self.ours_until.store(time, Ordering::Relaxed);
    }

    /// Whether the gate is closed and all that was scraped is sealed: then the sequence number above all those objects.
    #[must_use]
    pub fn sealed(&self) -> Option<u64> {
        let (state, sealed) = (*self.state.borrow(), *self.sealed.borrow());
        (!state.is_open && sealed.version == state.version).then_some(sealed.next_sequence)
    }
}

/// Which stretch of time a scrape lies in. An object holds the scrapes of one stretch, as far as they come in order, so that
/// what somebody else's beginning costs is one stretch.
pub(crate) fn stretch(time: i64, ours_until: i64) -> i64 {
    if time < ours_until { 0 } else { 1 + (time.saturating_sub(ours_until) / CUT).min(CUTS_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_cut_where_somebody_else_may_begin() {
        for (time, expected) in [
            (i64::MIN, 0),
            (999, 0),
            (1_000, 1),
            (1_999, 1),
            (2_000, 2),
            (30_999, 30),
            (31_000, 31),
            (99_000, 31),
        ] {
            assert_eq!(stretch(time, 1_000), expected, "{time}");
        }
        assert_eq!((stretch(i64::MAX - 1, i64::MAX), stretch(5, i64::MIN)), (0, 31));
    }

    #[tokio::test]
    async fn a_closing_is_sealed_once_all_jobs_are_idle() {
        let (mut gate, keeper) = Gate::closed();
        (0..3).for_each(|job| gate.expect_job(job));
        keeper.open(None, None);
        assert!(gate.state().is_open && keeper.sealed().is_none());
        keeper.close(Duration::ZERO);
        let closing = gate.state();
        gate.set_idle(0, &closing);
        let mut other = gate.clone();
        tokio::select! {
            biased;
            version = other.closing_to_seal() => panic!("{version} while a job still scrapes"),
            () = std::future::ready(()) => {}
        }
        gate.set_idle(1, &closing);
        gate.forget_job(2);
        let version = other.closing_to_seal().await;
        assert!(keeper.sealed().is_none());
        other.set_sealed(version, 7);
        assert_eq!(keeper.sealed(), Some(7));
        keeper.open(None, None);
        assert_eq!(keeper.sealed(), None);
    }
}
