//! Which series belong together: the buckets, sum and count of a histogram, the quantiles, sum and count of a summary.
//!
//! Takes the series of a batch in the order of rows, gives them as families in the order of their first. Looks at names,
//! labels and types, never at values.

use std::collections::HashMap;

use crate::model::labels::METRIC_NAME;
use crate::model::sample::MetricType;
use crate::model::series::{SeriesId, SeriesRef, SeriesTable};
use crate::model::texts::Text;

/// The label that says where a bucket ends.
pub(super) const LE: &str = "le";
/// The label that says which quantile it is.
pub(super) const QUANTILE: &str = "quantile";

/// What a series is to its family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// How many observations were at most so large.
    Bucket(f64),
    /// Which quantile of the observations it is.
    Quantile(f64),
    /// Of all observations.
    Sum,
    /// Of all observations.
    Count,
}

/// One series of a family, by its run of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) role: Role,
    pub(super) run: usize,
}

/// A histogram or a summary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Members<'a> {
    /// What it is called, without a suffix.
    pub(super) name: &'a str,
    /// Buckets and quantiles in ascending order, no two alike.
    pub(super) pieces: Vec<Piece>,
}

/// One series, or those that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Family<'a> {
    Single(usize),
    Together(Members<'a>),
}

/// What is equal within a family: type, name, and the labels but `le` and `quantile`.
type Key<'a> = (MetricType, &'a str, Vec<(Text, Text)>);

/// Finds the families of these series; a run is a position among them.
pub(super) fn find<'a>(series: &[SeriesId], table: &'a SeriesTable) -> Vec<Family<'a>> {
    let mut families: Vec<Family<'a>> = Vec::with_capacity(series.len());
    let mut known: HashMap<Key<'a>, usize> = HashMap::new();
    for (run, id) in series.iter().enumerate() {
        let found = table.get(*id).and_then(|series| Some((series, role(series)?)));
        let Some((series, (name, role))) = found else {
            families.push(Family::Single(run));
            continue;
        };
        let is_shared = |(name, _): &(Text, Text)| ![METRIC_NAME, LE, QUANTILE].contains(&table.text(*name));
        let labels = series.texts().filter(is_shared).collect();
        let at = *known.entry((series.metric_type(), name, labels)).or_insert(families.len());
        match families.get_mut(at) {
            Some(Family::Together(members)) => members.pieces.push(Piece { role, run }),
            _ => families.push(Family::Together(Members { name, pieces: vec![Piece { role, run }] })),
        }
    }
    families.into_iter().flat_map(in_order).collect()
}

/// The family with its pieces in order; its series one by one where two of them say the same, as `le="1"` and `le="1.0"` do.
fn in_order(family: Family<'_>) -> Vec<Family<'_>> {
    let Family::Together(mut members) = family else { return vec![family] };
    let place = |role: Role| match role {
        Role::Bucket(bound) | Role::Quantile(bound) => (0, bound),
        Role::Sum => (1, 0.0),
        Role::Count => (2, 0.0),
    };
    let order = |a: &Piece, b: &Piece| {
        let ((a, a_bound), (b, b_bound)) = (place(a.role), place(b.role));
        a.cmp(&b).then(a_bound.total_cmp(&b_bound))
    };
    members.pieces.sort_by(order);
    let is_ambiguous =
        members.pieces.windows(2).any(|two| matches!(two, [a, b] if place(a.role) == place(b.role)));
    match is_ambiguous {
        true => members.pieces.iter().map(|piece| Family::Single(piece.run)).collect(),
        false => vec![Family::Together(members)],
    }
}

/// The name of the family that a series belongs to, and what it is to it. `None` for one that stands by itself.
fn role(series: SeriesRef<'_>) -> Option<(&str, Role)> {
    let bound_label = match series.metric_type() {
        MetricType::Histogram => LE,
        MetricType::Summary => QUANTILE,
        _ => return None,
    };
    let name = series.value(METRIC_NAME);
    let bound = series.value(bound_label);
    if bound.is_empty() {
        let sum = || Some((name.strip_suffix("_sum")?, Role::Sum));
        let count = || Some((name.strip_suffix("_count")?, Role::Count));
        return sum().or_else(count);
    }
    let bound: f64 = bound.parse().ok().filter(|bound: &f64| !bound.is_nan())?;
    match series.metric_type() {
        MetricType::Histogram => Some((name.strip_suffix("_bucket")?, Role::Bucket(bound))),
        _ => Some((name, Role::Quantile(bound))),
    }
}

/// Whether it is a quantile of a summary.
pub(super) fn is_quantile(series: SeriesRef<'_>) -> bool {
    series.metric_type() == MetricType::Summary && !series.value(QUANTILE).is_empty()
}
