//! Vector's own host metrics under the names of node-exporter, as `deploy/clickhouse/host_metrics.tsv` says.
//!
//! The same file fills the table behind the view `host_metrics_as_vector`, so that what is compared is what dashboards are given.

use std::collections::HashMap;

/// One row per term: a metric of Vector is the sum of terms, divided by another sum where it has one.
const TABLE: &str = include_str!("../../../deploy/clickhouse/host_metrics.tsv");

/// What a metric of Vector's is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Counterpart {
    /// One metric of node-exporter, times a factor.
    One(Renamed),
    /// It is computed from several of them, so that there is nothing to compare it with.
    Computed(String),
    /// There is none, and why.
    None(String),
}

/// One metric of node-exporter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Renamed {
    /// Its name.
    pub(super) name: String,
    /// Vector's value is so many of its own.
    pub(super) factor: f64,
    /// Vector's tag and the label.
    labels: Vec<(String, String)>,
    /// Vector's value of a tag and the label's.
    values: Vec<(String, String)>,
}

impl Renamed {
    /// The label that a tag is.
    pub(super) fn label<'a>(&'a self, tag: &'a str) -> &'a str {
        self.labels.iter().find(|(vector, _)| vector == tag).map_or(tag, |(_, node)| node)
    }

    /// The value that a tag's value is.
    pub(super) fn value<'a>(&'a self, value: &'a str) -> &'a str {
        self.values.iter().find(|(vector, _)| vector == value).map_or(value, |(_, node)| node)
    }
}

/// All metrics that the table knows.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, Counterpart>);

impl Names {
    pub(super) fn new() -> Self {
        let mut names: HashMap<String, Counterpart> = HashMap::new();
        for line in TABLE.lines().skip(1) {
            let cells: Vec<_> = line.split('\t').collect();
            let [vector, _, _, part, node, factor, labels, values, note] = cells[..] else { continue };
            let sign = if part == "divisor" { "/ " } else { "" };
            let term = format!("{sign}{factor} {node}");
            let new = match names.remove(vector) {
                None if node.is_empty() => Counterpart::None(note.to_owned()),
                None => Counterpart::One(Renamed {
                    name: node.to_owned(),
                    factor: factor.parse().unwrap_or(1.0),
                    labels: pairs(labels),
                    values: pairs(values),
                }),
                Some(Counterpart::One(first)) => {
                    Counterpart::Computed(format!("{} {}, {term}", first.factor, first.name))
                }
                Some(Counterpart::Computed(terms) | Counterpart::None(terms)) => {
                    Counterpart::Computed(format!("{terms}, {term}"))
                }
            };
            names.insert(vector.to_owned(), new);
        }
        Self(names)
    }

    /// What a metric of Vector's is; `None` for those that are not its own.
    pub(super) fn find(&self, vector: &str) -> Option<&Counterpart> {
        self.0.get(vector)
    }
}

/// `a,b=c`: the same name twice where there is one.
fn pairs(text: &str) -> Vec<(String, String)> {
    let split = |pair: &str| {
        let (vector, node) = pair.split_once('=').unwrap_or((pair, pair));
        (vector.to_owned(), node.to_owned())
    };
    text.split(',').filter(|pair| !pair.is_empty()).map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let mut lines = TABLE.lines();
        let head = "vector\ttype\tcollector\tpart\tnode\tfactor\tlabels\tvalues\tnote";
        assert_eq!(lines.next(), Some(head));
        for line in lines {
            let cells: Vec<_> = line.split('\t').collect();
            assert_eq!(cells.len(), 9, "{line}");
            assert!(cells[0].starts_with("host_") && ["counter", "gauge"].contains(&cells[1]), "{line}");
            assert_eq!(cells[4].is_empty(), cells[3].is_empty(), "{line}");
            assert!(cells[4].is_empty() != cells[5].parse::<f64>().is_ok(), "{line}");
            assert!(!cells[4].is_empty() || !cells[8].is_empty(), "{line}: it says no reason");
            // It stands in a text of SQL.
            assert!(!line.contains(['\'', '\\', ';', '$']), "{line}");
        }
    }

    #[test]
    fn names_labels_and_units_are_those_of_node_exporter() {
        let names = Names::new();
        let one = |name: &str| match names.find(name) {
            Some(Counterpart::One(renamed)) => renamed.clone(),
            other => panic!("{name}: {other:?}"),
        };
        let cpu = one("host_cpu_seconds_total");
        assert_eq!(
            (cpu.name.as_str(), cpu.value("io_wait"), cpu.value("idle")),
            ("node_cpu_seconds_total", "iowait", "idle")
        );
        let filesystem = one("host_filesystem_total_bytes");
        assert_eq!((filesystem.label("filesystem"), filesystem.label("device")), ("fstype", "device"));
        assert_eq!(one("host_memory_swapped_in_bytes_total").factor.to_bits(), 4096_f64.to_bits());
        let check = |name: &str, part: &str| match names.find(name) {
            Some(Counterpart::Computed(text) | Counterpart::None(text)) => {
                assert!(text.contains(part), "{text}");
            }
            other => panic!("{name}: {other:?}"),
        };
        check("host_memory_used_bytes", "1 node_memory_MemTotal_bytes, -1 node_memory_MemFree_bytes, -1 ");
        check("host_filesystem_used_ratio", "/ 1 node_filesystem_avail_bytes");
        check("host_process_runtime", "does not look at processes");
        assert_eq!(names.find("node_load1"), None);
    }
}
