//! Reading the journal back: bytes in, batches out, with what is missing counted.
//!
//! Never fails: a frame that cannot be read costs itself, and so does a sample whose series cannot.

use super::frame::{Frame, Part, Parts};
use super::number::{take, take_signed};
use crate::model::batch::{Batch, LineUp, Times};
use crate::model::labels::Labels;
use crate::model::object::Tenure;
use crate::model::sample::MetricType;
use crate::model::series::{Series, SeriesId, SeriesTable};

/// How much of a file could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Things in it that cannot be read, as far as is known.
    pub(crate) lost: u64,
    /// Whether it holds anything that was never written so. A torn end is no damage.
    pub(crate) damaged: bool,
    /// Bytes of an end that was not written completely.
    pub(crate) torn_bytes: usize,
}

impl Condition {
    /// Takes note of everything up to the `until`-th thing, of which `seen` were there.
    fn expect(&mut self, until: u32, seen: &mut u32) {
        if until > *seen {
            self.lost += u64::from(until - *seen);
            self.damaged = true;
            *seen = until;
        }
    }
}

/// Goes through a file; `read` gives how many things of a frame it could use.
fn each_frame<'a>(bytes: &'a [u8], mut read: impl FnMut(&Frame<'a>) -> u32) -> Condition {
    let (mut condition, mut seen) = (Condition::default(), 0);
    for part in Parts::of(bytes) {
        match part {
            Part::Frame(frame) => {
                condition.expect(frame.before, &mut seen);
                let used = read(&frame).min(frame.count);
                if used < frame.count {
                    condition.damaged = true;
                    condition.lost += u64::from(frame.count - used);
                }
                seen = frame.before.saturating_add(frame.count);
            }
            Part::Damage { until } => {
                condition.damaged = true;
                condition.expect(until.unwrap_or_default(), &mut seen);
            }
            Part::Torn { bytes } => condition.torn_bytes = bytes,
        }
    }
    condition
}

/// The series of one generation, by their numbers. Those that cannot be read are missing.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    /// Ids in `table`.
    ids: Vec<Option<SeriesId>>,
    pub(crate) table: SeriesTable,
}

impl Definitions {
    /// Reads a file of series.
    pub(crate) fn read(bytes: &[u8]) -> (Self, Condition) {
        let mut definitions = Self::default();
        // A series takes two bytes at least, so that no number can be larger than this.
        let most = bytes.len() / 2;
        let condition = each_frame(bytes, |frame| definitions.take(frame, most));
        (definitions, condition)
    }

    fn take(&mut self, frame: &Frame<'_>, most: usize) -> u32 {
        let first = frame.before as usize;
        // Numbers are given one after the other; a gap stands for series that cannot be read.
        if !(self.ids.len()..=most).contains(&first) {
            return 0;
        }
        let mut rest = frame.body;
        for used in 0..frame.count {
            let Some(series) = read_series(&mut rest) else { return used };
            let at = first + used as usize;
            self.ids.resize(at, None);
            self.ids.push(Some(self.table.insert(series.labels.iter(), series.metric_type)));
        }
        frame.count
    }

    fn id(&self, number: u64) -> Option<SeriesId> {
        *self.ids.get(usize::try_from(number).ok()?)?
    }
}

fn read_series(rest: &mut &[u8]) -> Option<Series> {
    let (code, after) = rest.split_first()?;
    *rest = after;
    let length = usize::try_from(take(rest)?).ok()?;
    let (labels, after) = rest.split_at_checked(length)?;
    *rest = after;
    let labels = Labels::from_text(std::str::from_utf8(labels).ok()?)?;
    Some(Series { labels, metric_type: MetricType::from_code(*code)? })
}

/// Which generation the samples of this file belong to; `None` if there is no frame.
pub(crate) fn generation(bytes: &[u8]) -> Option<u32> {
    let first = Parts::of(bytes).find_map(|part| match part {
        Part::Frame(frame) => Some(frame),
        _ => None,
    });
    u32::try_from(take(&mut first?.body)?).ok()
}

/// The turn in which the samples of this file were scraped.
pub(crate) fn tenure(bytes: &[u8]) -> Option<Tenure> {
    let first = Parts::of(bytes).find_map(|part| match part {
        Part::Frame(frame) => Some(frame),
        _ => None,
    });
    read_start(&mut first?.body)?.tenure
}

/// Reads a file of samples into a batch.
pub(crate) fn read_batch(bytes: &[u8], definitions: &Definitions) -> (Batch, Condition) {
    let mut batch = Batch::default();
    let condition =
        each_frame(bytes, |frame| read_scrape(frame, definitions, &mut batch).unwrap_or_default());
    (batch, condition)
}

struct Start {
    last_scrape: i64,
    tenure: Option<Tenure>,
}

fn read_start(rest: &mut &[u8]) -> Option<Start> {
    let (_generation, _definitions) = (take(rest)?, take(rest)?);
    let last_scrape = take_signed(rest)?;
    let (flag, after) = rest.split_first()?;
    *rest = after;
    let tenure = match *flag {
        0 => None,
        _ => Some(Tenure { transitions: take_signed(rest)?, acquired: take_signed(rest)? }),
    };
    Some(Start { last_scrape, tenure })
}

/// Adds the samples of a frame, whose checksum is right, to the batch; gives how many they are.
fn read_scrape(frame: &Frame<'_>, definitions: &Definitions, batch: &mut Batch) -> Option<u32> {
    let mut rest = frame.body;
    let start = read_start(&mut rest)?;
    let count = u64::from(frame.count);
    // Every sample has its value, so that no count is larger than what the body has room for.
    let values = rest.len().checked_sub(usize::try_from(count).ok()?.checked_mul(8)?)?;
    let (mut runs, values) = rest.split_at_checked(values)?;
    let mut ids = Vec::with_capacity(frame.count as usize);
    let mut expected = 0_u64;
    while (ids.len() as u64) < count {
        let length = take(&mut runs)?;
        let first = expected.checked_add_signed(take_signed(&mut runs)?)?;
        expected = first.checked_add(length)?;
        if length == 0 || length > count - ids.len() as u64 {
            return None;
        }
        ids.extend((first..expected).map(|number| definitions.id(number)));
    }
    let mut values =
        values.chunks_exact(8).filter_map(|eight| Some(f64::from_le_bytes(eight.try_into().ok()?)));
    let (mut ids, mut left, mut time) = (ids.into_iter(), count, start.last_scrape);
    let (mut known, mut kept, mut times) = (Vec::new(), Vec::new(), Vec::new());
    while left > 0 {
        let length = take(&mut runs)?;
        time = time.wrapping_add(take_signed(&mut runs)?);
        if length == 0 || length > left {
            break;
        }
        left -= length;
        for (id, value) in (&mut ids).zip(&mut values).take(usize::try_from(length).ok()?) {
            if let Some(id) = id {
                known.push(id);
                kept.push(value);
                times.push(time);
            }
        }
    }
    let used = u32::try_from(kept.len()).unwrap_or(u32::MAX);
    batch.add(&mut LineUp::new(&known), Times::Each(&times), &kept);
    if left > 0 {
        return Some(used);
    }
    batch.last_scrape = batch.last_scrape.max(start.last_scrape);
    batch.tenure = start.tenure;
    Some(used)
}

#[cfg(test)]
mod tests;
