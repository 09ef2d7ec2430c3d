//! The columns of an object and of the ClickHouse table that takes it: names, order, types, sort order.
//!
//! Takes the configured extra columns; gives the column list, the row order of series and the table's SQL. The one
//! place to change when a column changes.

pub mod kube_events;

use crate::model::labels::METRIC_NAME;

/// Labels that are always columns of their own: what people filter by. An absent label is the empty text.
pub const PROMOTED: [&str; 8] =
    ["cluster_id", "job", "instance", "namespace", "pod", "container", "node", "uid"];

/// Columns that are no labels; kube-state-metrics has labels called `type` and `value`, so a label of such a name
/// stays in the `labels` map.
pub const FIXED: [&str; 5] = ["timestamp", "metric", "type", "labels", "value"];

/// Labels that order rows before all others: an entity's series stand together, which compresses best. After them come the
/// other labels, the metric and the type.
pub(crate) const ORDER: [&str; 6] = ["job", "instance", "namespace", "pod", "container", "uid"];

/// The columns in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Labels with a column of their own, [`PROMOTED`] first, in column order.
    pub promoted: Vec<String>,
}

impl Schema {
    /// The schema with `added` labels promoted too; those that cannot be are problems.
    ///
    /// # Errors
    /// One text per label that cannot be a column, with its position in `added`.
    pub fn new(added: &[String]) -> Result<Self, Vec<(usize, String)>> {
        let mut promoted: Vec<String> = PROMOTED.iter().map(ToString::to_string).collect();
        let mut problems = Vec::new();
        for (i, name) in added.iter().enumerate() {
            if FIXED.contains(&name.as_str()) {
                problems.push((
                    i,
                    format!("{name:?} is the name of a fixed column; leave it in labels['{name}']"),
                ));
            } else if !is_label_name(name) || name == METRIC_NAME {
                problems.push((i, format!("{name:?} is not a label name that can be a column")));
            } else if promoted.contains(name) {
                problems.push((i, format!("{name:?} is a column already; remove it here")));
            } else {
                promoted.push(name.clone());
            }
        }
        if problems.is_empty() { Ok(Self { promoted }) } else { Err(problems) }
    }

    /// Whether a label stays in the map column.
    #[must_use]
    pub fn in_map(&self, label: &str) -> bool {
        label != METRIC_NAME && !self.promoted.iter().any(|p| p == label)
    }

    /// The ClickHouse table that takes the objects: run it before the agent that writes these columns, because
    /// S3Queue ignores a column that its table lacks.
    #[must_use]
    pub fn clickhouse_table(&self, table: &str) -> String {
        let mut columns = vec![
            "    `timestamp` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))".to_owned(),
            "    `metric` LowCardinality(String)".to_owned(),
            "    `type` LowCardinality(String)".to_owned(),
        ];
        // Identifiers that are as many as pods do not fit a dictionary of 8,192 strings per part.
        let wide = |name: &str| matches!(name, "uid" | "id" | "container_id");
        columns.extend(self.promoted.iter().map(|name| {
            let kind = if wide(name) { "String" } else { "LowCardinality(String)" };
            format!("    `{name}` {kind}")
        }));
        columns.push("    `labels` Map(LowCardinality(String), String)".to_owned());
        columns.push("    `value` Float64 CODEC(FPC(12), ZSTD(1))".to_owned());
        format!(
            "CREATE TABLE IF NOT EXISTS {table}\n(\n{}\n)\nENGINE = MergeTree\nPARTITION BY toDate(timestamp)\n\
             ORDER BY (metric, job, instance, namespace, pod, container, timestamp);\n",
            columns.join(",\n")
        )
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self { promoted: PROMOTED.iter().map(ToString::to_string).collect() }
    }
}

/// Prometheus' data model: `[a-zA-Z_][a-zA-Z0-9_]*`.
fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_cannot_be_columns_are_named() {
        let added: Vec<String> = ["id", "type", "job", "a-b", "id"].map(str::to_owned).into();
        let problems = Schema::new(&added).unwrap_err();
        assert_eq!(problems.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let schema = Schema::new(&["image".to_owned()]).unwrap();
        assert!(!schema.in_map("image") && !schema.in_map("job") && schema.in_map("type"));
        assert!(schema.clickhouse_table("landing").contains("`image` LowCardinality(String)"));
    }
}
