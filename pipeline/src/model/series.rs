//! The series that are alive, by id: what their labels are called and what they say, as numbers of texts.
//!
//! Series of one kind (the same label names and the same type) stand in one table of that shape, a row each, four bytes for
//! each label. Ids are reused only after no open batch can name them.

mod row;

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::labels::Labels;
use super::sample::MetricType;
use super::texts::{Text, Texts};

pub(crate) use row::RowRef;

/// A series: its complete label set, `__name__` included, as it will be shipped, and its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// All labels, `__name__` included.
    pub labels: Labels,
    /// The declared type.
    pub metric_type: MetricType,
}

/// A slot in the [`SeriesTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);

impl SeriesId {
    /// No series.
    pub const NONE: Self = Self(u32::MAX);
}

/// Bytes of labels that there is room for, per series of `limits.max_series`: long ones count for several. Few exporters have
/// more on average; cAdvisor's ids and images are the longest among the usual ones.
pub const LABEL_BYTES: u64 = 256;

/// Counted for each shape besides its names: its place, in the index too.
const SHAPE_BYTES: u64 = 160;
/// Counted for each label of a series and for each name of a shape.
const NUMBER_BYTES: u64 = 4;

/// All series that are alive, by id.
#[derive(Debug, Default)]
pub struct SeriesTable {
    texts: Texts,
    shapes: Vec<Shape>,
    by_names: HashTable<u32>,
    free_shapes: Vec<u32>,
    /// By id.
    rows: Vec<Row>,
    free: Vec<SeriesId>,
    /// Series whose target stopped exposing them; freed by `sweep` once no open batch names them.
    dead: Vec<SeriesId>,
    hasher: DefaultHashBuilder,
    /// The shape of the last series that was inserted: the next is mostly like it.
    last_shape: u32,
    /// What labels and shapes take besides the texts.
    bytes: u64,
    /// See [`SeriesTable::epoch`].
    epoch: u64,
    /// The texts of the series at hand; kept for their buffers.
    names_at_hand: Vec<Text>,
}

/// Where a series stands; `NONE` is no shape.
#[derive(Clone, Copy, Debug)]
struct Row {
    shape: u32,
    at: u32,
}

impl Row {
    const NONE: Self = Self { shape: u32::MAX, at: 0 };
}

/// Series with the same label names and the same type.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Sorted by text, as every label set is.
    names: Box<[Text]>,
    pub(crate) metric_type: MetricType,
    /// Row after row, as many as there are names.
    values: Vec<Text>,
    free: Vec<u32>,
    /// Rows in `values`, free ones too.
    rows: u32,
    /// The row that was filled last: the next series mostly says much of what this one does.
    last: u32,
}

impl Shape {
    fn values(&self, at: u32) -> &[Text] {
        let (start, width) = (at as usize * self.names.len(), self.names.len());
        self.values.get(start..start + width).unwrap_or_default()
    }

    /// A row to be filled.
    fn take_row(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.rows += 1;
            grow(&mut self.values, self.names.len());
            self.values.resize(self.rows as usize * self.names.len(), Text::EMPTY);
            self.rows - 1
        })
    }

    fn live(&self) -> u32 {
        self.rows - u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }
}

/// A series in the table.
#[derive(Clone, Copy, Debug)]
pub struct SeriesRef<'a> {
    table: &'a SeriesTable,
    shape: &'a Shape,
    number: u32,
    values: &'a [Text],
}

impl<'a> SeriesRef<'a> {
    /// The declared type.
    #[must_use]
    pub fn metric_type(self) -> MetricType {
        self.shape.metric_type
    }

    /// All labels, `__name__` included, sorted by name.
    pub fn labels(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let table = self.table;
        self.shape.names.iter().zip(self.values).map(|(name, value)| (table.text(*name), table.text(*value)))
    }

    /// The value of a label; the empty text where there is none.
    #[must_use]
    pub fn value(self, name: &str) -> &'a str {
        self.labels().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }

    /// The series with labels of its own.
    #[must_use]
    pub fn to_series(self) -> Series {
        Series { labels: Labels::from_pairs(self.labels()), metric_type: self.metric_type() }
    }

    /// The number of its shape: see [`SeriesTable::shapes`].
    pub(crate) fn shape(self) -> usize {
        self.number as usize
    }

    /// All labels as numbers of texts, in the same order.
    pub(crate) fn texts(self) -> impl Iterator<Item = (Text, Text)> {
        self.shape.names.iter().copied().zip(self.values.iter().copied())
    }

    /// Where it stands, and what it says.
    pub(crate) fn row(self) -> RowRef<'a> {
        RowRef { shape: self.number, values: self.values }
    }

    /// The values of its labels, in the order of the shape's names.
    pub(crate) fn values(self) -> &'a [Text] {
        self.values
    }
}

/// Equal where labels and type are; of one table only.
impl PartialEq for SeriesRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && self.values == other.values
    }
}

impl Eq for SeriesRef<'_> {}

impl SeriesTable {
    /// Gives a series an id; its labels are sorted by name. The caller holds that id once, and gives it back with
    /// [`Self::retire`] or [`Self::discard`].
    pub fn insert<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        metric_type: MetricType,
    ) -> SeriesId {
        let number = self.shape_of(labels.clone().map(|(name, _)| name), metric_type);
        self.last_shape = number;
        let Self { texts, shapes, bytes, .. } = self;
        let at = shapes.get_mut(number as usize).map_or(0, |shape| {
            let at = shape.take_row();
            let width = shape.names.len();
            let (start, last) = (at as usize * width, shape.last as usize * width);
            for (column, (_, value)) in labels.enumerate() {
                let text = match shape.values.get(last + column) {
                    Some(text) if texts.get(*text) == value && !value.is_empty() => texts.hold_again(*text),
                    _ => texts.hold(value),
                };
                if let Some(place) = shape.values.get_mut(start + column) {
                    *place = text;
                }
            }
            shape.last = at;
            *bytes += width as u64 * NUMBER_BYTES;
            at
        });
        self.take_id(Row { shape: number, at })
    }

    /// The shape with these names, a new one if need be.
    fn shape_of<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone, metric_type: MetricType) -> u32 {
        if let Some(last) = self.shapes.get(self.last_shape as usize)
            && last.live() > 0
            && last.metric_type == metric_type
            && last.names.iter().map(|name| self.texts.get(*name)).eq(names.clone())
        {
            return self.last_shape;
        }
        let Self { texts, shapes, by_names, hasher, names_at_hand, bytes, .. } = self;
        names_at_hand.clear();
        names_at_hand.extend(names.map(|name| texts.hold(name)));
        let hash = hasher.hash_one((&**names_at_hand, metric_type));
        let same = |number: &u32| {
            let shape = shapes.get(*number as usize);
            shape.is_some_and(|shape| {
                *shape.names == **names_at_hand && shape.metric_type == metric_type && shape.live() > 0
            })
        };
        if let Some(number) = by_names.find(hash, same) {
            names_at_hand.iter().for_each(|name| texts.release(*name));
            return *number;
        }
        *bytes += names_at_hand.len() as u64 * NUMBER_BYTES + SHAPE_BYTES;
        let names = names_at_hand.as_slice().into();
        let shape = Shape { names, metric_type, values: Vec::new(), free: Vec::new(), rows: 0, last: 0 };
        let number =
            self.free_shapes.pop().unwrap_or_else(|| u32::try_from(shapes.len()).unwrap_or(u32::MAX));
        match shapes.get_mut(number as usize) {
            Some(place) => *place = shape,
            None => shapes.push(shape),
        }
        by_names.insert_unique(hash, number, |number| hash_of(shapes, *number, hasher));
        number
    }

    /// Whether there is no room for one more, where `series_max` may be held: those that are gone and wait for the open batch
    /// to be sealed take room too.
    #[must_use]
    pub fn is_full(&self, series_max: u64) -> bool {
        let held = self.rows.len() - self.free.len();
        held as u64 >= series_max || self.label_bytes() >= series_max.saturating_mul(LABEL_BYTES)
    }

    /// Bytes that all labels take, about.
    #[must_use]
    pub fn label_bytes(&self) -> u64 {
        self.bytes + self.texts.bytes()
    }

    /// Whether a quarter of the room is taken by series that are gone: sealing the open batch frees it.
    #[must_use]
    pub fn is_stale(&self, series_max: u64) -> bool {
        self.dead.len() as u64 > series_max / 4
    }

    /// Frees a series that no batch has named.
    pub fn discard(&mut self, id: SeriesId) {
        self.epoch += 1;
        self.discard_twin(id);
    }

    /// Frees a series that no batch has named and that is there a second time, so that no text goes with it.
    pub(crate) fn discard_twin(&mut self, id: SeriesId) {
        self.forget(id);
        self.free.push(id);
    }

    fn forget(&mut self, id: SeriesId) {
        let Self { texts, shapes, rows, by_names, free_shapes, hasher, bytes, .. } = self;
        let Some(row) = rows.get_mut(id.0 as usize) else { return };
        let Row { shape: number, at } = std::mem::replace(row, Row::NONE);
        let Some(shape) = shapes.get_mut(number as usize) else { return };
        shape.values(at).iter().for_each(|value| texts.release(*value));
        shape.free.push(at);
        *bytes -= shape.names.len() as u64 * NUMBER_BYTES;
        if shape.live() > 0 {
            return;
        }
        // The last of its kind: so that label names that come and go leave nothing.
        let hash = hash_of(shapes, number, hasher);
        if let Ok(found) = by_names.find_entry(hash, |found| *found == number) {
            found.remove();
        }
        if let Some(shape) = shapes.get_mut(number as usize) {
            shape.names.iter().for_each(|name| texts.release(*name));
            *bytes -= shape.names.len() as u64 * NUMBER_BYTES + SHAPE_BYTES;
            let names = Box::default();
            *shape = Shape {
                names,
                metric_type: shape.metric_type,
                values: Vec::new(),
                free: Vec::new(),
                rows: 0,
                last: 0,
            };
            free_shapes.push(number);
        }
    }

    /// The series with this id, while it is alive or an open batch names it.
    #[must_use]
    pub fn get(&self, id: SeriesId) -> Option<SeriesRef<'_>> {
        let row = self.rows.get(id.0 as usize)?;
        let shape = self.shapes.get(row.shape as usize)?;
        Some(SeriesRef { table: self, shape, number: row.shape, values: shape.values(row.at) })
    }

    /// A text of one of the series.
    #[must_use]
    pub fn text(&self, text: Text) -> &str {
        self.texts.get(text)
    }

    /// Above the number of every text.
    pub(crate) fn texts(&self) -> usize {
        self.texts.numbers()
    }

    /// Every text with its number; numbers that are free stand there with the empty text.
    pub(crate) fn numbered_texts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.texts.all().enumerate().map(|(number, text)| (text, number))
    }

    /// The label names of every shape, by its number. Numbers of shapes without series are among them.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&[Text], MetricType)> {
        self.shapes.iter().map(|shape| (&*shape.names, shape.metric_type))
    }

    /// Marks a series as no longer exposed.
    pub fn retire(&mut self, id: SeriesId) {
        self.dead.push(id);
    }

    /// Frees the retired series and returns their ids; call it when no batch is open.
    pub fn sweep(&mut self) -> Vec<SeriesId> {
        let dead = std::mem::take(&mut self.dead);
        self.epoch += 1;
        dead.iter().for_each(|id| self.forget(*id));
        self.free.extend_from_slice(&dead);
        dead
    }

    /// Upper bound of all ids in use: the size of an array indexed by id.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.rows.len()
    }

    /// Series alive, retired ones not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len() - self.free.len() - self.dead.len()
    }

    /// Whether no series is alive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes room by a quarter at a time where a vector would double: with millions of series the difference is seen.
fn grow<T>(vector: &mut Vec<T>, more: usize) {
    if vector.capacity() - vector.len() < more {
        vector.reserve_exact((vector.len() / 4).max(more));
    }
}

fn hash_of(shapes: &[Shape], number: u32, hasher: &DefaultHashBuilder) -> u64 {
    shapes.get(number as usize).map_or(0, |shape| hasher.hash_one((&*shape.names, shape.metric_type)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    prop_compose! {
        fn any_series()(
            labels in prop::collection::btree_map("[a-c]", "[x-z]{1,2}", 0..4),
            counter in any::<bool>(),
        ) -> Series {
            let metric_type = if counter { MetricType::Counter } else { MetricType::Gauge };
            Series { labels: Labels::from_pairs(&labels), metric_type }
        }
    }

    proptest! {
        /// The simple table, a map from ids to series, is the oracle.
        #[test]
        fn it_holds_what_was_put_in(steps in prop::collection::vec((any_series(), 0..4_u8, any::<prop::sample::Index>()), 0..60)) {
            let (mut table, mut plain) = (SeriesTable::default(), HashMap::new());
            let mut retired = Vec::new();
            for (series, step, index) in steps {
                let mut ids: Vec<SeriesId> = plain.keys().copied().collect();
                ids.sort_unstable();
                let other = (!ids.is_empty()).then(|| ids[index.index(ids.len())]);
                match (step, other) {
                    (1, Some(id)) if !retired.contains(&id) => {
                        table.discard(id);
                        plain.remove(&id);
                    }
                    (2, Some(id)) if !retired.contains(&id) => {
                        table.retire(id);
                        retired.push(id);
                    }
                    (3, _) => {
                        prop_assert_eq!(table.sweep(), retired.clone());
                        retired.drain(..).for_each(|id| { plain.remove(&id); });
                    }
                    _ => {
                        let id = table.insert(series.labels.iter(), series.metric_type);
                        prop_assert!(plain.insert(id, series).is_none());
                    }
                }
                for (id, series) in &plain {
                    let found = table.get(*id).unwrap();
                    prop_assert_eq!(&found.to_series(), series);
                    for (other, theirs) in &plain {
                        prop_assert_eq!(found == table.get(*other).unwrap(), series == theirs);
                    }
                }
                prop_assert_eq!(table.len(), plain.len() - retired.len());
            }
            plain.keys().filter(|id| !retired.contains(id)).for_each(|id| table.discard(*id));
            table.sweep();
            prop_assert_eq!((table.label_bytes(), table.len()), (0, 0));
        }
    }
}
