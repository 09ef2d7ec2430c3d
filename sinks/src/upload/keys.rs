//! The key of an object: given when its turn comes, above all others where objects go now, and durable before the first byte.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::left::Left;
use super::trouble::Trouble;
use super::{Delivery, Uploader};
use crate::key::Key;
use crate::spool::{InFlight, SpooledObject};
use crate::store::{Condition, Error, Location, Store};
use crate::turn::Turn;

/// Without permission to list, the first key waits until this long after the turn began, so that it is above what whoever
/// was before may have written in its last second.
const SETTLE: Duration = Duration::from_secs(5);
/// How far back from now the largest key is looked for, seconds.
const LOOK_BACK: i64 = 3600;
/// How often it is looked whether another writer has our id.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// A recorded key further ahead of the servers than this was made by a wrong clock, seconds.
const AHEAD_MAX: i64 = 15 * 60;
/// How often it is looked whether the servers have caught up with a key that was too far ahead.
const AHEAD_PAUSE: Duration = Duration::from_secs(30);

impl<S: Store> Uploader<S> {
    /// Attempts until the outcome is certain; the key, and how it ended. Begins again where objects go to another place
    /// meanwhile.
    pub(super) async fn settle(&mut self, object: &SpooledObject, turn: Turn) -> (String, Delivery) {
        let sequence = object.sequence;
        loop {
            let location = self.location().await;
            self.begin(turn, &location);
            if let Some(theirs) = self.recorded_conflict() {
                return (theirs, Delivery::Conflict);
            }
            if let Some(arrived) = self.find_left(object).await {
                return (arrived, Delivery::Arrived);
            }
            let (key, maybe_sent) = match self.recorded_key(sequence) {
                Some(recorded) => (recorded, true),
                None => {
                    if let Some(theirs) = self.look(sequence).await {
                        return (theirs, Delivery::Conflict);
                    }
                    if let Some(arrived) = self.find_left(object).await {
                        return (arrived, Delivery::Arrived);
                    }
                    (self.give_key(object, &location).await, false)
                }
            };
            self.wait_for_servers(&key).await;
            let key = key.to_string();
            if let Some(delivery) = self.put_until_settled(object, &key, maybe_sent, &location).await {
                return (key, delivery);
            }
        }
    }

    /// Where objects go, as soon as that is known.
    async fn location(&self) -> Location {
        let mut trouble = Trouble::new(self);
        loop {
            self.store.ready().await;
            match self.store.location() {
                Some(location) => return location,
                None => trouble.wait("local", "the credentials name no bucket: set sink.s3.bucket").await,
            }
        }
    }

    /// Takes note of where objects go, and whose turn was before: nobody else's, and all is as it was left; or perhaps
    /// somebody else's, and the keys of theirs have to be looked for.
    fn begin(&mut self, turn: Turn, location: &Location) {
        let tenure = turn.tenure();
        if self.tenure == Some(tenure) && self.location.as_ref() == Some(location) {
            return;
        }
        let recorded = self.spool.in_flight();
        let before = recorded.as_ref().and_then(|recorded| recorded.location.clone());
        let has_moved = before.as_ref().is_some_and(|before| before != location);
        if let (true, Some(before)) = (has_moved, &before) {
            let text = "objects go to another place now; one that was sent to the old place with an unknown outcome is \
                        sent to the new one with the same bytes";
            tracing::warn!(%before, %location, "{text}");
            self.condition = Condition::Absent;
        }
        if tenure.is_some() && self.tenure != Some(tenure) || has_moved && self.location.is_some() {
            self.began = Instant::now();
        }
        self.tenure = Some(tenure);
        self.location = Some(location.clone());
        self.last = self.spool.last_key().and_then(|key| key.parse().ok());
        let nobody_else = recorded.as_ref().map(|recorded| recorded.tenure).unwrap_or_default() == tenure;
        self.looked_at = None;
        self.looked = nobody_else && self.last.is_some() && !has_moved && !self.spool.is_doubtful();
        (self.resumed, self.carried, self.left) = (None, None, None);
        match recorded {
            Some(recorded) if nobody_else && has_moved => {
                self.carried = Some(recorded).filter(|recorded| !recorded.conflict);
            }
            Some(recorded) if nobody_else => self.resumed = Some(recorded),
            Some(recorded) if !has_moved => {
                let ended = self.deadline.filter(|(of, _)| Some(*of) == recorded.tenure);
                self.left = Left::new(recorded, ended.map(|(_, deadline)| deadline));
            }
            Some(_) | None => {}
        }
    }

    /// The key under which the object had arrived before this turn, if it had.
    async fn find_left(&mut self, object: &SpooledObject) -> Option<String> {
        let left = self.left.take_if(|left| left.sequence() == object.sequence)?;
        self.has_arrived(&left, object).await.then(|| left.key().to_owned())
    }

    /// The key of another writer with the id that we still have, which an earlier process met. Nothing is ever sent under it:
    /// it may be gone by now, and then what is stored there is never read, or replaces what is theirs.
    fn recorded_conflict(&self) -> Option<String> {
        let recorded = self.resumed.as_ref().filter(|recorded| recorded.conflict)?;
        let key: Key = recorded.key.parse().ok()?;
        key.is_of(&self.spool.writer().id).then(|| recorded.key.clone())
    }

    /// The key that an earlier process recorded for this object, under which its bytes may have been sent. After a conflict
    /// none were, and a new writer id needs a new key.
    fn recorded_key(&mut self, sequence: u64) -> Option<Key> {
        let recorded = self.resumed.take_if(|recorded| recorded.sequence == sequence)?;
        let key: Key = recorded.key.parse().ok()?;
        // Below a key that was given since, it would never be read.
        let is_above = self.last.as_ref().is_none_or(|last| *last <= key);
        (is_above && !recorded.conflict).then_some(key)
    }

    /// The key that the object had at another place, if it can be kept: nothing above it is here.
    fn carried_key(&mut self, sequence: u64) -> Option<Key> {
        let carried = self.carried.take_if(|carried| carried.sequence == sequence)?;
        let key: Key = carried.key.parse().ok()?;
        let is_largest = self.last.as_ref().is_none_or(|last| *last <= key);
        (is_largest && key.is_of(&self.spool.writer().id)).then_some(key)
    }

    /// Gives the object its key: above every other, and durable when this returns.
    async fn give_key(&mut self, object: &SpooledObject, location: &Location) -> Key {
        let SpooledObject { sequence, format, .. } = *object;
        let now = match self.last.clone() {
            Some(last) => self.wait_for_servers(&last).await,
            None => self.now().await,
        };
        let writer = self.spool.writer().id;
        let key = self.carried_key(sequence);
        let key = key.unwrap_or_else(|| Key::next(self.last.as_ref(), now, &writer, sequence, format));
        let (tenure, location) = (self.tenure.flatten(), Some(location.clone()));
        let in_flight = InFlight { sequence, key: key.to_string(), conflict: false, tenure, location };
        self.record(in_flight).await;
        self.progress.set_last_key(&key.to_string());
        self.metrics.last_key.set(key.unix);
        self.last = Some(key.clone());
        key
    }

    pub(super) async fn record(&self, in_flight: InFlight) {
        let mut trouble = Trouble::new(self);
        while let Err(error) = self.spool.record(in_flight.clone()).await {
            self.metrics.spool_write_errors.inc();
            trouble.wait("spool", &format!("cannot record the next key in the spool: {error}")).await;
        }
        trouble.over();
    }

    /// The servers' time, as soon as it is known.
    pub(super) async fn now(&self) -> i64 {
        let mut trouble = Trouble::new(self);
        loop {
            self.store.ready().await;
            match self.store.server_time().await {
                Ok(now) => return now,
                Err(error) => trouble.step(&error).await,
            }
        }
    }

    /// Looks into the store for the largest key, unless that is known. One that was lost from the record may turn up so:
    /// then it is found out whether that object had arrived. Gives the key of another writer with our id.
    async fn look(&mut self, sequence: u64) -> Option<String> {
        if self.looked {
            return self.look_for_namesake().await;
        }
        let found = match self.find_last().await {
            Ok(found) => found,
            Err(_) => {
                // Something above it may be here.
                self.carried = None;
                None
            }
        };
        let is_above = |key: &Key| self.last.as_ref().is_none_or(|last| *last < *key);
        // What comes back from another place may have arrived here before it went there.
        let is_back =
            |number| self.carried.as_ref().is_some_and(|carried| [number, carried.sequence] == [sequence; 2]);
        if let Some(key) = &found
            && let Some(sequence) = key.sequence_of(&self.spool.writer().id)
            && (self.carried.is_none() && is_above(key) || is_back(sequence))
        {
            let (key, location) = (key.to_string(), self.location.clone());
            let in_flight = InFlight { sequence, key, conflict: false, tenure: None, location };
            self.left = Left::new(in_flight, None);
        }
        self.last = self.last.take().max(found);
        self.looked = true;
        self.looked_at = Some(Instant::now());
        None
    }

    /// Looks now and then whether anybody else writes under our id, or an older copy of our spool: every key of ours is
    /// recorded before it is used, so that none can be above the last one. Holds nothing up where listing fails.
    async fn look_for_namesake(&mut self) -> Option<String> {
        let last = self.last.clone()?;
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return None;
        }
        let found = self.store.largest_key(&last.to_string()).await;
        self.looked_at = Some(Instant::now());
        let found: Key = found.ok()??.parse().ok()?;
        if found.is_of(&self.spool.writer().id) {
            return Some(found.to_string());
        }
        self.last = Some(last.max(found));
        None
    }

    /// The largest key in the store, looked for from an hour back, or from the last that is known. Without permission to
    /// look, which is the error, time must do.
    async fn find_last(&self) -> Result<Option<Key>, Error> {
        let mut trouble = Trouble::new(self);
        loop {
            let known = self.last.as_ref().map_or(i64::MAX, |last| last.unix);
            let after = self.now().await.saturating_sub(LOOK_BACK).min(known).max(0);
            match self.store.largest_key(&format!("{after:010}")).await {
                Ok(largest) => return Ok(largest.and_then(|key| key.parse().ok())),
                Err(error) if !error.forbids() => trouble.step(&error).await,
                Err(error) if trouble.insists(&error).await => {}
                Err(error) => {
                    tracing::info!(%error, wait = ?SETTLE, "may not list keys, the first one waits a moment");
                    sleep_until(self.began + SETTLE).await;
                    return Err(error);
                }
            }
        }
    }

    /// Waits while `key` is too far ahead of the servers; the time that it then is.
    async fn wait_for_servers(&self, key: &Key) -> i64 {
        let mut stopped = false;
        loop {
            let now = self.now().await;
            if key.unix <= now.saturating_add(AHEAD_MAX) {
                if stopped {
                    self.go_on();
                }
                return now;
            }
            if !stopped {
                stopped = true;
                let ahead = Duration::from_secs(key.unix.abs_diff(now));
                self.stop(format!(
                    "stopped: the last key {key} is {ahead:?} ahead of the servers' time, so a clock was wrong; uploads \
                     go on when the servers get there, or with a new spool.dir after that key was removed from the store"
                ));
            }
            sleep(AHEAD_PAUSE).await;
        }
    }
}
