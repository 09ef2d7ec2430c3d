//! One agent of the simulation: its state machine, and in a few lines what its pipeline and its sinks do.

use std::collections::BTreeMap;

use pipeline::kubernetes::Lease;
use pipeline::model::object::Tenure;
use sinks::{Claim, Verdict};

use super::super::machine::{Around, Machine, Now};
use super::{INTERVAL, STEP};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Questions do not get to the API server.
    CutOff,
    /// They do, but the answers do not come back.
    Deaf,
    /// The process does not run.
    Stopped,
    /// The process is dead, and comes back.
    Dead,
    /// The store does not answer.
    NoStore,
}

/// One scraped object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) scrapes: Vec<i64>,
    pub(super) undecided: Option<Tenure>,
    pub(super) number: u64,
}

/// A question under way: when it takes effect, and when the answer is there.
pub(super) struct Question {
    pub(super) write: Option<(Lease, u64)>,
    pub(super) sent: Now,
    pub(super) effect: Option<i64>,
    pub(super) answer: Option<i64>,
    pub(super) outcome: Option<Answer>,
}

#[derive(Clone)]
pub(super) enum Answer {
    Is(Option<(Lease, u64)>),
    Conflict,
}

/// A PUT under way.
pub(super) struct Put {
    pub(super) object: u64,
    pub(super) key: i64,
    pub(super) effect: i64,
    pub(super) done: i64,
    pub(super) lost: bool,
}

pub(super) struct Agent {
    pub(super) name: String,
    pub(super) skew: i64,
    pub(super) machine: Machine,
    pub(super) question: Option<Question>,
    pub(super) version: u64,
    pub(super) next_round: i64,
    /// Open since, and the next due scrape.
    pub(super) scraping: Option<(Tenure, i64)>,
    pub(super) open: Vec<i64>,
    pub(super) spool: Vec<Object>,
    pub(super) claim: Claim,
    pub(super) put: Option<Put>,
    /// The key of an object, the turn in which it was given, and when that turn ended.
    pub(super) given: Option<(u64, i64, Tenure, i64)>,
    pub(super) last_key: i64,
    pub(super) turn: Option<Tenure>,
    pub(super) numbers: u64,
    pub(super) troubles: BTreeMap<i64, Kind>,
    pub(super) scraped: u64,
    pub(super) taken_over: u64,
    pub(super) lost: u64,
}

impl Agent {
    pub(super) fn new(number: usize, skew: i64) -> Self {
        let name = format!("agent-{number}");
        Self {
            machine: Machine::new(&name, None),
            name,
            skew,
            question: None,
            version: 0,
            next_round: 0,
            scraping: None,
            open: Vec::new(),
            spool: Vec::new(),
            claim: Claim::All,
            put: None,
            given: None,
            last_key: 0,
            turn: None,
            numbers: number as u64 * 1_000_000,
            troubles: BTreeMap::new(),
            scraped: 0,
            taken_over: 0,
            lost: 0,
        }
    }

    pub(super) fn has(&self, kind: Kind, time: i64) -> bool {
        self.troubles.iter().any(|(until, trouble)| *trouble == kind && *until > time)
    }

    pub(super) fn around(&self) -> Around {
        let closed = self.scraping.is_none();
        Around {
            wants_turn: !self.spool.is_empty() && self.machine.held.is_none(),
            settled: closed && self.open.is_empty(),
            drained: self.spool.iter().all(|object| object.undecided.is_some()) && self.put.is_none(),
        }
    }

    pub(super) fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let scrapes = std::mem::take(&mut self.open);
        let last = *scrapes.iter().max().unwrap();
        let undecided = match self.claim.judge(last) {
            Verdict::Ours => None,
            Verdict::Undecided(tenure) => Some(tenure),
            Verdict::Theirs => {
                self.taken_over += scrapes.len() as u64;
                return;
            }
        };
        self.numbers += 1;
        self.spool.push(Object { scrapes, undecided, number: self.numbers });
    }

    pub(super) fn claim(&mut self, claim: Claim) {
        self.claim = claim;
        let given = self.given.map(|(object, ..)| object);
        let mut dropped = 0;
        self.spool.retain_mut(|object| {
            let Some(of) = object.undecided else { return true };
            match claim.judge_again(of, *object.scrapes.iter().max().unwrap()) {
                Verdict::Theirs if given != Some(object.number) => {
                    dropped += object.scrapes.len() as u64;
                    return false;
                }
                Verdict::Undecided(_) => {}
                Verdict::Ours | Verdict::Theirs => object.undecided = None,
            }
            true
        });
        self.taken_over += dropped;
    }

    /// As the election tells the pipeline and the sinks.
    pub(super) fn apply(&mut self, wall: i64) {
        match self.machine.held {
            Some(held) => {
                self.claim(Claim::Holding {
                    tenure: held.tenure,
                    ours_until: held.ours_until.div_euclid(1_000),
                });
                if self.machine.handing_over.is_some() {
                    self.scraping = None;
                    self.seal();
                } else if self.scraping.is_none_or(|(tenure, _)| tenure != held.tenure) {
                    let from = held.from.map_or(wall, |from| from.time);
                    self.scraping = Some((held.tenure, next_due(from)));
                }
            }
            None => {
                self.scraping = None;
                if let Some(lost) = self.machine.lost {
                    let ours_until = lost.ours_until.div_euclid(1_000);
                    self.claim(Claim::Lost { tenure: lost.tenure, ours_until });
                }
                self.seal();
            }
        }
    }

    pub(super) fn scrape(&mut self, wall: i64) {
        let Some((tenure, due)) = self.scraping else { return };
        if wall < due {
            return;
        }
        // What is late has its own time, and what was missed is missed.
        let time = if wall - due <= STEP { due } else { wall };
        let ours_until = match self.claim {
            Claim::Holding { ours_until, .. } => ours_until,
            _ => i64::MIN,
        };
        let stretch = |time: i64| if time < ours_until { -1 } else { (time - ours_until) / 1_000 };
        let is_full = self.open.len() >= 3;
        if is_full || self.open.iter().max().is_some_and(|last| stretch(*last) < stretch(time)) {
            self.seal();
        }
        self.open.push(time);
        self.scraped += 1;
        self.scraping = Some((tenure, next_due(time + 1)));
    }
}

pub(super) fn next_due(time: i64) -> i64 {
    (time + INTERVAL - 1).div_euclid(INTERVAL) * INTERVAL
}
