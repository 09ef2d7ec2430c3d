//! What to do about the Lease: a state machine without a clock and without I/O.
//!
//! Takes what the Lease says, when that was seen, and how things are in this process; gives what to write, whether to scrape
//! and until when to upload. Whether a holder is gone is judged by how long what it wrote has not changed, by our own
//! monotonic clock; clocks are never compared for that. Clocks only say where on the axis of timestamps one agent's scrapes
//! end and the next one's begin: `acquired` of the Lease, which both go by.

use std::time::Duration;

use pipeline::gate::Moment;
use pipeline::kubernetes::{Ask, Lease};
use pipeline::model::object::Tenure;
use tokio::time::Instant;

/// How long a holder that is not heard of is believed to be there.
pub(crate) const DURATION: Duration = Duration::from_secs(10);
/// How often the holder says that it is there.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(2);
/// A holder that could not say so for this long uploads no more: four seconds before anybody can take the Lease.
pub(crate) const DEADLINE: Duration = Duration::from_secs(6);
/// How often the others look; below [`DURATION`] in sum with it by more than the time of two questions.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often who is asked, or asks, looks.
pub(crate) const SOON: Duration = Duration::from_millis(500);
/// What scrapes under way get to end before the Lease is handed over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How often who asks repeats it.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Who has not repeated it for longer may be gone.
const ASK_MAX: Duration = Duration::from_secs(6);
/// Handing over takes no longer; else the store does not take what is left, and the holder keeps the Lease for a while.
const HAND_OVER_MAX: Duration = Duration::from_secs(8);
const KEEP: Duration = Duration::from_secs(30);
/// Scrapes are made up for, late, if they were due no longer ago: after a holder that is gone, and after one that gave the
/// Lease back when it had stopped to scrape.
const MAKE_UP_MAX: Duration = Duration::from_secs(5);
const MAKE_UP_GIVEN_BACK_MAX: Duration = Duration::from_secs(30);
/// Clocks that differ by more are wrong, and no reason to wait.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// The present, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    /// Microseconds since the Unix epoch; whole milliseconds, which is what scrapes are timed by.
    pub(crate) time: i64,
}

impl Now {
    pub(crate) fn new(at: Instant, millis: i64) -> Self {
        Self { at, time: millis.saturating_mul(1_000) }
    }
}

/// How things are in this process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Around {
    /// Objects wait for our turn, and could be delivered.
    pub(crate) wants_turn: bool,
    /// What was scraped before the gate closed is in the spool.
    pub(crate) settled: bool,
    /// Nothing waits, and nothing is on its way to the spool.
    pub(crate) drained: bool,
}

/// A turn of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) tenure: Tenure,
    /// From when on every due scrape is ours; `None`: from now on.
    pub(crate) from: Option<Moment>,
    /// When the last successful renewal was sent.
    renewed: Instant,
    /// Scrapes before it are ours whatever happens, microseconds.
    pub(crate) ours_until: i64,
    /// Whether it was tried to hand the Lease over since: then it may be another's already.
    given: bool,
}

impl Held {
    /// Until when objects may be uploaded.
    pub(crate) fn deadline(&self) -> Instant {
        if self.given { self.renewed } else { self.renewed + DEADLINE }
    }
}

/// A turn of ours that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) tenure: Tenure,
    /// Scrapes before it are ours, later ones somebody else's; microseconds.
    pub(crate) ours_until: i64,
}

/// The Lease is being handed over.
#[derive(Clone, Debug)]
pub(crate) struct HandOver {
    to: String,
    since: Now,
}

/// What the Lease said last about its holder, and when that was first seen.
#[derive(Clone, Debug)]
struct Seen {
    holder: Option<String>,
    renewed: i64,
    tenure: Tenure,
    duration: Duration,
    at: Instant,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    me: String,
    seen: Option<Seen>,
    pub(crate) held: Option<Held>,
    /// The turn before, whose objects are decided by it.
    pub(crate) lost: Option<Lost>,
    pub(crate) handing_over: Option<HandOver>,
    /// Of an earlier process: the turn whose objects are not decided yet.
    undecided: Option<Tenure>,
    /// Whether the Lease was ours before this process was, so that nobody else's scrapes have to be made up for.
    resumes: bool,
    /// Who asks, and when that was first seen.
    asked: Option<(Ask, Instant)>,
    /// The first ask of this one that was seen: a second one shows that it lives.
    asked_before: Option<Ask>,
    keep_until: Option<Instant>,
    /// When scraping ended for good.
    stopped: Option<Now>,
    asks: u64,
    last_ask: Option<Instant>,
}

impl Machine {
    /// A machine for the agent `me`. `undecided` is the turn of an earlier process whose objects are in the spool.
    pub(crate) fn new(me: &str, undecided: Option<Tenure>) -> Self {
        Self {
            me: me.to_owned(),
            seen: None,
            held: None,
            lost: None,
            handing_over: None,
            undecided,
            resumes: false,
            asked: None,
            asked_before: None,
            keep_until: None,
            stopped: None,
            asks: 0,
            last_ask: None,
        }
    }

    /// Takes in that objects of an earlier process have come since, before there was a turn of this one: out of the journal.
    pub(crate) fn learn_undecided(&mut self, undecided: Option<Tenure>) {
        if self.held.is_none() && self.lost.is_none() {
            self.undecided = self.undecided.or(undecided);
        }
    }

    /// Takes in what the Lease says, as seen `now`; gives what to write, if anything.
    pub(crate) fn decide(&mut self, now: Now, lease: Option<&Lease>, around: Around) -> Option<Lease> {
        let first = self.seen.is_none();
        self.look(now, lease);
        self.settle_undecided(lease);
        if let (Some(held), Some(lease)) = (self.held, lease)
            && !self.is_mine(lease, held.tenure)
        {
            self.lose(held, lease);
        }
        match (self.held, lease) {
            (Some(held), lease) => Some(self.keep(now, held, lease, around)),
            (None, _) if self.stopped.is_some() || !around.settled => None,
            (None, None) => self.is_gone(now).then(|| self.take(now, None)),
            (None, Some(lease)) if lease.holder.as_deref() == Some(&self.me) => {
                self.resumes = first || self.resumes;
                Some(Lease {
                    renewed: now.time,
                    duration: DURATION,
                    ask: self.not_mine(lease),
                    ..lease.clone()
                })
            }
            (None, Some(lease)) => {
                self.resumes = false;
                if lease.holder.is_none() || self.is_gone(now) {
                    return Some(self.take(now, Some(lease)));
                }
                self.ask(now, lease, around.wants_turn)
            }
        }
    }

    /// Takes in that the Lease was written; `sent` is when the writing began.
    pub(crate) fn wrote(&mut self, stored: &Lease, sent: Now) {
        let tenure = tenure(stored);
        if stored.holder.as_deref() != Some(&self.me) {
            // Handed over or given back.
            if let (Some(held), Some(ended)) = (self.held, self.ended()) {
                self.held = None;
                self.handing_over = None;
                self.lost = Some(Lost { tenure: held.tenure, ours_until: ended.time });
            }
            return;
        }
        let ended = self.ended().map_or(i64::MAX, |ended| ended.time);
        let ours_until = stored.renewed.saturating_add(micros(DURATION)).min(ended);
        match &mut self.held {
            Some(held) if held.tenure == tenure => {
                held.renewed = sent.at;
                held.ours_until = ours_until;
                held.given = false;
            }
            _ => {
                let from = (!self.resumes).then(|| moment(stored.acquired, sent));
                self.held = Some(Held { tenure, from, renewed: sent.at, ours_until, given: false });
                self.lost = None;
                self.undecided = None;
            }
        }
        self.resumes = false;
    }

    /// Takes in that scraping ends now and for good. What is scraped all the same until it has ended is left to the next
    /// holder, who makes up for it.
    pub(crate) fn stop(&mut self, now: Now) {
        // What is later than the beginning of a handover nobody has scraped.
        let now = self.handing_over.take().map_or(now, |hand_over| hand_over.since);
        self.stopped = Some(now);
        if let Some(held) = &mut self.held {
            held.ours_until = held.ours_until.min(now.time);
        }
    }

    /// The Lease given back, after the end of scraping; `None` if it is not ours.
    pub(crate) fn give_back(&self, lease: &Lease) -> Option<Lease> {
        self.held.filter(|held| self.is_mine(lease, held.tenure))?;
        let renewed = self.stopped?.time;
        Some(Lease { holder: None, renewed, ask: self.not_mine(lease), ..lease.clone() })
    }

    /// When scraping ended, for good or for handing over: what is later is the next one's.
    pub(crate) fn ended(&self) -> Option<Now> {
        self.handing_over.as_ref().map(|hand_over| hand_over.since).or(self.stopped)
    }

    /// Whether we hold the Lease for certain.
    pub(crate) fn is_certain(&self, at: Instant) -> bool {
        self.held.is_some_and(|held| at < held.deadline())
    }

    /// Whether the Lease was ever seen, or made.
    pub(crate) fn has_seen(&self) -> bool {
        self.seen.is_some() || self.held.is_some()
    }

    /// Who holds the Lease, as far as it is known.
    pub(crate) fn holder(&self) -> Option<&str> {
        self.seen.as_ref()?.holder.as_deref()
    }

    /// How long to wait before the Lease is looked at again.
    pub(crate) fn pause(&self, wants_turn: bool) -> Duration {
        match self.held {
            _ if self.handing_over.is_some() => SOON,
            Some(_) => RENEW_EVERY,
            None if wants_turn => SOON,
            None => LOOK_EVERY,
        }
    }

    fn look(&mut self, now: Now, lease: Option<&Lease>) {
        // One that was deleted says nothing: who held it may still be there.
        let Some(lease) = lease else { return };
        let (holder, renewed, tenure) = (lease.holder.clone(), lease.renewed, tenure(lease));
        let is_same = |seen: &Seen| seen.holder == holder && seen.renewed == renewed && seen.tenure == tenure;
        if !self.seen.as_ref().is_some_and(is_same) {
            let duration = lease.duration.max(DURATION);
            self.seen = Some(Seen { holder, renewed, tenure, duration, at: now.at });
        }
        let asked = self.asked.as_ref().map(|(ask, _)| ask);
        if asked != lease.ask.as_ref() {
            self.asked_before = self.asked.take().map(|(ask, _)| ask);
            self.asked = lease.ask.clone().map(|ask| (ask, now.at));
        }
    }

    /// Decides about objects of an earlier process, if the Lease has been taken since.
    fn settle_undecided(&mut self, lease: Option<&Lease>) {
        let Some(undecided) = self.undecided else { return };
        if lease.is_some_and(|lease| self.is_mine(lease, undecided)) {
            // They are ours once it is renewed.
            return;
        }
        let next = lease.filter(|lease| lease.transitions == undecided.transitions + 1);
        let ours_until = next.map_or(i64::MIN, |lease| lease.acquired);
        self.lost = Some(Lost { tenure: undecided, ours_until });
        self.undecided = None;
    }

    /// Somebody else has taken over. If several have, one after the other, the time of the first is not known, and only what
    /// was ours in any case is.
    fn lose(&mut self, held: Held, lease: &Lease) {
        let is_next = lease.transitions == held.tenure.transitions + 1;
        let ours_until = if is_next { lease.acquired.max(held.ours_until) } else { held.ours_until };
        self.lost = Some(Lost { tenure: held.tenure, ours_until });
        self.held = None;
        self.handing_over = None;
    }

    /// What the holder writes: that it is there, or that another one is to be.
    fn keep(&mut self, now: Now, held: Held, lease: Option<&Lease>, around: Around) -> Lease {
        let renewed = Lease {
            holder: Some(self.me.clone()),
            duration: DURATION,
            acquired: held.tenure.acquired,
            renewed: now.time,
            transitions: held.tenure.transitions,
            // Without one it was deleted, and is made again.
            ..lease.cloned().unwrap_or_default()
        };
        let asks = self.who_asks(now).filter(|_| self.is_certain(now.at) && self.stopped.is_none());
        match (&self.handing_over, asks) {
            (None, Some(to)) if around.drained => {
                self.handing_over = Some(HandOver { to, since: now });
                self.held = Some(Held { ours_until: now.time, ..held });
            }
            (Some(hand_over), Some(to)) if hand_over.to == to && around.drained && around.settled => {
                self.held = Some(Held { given: true, ..held });
                return Lease {
                    holder: Some(to),
                    acquired: hand_over.since.time,
                    transitions: held.tenure.transitions + 1,
                    ask: None,
                    ..renewed
                };
            }
            (Some(hand_over), asks) => {
                let too_long = now.at.duration_since(hand_over.since.at) > HAND_OVER_MAX;
                if too_long || asks.as_ref() != Some(&hand_over.to) {
                    // What was due since then is made up for; it is ours once the Lease is renewed, because what was written to
                    // hand it over may still take effect.
                    let since = moment(hand_over.since.time, now);
                    self.held = Some(Held { from: Some(since), ours_until: hand_over.since.time, ..held });
                    self.handing_over = None;
                    self.keep_until = Some(now.at + KEEP);
                }
            }
            (None, _) => {}
        }
        renewed
    }

    /// Who asks for the Lease and was seen to live.
    fn who_asks(&self, now: Now) -> Option<String> {
        if self.keep_until.is_some_and(|until| now.at < until) {
            return None;
        }
        let (ask, at) = self.asked.as_ref()?;
        let is_fresh = now.at.duration_since(*at) <= ASK_MAX;
        let lives = self.asked_before.as_ref().is_some_and(|before| before.identity == ask.identity);
        (is_fresh && lives && ask.identity != self.me).then(|| ask.identity.clone())
    }

    /// Asks for the Lease, or takes the question back.
    fn ask(&mut self, now: Now, lease: &Lease, wants_turn: bool) -> Option<Lease> {
        let others = self.asked.as_ref().filter(|(ask, _)| ask.identity != self.me);
        if !wants_turn {
            let is_mine = lease.ask.is_some() && others.is_none();
            return is_mine.then(|| Lease { ask: None, ..lease.clone() });
        }
        let is_early = self.last_ask.is_some_and(|last| now.at.duration_since(last) < ASK_EVERY);
        // Another one asks: it is first.
        if is_early || others.is_some_and(|(_, at)| now.at.duration_since(*at) <= ASK_MAX) {
            return None;
        }
        self.last_ask = Some(now.at);
        self.asks += 1;
        let ask = Some(Ask { identity: self.me.clone(), count: self.asks });
        Some(Lease { ask, ..lease.clone() })
    }

    /// Takes the Lease. Scrapes are ours from where the last holder's end in any case, if that was just now.
    fn take(&self, now: Now, lease: Option<&Lease>) -> Lease {
        let last = lease.map_or(now.time, |lease| match lease.holder {
            Some(_) => lease.renewed.saturating_add(micros(DURATION)),
            None => lease.renewed,
        });
        let given_back = lease.is_some_and(|lease| lease.holder.is_none());
        let back = if given_back { MAKE_UP_GIVEN_BACK_MAX } else { MAKE_UP_MAX };
        let near = now.time - micros(back)..=now.time + micros(SKEW_MAX);
        Lease {
            holder: Some(self.me.clone()),
            duration: DURATION,
            acquired: if near.contains(&last) { last } else { now.time },
            renewed: now.time,
            transitions: lease.map_or(0, |lease| lease.transitions + 1),
            ask: lease.and_then(|lease| self.not_mine(lease)),
            ..lease.cloned().unwrap_or_default()
        }
    }

    /// Whether the holder has not been heard of for so long that it is believed to be gone.
    fn is_gone(&self, now: Now) -> bool {
        self.seen.as_ref().is_none_or(|seen| now.at.duration_since(seen.at) >= seen.duration)
    }

    fn is_mine(&self, lease: &Lease, of: Tenure) -> bool {
        lease.holder.as_deref() == Some(&self.me) && tenure(lease) == of
    }

    fn not_mine(&self, lease: &Lease) -> Option<Ask> {
        lease.ask.clone().filter(|ask| ask.identity != self.me)
    }
}

fn tenure(lease: &Lease) -> Tenure {
    Tenure { transitions: lease.transitions, acquired: lease.acquired }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The moment at which the wall clock shows `time`, as far as it is not long ago.
fn moment(time: i64, now: Now) -> Moment {
    let ahead = Duration::from_micros(u64::try_from(time.saturating_sub(now.time)).unwrap_or_default());
    let behind = Duration::from_micros(u64::try_from(now.time.saturating_sub(time)).unwrap_or_default());
    match now.at.checked_sub(behind) {
        Some(at) => Moment { at: at + ahead, time: time.div_euclid(1_000) },
        None => Moment { at: now.at, time: now.time.div_euclid(1_000) },
    }
}
