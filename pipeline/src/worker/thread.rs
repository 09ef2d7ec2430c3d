//! The worker's thread: takes scrapes from one queue, gives objects to the other, and sleeps between.
//!
//! Blocks where the second queue is full, which is what holds the first one back. Has everything that is added to the open
//! batch written to the journal; while its disk refuses, what comes is sealed at once.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::Error;
use crate::clock;
use crate::gate::Gate;
use crate::journal::{Found, Journal, Left};
use crate::metrics::{Metrics, reason};
use crate::model::object::Object;
use crate::model::scrape::{Arrival, Scrape};
use crate::rest::Rest;

/// How long the journal may keep the thread waiting once everything stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// After waiting this long for a disk, no more is scraped, because it could not be kept.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// How often a file of the journal is read before it is set aside, and the pause after the first time.
const READS_MAX: u32 = 5;
const READ_PAUSE: Duration = Duration::from_millis(200);

/// How long what comes is left in the queue after a look at it: one step of the schedules' grid. It is little beside the half
/// second after which the journal is synced.
const REST: Duration = Duration::from_millis(100);

/// What the thread is connected to.
pub(crate) struct Connections {
    pub(crate) scrapes: mpsc::Receiver<Arrival>,
    pub(crate) objects: mpsc::Sender<Object>,
    pub(crate) journal: Option<Journal>,
    /// Where it says that it waits for a disk.
    pub(crate) stuck: watch::Sender<Option<String>>,
    pub(crate) gate: Gate,
    /// Ended by those who need the thread before its time.
    pub(crate) rest: Rest,
    pub(crate) stopping: CancellationToken,
}

/// What the thread does next.
enum Next {
    Arrival(Arrival),
    /// The open batch is due.
    Due,
    /// The journal's disk refuses: the open batch has to become durable as an object.
    JournalFailed,
    /// The gate has closed: what is in the queue is the last for now.
    Closing(u64),
    /// The queue is closed and empty.
    End,
}

/// Seals what an earlier process left, then runs until the queue of scrapes is closed and empty and the last batch is sealed.
pub(crate) fn run(
    worker: Worker,
    connections: Connections,
    left: &Left,
    runtime: &Handle,
) -> Result<(), Error> {
    let mut thread = Thread { worker, connections, runtime, is_exposed: false, patient_until: None };
    let done = thread.replay(left) && thread.turn();
    if done || thread.connections.stopping.is_cancelled() { Ok(()) } else { Err(Error::ObjectsClosed) }
}

struct Thread<'a> {
    worker: Worker,
    connections: Connections,
    runtime: &'a Handle,
    /// Whether the open batch holds something that the journal does not.
    is_exposed: bool,
    /// Once everything stops: until when the journal is waited for.
    patient_until: Option<Instant>,
}

impl Thread<'_> {
    /// Sends the objects of batches that never became one. False where nobody takes objects any more.
    fn replay(&mut self, left: &Left) -> bool {
        for sequence in left.batches.iter().copied() {
            let found = self.read(left, sequence);
            let Self { worker, connections, runtime, .. } = self;
            let (metrics, mut sent) = (worker.metrics(), true);
            worker.replay(sequence, found, |object| {
                let (sequence, samples) = (object.sequence, object.samples);
                tracing::info!(sequence, samples, "sealed what an earlier process had scraped");
                sent &= send(connections, runtime, &metrics, object);
            });
            if !sent {
                return false;
            }
        }
        true
    }

    /// Reads a batch back; a disk that refuses is asked some times.
    fn read(&self, left: &Left, sequence: u64) -> Found {
        for attempt in 1..READS_MAX {
            match left.read(sequence) {
                Ok(found) => return found,
                Err(error) => {
                    tracing::warn!(sequence, attempt, %error, "cannot read the journal, trying again");
                    self.runtime.block_on(tokio::time::sleep(READ_PAUSE * attempt));
                }
            }
        }
        left.read(sequence).unwrap_or_else(|error| left.give_up(sequence, &error))
    }

    /// True when the queue of scrapes has ended, false where nobody takes objects any more.
    fn turn(&mut self) -> bool {
        loop {
            let sent = match self.runtime.block_on(self.next()) {
                Next::Arrival(arrival) => self.take(arrival) && self.take_all() && self.rest(),
                Next::Due | Next::JournalFailed => self.seal(),
                Next::Closing(version) => {
                    let sent = self.take_all() && self.seal();
                    // No loop runs that could bring the rest of a body.
                    self.worker.give_up_all();
                    self.connections.gate.set_sealed(version, self.worker.next_sequence());
                    sent
                }
                Next::End => return self.seal(),
            };
            if !sent {
                return false;
            }
        }
    }

    async fn next(&mut self) -> Next {
        let due = self.worker.due();
        let is_open = self.worker.open_scrapes() > 0;
        let Connections { scrapes, journal, gate, .. } = &mut self.connections;
        let journal = journal.as_ref().filter(|_| is_open);
        let is_failing = journal.is_some_and(Journal::is_failing);
        // Whatever else is there goes into the same object.
        if (is_failing || self.is_exposed) && is_open && scrapes.is_empty() {
            return Next::JournalFailed;
        }
        let failed = async {
            match journal.filter(|_| !is_failing) {
                Some(journal) => journal.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = failed => Next::JournalFailed,
            next = next(due, scrapes, gate) => next,
        }
    }

    /// Takes what is in the queue. False where nobody takes objects any more.
    fn take_all(&mut self) -> bool {
        // What comes meanwhile is for the next time, since other things may have to be done first.
        for _ in 0..self.connections.scrapes.len() {
            let Ok(arrival) = self.connections.scrapes.try_recv() else { break };
            if !self.take(arrival) {
                return false;
            }
        }
        true
    }

    /// Leaves what comes in the queue for a while, because to be woken for each scrape costs more than to read it. At the end
    /// nothing is worth waiting for.
    fn rest(&self) -> bool {
        let Connections { scrapes, stopping, rest, .. } = &self.connections;
        if !stopping.is_cancelled() && !scrapes.is_closed() {
            rest.rest(REST);
        }
        true
    }

    /// Reads a part of a body, or takes a scrape and sends what that seals. False where nobody takes objects any more.
    fn take(&mut self, arrival: Arrival) -> bool {
        match arrival {
            Arrival::Part(part) => {
                self.worker.read_part(&part);
                true
            }
            Arrival::Scrape(scrape) => self.take_scrape(scrape),
        }
    }

    fn take_scrape(&mut self, scrape: Scrape) -> bool {
        let gate = &self.connections.gate;
        let is_cut = self.worker.is_cut(scrape.time, gate.ours_until());
        let tenure = gate.tenure();
        let is_lost = self.connections.journal.as_ref().is_some_and(Journal::is_lost);
        if (is_cut || is_lost) && !self.seal() {
            return false;
        }
        self.worker.set_tenure(tenure);
        let (before, now) = (self.worker.open_scrapes(), Instant::now());
        self.worker.take(scrape, now);
        self.keep(before);
        !self.worker.is_due(now) || self.seal()
    }

    /// Has what was added to the open batch written to the journal, unless the disk refuses, or has refused a part of the
    /// batch: then it is about to become an object.
    fn keep(&mut self, before: usize) {
        let Self { worker, connections: Connections { journal, stopping, stuck, .. }, .. } = self;
        let Some(journal) = journal else { return };
        if self.is_exposed || journal.is_failing() {
            self.is_exposed = true;
            return;
        }
        let Some(entry) = worker.written_since(before) else { return };
        let Err(entry) = journal.try_append(entry) else { return };
        let patient_until = &mut self.patient_until;
        // At the end a disk that hangs must not keep the batch from becoming an object.
        let patience = async {
            stopping.cancelled().await;
            let until = *patient_until.get_or_insert_with(|| Instant::now() + STOP_PATIENCE);
            tokio::time::sleep_until(until.into()).await;
        };
        let given = self.runtime.block_on(async {
            tokio::select! {
                biased;
                given = patiently(journal.append(entry), stuck) => given,
                () = patience => false,
            }
        });
        if !given {
            // The series in it are written again.
            journal.lose();
            self.is_exposed = true;
        }
    }

    /// Seals what is open and sends it. False where nobody takes objects any more.
    fn seal(&mut self) -> bool {
        let Self { worker, connections, runtime, .. } = self;
        let (metrics, mut sent) = (worker.metrics(), true);
        worker.seal_each(|object| sent &= send(connections, runtime, &metrics, object));
        self.is_exposed = false;
        if self.connections.journal.as_ref().is_some_and(Journal::was_lost) {
            self.worker.distrust_journal();
        }
        sent
    }
}

/// Sends an object. False where nobody takes objects any more; the loss is counted.
fn send(connections: &Connections, runtime: &Handle, metrics: &Metrics, object: Object) -> bool {
    let Connections { objects, stuck, .. } = connections;
    match runtime.block_on(patiently(objects.reserve(), stuck)) {
        Ok(place) => {
            place.send(object);
            true
        }
        Err(_) => {
            let (sequence, samples) = (object.sequence, object.samples);
            tracing::error!(sequence, samples, "dropped an object that the spool did not take in time");
            metrics.dropped(reason::NOT_SPOOLED, samples);
            false
        }
    }
}

/// Waits for a disk, and says so if that takes long.
async fn patiently<T>(waiting: impl Future<Output = T>, stuck: &watch::Sender<Option<String>>) -> T {
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        done = &mut waiting => return done,
        () = tokio::time::sleep(STUCK_AFTER) => {}
    }
    tracing::warn!("the disk does not keep up, scraping pauses");
    let text = "the disk does not keep up: scraping pauses until it does";
    stuck.send_replace(Some(text.to_owned()));
    let done = waiting.await;
    stuck.send_replace(None);
    tracing::info!("the disk keeps up again");
    done
}

async fn next(due: Option<Instant>, scrapes: &mut mpsc::Receiver<Arrival>, gate: &mut Gate) -> Next {
    tokio::select! {
        biased;
        arrival = scrapes.recv() => arrival.map_or(Next::End, Next::Arrival),
        version = gate.closing_to_seal() => Next::Closing(version),
        () = clock::until(due) => Next::Due,
    }
}
