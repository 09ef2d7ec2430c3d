//! Relabelling rules, compiled once, applied to the labels of targets and of samples.

/// Compiled `relabel_configs` or `metric_relabel_configs`.
#[derive(Debug, Default)]
pub struct Rules {}

impl Rules {
    /// Applies.
    #[must_use]
    pub fn apply(&self, _: &mut crate::model::labels::LabelsBuilder) -> bool {
        true
    }
}
