//! All series of both sides, each with a small state, and what comes out of them by the name of the metric.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use pipeline::decode::Sample;

use super::identity::{Identity, Incomparable};
use super::track::{Track, judge};

/// Reasons that are told apart; all further ones are counted with the last.
const INCOMPARABLE_MAX: usize = 1000;

/// Which side an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    New,
}

/// Series of one key, job and place.
#[derive(Debug)]
struct Variant {
    job: Arc<str>,
    place: Arc<str>,
    old: Option<Track>,
    new: Option<Track>,
    /// Whether the new one is another variant's too.
    is_shared: bool,
}

/// Everything that was seen.
#[derive(Debug)]
pub(super) struct Table {
    groups: HashMap<Box<str>, Vec<Variant>>,
    texts: HashSet<Arc<str>>,
    series: usize,
    series_max: usize,
    /// Samples of series beyond the limit.
    pub(super) untold: u64,
    /// Metrics that cannot be compared: why, and the samples.
    pub(super) incomparable: BTreeMap<String, (String, u64)>,
}

/// One thing that was found, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Example {
    /// `missing`, `extra`, `differ` or `hole`.
    pub(super) what: &'static str,
    /// The series, with all labels that it is known by.
    pub(super) series: String,
    /// Values, numbers of samples and times.
    pub(super) text: String,
}

/// What was found of one metric, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) old: u64,
    pub(super) new: u64,
    pub(super) both: u64,
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) differ: u64,
    pub(super) holes: u64,
    /// On one side only, at an end of the range, where the other may not have looked.
    pub(super) edge: u64,
    pub(super) examples: Vec<Example>,
}

impl Row {
    /// Whether the new side lacks anything.
    pub(super) fn is_bad(&self) -> bool {
        self.missing + self.differ + self.holes > 0
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.old += other.old;
        self.new += other.new;
        self.both += other.both;
        self.missing += other.missing;
        self.extra += other.extra;
        self.differ += other.differ;
        self.holes += other.holes;
        self.edge += other.edge;
    }
}

/// What to make of the series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judging {
    /// The range, milliseconds.
    pub(super) range: (i64, i64),
    /// Series seen only within so much of an end of the range are not missed.
    pub(super) slack: i64,
    /// Examples of each kind for each metric.
    pub(super) examples: usize,
}

impl Table {
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            groups: HashMap::new(),
            texts: HashSet::new(),
            series: 0,
            series_max,
            untold: 0,
            incomparable: BTreeMap::new(),
        }
    }

    /// Series that are held.
    pub(super) fn len(&self) -> usize {
        self.series
    }

    /// Takes samples of one series.
    pub(super) fn take(&mut self, side: Side, identity: &Identity, samples: impl Iterator<Item = Sample>) {
        let Some(track) = self.track(side, identity) else {
            self.untold += samples.count() as u64;
            return;
        };
        // A type is known on one side only where the other calls it unknown.
        track.counts |= identity.counts;
        samples.for_each(|(time, value)| track.take((time, value / identity.factor)));
    }

    /// Counts what cannot be compared.
    pub(super) fn leave_out(&mut self, incomparable: Incomparable, samples: u64) {
        let Incomparable { metric, reason } = incomparable;
        let is_full = self.incomparable.len() >= INCOMPARABLE_MAX && !self.incomparable.contains_key(&metric);
        let metric = if is_full { "others".to_owned() } else { metric };
        self.incomparable.entry(metric).or_insert((reason, 0)).1 += samples;
    }

    fn track(&mut self, side: Side, identity: &Identity) -> Option<&mut Track> {
        let (job, place) = (self.text(&identity.job), self.text(&identity.place));
        let is_full = self.series >= self.series_max;
        if !self.groups.contains_key(identity.key.as_str()) {
            if is_full {
                return None;
            }
            self.groups.insert(identity.key.as_str().into(), Vec::new());
        }
        let group = self.groups.get_mut(identity.key.as_str())?;
        let at = match group.iter().position(|v| v.job == job && v.place == place) {
            Some(at) => at,
            None if is_full => return None,
            None => {
                group.push(Variant { job, place, old: None, new: None, is_shared: false });
                group.len() - 1
            }
        };
        let variant = group.get_mut(at)?;
        let track = match side {
            Side::Old => &mut variant.old,
            Side::New => &mut variant.new,
        };
        if track.is_none() {
            if is_full {
                return None;
            }
            self.series += 1;
        }
        Some(track.get_or_insert_with(|| Track::new(identity.counts)))
    }

    /// The same text once. They are as many as nodes and jobs.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }

    /// What was found, by the name of the metric.
    pub(super) fn rows(&mut self, judging: Judging) -> BTreeMap<String, Row> {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        let mut keys: Vec<_> = self.groups.keys().cloned().collect();
        keys.sort();
        for key in keys {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            pair(group);
            let name = key.split('{').next().unwrap_or_default();
            let row = rows.entry(name.to_owned()).or_default();
            group.iter().for_each(|variant| count(row, &key, variant, judging));
        }
        rows
    }
}

/// Puts series together that one side knows less of: a job or a place that it does not name. What the old side has under two names,
/// such as node-exporter's and Vector's own, is met by one of the new side.
fn pair(group: &mut Vec<Variant>) {
    group.sort_by(|a, b| (&a.job, &a.place).cmp(&(&b.job, &b.place)));
    let is_met = |one: &str, other: &str| one.is_empty() || other.is_empty() || one == other;
    let mut at = 0;
    while let Some(variant) = group.get(at) {
        let partner = group.iter().position(|other| {
            variant.old.is_some()
                && variant.new.is_none()
                && other.old.is_none()
                && is_met(&variant.job, &other.job)
                && is_met(&variant.place, &other.place)
        });
        match partner {
            Some(partner) => {
                let new = group.get_mut(partner).and_then(|other| other.new.take());
                if let Some(variant) = group.get_mut(at) {
                    variant.new = new;
                }
                group.remove(partner);
                at = if partner < at { at } else { at + 1 };
            }
            None => at += 1,
        }
    }
    let taken: Vec<_> = group
        .iter()
        .filter(|v| v.old.is_some())
        .filter_map(|v| Some((v.job.clone(), v.place.clone(), v.new.clone()?)))
        .collect();
    let alone = group.iter_mut().filter(|v| v.new.is_none() && (v.job.is_empty() || v.place.is_empty()));
    for variant in alone {
        let partner =
            taken.iter().find(|(job, place, _)| is_met(&variant.job, job) && is_met(&variant.place, place));
        if let Some((.., new)) = partner {
            variant.new = Some(new.clone());
            variant.is_shared = true;
        }
    }
}

fn count(row: &mut Row, key: &str, variant: &Variant, judging: Judging) {
    let (from, to) = judging.range;
    let is_edge = |track: &Track| {
        track.times.1 < from.saturating_add(judging.slack) || track.times.0 > to.saturating_sub(judging.slack)
    };
    row.old += u64::from(variant.old.is_some());
    row.new += u64::from(variant.new.is_some() && !variant.is_shared);
    let add = |row: &mut Row, what: &'static str, text: String| {
        if row.examples.iter().filter(|example| example.what == what).count() < judging.examples {
            row.examples.push(Example { what, series: show(key, variant), text });
        }
    };
    match (&variant.old, &variant.new) {
        (Some(old), Some(new)) => {
            row.both += 1;
            let judgement = judge(old, new);
            let both = || format!("old {}, new {}", summary(old), summary(new));
            if let Some(why) = judgement.differ {
                row.differ += 1;
                add(row, "differ", format!("{why}: {}", both()));
            }
            if let Some(hole) = judgement.hole {
                row.holes += 1;
                add(row, "hole", format!("{hole}: {}", both()));
            }
        }
        (Some(track), None) | (None, Some(track)) if is_edge(track) => row.edge += 1,
        (Some(old), None) => {
            row.missing += 1;
            add(row, "missing", format!("old {}", summary(old)));
        }
        (None, Some(new)) => {
            row.extra += 1;
            add(row, "extra", format!("new {}", summary(new)));
        }
        (None, None) => {}
    }
}

/// `1..5 in 60 samples, every 15.0 s`.
fn summary(track: &Track) -> String {
    let odd = if track.odd > 0 && track.odd < track.samples {
        format!(", {} no number", track.odd)
    } else {
        String::new()
    };
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let every = track.interval().map_or(String::new(), |i| format!(", every {:.1} s", i as f64 / 1000.0));
    let plural = if track.samples == 1 { "" } else { "s" };
    format!("{} in {} sample{plural}{every}{odd}", track.range(), track.samples)
}

fn show(key: &str, variant: &Variant) -> String {
    let job = if variant.job.is_empty() { String::new() } else { format!("job={:?}", &*variant.job) };
    let labels = key.split_once('{').map_or("", |(_, rest)| rest.strip_suffix('}').unwrap_or(rest));
    let name = key.split('{').next().unwrap_or_default();
    let parts = [labels, &job, &variant.place];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{name}{{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(key: &str, job: &str, place: &str) -> Identity {
        let [key, job, place] = [key, job, place].map(str::to_owned);
        Identity { key, job, place, counts: false, factor: 1.0 }
    }

    const JUDGING: Judging = Judging { range: (0, 1000), slack: 0, examples: 1 };

    #[test]
    fn series_are_paired_by_what_both_sides_name() {
        let check = |old: &[(&str, &str)], new: &[(&str, &str)], expected: (u64, u64, u64)| {
            let mut table = Table::new(100);
            for (side, variants) in [(Side::Old, old), (Side::New, new)] {
                for (job, place) in variants {
                    table.take(side, &identity("a{}", job, place), [(5, 1.0), (6, 1.0)].into_iter());
                }
            }
            let rows = table.rows(JUDGING);
            let row = &rows["a"];
            assert_eq!((row.both, row.missing, row.extra), expected, "{old:?} {new:?}");
        };
        check(&[("j", "n1")], &[("j", "n1")], (1, 0, 0));
        check(&[("", "")], &[("j", "n1")], (1, 0, 0));
        check(&[("j", "")], &[("j", "n1")], (1, 0, 0));
        check(&[("", "n1")], &[("j", "n1"), ("j", "n2")], (1, 0, 1));
        check(&[("", "n2"), ("", "n1")], &[("j", "n1"), ("j", "n2")], (2, 0, 0));
        check(&[("i", "n1")], &[("j", "n1")], (0, 1, 1));
        check(&[("j", "n1"), ("j", "n2"), ("j", "n3")], &[("j", "n1"), ("j", "n4")], (1, 2, 1));
        // Under two names.
        check(&[("", ""), ("", "n1")], &[("", "n1")], (2, 0, 0));
        check(&[("", "n1"), ("j", "n1"), ("", "n2")], &[("j", "n1")], (2, 1, 0));
    }

    #[test]
    fn memory_is_bounded_and_what_is_beyond_is_counted() {
        let mut table = Table::new(2);
        for key in ["a{}", "b{}", "c{}", "a{}"] {
            table.take(Side::Old, &identity(key, "", ""), [(5, 1.0), (6, 1.0)].into_iter());
        }
        table.take(Side::New, &identity("a{}", "", ""), [(5, 1.0)].into_iter());
        assert_eq!((table.len(), table.untold, table.rows(JUDGING).len()), (2, 3, 2));
    }

    #[test]
    fn the_ends_of_the_range_are_no_mans_land() {
        let mut table = Table::new(9);
        for (key, time) in [("a{}", 5), ("a{x=\"1\"}", 500), ("a{x=\"2\"}", 995)] {
            table.take(Side::Old, &identity(key, "j", "node=\"n\""), [(time, 1.0)].into_iter());
        }
        let rows = table.rows(Judging { slack: 10, ..JUDGING });
        let row = &rows["a"];
        assert_eq!((row.old, row.missing, row.edge), (3, 1, 2));
        let expected = ("missing", r#"a{x="1",job="j",node="n"}"#, "old 1 in 1 sample");
        let example = &row.examples[0];
        assert_eq!((example.what, example.series.as_str(), example.text.as_str()), expected);
    }
}
