//! The columns of an object of Kubernetes events, and of the ClickHouse table that takes it (`deploy/clickhouse/events.sql`).

/// What a column holds. No column is nullable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Milliseconds since the Unix epoch, UTC.
    Time,
    /// Text; the empty one where there is nothing to say.
    Text,
    /// A number from 0.
    Count,
    /// A number of 32 bits, with its sign.
    Code,
}

/// All columns, in their order. One row is one Kubernetes event with one count, or one end of a container: the pair of `uid`
/// and `count` is never shipped twice by one agent.
pub const COLUMNS: [(&str, Kind); 18] = [
    ("timestamp", Kind::Time),
    ("cluster_id", Kind::Text),
    // `event`, or `pod` for what a pod's status says of a container.
    ("source", Kind::Text),
    ("type", Kind::Text),
    ("reason", Kind::Text),
    ("kind", Kind::Text),
    ("namespace", Kind::Text),
    ("name", Kind::Text),
    ("object_uid", Kind::Text),
    ("container", Kind::Text),
    ("node", Kind::Text),
    ("component", Kind::Text),
    ("owner_kind", Kind::Text),
    ("owner", Kind::Text),
    // Of the Kubernetes event, or the pod's with the container's name.
    ("uid", Kind::Text),
    // How often the event was seen until then, or which run of the container ended.
    ("count", Kind::Count),
    ("exit_code", Kind::Code),
    ("message", Kind::Text),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A column that the queue lacks is ignored without a word.
    #[test]
    fn the_queue_has_these_columns() {
        let text = include_str!("../../../deploy/clickhouse/events.sql");
        let (_, queue) = text.split_once(".events_queue\n(").unwrap();
        let (columns, _) = queue.split_once("\n)").unwrap();
        let found: Vec<_> = columns
            .lines()
            .filter_map(|line| line.trim().trim_end_matches(',').strip_prefix('`')?.split_once("` "))
            .collect();
        assert_eq!(found.iter().map(|(name, _)| *name).collect::<Vec<_>>(), COLUMNS.map(|(name, _)| name));
        for ((name, found), (_, kind)) in found.into_iter().zip(COLUMNS) {
            let fits = match kind {
                Kind::Time => found == "DateTime64(3, 'UTC')",
                Kind::Text => matches!(found, "String" | "LowCardinality(String)"),
                Kind::Count => found == "UInt64",
                Kind::Code => found == "Int32",
            };
            assert!(fits, "{name} {found}");
        }
    }
}
