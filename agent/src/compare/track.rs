//! What is kept of a series, and the judgement of two of them.
//!
//! Two agents look at different moments, so that no two samples of them have to be equal. What has to agree whatever the moments is
//! judged: what never moves, in which range it moves, how much a counter grew, and whether there is a hole.

use pipeline::decode::Sample;

/// Numbers that differ by less of their own size are the same: a conversion of units costs some bits.
const EQUAL: f64 = 1e-9;
/// Beside two intervals, by so much a series may begin later or end earlier than on the other side, milliseconds.
const LATE_MAX: i64 = 5000;

/// One series of one side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Track {
    pub(super) counts: bool,
    pub(super) samples: u64,
    /// Of these, those whose value is no finite number.
    pub(super) odd: u64,
    /// When the first and the last sample were taken.
    pub(super) times: (i64, i64),
    /// First and last finite value, with their times.
    ends: Option<(Sample, Sample)>,
    pub(super) min: f64,
    pub(super) max: f64,
    /// The largest difference between two finite values that follow each other.
    step: f64,
    /// The longest time between two samples that follow each other, and after which one.
    gap: (i64, i64),
    /// How often it went down.
    falls: u64,
}

/// What is wrong with the new side of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Why the values differ.
    pub(super) differ: Option<String>,
    /// Where samples are missing.
    pub(super) hole: Option<String>,
}

impl Track {
    pub(super) fn new(counts: bool) -> Self {
        Self {
            counts,
            samples: 0,
            odd: 0,
            times: (i64::MAX, i64::MIN),
            ends: None,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            step: 0.0,
            gap: (0, 0),
            falls: 0,
        }
    }

    /// Takes a sample. They come in order of time, but for a few.
    pub(super) fn take(&mut self, (time, value): Sample) {
        let (first, last) = self.times;
        self.samples += 1;
        if last != i64::MIN && time - last > self.gap.0 {
            self.gap = (time - last, last);
        }
        self.times = (first.min(time), last.max(time));
        if !value.is_finite() {
            self.odd += 1;
            return;
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        match &mut self.ends {
            None => self.ends = Some(((time, value), (time, value))),
            Some((_, last)) if time > last.0 => {
                self.step = self.step.max((value - last.1).abs());
                self.falls += u64::from(value < last.1);
                *last = (time, value);
            }
            Some((first, _)) if time < first.0 => *first = (time, value),
            Some(_) => {}
        }
    }

    /// Takes all of another one, of the same side.
    #[cfg(test)]
    pub(super) fn of(counts: bool, samples: &[Sample]) -> Self {
        let mut track = Self::new(counts);
        samples.iter().for_each(|sample| track.take(*sample));
        track
    }

    /// The time from one sample to the next.
    pub(super) fn interval(&self) -> Option<i64> {
        let steps = i64::try_from(self.samples).unwrap_or(i64::MAX) - 1;
        (steps > 0).then(|| (self.times.1 - self.times.0) / steps)
    }

    fn is_constant(&self) -> bool {
        is_equal(self.min, self.max)
    }

    /// The values for people.
    pub(super) fn range(&self) -> String {
        match self.ends {
            None => "no number".to_owned(),
            Some(_) if self.is_constant() => format!("{}", self.min),
            Some(_) => format!("{}..{}", self.min, self.max),
        }
    }
}

fn is_equal(one: f64, other: f64) -> bool {
    (one - other).abs() <= EQUAL * one.abs().max(other.abs())
}

/// Judges the new side by the old one.
pub(super) fn judge(old: &Track, new: &Track) -> Judgement {
    Judgement { differ: differ(old, new).map(str::to_owned), hole: hole(old, new) }
}

fn differ(old: &Track, new: &Track) -> Option<&'static str> {
    let (Some(olds), Some(news)) = (old.ends, new.ends) else {
        return (old.ends.is_some() != new.ends.is_some()).then_some("numbers on one side only");
    };
    if old.is_constant() && new.is_constant() && is_equal(old.min, new.min) {
        return None;
    }
    let step = old.step.max(new.step);
    let counts = (old.counts || new.counts) && old.falls == 0 && new.falls == 0;
    if counts {
        // One after the other: it goes on. Clocks of two machines may differ by a look.
        let went_down =
            |before: f64, after: f64| (before - after > step).then_some("went down from one to the other");
        if olds.1.0 < news.0.0 {
            return went_down(olds.1.1, news.0.1);
        }
        if news.1.0 < olds.0.0 {
            return went_down(news.1.1, olds.0.1);
        }
    }
    if old.is_constant() && new.is_constant() {
        return Some("constant on both sides and not equal");
    }
    let apart = (old.min - new.max).max(new.min - old.max);
    // What lies further apart than it ever moved between two looks.
    if apart > step && !is_equal(apart, step) {
        return Some("ranges do not meet");
    }
    if counts && !grew_alike(old, new, (olds, news), step) {
        return Some("did not grow alike");
    }
    None
}

/// Whether a counter grew by as much, given what it may have grown while only one of them looked.
fn grew_alike(
    old: &Track,
    new: &Track,
    (olds, news): ((Sample, Sample), (Sample, Sample)),
    step: f64,
) -> bool {
    let interval = old.interval().max(new.interval()).unwrap_or_default().max(1);
    let alone = (olds.0.0 - news.0.0).abs() + (olds.1.0 - news.1.0).abs();
    let growth = |(first, last): (Sample, Sample)| last.1 - first.1;
    #[expect(clippy::cast_precision_loss, reason = "a handful of intervals")]
    let looks = 2.0 + alone as f64 / interval as f64;
    (growth(olds) - growth(news)).abs() <= step * looks * (1.0 + EQUAL)
}

/// Where the old side has samples and the new one has none.
fn hole(old: &Track, new: &Track) -> Option<String> {
    let interval = old.interval().max(new.interval())?;
    let late = interval.saturating_mul(2).saturating_add(LATE_MAX);
    let time = crate::targets::rfc3339;
    if new.times.0 - old.times.0 > late {
        return Some(format!("begins at {} instead of {}", time(new.times.0), time(old.times.0)));
    }
    if old.times.1 - new.times.1 > late {
        return Some(format!("ends at {} instead of {}", time(new.times.1), time(old.times.1)));
    }
    // Half as long again as on the other side, and two samples in a row at least.
    let (gap, at) = new.gap;
    (gap > late.saturating_add(interval / 2) && gap > old.gap.0.saturating_mul(3) / 2)
        .then(|| format!("nothing for {} s after {}", gap / 1000, time(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(start: i64, interval: i64, values: &[f64]) -> Vec<Sample> {
        (0..).map(|n| start + interval * n).zip(values.iter().copied()).collect()
    }

    fn check(counts: bool, old: &[Sample], new: &[Sample], differ: Option<&str>, hole: Option<&str>) {
        let found = judge(&Track::of(counts, old), &Track::of(counts, new));
        let is = |found: &Option<String>, expected: Option<&str>| match (found, expected) {
            (Some(found), Some(part)) => found.contains(part),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(is(&found.differ, differ), "{old:?} {new:?}: {found:?}");
        assert!(is(&found.hole, hole), "{old:?} {new:?}: {found:?}");
    }

    #[test]
    fn gauges_have_to_meet() {
        let old = samples(0, 60_000, &[1.0, 3.0, 2.0, 2.0]);
        check(false, &old, &samples(7, 60_000, &[2.0, 1.0, 2.5, 3.5]), None, None);
        check(false, &old, &samples(7, 60_000, &[4.0, 4.5, 4.5, 4.0]), None, None);
        check(false, &old, &samples(7, 60_000, &[6.0, 6.5, 6.5, 6.0]), Some("do not meet"), None);
        let constant = samples(0, 60_000, &[7.0; 4]);
        check(false, &constant, &samples(7, 15_000, &[7.0; 14]), None, None);
        check(false, &constant, &samples(7, 60_000, &[7.1; 4]), Some("constant"), None);
        check(false, &samples(0, 1, &[0.1 + 0.2]), &samples(0, 1, &[0.3]), None, None);
        check(false, &samples(0, 1, &[0.0]), &samples(0, 1, &[-0.0]), None, None);
        check(false, &samples(0, 1, &[0.0]), &samples(0, 1, &[1e-300]), Some("constant"), None);
        let nan = samples(0, 60_000, &[f64::NAN; 4]);
        check(false, &nan, &samples(7, 60_000, &[f64::INFINITY; 4]), None, None);
        check(false, &nan, &constant, Some("one side only"), None);
    }

    #[test]
    fn counters_have_to_grow_alike() {
        let counter = |start: i64, interval: i64, from: f64, rate: f64, count: usize| {
            let values: Vec<_> = (0..count).map(|n| from + rate * n as f64).collect();
            samples(start, interval, &values)
        };
        let old = counter(0, 60_000, 1000.0, 60.0, 60);
        check(true, &old, &counter(7000, 60_000, 1007.0, 60.0, 60), None, None);
        check(true, &old, &counter(7000, 15_000, 1007.0, 15.0, 238), None, None);
        check(true, &old, &counter(7000, 60_000, 1007.0, 30.0, 60), Some("grow"), None);
        check(true, &old, &counter(7000, 60_000, 9000.0, 60.0, 60), Some("do not meet"), None);
        check(true, &old, &counter(3_600_000, 60_000, 4600.0, 60.0, 3), None, Some("begins"));
        check(true, &samples(0, 1, &[5.0]), &samples(10, 1, &[6.0]), None, None);
        check(true, &samples(0, 1, &[5.0]), &samples(10, 1, &[4.0]), Some("went down"), None);
        check(true, &samples(10, 1, &[5.0]), &samples(0, 1, &[6.0]), Some("went down"), None);
        // Restarted: only the ranges are judged.
        let restarted = samples(0, 60_000, &[50.0, 60.0, 1.0, 11.0]);
        check(true, &restarted, &samples(7, 60_000, &[51.0, 61.0, 2.0, 12.0]), None, None);
    }

    #[test]
    fn holes_are_seen() {
        let old = samples(0, 60_000, &[1.0; 60]);
        let mut new = samples(7000, 60_000, &[1.0; 60]);
        check(false, &old, &new, None, None);
        check(false, &old, &new[..50], None, Some("ends at 1970-01-01T00:49:07.000Z"));
        check(false, &old, &new[10..], None, Some("begins"));
        new.remove(20);
        check(false, &old, &new, None, None);
        new.drain(20..25);
        check(false, &old, &new, None, Some("nothing for 420 s after 1970-01-01T00:19:07.000Z"));
        check(false, &new, &new, None, None);
        check(false, &new, &old, None, None);
    }
}
