//! Lists of target groups in JSON or YAML, as files and HTTP servers give them.
//!
//! Takes bytes, gives target groups or what is wrong with the whole list: Prometheus takes a list or leaves it, and so
//! nobody loses half of the targets to a typing error.
//! Source: Prometheus' documentation, `<file_sd_config>` and `<http_sd_config>`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::model::labels::Labels;
use crate::model::target::TargetGroup;
use crate::relabel::scalar;

/// What a source of lists has found at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The whole set; what could not be read is as it was before.
    pub groups: Vec<Arc<TargetGroup>>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

/// One group of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default, deserialize_with = "scalar::texts")]
    targets: Vec<String>,
    #[serde(default, deserialize_with = "scalar::map")]
    labels: BTreeMap<String, String>,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
}

/// Reads a list. Each group is called `{source}:{number}` and gets the label `meta`.
pub(super) fn parse(
    bytes: &[u8],
    format: Format,
    source: &str,
    meta: (&str, &str),
) -> Result<Vec<Arc<TargetGroup>>, String> {
    let groups: Option<Vec<Group>> = match format {
        Format::Json => serde_json::from_slice(bytes).map_err(|e| e.to_string())?,
        Format::Yaml => serde_norway::from_slice(bytes).map_err(|e| e.to_string())?,
    };
    let group = |(number, group): (usize, Group)| {
        let mut labels = group.labels;
        labels.insert(meta.0.to_owned(), meta.1.to_owned());
        Arc::new(TargetGroup {
            source: format!("{source}:{number}"),
            targets: group.targets.iter().map(|t| Labels::from_pairs([("__address__", t)])).collect(),
            labels: Labels::from_pairs(&labels),
            ..TargetGroup::default()
        })
    };
    Ok(groups.unwrap_or_default().into_iter().enumerate().map(group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, format: Format) -> Result<String, String> {
        let groups = parse(text.as_bytes(), format, "f", ("__meta_filepath", "f"))?;
        Ok(groups.iter().map(|g| format!("{} {:?} {:?};", g.source, g.targets, g.labels)).collect())
    }

    #[test]
    fn groups_are_numbered_and_labelled() {
        let expected = "f:0 [{__address__=\"a:1\"}, {__address__=\"b\"}] {__meta_filepath=\"f\",env=\"x\"};\
                        f:1 [] {__meta_filepath=\"f\"};";
        let json = r#"[{"targets": ["a:1", "b"], "labels": {"env": "x"}}, {"targets": []}]"#;
        assert_eq!(read(json, Format::Json).unwrap(), expected);
        let yaml = "- targets: [a:1, b]\n  labels: {env: x}\n- targets: []\n";
        assert_eq!(read(yaml, Format::Yaml).unwrap(), expected);
        assert_eq!(read("", Format::Yaml).unwrap(), "");
        assert_eq!(read("null", Format::Json).unwrap(), "");
    }

    #[test]
    fn a_list_is_taken_or_left() {
        for bad in ["{}", "[null]", r#"[{"targets": ["a"]}, {"targets": 1}]"#, "[", ""] {
            assert!(read(bad, Format::Json).is_err(), "{bad}");
        }
        assert!(read("- targets: [a]\n  label: {}\n", Format::Yaml).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, Format::Json, "f", ("m", "f"));
            let _ = parse(&bytes, Format::Yaml, "f", ("m", "f"));
        }
    }
}
