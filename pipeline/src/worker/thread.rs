//! The worker's thread: takes scrapes from one queue, gives objects to the other, and sleeps between.
//!
//! Blocks where the second queue is full, which is what holds the first one back.

use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::Error;
use crate::gate::Gate;
use crate::model::object::Object;
use crate::model::scrape::Scrape;

/// What the thread does next.
enum Next {
    Scrape(Scrape),
    /// The open batch is due.
    Due,
    /// The gate has closed: what is in the queue is the last for now.
    Closing(u64),
    /// The queue is closed and empty.
    End,
}

/// Runs until the queue of scrapes is closed and empty, and the last batch is sealed.
pub(crate) fn run(
    mut worker: Worker,
    mut scrapes: mpsc::Receiver<Scrape>,
    mut gate: Gate,
    objects: &mpsc::Sender<Object>,
    runtime: &Handle,
    stopping: &CancellationToken,
) -> Result<(), Error> {
    loop {
        let next = runtime.block_on(next(worker.due(), &mut scrapes, &mut gate));
        let sent = match next {
            Next::Scrape(scrape) => take(&mut worker, scrape, &gate, objects),
            Next::Due => seal(&mut worker, objects),
            Next::Closing(version) => {
                let mut sent = true;
                while let (true, Ok(scrape)) = (sent, scrapes.try_recv()) {
                    sent = take(&mut worker, scrape, &gate, objects);
                }
                let sent = sent && seal(&mut worker, objects);
                gate.set_sealed(version, worker.next_sequence());
                sent
            }
            Next::End => {
                let sent = seal(&mut worker, objects);
                return if sent || stopping.is_cancelled() { Ok(()) } else { Err(Error::ObjectsClosed) };
            }
        };
        if !sent {
            return if stopping.is_cancelled() { Ok(()) } else { Err(Error::ObjectsClosed) };
        }
    }
}

async fn next(due: Option<Instant>, scrapes: &mut mpsc::Receiver<Scrape>, gate: &mut Gate) -> Next {
    let is_due = async {
        match due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        scrape = scrapes.recv() => scrape.map_or(Next::End, Next::Scrape),
        version = gate.closing_to_seal() => Next::Closing(version),
        () = is_due => Next::Due,
    }
}

/// Takes a scrape and sends what that seals. False where nobody takes objects any more.
fn take(worker: &mut Worker, scrape: Scrape, gate: &Gate, objects: &mpsc::Sender<Object>) -> bool {
    let cut = worker.is_cut(scrape.time, gate.ours_until());
    let sent = !cut || seal(worker, objects);
    worker.take(scrape, Instant::now());
    if sent && worker.is_due(Instant::now()) { seal(worker, objects) } else { sent }
}

/// Seals what is open and sends it. False where nobody takes objects any more; the loss is counted.
fn seal(worker: &mut Worker, objects: &mpsc::Sender<Object>) -> bool {
    let Some(object) = worker.seal() else { return true };
    match objects.blocking_send(object) {
        Ok(()) => true,
        Err(unsent) => {
            worker.lose(&unsent.0);
            false
        }
    }
}
