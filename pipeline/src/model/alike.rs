//! Lines that are written alike: the same label names in the same order, other values.
//!
//! What became of one of them says what becomes of the next, but for the texts of its values. The parser tells by the bytes that
//! lines are alike and where their values stand; whoever gives series their slots keeps in [`Kinds`] what the labels became.

use super::sample::{Exposed, MetricType, Refusal, Slot};
use super::texts::Text;

/// Values of a line, its metric name among them, that are kept apart by the bits of one number.
pub(crate) const VALUES_MAX: usize = 64;

/// Where a value stands in its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// The value; nothing where the line is another one.
    pub(crate) fn of(self, line: &[u8]) -> &[u8] {
        line.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A line that is written as one before it was. None of its values holds an escape; they may be no UTF-8.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alike<'a> {
    pub(crate) line: &'a [u8],
    /// Its values in the order of the line, the metric name first.
    pub(crate) spans: &'a [Span],
    /// A bit for each value that is what it was in the line before, the lowest for the first.
    pub(crate) same: u64,
    /// A bit for each value that is empty.
    pub(crate) empty: u64,
    /// The type of its family.
    pub(crate) metric_type: MetricType,
}

/// What became of lines that are written alike; kept beside them, for one target and the time of one answer.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    /// When they were learnt: texts are held as long as the series that were there then.
    pub(crate) epoch: Option<u64>,
    /// The values of the line before. Where one is empty, that of an older line.
    pub(crate) texts: Vec<Text>,
    pub(crate) kinds: Vec<Kind>,
    /// The one that the line before was of.
    pub(crate) last: usize,
    /// Whether metric relabelling dropped the line before, where that is known.
    pub(crate) is_dropped: Option<bool>,
}

/// Lines that are written alike, of which the same values are empty, and of one type: the labels of their series have the same
/// names.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) empty: u64,
    pub(crate) metric_type: MetricType,
    pub(crate) shape: u32,
    /// The values of the series that was made last.
    pub(crate) row: Vec<Text>,
    /// Which value of the line is which value of the row; values that are empty have none.
    pub(crate) written: Vec<(u8, u32)>,
    /// The values of the row that no line says: labels of the target, and external ones.
    pub(crate) given: Vec<u32>,
}

/// Gives exposed series their slots.
pub(crate) trait Resolve {
    /// The slot of a series, or why it has none. Whatever there is besides only saves time.
    fn resolve(&mut self, exposed: Exposed<'_>) -> Result<Slot, Refusal>;

    /// Whether the other two do anything, now.
    fn knows_alike(&self) -> bool {
        false
    }

    /// The slot that [`Self::resolve`] would give to this line; `None` where it has to be asked.
    fn resolve_alike(&mut self, _: &Alike<'_>, _: &mut Kinds) -> Option<Slot> {
        None
    }

    /// Notes what became of a line; its labels are called so.
    fn learn<'n>(&mut self, _: Slot, _: &Alike<'_>, _names: impl Iterator<Item = &'n str>, _: &mut Kinds) {}
}

/// The simple way, for each line.
pub(crate) struct Each<F>(pub(crate) F);

impl<F: FnMut(Exposed<'_>) -> Result<Slot, Refusal>> Resolve for Each<F> {
    fn resolve(&mut self, exposed: Exposed<'_>) -> Result<Slot, Refusal> {
        (self.0)(exposed)
    }
}
