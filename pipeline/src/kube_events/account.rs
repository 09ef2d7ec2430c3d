//! What was seen, what of it is shipped, and the rows that are not yet: a plain account, without a clock or a disk.
//!
//! Takes Kubernetes events and pods, gives rows, each pair of identity and count once. What it has seen and what is durable
//! are kept apart: a block says what became durable with an object, and only that is exposed and survives.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::counters::{Counters, Exposed, Series, within};
use super::metrics::{Metrics, reason};
use super::object::KubeEvent;
use super::owners::Owners;
use super::pod::Pod;
use super::position::Block;
use super::rows::Row;

/// Things are forgotten after so long without being seen, although their deletion was not: most live one hour.
const FORGET_AFTER: i64 = 24 * 3600 * 1000;
/// Where too much is remembered, one part in so many goes, the oldest first.
const FORGET_SHARE: usize = 10;

/// The limits that an account obeys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) series: usize,
    pub(super) remembered: usize,
    /// How far rows may lie ahead and behind, milliseconds: a table takes so many days at once.
    pub(super) ahead: i64,
    pub(super) behind: i64,
}

/// Our turn among several agents that take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// When it began, milliseconds since the Unix epoch: what is older is counted by somebody else.
    pub(super) since: i64,
    /// Whether an earlier process of this agent began it, so that what that one left is of this turn.
    pub(super) resumes: bool,
}

/// One thing that was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Its count.
    count: u64,
    /// Its count when it was last shipped.
    durable: u64,
    /// When it was seen last, milliseconds since the Unix epoch.
    time: i64,
    /// In which turn of this process, from 1; 0 for what an earlier one left.
    turn: u32,
    /// It is gone and will not come again.
    is_gone: bool,
}

/// By how much the count of a thing is more than before.
#[derive(Clone, Copy, Debug)]
struct Grown {
    by: u64,
    /// Whether it was seen in this turn before.
    in_turn: bool,
}

/// Rows that become one object.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) rows: Vec<Row>,
    pub(super) block: Block,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Account {
    limits: Limits,
    /// `None` for a single agent.
    turn: Option<Turn>,
    /// How many turns there were.
    turns: u32,
    seen: HashMap<u128, Seen>,
    /// Of what is durable.
    counters: Counters,
    exposed: Exposed,
    /// What the open rows add to the counters.
    added: Counters,
    rows: Vec<Row>,
    metrics: Metrics,
}

impl Account {
    /// An account that knows what an earlier process left.
    pub(super) fn new(
        limits: Limits,
        left: Vec<Block>,
        now: i64,
        exposed: Exposed,
        metrics: Metrics,
    ) -> Self {
        let (seen, counters, added, rows) = Default::default();
        let (turn, turns) = (None, 0);
        let mut account = Self { limits, turn, turns, seen, counters, exposed, added, rows, metrics };
        for block in left {
            for (id, count) in &block.seen {
                let seen = account.seen.entry(*id).or_default();
                *seen = Seen { count: seen.count.max(*count), time: now, ..*seen };
            }
            account.commit(&block);
        }
        account
    }

    /// Takes note that from now on it is our turn: the same one as before, or another.
    pub(super) fn begin(&mut self, turn: Option<Turn>) {
        let since = |turn: Option<Turn>| turn.map(|turn| turn.since);
        if since(turn) != since(self.turn) {
            (self.turn, self.turns) = (turn, self.turns.saturating_add(1));
        }
    }

    /// Takes a Kubernetes event that came, changed, or stood in a list.
    pub(super) fn take(&mut self, found: KubeEvent, now: i64) {
        let Some(grown) = self.see(id(&found.meta.uid), found.count, now) else { return };
        if !self.is_near(found.time, now) {
            return;
        }
        let added = self.counted(&found, grown);
        let KubeEvent { meta, time, count, severity, reason, regarding, component, node, note, .. } = found;
        if added > 0 {
            let severity = if matches!(&*severity, "Normal" | "Warning") { &*severity } else { "other" };
            let namespace = regarding.namespace.clone();
            let series: Series =
                [reason.clone(), severity.into(), regarding.kind.clone(), namespace, component.clone()];
            let (series, is_beyond) = within(&self.counters, &self.added, series, self.limits.series);
            self.metrics.beyond_series.inc_by(u64::from(is_beyond));
            let sum = self.added.entry(series).or_default();
            *sum = sum.saturating_add(added);
        }
        let container = regarding.container();
        self.rows.push(Row {
            time,
            source: "event",
            severity,
            reason,
            container,
            kind: regarding.kind,
            namespace: regarding.namespace,
            name: regarding.name,
            object_uid: regarding.uid,
            node,
            component,
            uid: meta.uid,
            count,
            message: note,
            ..Row::default()
        });
    }

    /// How much of it is for us to count. Of what was seen by somebody else before our turn nobody knows how often it happened
    /// since: once, by the time that it says. So nothing is counted twice, and repeats of a few seconds perhaps not.
    fn counted(&self, found: &KubeEvent, grown: Grown) -> u64 {
        match self.turn {
            None => grown.by,
            Some(turn) if found.time < turn.since => 0,
            Some(turn) if found.began >= turn.since || grown.in_turn => grown.by,
            Some(_) => 1,
        }
    }

    /// Takes the ends of containers that a pod's status tells.
    pub(super) fn take_ends(&mut self, pod: &Pod, now: i64) {
        for end in &pod.ends {
            let uid = format!("{}/{}", pod.meta.uid, end.container);
            if self.see(id(&uid), end.run, now).is_none() || !self.is_near(end.time, now) {
                continue;
            }
            self.rows.push(Row {
                time: end.time,
                source: "pod",
                severity: if end.exit_code == 0 { "Normal" } else { "Warning" }.into(),
                reason: end.reason.clone(),
                kind: "Pod".into(),
                namespace: pod.meta.namespace.clone(),
                name: pod.meta.name.clone(),
                object_uid: pod.meta.uid.clone(),
                container: end.container.clone(),
                node: pod.node.clone(),
                component: "kubelet".into(),
                owner: pod.owner.clone(),
                uid: uid.into(),
                count: end.run,
                exit_code: end.exit_code,
                message: end.text.clone(),
            });
        }
    }

    /// Takes note that a Kubernetes event is gone.
    pub(super) fn lose(&mut self, uid: &str) {
        self.forget(id(uid));
    }

    /// Takes note that a pod is gone.
    pub(super) fn lose_ends(&mut self, pod: &Pod) {
        for end in &pod.ends {
            self.forget(id(&format!("{}/{}", pod.meta.uid, end.container)));
        }
    }

    fn forget(&mut self, id: u128) {
        match self.seen.get_mut(&id) {
            // The row with it is still open.
            Some(seen) if seen.durable < seen.count => seen.is_gone = true,
            _ => drop(self.seen.remove(&id)),
        }
    }

    /// `None` where the count of a thing is not more than before.
    fn see(&mut self, id: u128, count: u64, now: i64) -> Option<Grown> {
        if self.seen.len() >= self.limits.remembered && !self.seen.contains_key(&id) {
            self.forget_oldest(now);
        }
        let resumes = self.turn.is_some_and(|turn| turn.resumes);
        let seen = self.seen.entry(id).or_default();
        let (by, is_known) = (count.saturating_sub(seen.count), seen.count > 0);
        let in_turn = is_known && (seen.turn == self.turns || seen.turn == 0 && resumes);
        *seen = Seen { count: seen.count.max(count), time: now, turn: self.turns, ..*seen };
        (by > 0).then_some(Grown { by, in_turn })
    }

    /// Makes room: what was not seen for long goes, and where that is not enough, the oldest of the rest.
    fn forget_oldest(&mut self, now: i64) {
        self.forget_old(now);
        if self.seen.len() < self.limits.remembered {
            return;
        }
        let mut times: Vec<i64> = self.seen.values().map(|seen| seen.time).collect();
        let share = (times.len() / FORGET_SHARE).min(times.len().saturating_sub(1));
        let (_, limit, _) = times.select_nth_unstable(share);
        let (limit, before) = (*limit, self.seen.len());
        // What came in one list is of one age.
        let mut left = share + 1;
        self.seen.retain(|_, seen| {
            let goes = left > 0 && seen.time <= limit;
            left -= usize::from(goes);
            !goes
        });
        self.metrics.forgotten.inc_by((before - self.seen.len()) as u64);
    }

    fn forget_old(&mut self, now: i64) {
        self.seen.retain(|_, seen| now.saturating_sub(seen.time) < FORGET_AFTER);
    }

    fn is_near(&self, time: i64, now: i64) -> bool {
        let dropped = match time.saturating_sub(now) {
            ahead if ahead > self.limits.ahead => reason::AHEAD,
            ahead if ahead < -self.limits.behind => reason::BEHIND,
            _ => return true,
        };
        self.metrics.rows_dropped.with_label_values(&[dropped]).inc();
        false
    }

    /// Whether no more rows should come before some have gone.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= self.limits.rows
    }

    pub(super) fn open_rows(&self) -> usize {
        self.rows.len()
    }

    /// Makes the open rows, as many as an object holds, and what becomes durable with them. `None` where there are none.
    pub(super) fn seal(&mut self, sequence: u64, owners: &Owners) -> Option<Sealed> {
        if self.rows.is_empty() {
            return None;
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.iter_mut().filter(|row| row.source == "event").for_each(|row| owners.complete(row));
        let mut seen = BTreeMap::new();
        for row in &rows {
            let count: &mut u64 = seen.entry(id(&row.uid)).or_default();
            *count = row.count.max(*count);
        }
        let counted = std::mem::take(&mut self.added).into_iter().collect();
        Some(Sealed { rows, block: Block::new(sequence, seen.into_iter().collect(), counted) })
    }

    /// Takes note that the object of a block has come to the spool.
    pub(super) fn commit(&mut self, block: &Block) {
        for (id, count) in &block.seen {
            let Some(seen) = self.seen.get_mut(id) else { continue };
            seen.durable = seen.durable.max(*count);
            if seen.is_gone && seen.durable >= seen.count {
                self.seen.remove(id);
            }
        }
        for (series, added) in &block.counted {
            let value = self.counters.entry(series.clone()).or_default();
            *value = value.saturating_add(*added);
        }
        self.exposed.set(&self.counters);
        self.metrics.remembered.set(i64::try_from(self.seen.len()).unwrap_or(i64::MAX));
    }

    /// Everything that is durable, as a first block.
    pub(super) fn whole(&mut self, sequence: u64, now: i64) -> Block {
        self.forget_old(now);
        let durable = self.seen.iter().filter(|(_, seen)| seen.durable > 0);
        let mut seen: Vec<_> = durable.map(|(id, seen)| (*id, seen.durable)).collect();
        seen.sort_unstable();
        let counted = self.counters.iter().map(|(series, value)| (series.clone(), *value)).collect();
        Block::new(sequence, seen, counted)
    }
}

/// What stands for an identity: 128 bits, of which two are never equal by accident.
fn id(uid: &str) -> u128 {
    xxh3_128(uid.as_bytes())
}
