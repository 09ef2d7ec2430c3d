//! What a collector found, as an exposition in text format 0.0.4.
//!
//! Takes samples in any order, gives their lines grouped by metric as the format demands, escaped and bounded.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::read::Error;

/// Bytes of one collector's lines. The largest are those of network devices, of which it holds two thousand.
pub(super) const PAGE_BYTES_MAX: usize = 2 << 20;
/// Bytes of a label's value; the rest is cut off.
const LABEL_BYTES_MAX: usize = 1_024;

/// The types that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Untyped,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Untyped => "untyped",
        }
    }
}

/// All samples of one metric.
#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    lines: String,
}

/// The samples of one collector.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: BTreeMap<String, Family>,
    bytes: usize,
    /// Whether something found no place.
    is_cut: bool,
}

impl Page {
    /// Adds a sample of a counter.
    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(Kind::Counter, name, help, labels, value);
    }

    /// Adds a sample of a gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(Kind::Gauge, name, help, labels, value);
    }

    /// Adds a sample of which nobody says whether it only grows.
    pub(super) fn untyped(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(Kind::Untyped, name, help, labels, value);
    }

    fn add(&mut self, kind: Kind, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        if self.bytes > PAGE_BYTES_MAX {
            self.is_cut = true;
            return;
        }
        let name = sound(name);
        if !self.families.contains_key(&name) {
            let family = Family { kind, help: help.to_owned(), lines: String::new() };
            self.bytes += 2 * name.len() + help.len();
            self.families.insert(name.clone(), family);
        }
        let Some(family) = self.families.get_mut(&name) else { return };
        let out = &mut family.lines;
        let before = out.len();
        out.push_str(&name);
        // An empty label is an absent one.
        let mut mark = '{';
        for (label, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            out.push(mark);
            out.push_str(label);
            out.push_str("=\"");
            escape(value, out);
            out.push('"');
            mark = ',';
        }
        if mark == ',' {
            out.push('}');
        }
        // Writing to a text cannot fail.
        let _ = match value {
            _ if value == f64::INFINITY => writeln!(out, " +Inf"),
            _ if value == f64::NEG_INFINITY => writeln!(out, " -Inf"),
            _ => writeln!(out, " {value}"),
        };
        self.bytes += out.len() - before;
    }

    /// Whether everything found its place.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_cut { Err(Error::Size(PAGE_BYTES_MAX)) } else { Ok(()) }
    }

    /// About as many bytes as it adds to an exposition.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Adds the page to an exposition.
    pub(super) fn write(&self, out: &mut String) {
        for (name, family) in &self.families {
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", family.kind.as_str());
            out.push_str(&family.lines);
        }
    }
}

/// A name of a metric, whatever the kernel calls its fields: other characters than the format allows become `_`.
fn sound(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' })
        .collect();
    name.chars().take(LABEL_BYTES_MAX).collect()
}

fn escape(value: &str, out: &mut String) {
    let end = (0..=LABEL_BYTES_MAX.min(value.len())).rev().find(|end| value.is_char_boundary(*end));
    for c in value.get(..end.unwrap_or_default()).unwrap_or_default().chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &Page) -> String {
        let mut out = String::new();
        page.write(&mut out);
        out
    }

    #[test]
    fn samples_are_grouped_by_metric() {
        let mut page = Page::default();
        for device in ["a", "b"] {
            page.counter("node_x_total", "X.", &[("device", device)], 1.0);
            page.gauge("node_y", "Y \\ of\n it.", &[("device", device), ("none", "")], 0.5);
        }
        page.untyped("node_z", "Z.", &[("none", "")], f64::INFINITY);
        page.untyped("node_z", "Z.", &[("a", "b")], f64::NEG_INFINITY);
        page.untyped("node_z", "Z.", &[("a", "c")], f64::NAN);
        let expected = "# HELP node_x_total X.\n# TYPE node_x_total counter\n\
                        node_x_total{device=\"a\"} 1\nnode_x_total{device=\"b\"} 1\n\
                        # HELP node_y Y \\\\ of\\n it.\n# TYPE node_y gauge\n\
                        node_y{device=\"a\"} 0.5\nnode_y{device=\"b\"} 0.5\n\
                        # HELP node_z Z.\n# TYPE node_z untyped\n\
                        node_z +Inf\nnode_z{a=\"b\"} -Inf\nnode_z{a=\"c\"} NaN\n";
        assert_eq!(text(&page), expected);
        page.check().unwrap();
    }

    #[test]
    fn nothing_breaks_a_line() {
        let check = |value: &str, expected: &str| {
            let mut page = Page::default();
            page.gauge("node_a b\"{", "h", &[("l", value)], 1.0);
            let expected = format!("node_a_b__{{l=\"{expected}\"}} 1");
            assert_eq!(text(&page).lines().last(), Some(expected.as_str()));
        };
        check("a\\b\"c\nd", "a\\\\b\\\"c\\nd");
        check("größe", "größe");
        check(&"a".repeat(2_000), &"a".repeat(1_024));
        // No character is cut in two.
        check(&format!("a{}", "ö".repeat(1_000)), &format!("a{}", "ö".repeat(511)));
    }

    #[test]
    fn lines_are_bounded() {
        let mut page = Page::default();
        while page.check().is_ok() {
            page.gauge("a", "b", &[], 1.0);
        }
        let bytes = text(&page).len();
        assert!((PAGE_BYTES_MAX..PAGE_BYTES_MAX + 100).contains(&bytes), "{bytes}");
        assert!(page.check().unwrap_err().to_string().starts_with("more than 2097152 bytes of lines"));
    }
}
