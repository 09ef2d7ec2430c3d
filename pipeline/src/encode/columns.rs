//! The text columns of a batch: one dictionary each, and one key per run of rows.
//!
//! Takes rows in order, gives keys; an entity's runs stand together, so that most texts equal the one before and need
//! no hash. While the same series follow each other as in the last batch, which is nearly always, the columns of the
//! last batch are the columns of this one.

use std::collections::HashMap;

use super::order::Rows;
use crate::model::labels::METRIC_NAME;
use crate::model::sample::{SeriesId, SeriesTable};
use crate::schema::Schema;

/// A dictionary of texts in order of first use, and keys into it.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) values: Vec<Box<str>>,
    pub(super) keys: Vec<u32>,
}

/// All text columns of a batch.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) metric: Texts,
    pub(super) metric_type: Texts,
    pub(super) promoted: Vec<Texts>,
    /// Map entries of all runs, one after another.
    pub(super) map_keys: Texts,
    pub(super) map_values: Texts,
    /// How many map entries each run has.
    pub(super) map_lengths: Vec<u32>,
}

/// The columns of the last batch.
#[derive(Debug, Default)]
pub(super) struct Cache {
    series: Vec<SeriesId>,
    columns: Columns,
}

impl Cache {
    /// The columns of these rows.
    pub(super) fn of(&mut self, rows: &Rows, table: &SeriesTable, schema: &Schema) -> &Columns {
        if self.series != rows.series || self.series.is_empty() {
            self.columns = Columns::new(rows, table, schema);
            self.series.clone_from(&rows.series);
        }
        &self.columns
    }

    /// Forgets them, because ids are about to be given to other series.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Texts while they are collected.
#[derive(Default)]
struct Collecting<'a> {
    values: Vec<&'a str>,
    keys: Vec<u32>,
    index: HashMap<&'a str, u32>,
    last: Option<(&'a str, u32)>,
}

impl<'a> Collecting<'a> {
    fn push(&mut self, text: &'a str) {
        let key = match self.last {
            Some((last, key)) if last == text => key,
            _ => *self.index.entry(text).or_insert_with(|| {
                self.values.push(text);
                u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
            }),
        };
        self.last = Some((text, key));
        self.keys.push(key);
    }

    fn done(mut self) -> Texts {
        self.keys.shrink_to_fit();
        Texts { values: self.values.into_iter().map(Box::from).collect(), keys: self.keys }
    }
}

impl Columns {
    pub(super) fn new(rows: &Rows, table: &SeriesTable, schema: &Schema) -> Self {
        let mut metric = Collecting::default();
        let mut metric_type = Collecting::default();
        let mut columns: Vec<_> = schema.promoted.iter().map(|_| Collecting::default()).collect();
        let (mut map_keys, mut map_values) = (Collecting::default(), Collecting::default());
        let mut map_lengths = Vec::with_capacity(rows.series.len());
        // Promoted labels by name, so that one walk along a series' sorted labels finds them all.
        let mut by_name: Vec<(&str, usize)> =
            schema.promoted.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        by_name.sort_unstable();
        let mut promoted = vec![""; by_name.len()];
        for series in rows.series.iter().filter_map(|id| table.get(*id)) {
            promoted.fill("");
            let mut wanted = by_name.iter().peekable();
            let (mut name_of_metric, mut entries) = ("", 0);
            for (name, value) in series.labels.iter() {
                while wanted.next_if(|(promoted, _)| *promoted < name).is_some() {}
                if let Some((_, column)) = wanted.next_if(|(promoted, _)| *promoted == name) {
                    if let Some(place) = promoted.get_mut(*column) {
                        *place = value;
                    }
                } else if name == METRIC_NAME {
                    name_of_metric = value;
                } else {
                    map_keys.push(name);
                    map_values.push(value);
                    entries += 1;
                }
            }
            metric.push(name_of_metric);
            metric_type.push(series.metric_type.as_str());
            for (texts, text) in columns.iter_mut().zip(&promoted) {
                texts.push(text);
            }
            map_lengths.push(entries);
        }
        Self {
            metric: metric.done(),
            metric_type: metric_type.done(),
            promoted: columns.into_iter().map(Collecting::done).collect(),
            map_keys: map_keys.done(),
            map_values: map_values.done(),
            map_lengths,
        }
    }
}
