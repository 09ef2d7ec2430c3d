//! The timestamps of a scrape's samples.
//!
//! Mostly all have the scrape's own. An exporter that gives them itself, as cAdvisor does, gives all samples of one container the
//! same one, scrape after scrape: so which samples have theirs in common is held once, and of each scrape one timestamp for each
//! group of them. Takes one for each sample, and gives them back.

use std::sync::Arc;

use hashbrown::HashMap;

/// The timestamps of a scrape's samples, milliseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub enum Times {
    /// All have this one.
    Same(i64),
    /// Each has its own, in the order of the series.
    Each(Box<[i64]>),
    /// The samples of each group have one.
    Grouped(Arc<Groups>, Box<[i64]>),
}

/// Which samples of a scrape have their timestamp in common.
#[derive(Debug)]
pub struct Groups {
    /// Of each sample.
    of: Box<[u16]>,
    /// The first sample of each group.
    firsts: Box<[u32]>,
}

/// Samples in a group, on average, below which there is nothing to be won.
const GROUP_MIN: usize = 4;

/// What is known of the groups of a list of series.
#[derive(Clone, Debug, Default)]
pub(super) enum Grouping {
    #[default]
    Unknown,
    Known(Arc<Groups>),
    /// Too few have theirs in common: nobody looks for groups again.
    Useless,
}

impl Times {
    /// The timestamp of the sample at this place.
    #[must_use]
    pub fn at(&self, place: usize) -> i64 {
        let found = match self {
            Self::Same(time) => Some(time),
            Self::Each(times) => times.get(place),
            Self::Grouped(groups, times) => groups.of.get(place).and_then(|group| times.get(*group as usize)),
        };
        found.copied().unwrap_or_default()
    }

    /// The same timestamps in less memory, where samples have theirs in common.
    pub(super) fn grouped(self, grouping: &mut Grouping) -> Self {
        let Self::Each(each) = &self else { return self };
        if let Grouping::Known(groups) = grouping
            && let Some(times) = groups.times(each)
        {
            return Self::Grouped(Arc::clone(groups), times);
        }
        let before = match grouping {
            Grouping::Unknown => None,
            Grouping::Known(groups) => Some(&**groups),
            Grouping::Useless => return self,
        };
        let found = Groups::find(each, before).and_then(|groups| {
            let times = groups.times(each)?;
            Some((Arc::new(groups), times))
        });
        match found {
            Some((groups, times)) => {
                *grouping = Grouping::Known(Arc::clone(&groups));
                Self::Grouped(groups, times)
            }
            None => {
                *grouping = Grouping::Useless;
                self
            }
        }
    }
}

impl Groups {
    /// The timestamp of each group; nothing where its samples have not the same.
    fn times(&self, each: &[i64]) -> Option<Box<[i64]>> {
        let times = self.firsts.iter().map(|first| each.get(*first as usize).copied());
        let times = times.collect::<Option<Box<[i64]>>>()?;
        let is_of = |(group, time): (&u16, &i64)| times.get(*group as usize) == Some(time);
        (self.of.len() == each.len() && self.of.iter().zip(each).all(is_of)).then_some(times)
    }

    /// Samples are in one group that have one timestamp, and had so before. Nothing where the groups would be too many.
    fn find(each: &[i64], before: Option<&Self>) -> Option<Self> {
        let (mut numbers, mut firsts) = (HashMap::new(), Vec::new());
        let mut of = Vec::with_capacity(each.len());
        let groups_max = (each.len() / GROUP_MIN).min(usize::from(u16::MAX));
        for (place, time) in each.iter().enumerate() {
            let group_before = before.and_then(|groups| groups.of.get(place)).copied();
            let next = u16::try_from(firsts.len()).ok()?;
            let number = *numbers.entry((group_before, *time)).or_insert(next);
            if number == next {
                firsts.push(u32::try_from(place).ok().filter(|_| firsts.len() < groups_max)?);
            }
            of.push(number);
        }
        Some(Self { of: of.into(), firsts: firsts.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn each(times: &[i64]) -> Times {
        Times::Each(times.into())
    }

    fn all(times: &Times, count: usize) -> Vec<i64> {
        (0..count).map(|place| times.at(place)).collect()
    }

    #[test]
    fn groups_are_found_once_and_divided_where_they_were_too_large() {
        let mut grouping = Grouping::default();
        let mut groups = |times: &[i64]| match each(times).grouped(&mut grouping) {
            Times::Grouped(groups, kept) => Some((Arc::as_ptr(&groups), kept.len())),
            _ => None,
        };
        let first = groups(&[7; 12]).unwrap();
        assert_eq!(first.1, 1);
        assert_eq!(groups(&[8; 12]), Some(first));
        let divided = groups(&[9, 9, 9, 9, 9, 9, 1, 1, 1, 1, 1, 1]).unwrap();
        assert_eq!(divided.1, 2);
        assert_eq!(groups(&[5; 12]), Some(divided));
        let own: Vec<i64> = (0..12).collect();
        assert_eq!(groups(&own), None);
        assert_eq!(groups(&[5; 12]), None, "nobody looks for groups again");
    }

    proptest! {
        /// A timestamp for each sample is the simple way, and the oracle.
        #[test]
        fn every_timestamp_is_kept(
            scrapes in prop::collection::vec(prop::collection::vec(prop_oneof![Just(i64::MIN), 0..3_i64], 40), 1..6),
        ) {
            let mut grouping = Grouping::default();
            for times in scrapes {
                let kept = each(&times).grouped(&mut grouping);
                prop_assert_eq!(all(&kept, times.len()), times);
            }
        }
    }
}
