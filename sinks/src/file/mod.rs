//! `Store` on a local directory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Section `sink.file`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The directory below which objects are written under their keys. It is made when it is missing.
    pub dir: PathBuf,
}

impl Config {
    /// Problems in the relations between fields.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        if self.dir.as_os_str().is_empty() {
            return vec![("dir".into(), "is empty: name the directory that objects are written to".into())];
        }
        Vec::new()
    }
}
