//! The timestamps of a scrape's samples: mostly one for all, or each its own and close to the others.
//!
//! cAdvisor's samples have the moments at which it looked at their containers, some seconds apart; so what is held of each is its
//! distance from the first of them, in as many bits as the furthest takes.

/// The timestamps of a scrape's samples, milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub enum Times<'a> {
    /// All have this one.
    Same(i64),
    /// Each has its own, in the order of the series.
    Each(&'a [i64]),
}

/// Timestamps as a batch holds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    /// The first of them.
    base: i64,
    width: Width,
}

/// Bits of each distance from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// All are the same.
    None,
    Sixteen,
    ThirtyTwo,
    SixtyFour,
}

impl Width {
    /// How many distances a word holds, as a power of two; `None` where there are none.
    fn share(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Sixteen => Some(2),
            Self::ThirtyTwo => Some(1),
            Self::SixtyFour => Some(0),
        }
    }
}

impl Packed {
    /// Appends what is held of these timestamps besides the first to `words`.
    pub(super) fn new(times: Times<'_>, words: &mut Vec<u64>) -> Self {
        let each = match times {
            Times::Same(base) => return Self { base, width: Width::None },
            Times::Each(each) => each,
        };
        let (base, last) =
            each.iter().fold((i64::MAX, i64::MIN), |(low, high), time| (low.min(*time), high.max(*time)));
        let distance = |time: &i64| time.wrapping_sub(base).cast_unsigned();
        let width = match distance(&last) {
            _ if each.is_empty() => Width::None,
            0 => Width::None,
            1..0x1_0000 => Width::Sixteen,
            0x1_0000..0x1_0000_0000 => Width::ThirtyTwo,
            _ => Width::SixtyFour,
        };
        if let Some(share) = width.share() {
            let bits = 64 >> share;
            let word = |times: &[i64]| {
                times.iter().rev().fold(0_u64, |word, time| word.wrapping_shl(bits) | distance(time))
            };
            words.extend(each.chunks(1 << share).map(word));
        }
        Self { base, width }
    }

    /// How many words they take besides the first.
    pub(super) fn words(self, samples: usize) -> usize {
        self.width.share().map_or(0, |share| samples.div_ceil(1 << share))
    }

    /// The timestamps, with the words that [`Self::new`] appended.
    pub(super) fn with(self, words: &[u64]) -> Stamps<'_> {
        Stamps { packed: self, words }
    }
}

/// The timestamps of a scrape in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Stamps<'a> {
    packed: Packed,
    words: &'a [u64],
}

impl Stamps<'_> {
    /// The one timestamp of all samples; `None` where they differ.
    #[must_use]
    pub fn shared(&self) -> Option<i64> {
        (self.packed.width == Width::None).then_some(self.packed.base)
    }

    /// The timestamp of the sample at this place.
    #[must_use]
    pub fn at(&self, place: usize) -> i64 {
        let Packed { base, width } = self.packed;
        let Some(share) = width.share() else { return base };
        let word = self.words.get(place >> share).copied().unwrap_or_default();
        let bits = 64 >> share;
        let among = place & ((1 << share) - 1);
        let distance = word >> (among * bits) & (u64::MAX >> (64 - bits));
        base.wrapping_add(distance.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However far apart they are, and whatever stands behind them in the log.
        #[test]
        fn each_comes_back(
            base in any::<i64>(),
            furthest in prop_oneof![0..3_u64, 0xfffe..0x1_0001_u64, 0xffff_fffe..0x1_0000_0001_u64, any::<u64>()],
            near in prop::collection::vec(any::<u64>(), 0..40),
        ) {
            let distances = near.iter().map(|n| n % furthest.saturating_add(1)).chain([furthest]);
            let times: Vec<i64> = distances.map(|n| base.wrapping_add_unsigned(n)).collect();
            let mut words = vec![1, 2];
            let packed = Packed::new(Times::Each(&times), &mut words);
            prop_assert_eq!(words.len() - 2, packed.words(times.len()));
            words.push(u64::MAX);
            let stamps = packed.with(&words[2..]);
            let found: Vec<i64> = (0..times.len()).map(|at| stamps.at(at)).collect();
            prop_assert_eq!(stamps.shared(), times.iter().all(|time| *time == times[0]).then_some(times[0]));
            prop_assert_eq!(found, times);
        }
    }

    #[test]
    fn what_is_seconds_apart_takes_two_bytes_each() {
        let mut words = Vec::new();
        for (furthest, expected) in [(0, 0), (65_535, 2), (65_536, 4), (1 << 32, 8)] {
            words.clear();
            let times: Vec<i64> = (0..7).map(|_| 5).chain([5 + furthest]).collect();
            Packed::new(Times::Each(&times), &mut words);
            assert_eq!(words.len(), expected, "{furthest} ms apart");
        }
    }
}
