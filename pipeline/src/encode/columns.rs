//! The text columns of a batch: one dictionary each, and one key per run of rows.
//!
//! Takes rows in order, gives keys; an entity's runs stand together, so that most texts equal the one before and need
//! no hash.

use std::collections::HashMap;

use super::order::Rows;
use crate::model::labels::METRIC_NAME;
use crate::model::sample::SeriesTable;
use crate::schema::Schema;

/// A dictionary of texts in order of first use, and keys into it.
#[derive(Debug, Default)]
pub(super) struct Texts<'a> {
    pub(super) values: Vec<&'a str>,
    pub(super) keys: Vec<u32>,
    index: HashMap<&'a str, u32>,
    last: Option<(&'a str, u32)>,
}

impl<'a> Texts<'a> {
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
}

/// All text columns of a batch.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    pub(super) metric: Texts<'a>,
    pub(super) metric_type: Texts<'a>,
    pub(super) promoted: Vec<Texts<'a>>,
    /// Map entries of all runs, one after another.
    pub(super) map_keys: Texts<'a>,
    pub(super) map_values: Texts<'a>,
    /// How many map entries each run has.
    pub(super) map_lengths: Vec<u32>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(rows: &Rows, table: &'a SeriesTable, schema: &Schema) -> Self {
        let mut columns = Self {
            metric: Texts::default(),
            metric_type: Texts::default(),
            promoted: schema.promoted.iter().map(|_| Texts::default()).collect(),
            map_keys: Texts::default(),
            map_values: Texts::default(),
            map_lengths: Vec::with_capacity(rows.series.len()),
        };
        // Promoted labels by name, so that one walk along a series' sorted labels finds them all.
        let mut by_name: Vec<(&str, usize)> =
            schema.promoted.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        by_name.sort_unstable();
        let mut promoted = vec![""; by_name.len()];
        for series in rows.series.iter().filter_map(|id| table.get(*id)) {
            promoted.fill("");
            let mut wanted = by_name.iter().peekable();
            let (mut metric, mut entries) = ("", 0);
            for (name, value) in series.labels.iter() {
                while wanted.next_if(|(promoted, _)| *promoted < name).is_some() {}
                if let Some((_, column)) = wanted.next_if(|(promoted, _)| *promoted == name) {
                    if let Some(place) = promoted.get_mut(*column) {
                        *place = value;
                    }
                } else if name == METRIC_NAME {
                    metric = value;
                } else {
                    columns.map_keys.push(name);
                    columns.map_values.push(value);
                    entries += 1;
                }
            }
            columns.metric.push(metric);
            columns.metric_type.push(series.metric_type.as_str());
            for (texts, text) in columns.promoted.iter_mut().zip(&promoted) {
                texts.push(text);
            }
            columns.map_lengths.push(entries);
        }
        columns
    }
}
