//! Nothing is lost uncounted, whatever comes, goes and restarts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What happens to a spool of [`BYTES_MAX`].
#[derive(Clone, Copy, Debug)]
enum Step {
    /// An object of so many bytes comes.
    Add(usize),
    /// The next one is given its key.
    Key,
    /// The one that has its key arrives.
    Deliver,
    /// The next one is refused.
    Reject,
    Restart,
}

const BYTES_MAX: u64 = 100;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        6 => (1_usize..60).prop_map(Step::Add),
        1 => (90_usize..130).prop_map(Step::Add),
        2 => Just(Step::Key),
        2 => Just(Step::Deliver),
        1 => Just(Step::Reject),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(one, 1..40)
}

/// What came and what became of it.
#[derive(Default)]
struct Ledger {
    added: u64,
    delivered: BTreeSet<u64>,
    keyed: Option<u64>,
}

impl Ledger {
    async fn live(&mut self, spool: &Spool, step: Step) {
        let next = async || spool.oldest().await.unwrap().map(|object| object.sequence);
        match step {
            Step::Add(size) => {
                let sequence = spool.writer().next_sequence;
                self.added += 10;
                let bytes: Bytes = vec![7; size].into();
                let crc32 = crc32fast::hash(&bytes);
                let format = Format::ALL[usize::try_from(sequence % 3).unwrap()];
                spool.add(&Object { bytes, crc32, format, ..object(sequence) }).await.unwrap();
            }
            Step::Key => {
                if let Some(sequence) = next().await {
                    assert!(self.keyed.is_none_or(|keyed| keyed == sequence), "it goes first");
                    self.keyed = Some(sequence);
                    let key = format!("key {sequence}");
                    spool
                        .record(InFlight { sequence, key, conflict: false, tenure: None, location: None })
                        .await
                        .unwrap();
                }
            }
            Step::Deliver => {
                if let Some(sequence) = self.keyed.take() {
                    assert_eq!(next().await, Some(sequence), "what has its key is not dropped");
                    assert!(self.delivered.insert(sequence), "delivered twice");
                    spool.delivered(sequence).await;
                }
            }
            Step::Reject => {
                if let Some(sequence) = next().await {
                    self.keyed = None;
                    spool.discard(sequence, DropReason::Rejected).await;
                }
            }
            Step::Restart => {}
        }
    }
}

impl Ledger {
    /// A receipt that was not recorded yet leaves an object that has its key: who tries again is told that it arrived.
    fn restarted(&mut self, spool: &Spool) {
        let contents = spool.lock();
        let again: Vec<u64> =
            contents.objects.keys().filter(|s| self.delivered.contains(s)).copied().collect();
        let in_flight = contents.state.in_flight.as_ref().map(|object| object.sequence);
        assert!(again.iter().all(|sequence| Some(*sequence) == in_flight), "{again:?}");
        for sequence in again {
            self.delivered.remove(&sequence);
            self.keyed = Some(sequence);
        }
    }
}

async fn live(steps: Vec<Step>) {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
    let (mut ledger, mut opened) = (Ledger::default(), Some(open(dir.path(), BYTES_MAX, &metrics)));
    for step in steps {
        if matches!(step, Step::Restart) {
            opened = None;
        }
        let (spool, _lock) = opened.get_or_insert_with(|| open(dir.path(), BYTES_MAX, &metrics));
        ledger.live(spool, step).await;
        if matches!(step, Step::Restart) {
            ledger.restarted(spool);
        }
        let status = spool.status();
        let lost: u64 = DropReason::ALL.into_iter().map(|reason| dropped(&metrics, reason).1).sum();
        let delivered = 10 * ledger.delivered.len() as u64;
        assert_eq!(ledger.added, delivered + lost + status.samples, "after {step:?}");
        assert!(status.bytes <= BYTES_MAX, "{status:?}");
        let taken = spool.writer().taken;
        assert!(taken == 0 || taken == spool.writer().next_sequence);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_came_was_delivered_or_dropped_and_counted_or_is_here(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(live(steps));
    }
}
