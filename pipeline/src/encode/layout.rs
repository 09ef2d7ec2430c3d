//! Where the labels of each shape of series go: which are columns, which order the rows.
//!
//! Takes the table's shapes, once for each object; so that nothing is looked up by name for every series.

use std::cmp::Ordering;

use crate::model::labels::METRIC_NAME;
use crate::model::sample::MetricType;
use crate::model::series::{SeriesId, SeriesRef, SeriesTable};
use crate::model::texts::Text;
use crate::schema::{ORDER, Schema};

/// The labels of one shape; a place is a position among its sorted labels.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The name of the metric.
    pub(super) metric: Option<usize>,
    /// Of each column of the schema, where it has a label.
    pub(super) promoted: Vec<Option<usize>>,
    /// Those that go into the map.
    pub(super) map: Vec<(Text, usize)>,
    pub(super) metric_type: MetricType,
    order: [Option<usize>; ORDER.len()],
    /// Those that order rows after `order` and before the metric.
    others: Vec<(Text, usize)>,
}

/// The layouts of all shapes of a table.
#[derive(Debug)]
pub(super) struct Layouts<'a> {
    table: &'a SeriesTable,
    layouts: Vec<Layout>,
    /// Of all texts, where [`Self::prepare`] has made them.
    ranks: Vec<u32>,
}

impl<'a> Layouts<'a> {
    pub(super) fn new(table: &'a SeriesTable, schema: &Schema) -> Self {
        let layouts =
            table.shapes().map(|(names, metric_type)| Layout::new(table, names, metric_type, schema));
        Self { table, layouts: layouts.collect(), ranks: Vec::new() }
    }

    pub(super) fn table(&self) -> &'a SeriesTable {
        self.table
    }

    /// A series and the layout of its labels.
    pub(super) fn get(&self, id: SeriesId) -> Option<(SeriesRef<'a>, &Layout)> {
        let series = self.table.get(id)?;
        Some((series, self.layouts.get(series.shape())?))
    }

    /// Appends the numbers of what orders the rows: of the texts of job, instance, namespace, pod, container, uid, of the other
    /// labels, of the metric; and the type. Equal are only series with the same labels and type.
    pub(super) fn key(&self, id: SeriesId, out: &mut Vec<u32>) {
        let Some((series, layout)) = self.get(id) else { return };
        let value = |place: usize| series.values().get(place).copied().unwrap_or(Text::EMPTY);
        let place = |place: Option<usize>| place.map_or(Text::EMPTY, value);
        let order = layout.order.iter().map(|at| place(*at));
        let others = layout.others.iter().flat_map(|(name, at)| [*name, value(*at)]);
        // The empty text stands before every name, and so fewer labels before more.
        let texts = order.chain(others).chain([Text::EMPTY, place(layout.metric)]);
        out.extend(texts.map(Text::id).chain([u32::from(layout.metric_type.code())]));
    }

    /// Makes comparisons cheap where there will be at least `series` times some of them: each text is compared with a few others
    /// then, and not with those of every series.
    pub(super) fn prepare(&mut self, series: usize) {
        if self.ranks.is_empty() && self.table.texts() <= 4 * series {
            self.ranks = ranks(self.table);
        }
    }

    /// Compares two keys.
    pub(super) fn compare(&self, a: &[u32], b: &[u32]) -> Ordering {
        let differ = a.iter().zip(b).position(|(a, b)| a != b);
        let Some((at, (a_text, b_text))) = differ.and_then(|at| Some((at, (*a.get(at)?, *b.get(at)?))))
        else {
            return a.len().cmp(&b.len());
        };
        if a.len() == b.len() && at + 1 == a.len() {
            return a_text.cmp(&b_text);
        }
        match (self.ranks.get(a_text as usize), self.ranks.get(b_text as usize)) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => self.table.text(Text::of_id(a_text)).cmp(self.table.text(Text::of_id(b_text))),
        }
    }
}

/// By a text's number, how many stand before it in the order of texts.
fn ranks(table: &SeriesTable) -> Vec<u32> {
    let mut sorted: Vec<(&str, usize)> = table.numbered_texts().collect();
    sorted.sort_unstable();
    let mut ranks = vec![0; sorted.len()];
    for ((_, number), rank) in sorted.iter().zip(0..) {
        if let Some(place) = ranks.get_mut(*number) {
            *place = rank;
        }
    }
    ranks
}

impl Layout {
    fn new(table: &SeriesTable, names: &[Text], metric_type: MetricType, schema: &Schema) -> Self {
        let mut layout = Self { metric_type, promoted: vec![None; schema.promoted.len()], ..Self::default() };
        for (place, number) in names.iter().enumerate() {
            let name = table.text(*number);
            if name == METRIC_NAME {
                layout.metric = Some(place);
                continue;
            }
            let column = schema.promoted.iter().position(|promoted| promoted == name);
            match column.and_then(|column| layout.promoted.get_mut(column)) {
                Some(promoted) => *promoted = Some(place),
                None => layout.map.push((*number, place)),
            }
            let at = ORDER.iter().position(|ordering| *ordering == name);
            match at.and_then(|at| layout.order.get_mut(at)) {
                Some(ordering) => *ordering = Some(place),
                None => layout.others.push((*number, place)),
            }
        }
        layout
    }
}
