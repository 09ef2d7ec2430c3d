//! How the labels of discovered objects are named: Prometheus' `__meta_kubernetes_...`.

use crate::kubernetes::object::{Meta, Pairs};
use crate::model::labels::LabelsBuilder;

/// What all labels here begin with.
const PREFIX: &str = "__meta_kubernetes_";
/// The address to scrape.
pub(super) const ADDRESS: &str = "__address__";

/// Sets `__meta_kubernetes_<name>`.
pub(super) fn set(labels: &mut LabelsBuilder, name: &str, value: &str) {
    labels.set(&format!("{PREFIX}{name}"), value);
}

/// Sets name, labels and annotations of an object of a kind.
pub(super) fn set_meta(labels: &mut LabelsBuilder, kind: &str, meta: &Meta) {
    set(labels, &format!("{kind}_name"), &meta.name);
    set_labels_and_annotations(labels, kind, meta);
}

/// Sets labels and annotations of an object of a kind.
pub(super) fn set_labels_and_annotations(labels: &mut LabelsBuilder, kind: &str, meta: &Meta) {
    set_pairs(labels, &format!("{kind}_label"), &meta.labels);
    set_pairs(labels, &format!("{kind}_annotation"), &meta.annotations);
}

/// For each pair a label with its value and one that says that it is there, which an empty value does not show.
fn set_pairs(labels: &mut LabelsBuilder, what: &str, pairs: &Pairs) {
    let mut name = String::new();
    for (key, value) in pairs.iter() {
        for (part, value) in [("_", value), ("present_", "true")] {
            name.clear();
            name.extend([PREFIX, what, part]);
            sanitize(key, &mut name);
            labels.set(&name, value);
        }
    }
}

/// Appends `text` with an underscore for every character that no label name may hold.
pub(super) fn sanitize(text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
}

/// `host:port`, with an IPv6 address in brackets.
pub(super) fn join_host_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `true` or `false`.
pub(super) fn yes_or_no(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
