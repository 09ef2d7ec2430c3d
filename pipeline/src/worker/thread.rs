//! The worker's thread: takes scrapes from one queue, gives objects to the other, and sleeps between.
//!
//! Blocks where the second queue is full, which is what holds the first one back. Has everything that is added to the open
//! batch written to the journal; while its disk refuses, what comes is sealed at once.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::Error;
use crate::clock;
use crate::gate::Gate;
use crate::journal::{Journal, Left};
use crate::model::object::Object;
use crate::model::scrape::Scrape;

/// How long the journal may keep a scrape waiting once everything stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What the thread is connected to.
pub(crate) struct Connections {
    pub(crate) scrapes: mpsc::Receiver<Scrape>,
    pub(crate) objects: mpsc::Sender<Object>,
    pub(crate) journal: Option<Journal>,
    pub(crate) gate: Gate,
    pub(crate) stopping: CancellationToken,
}

/// What the thread does next.
enum Next {
    Scrape(Scrape),
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
    let mut thread = Thread { worker, connections, runtime };
    let done = thread.replay(left) && thread.turn();
    if done || thread.connections.stopping.is_cancelled() { Ok(()) } else { Err(Error::ObjectsClosed) }
}

struct Thread<'a> {
    worker: Worker,
    connections: Connections,
    runtime: &'a Handle,
}

impl Thread<'_> {
    /// Sends the objects of batches that never became one. False where nobody takes objects any more.
    fn replay(&mut self, left: &Left) -> bool {
        for sequence in left.batches.iter().copied() {
            let found = match left.read(sequence) {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(sequence, %error, "a file of the journal cannot be read, its samples are lost");
                    continue;
                }
            };
            let Some(object) = self.worker.replay(sequence, found) else { continue };
            tracing::info!(sequence, samples = object.samples, "sealed what an earlier process had scraped");
            if !self.send(object) {
                return false;
            }
        }
        true
    }

    /// True when the queue of scrapes has ended, false where nobody takes objects any more.
    fn turn(&mut self) -> bool {
        loop {
            let sent = match self.runtime.block_on(self.next()) {
                Next::Scrape(scrape) => self.take(scrape) && (!self.is_urgent() || self.seal()),
                Next::Due | Next::JournalFailed => self.seal(),
                Next::Closing(version) => {
                    let mut sent = true;
                    while let (true, Ok(scrape)) = (sent, self.connections.scrapes.try_recv()) {
                        sent = self.take(scrape);
                    }
                    let sent = sent && self.seal();
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
        let Connections { scrapes, journal, gate, .. } = &mut self.connections;
        let failed = async {
            match journal.as_ref().filter(|journal| !journal.is_failing()) {
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

    /// Whether the open batch is durable as an object only, and nothing more is there to go into it.
    fn is_urgent(&self) -> bool {
        let Connections { scrapes, journal, .. } = &self.connections;
        scrapes.is_empty() && journal.as_ref().is_some_and(Journal::is_failing)
    }

    /// Takes a scrape and sends what that seals. False where nobody takes objects any more.
    fn take(&mut self, scrape: Scrape) -> bool {
        let gate = &self.connections.gate;
        let is_cut = self.worker.is_cut(scrape.time, gate.ours_until());
        let tenure = gate.tenure();
        if is_cut && !self.seal() {
            return false;
        }
        self.worker.set_tenure(tenure);
        let before = self.worker.open_samples();
        self.worker.take(scrape, Instant::now());
        let Connections { journal, stopping, .. } = &self.connections;
        if let Some(journal) = journal.as_ref().filter(|journal| !journal.is_failing())
            && let Some(entry) = self.worker.written_since(before)
        {
            // At the end a disk that hangs must not keep the batch from becoming an object.
            let patience = async {
                stopping.cancelled().await;
                tokio::time::sleep(STOP_PATIENCE).await;
            };
            self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = journal.append(entry) => {}
                    () = patience => {}
                }
            });
        }
        !self.worker.is_due(Instant::now()) || self.seal()
    }

    /// Seals what is open and sends it. False where nobody takes objects any more.
    fn seal(&mut self) -> bool {
        let sent = self.worker.seal().is_none_or(|object| self.send(object));
        if self.connections.journal.as_ref().is_some_and(Journal::was_lost) {
            self.worker.distrust_journal();
        }
        sent
    }

    /// Sends an object. False where nobody takes objects any more; the loss is counted.
    fn send(&self, object: Object) -> bool {
        let sent = self.connections.objects.blocking_send(object);
        if let Err(unsent) = &sent {
            self.worker.lose(&unsent.0);
        }
        sent.is_ok()
    }
}

async fn next(due: Option<Instant>, scrapes: &mut mpsc::Receiver<Scrape>, gate: &mut Gate) -> Next {
    tokio::select! {
        biased;
        scrape = scrapes.recv() => scrape.map_or(Next::End, Next::Scrape),
        version = gate.closing_to_seal() => Next::Closing(version),
        () = clock::until(due) => Next::Due,
    }
}
