//! The fuzz target of what an API server says of Kubernetes events and pods; see `crate::fuzz`.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::WatchEvent;
use prometheus::Registry;

use super::account::{Account, Limits, Turn};
use super::counters::Exposed;
use super::keep::Brought;
use super::metrics::Metrics;
use super::object::KubeEvent;
use super::owners::Owners;
use super::pod::Pod;
use super::position::Block;
use super::rows::{self, Row};
use super::run;
use crate::kubernetes::object::{Name, Object, Received};
use crate::model::sample::Slot;
use crate::parse::{self, Cache, Lines, Progress, Secret};

/// When everything is looked at.
const NOW: i64 = 1_795_341_600_000;
/// The longest texts of a row, bytes: a note, and an identity of two names.
const TEXT_BYTES_MAX: usize = 1024;
const UID_BYTES_MAX: usize = 2 * 253 + 1;

/// A process, and what it has delivered.
struct Life {
    bits: u8,
    limits: Limits,
    turn: Option<Turn>,
    account: Account,
    owners: Owners,
    exposed: Exposed,
    blocks: Vec<Block>,
    /// The last count of each thing that was shipped.
    shipped: BTreeMap<Box<str>, u64>,
    /// By how much the counts of Kubernetes events grew.
    grown: u128,
    /// Things that were deleted: what comes under the same identity is another one.
    lost: BTreeSet<String>,
    metrics: Metrics,
}

impl Life {
    /// A process that begins with what is on the disk. Its settings are chosen by one bit each.
    fn new(bits: u8, left: Vec<Block>, metrics: Metrics) -> Self {
        let on = |bit: u8| bits >> bit & 1 == 1;
        let (ahead, behind) = if on(0) { (i64::MAX, i64::MAX) } else { (600_000, 86_400_000) };
        let (rows, series) = (if on(3) { 3 } else { 1_000 }, if on(4) { 3 } else { 100 });
        let limits = Limits { rows, series, remembered: 100_000, ahead, behind };
        let turn = on(1).then(|| Turn { since: NOW, resumes: on(2) });
        let exposed = Exposed::default();
        let mut account = Account::new(limits, left, NOW, exposed.clone(), metrics.clone());
        account.begin(turn);
        let (owners, blocks, shipped, grown, lost) = Default::default();
        Self { bits, limits, turn, account, owners, exposed, blocks, shipped, grown, lost, metrics }
    }

    /// Takes one change, as the watches do.
    fn line(&mut self, line: &[u8]) {
        let brought = match memchr::memmem::find(line, b"\"Event\"") {
            Some(_) => change::<KubeEvent>(line).and_then(|(_, received, is_there)| match received {
                Some(found) if is_there => Some(Brought::Happened(Box::new(found))),
                Some(last) => Some(Brought::Expired(last.meta.uid)),
                None => None,
            }),
            None => change::<Pod>(line).map(|(key, received, is_there)| match received {
                Some(pod) if is_there => Brought::Pod { pod: Box::new(pod), scope: 0, list: 1 },
                last => Brought::PodGone(key, last.map(Box::new)),
            }),
        };
        match &brought {
            Some(Brought::Expired(uid)) => drop(self.lost.insert(uid.to_string())),
            Some(Brought::PodGone(_, Some(last))) => {
                let uid = |container: &str| format!("{}/{container}", last.meta.uid);
                self.lost.extend(last.ends.iter().map(|end| uid(&end.container)));
            }
            _ => {}
        }
        if let Some(brought) = brought {
            run::take(brought, &mut self.account, &mut self.owners, NOW);
        }
        if self.account.is_full() {
            self.seal();
        }
    }

    /// Makes an object of the rows and looks at each.
    fn seal(&mut self) {
        let sequence = self.blocks.len() as u64 + 1;
        let Some(sealed) = self.account.seal(sequence, &self.owners) else { return };
        for row in &sealed.rows {
            check_row(row);
            let before = self.shipped.insert(row.uid.clone(), row.count).unwrap_or_default();
            let is_new = row.count > before || self.lost.contains(&*row.uid);
            assert!(is_new, "{} came with {} and {}", row.uid, before, row.count);
            if row.source == "event" {
                self.grown += u128::from(row.count.saturating_sub(before));
            }
        }
        let object = rows::encode(&sealed.rows, "c", "w", sequence);
        assert!(object.is_ok_and(|object| object.samples == sealed.rows.len() as u64), "not encoded");
        let line = sealed.block.line().unwrap_or_default();
        let read = line.strip_suffix(b"\n").and_then(Block::parse);
        assert_eq!(read.as_ref(), Some(&sealed.block), "the position cannot be read");
        self.account.commit(&sealed.block);
        self.blocks.push(sealed.block);
    }

    /// What the counters say in all. Each is a line that our own reader takes.
    fn counted(&self) -> u128 {
        let text = self.exposed.render();
        let values: Vec<u128> = String::from_utf8_lossy(&text)
            .split('\n')
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(u128::MAX))
            .collect();
        let (mut cache, mut out) = (Cache::new(Secret::random(), Lines::new(200)), Progress::default());
        let reading = parse::read(&text, &mut cache, 0, &mut out, |_| Ok(Slot(1)));
        assert_eq!((reading.lines_bad, reading.samples), (0, values.len() as u64), "{:?}", reading.first_bad);
        assert!(values.len() <= self.limits.series, "{} series", values.len());
        values.into_iter().sum()
    }
}

/// What the watches of Kubernetes events and pods say, one JSON text a line; the first byte chooses the settings. Each count of
/// each thing is one row, with texts as long as they may be; counters say what the rows do. A list of the same once more
/// adds nothing, neither to this process nor to one that begins with what this one left.
pub fn kube_events(data: &[u8]) {
    let Some((bits, lines)) = data.split_first() else { return };
    let Ok(metrics) = Metrics::new(&Registry::new()) else { return };
    let mut life = Life::new(*bits, Vec::new(), metrics);
    let lines = || lines.split(|byte| *byte == b'\n');
    lines().for_each(|line| life.line(line));
    life.seal();
    let counted = life.counted();
    if !life.lost.is_empty() {
        return;
    }
    // A series ends at the largest number; in a turn not everything is for us to count, nor is what is far from now.
    let is_near = life.limits.behind == i64::MAX && life.grown < u128::from(u64::MAX);
    match life.turn {
        None if is_near => assert_eq!(counted, life.grown),
        _ => assert!(counted <= life.grown, "{counted} of {}", life.grown),
    }
    let whole = life.account.whole(9, NOW);
    for left in [life.blocks.clone(), vec![whole]] {
        let mut again = Life::new(life.bits, left, life.metrics.clone());
        assert_eq!(again.exposed.render(), life.exposed.render(), "the counters went back");
        lines().for_each(|line| again.line(line));
        assert_eq!(again.account.open_rows(), 0, "shipped again after a restart");
    }
    lines().for_each(|line| life.line(line));
    assert_eq!(life.account.open_rows(), 0, "shipped again after a list");
}

/// What of one change matters: which object, what is left of it, and whether it is there.
fn change<T: Object>(line: &[u8]) -> Option<(Name, Option<T>, bool)> {
    let (received, is_there) = match serde_json::from_slice::<WatchEvent<Received<T>>>(line).ok()? {
        WatchEvent::Added(received) | WatchEvent::Modified(received) => (received, true),
        WatchEvent::Deleted(received) => (received, false),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => return None,
    };
    Some((received.key(), received.object.ok(), is_there))
}

fn check_row(row: &Row) {
    let texts = [&row.severity, &row.reason, &row.kind, &row.namespace, &row.name, &row.object_uid];
    let more = [&row.container, &row.node, &row.component, &row.owner.0, &row.owner.1, &row.message];
    assert!(texts.into_iter().chain(more).all(|text| text.len() <= TEXT_BYTES_MAX), "{row:?}");
    assert!(row.uid.len() <= UID_BYTES_MAX && row.count > 0, "{row:?}");
}
