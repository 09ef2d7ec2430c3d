//! The text columns of a batch: one dictionary each, and keys into it as runs of rows.
//!
//! Takes rows in order, gives keys. Texts are numbers already, so that a dictionary is an array and nothing is hashed; an
//! entity's runs stand together, so that most texts equal the one before.

use super::layout::Layouts;
use super::order::Rows;
use crate::model::sample::MetricType;
use crate::model::texts::Text;
use crate::schema::Schema;

/// What a column holds: a text of the table, or one that is known beforehand.
pub(super) trait Word: Copy + PartialEq {
    /// Its place in the array of keys.
    fn place(self) -> usize;
}

impl Word for Text {
    fn place(self) -> usize {
        self.number()
    }
}

impl Word for MetricType {
    fn place(self) -> usize {
        usize::from(self.code())
    }
}

/// A dictionary in order of first use.
#[derive(Debug)]
pub(super) struct Dictionary<W> {
    pub(super) words: Vec<W>,
    /// By the word's place: its key and one; 0 for none. Zeroed memory takes no room until it is used.
    keys: Vec<u32>,
}

impl<W: Word> Dictionary<W> {
    fn new(places: usize) -> Self {
        Self { words: Vec::new(), keys: vec![0; places] }
    }

    fn key(&mut self, word: W) -> u32 {
        let next = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        let Some(key) = self.keys.get_mut(word.place()) else { return 0 };
        if *key == 0 {
            *key = next + 1;
            self.words.push(word);
        }
        *key - 1
    }
}

/// A column that says one text for each row.
#[derive(Debug)]
pub(super) struct Column<W> {
    pub(super) dictionary: Dictionary<W>,
    /// Keys, and for how many rows each.
    pub(super) runs: Vec<(u32, u32)>,
    last: Option<W>,
}

impl<W: Word> Column<W> {
    fn new(places: usize) -> Self {
        Self { dictionary: Dictionary::new(places), runs: Vec::new(), last: None }
    }

    fn push(&mut self, word: W, rows: u32) {
        match self.runs.last_mut().filter(|_| self.last == Some(word)) {
            Some((_, count)) => *count += rows,
            None => {
                self.runs.push((self.dictionary.key(word), rows));
                self.last = Some(word);
            }
        }
    }
}

/// All text columns of a batch.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) metric: Column<Text>,
    pub(super) metric_type: Column<MetricType>,
    pub(super) promoted: Vec<Column<Text>>,
    pub(super) map: Map,
}

/// The labels that have no column of their own.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) names: Dictionary<Text>,
    pub(super) values: Dictionary<Text>,
    /// Entries of all runs, one after another: the keys of name and value.
    pub(super) name_keys: Vec<u32>,
    pub(super) value_keys: Vec<u32>,
    /// Of each run: its entries and its rows.
    pub(super) runs: Vec<(u32, u32)>,
}

impl Columns {
    pub(super) fn new(rows: &Rows, layouts: &Layouts<'_>, schema: &Schema) -> Self {
        let texts = layouts.table().texts();
        let entries = rows.series.iter().filter_map(|id| Some(layouts.get(*id)?.1.map.len())).sum();
        let mut columns = Self {
            metric: Column::new(texts),
            metric_type: Column::new(usize::from(u8::MAX)),
            promoted: schema.promoted.iter().map(|_| Column::new(texts)).collect(),
            map: Map {
                names: Dictionary::new(texts),
                values: Dictionary::new(texts),
                name_keys: Vec::with_capacity(entries),
                value_keys: Vec::with_capacity(entries),
                runs: Vec::with_capacity(rows.series.len()),
            },
        };
        let Self { metric, metric_type, promoted, map } = &mut columns;
        for (id, length) in rows.series.iter().zip(rows.lengths()) {
            let (Some((series, layout)), Ok(length)) = (layouts.get(*id), u32::try_from(length)) else {
                continue;
            };
            let values = series.values();
            let value = |place: Option<usize>| {
                place.and_then(|place| values.get(place)).copied().unwrap_or(Text::EMPTY)
            };
            metric.push(value(layout.metric), length);
            metric_type.push(layout.metric_type, length);
            for (column, place) in promoted.iter_mut().zip(&layout.promoted) {
                column.push(value(*place), length);
            }
            for (name, place) in &layout.map {
                map.name_keys.push(map.names.key(*name));
                map.value_keys.push(map.values.key(value(Some(*place))));
            }
            map.runs.push((u32::try_from(layout.map.len()).unwrap_or(u32::MAX), length));
        }
        columns
    }
}
