//! Objects on disk until they are delivered.

use std::path::PathBuf;

use pipeline::model::units::Size;
use serde::{Deserialize, Serialize};

/// Section `spool`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory; one agent at a time. It is made when it is missing.
    pub dir: PathBuf,
    /// When objects exceed this, the oldest are dropped and counted. 2GiB holds more than a day of a cluster of
    /// 300,000 series.
    pub max_bytes: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self { dir: PathBuf::from("agent-data/spool"), max_bytes: Size(2 << 30) }
    }
}

impl Config {
    /// Problems in the relations between fields.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.dir.as_os_str().is_empty() {
            problems.push((
                "dir".into(),
                "is empty: name the directory that keeps objects until they are delivered".into(),
            ));
        }
        if self.max_bytes.0 == 0 {
            problems.push((
                "max_bytes".into(),
                "is 0, so that nothing could be kept: 2GiB is the default".into(),
            ));
        }
        problems
    }
}
