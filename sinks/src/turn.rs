//! Whose turn it is: which objects are ours, and until when they may be sent.
//!
//! Several agents that write below one prefix take turns by a Lease, which somebody else keeps; here is what the sinks are
//! told of it. A single agent always has its turn, and everything it scraped is its own.

use std::sync::Arc;
use std::task::Poll;

use pipeline::model::object::Tenure;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::spool::Spool;

/// Whether objects may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nobody else writes below the prefix.
    Always,
    /// Until `deadline`, and not a moment longer: somebody else may begin some seconds after it.
    Until {
        /// By the monotonic clock.
        deadline: Instant,
        /// Tells whether somebody else may have had a turn since the last one.
        tenure: Tenure,
    },
    /// Not now.
    Not,
}

impl Turn {
    /// A turn that never ends, for a single agent.
    #[must_use]
    pub fn always() -> watch::Receiver<Self> {
        watch::channel(Self::Always).1
    }

    /// Whether this is still so.
    fn is_on(self) -> bool {
        match self {
            Self::Always => true,
            Self::Until { deadline, .. } => Instant::now() < deadline,
            Self::Not => false,
        }
    }

    /// Of a turn among several agents.
    pub(crate) fn tenure(self) -> Option<Tenure> {
        match self {
            Self::Until { tenure, .. } => Some(tenure),
            Self::Always | Self::Not => None,
        }
    }
}

/// Waits for a turn. `None` if there will be none.
pub(crate) async fn wait(turn: &mut watch::Receiver<Turn>) -> Option<Turn> {
    loop {
        let now = *turn.borrow_and_update();
        if now.is_on() {
            return Some(now);
        }
        turn.changed().await.ok()?;
    }
}

/// Waits until it is not our turn any more, or another one of ours than `of`: somebody else may have had one between them.
/// Looks at the clock whenever it is polled, since timers are late after a pause of the whole process.
pub(crate) async fn over(mut turn: watch::Receiver<Turn>, of: Option<Tenure>) {
    loop {
        let now = *turn.borrow_and_update();
        if !now.is_on() || now.tenure() != of {
            return;
        }
        let ended = async {
            match now {
                Turn::Until { deadline, .. } => {
                    let sleep = sleep_until(deadline);
                    tokio::pin!(sleep);
                    let late = |context: &mut std::task::Context<'_>| match now.is_on() {
                        true => sleep.as_mut().poll(context),
                        false => Poll::Ready(()),
                    };
                    std::future::poll_fn(late).await;
                }
                Turn::Always | Turn::Not => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = turn.changed() => if changed.is_err() {
                // What was said last holds until its deadline.
                return wait_out(now).await;
            },
            () = ended => {}
        }
    }
}

async fn wait_out(turn: Turn) {
    match turn {
        Turn::Until { deadline, .. } => sleep_until(deadline).await,
        Turn::Always => std::future::pending().await,
        Turn::Not => {}
    }
}

/// Which of the objects that this agent scraped are its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// All: nobody else scrapes.
    #[default]
    All,
    /// Those whose scrapes are all earlier than this are ours whatever happens; of later ones it is not known yet.
    Holding {
        /// The turn that they were scraped in.
        tenure: Tenure,
        /// Milliseconds since the Unix epoch.
        ours_until: i64,
    },
    /// Those whose scrapes are all earlier than this are ours; what is later, somebody else has scraped too.
    Lost {
        /// The turn that they were scraped in.
        tenure: Tenure,
        /// Milliseconds since the Unix epoch.
        ours_until: i64,
    },
}

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ours.
    Ours,
    /// Not known yet: scraped in this turn.
    Undecided(Tenure),
    /// Somebody else has scraped the same.
    Theirs,
}

impl Claim {
    /// Whose an object is that is new, by its latest scrape.
    #[must_use]
    pub fn judge(self, last_scrape: i64) -> Verdict {
        match self {
            Self::All => Verdict::Ours,
            Self::Holding { ours_until, .. } | Self::Lost { ours_until, .. } if last_scrape < ours_until => {
                Verdict::Ours
            }
            Self::Holding { tenure, .. } => Verdict::Undecided(tenure),
            Self::Lost { .. } => Verdict::Theirs,
        }
    }

    /// Whose an object is that is new. One that knows its turn may come before the claim of that turn does: as long as no
    /// other claim is made it is deliverable, and it can still be judged.
    #[must_use]
    pub(crate) fn judge_new(self, of: Option<Tenure>, last_scrape: i64) -> Verdict {
        match (self, of) {
            (_, None) => self.judge(last_scrape),
            (Self::All, Some(of)) => Verdict::Undecided(of),
            (_, Some(of)) => self.judge_again(of, last_scrape),
        }
    }

    /// Whose an object is that could not be judged when it was scraped in the turn `of`.
    #[must_use]
    pub fn judge_again(self, of: Tenure, last_scrape: i64) -> Verdict {
        match self {
            Self::Holding { tenure, .. } | Self::Lost { tenure, .. } if tenure != of => {
                Verdict::Undecided(of)
            }
            _ => self.judge(last_scrape),
        }
    }
}

/// The spool as the keeper of the Lease sees it.
#[derive(Clone, Debug)]
pub struct Backlog {
    spool: Arc<Spool>,
    /// That of the second stream of objects.
    beside: Option<Arc<Spool>>,
    wanted: watch::Receiver<bool>,
}

impl Backlog {
    pub(crate) fn new(spool: Arc<Spool>, beside: Option<Arc<Spool>>, wanted: watch::Receiver<bool>) -> Self {
        Self { spool, beside, wanted }
    }

    /// Says which objects are ours. Those that are not leave the spool and are counted.
    pub async fn claim(&self, claim: Claim) {
        self.spool.claim(claim).await;
    }

    /// The turn in which objects were scraped of which an earlier process could not know whose they are.
    #[must_use]
    pub fn undecided(&self) -> Option<Tenure> {
        self.spool.undecided()
    }

    /// Whether nothing waits that is known to be ours, in either stream: no upload is under way that could end after the next
    /// one's first.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.spool.is_drained() && self.beside.as_ref().is_none_or(|spool| spool.is_drained())
    }

    /// Whether everything below this sequence number has come to the spool, or was dropped on the way and counted.
    #[must_use]
    pub fn has_come(&self, next_sequence: u64) -> bool {
        self.spool.writer().next_sequence >= next_sequence
    }

    /// Whether objects wait for our turn that could be delivered then.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        *self.wanted.borrow()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TENURE: Tenure = Tenure { transitions: 3, acquired: 5 };

    #[test]
    fn objects_are_judged_by_their_latest_scrape() {
        let other = Tenure { transitions: 4, acquired: 9 };
        let (holding, lost) = (
            Claim::Holding { tenure: TENURE, ours_until: 100 },
            Claim::Lost { tenure: TENURE, ours_until: 100 },
        );
        for (claim, last, expected, again) in [
            (Claim::All, 100, Verdict::Ours, Verdict::Ours),
            (holding, 99, Verdict::Ours, Verdict::Ours),
            (holding, 100, Verdict::Undecided(TENURE), Verdict::Undecided(TENURE)),
            (lost, 99, Verdict::Ours, Verdict::Ours),
            (lost, 100, Verdict::Theirs, Verdict::Theirs),
        ] {
            assert_eq!(claim.judge(last), expected, "{claim:?} {last}");
            assert_eq!(claim.judge_again(TENURE, last), again, "{claim:?} {last}");
            assert_eq!(claim.judge_new(None, last), expected, "{claim:?} {last}");
            let early = if claim == Claim::All { Verdict::Undecided(TENURE) } else { expected };
            assert_eq!(claim.judge_new(Some(TENURE), last), early, "{claim:?} {last}");
            assert_eq!(claim.judge_new(Some(other), last), Verdict::Undecided(other), "{claim:?} {last}");
            if claim != Claim::All {
                assert_eq!(claim.judge_again(other, last), Verdict::Undecided(other), "{claim:?} {last}");
            }
        }
    }

    /// The whole process may stand still from before the end of one turn until after the beginning of the next.
    #[tokio::test(start_paused = true)]
    async fn a_turn_that_ended_is_over_although_the_next_has_begun() {
        let deadline = Instant::now() + Duration::from_secs(60);
        let of = |transitions| Turn::Until { deadline, tenure: Tenure { transitions, acquired: 5 } };
        let (sender, turn) = watch::channel(of(3));
        let mut over = Box::pin(over(turn, Some(TENURE)));
        tokio::select! {
            biased;
            () = &mut over => panic!("it has just begun"),
            () = std::future::ready(()) => {}
        }
        sender.send_replace(Turn::Not);
        sender.send_replace(of(5));
        tokio::time::timeout(Duration::from_secs(1), over).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_at_its_deadline_unless_it_is_prolonged() {
        let until =
            |seconds| Turn::Until { deadline: Instant::now() + Duration::from_secs(seconds), tenure: TENURE };
        let (sender, mut turn) = watch::channel(Turn::Not);
        let begun = Instant::now();
        let prolong = async {
            sleep_until(begun + Duration::from_secs(1)).await;
            sender.send_replace(until(5));
            sleep_until(begun + Duration::from_secs(4)).await;
            sender.send_replace(until(5));
        };
        let follow = async {
            assert!(wait(&mut turn).await.is_some());
            assert_eq!(begun.elapsed().as_secs(), 1);
            over(turn.clone(), Some(TENURE)).await;
            assert_eq!(begun.elapsed().as_secs(), 9);
        };
        tokio::join!(prolong, follow);
        sender.send_replace(until(60));
        let ended = async {
            tokio::join!(over(turn.clone(), Some(TENURE)), async { sender.send_replace(Turn::Not) })
        };
        tokio::time::timeout(Duration::from_secs(1), ended).await.unwrap();
        // The keeper is gone: what it said holds until then.
        sender.send_replace(until(7));
        drop(sender);
        let begun = Instant::now();
        over(turn.clone(), Some(TENURE)).await;
        assert_eq!(begun.elapsed().as_secs(), 7);
        assert_eq!(wait(&mut turn).await, None);
        let never = tokio::time::timeout(Duration::from_secs(9_999), over(Turn::always(), None)).await;
        assert!(never.is_err());
    }
}
