//! From objects to delivered objects.
//!
//! ```text
//!     ==objects==> spool > upload > Store (S3 or a directory)
//! ```
//!
//! Takes sealed objects from a bounded queue, keeps them on disk, and uploads them in order, one at a time, each
//! until a receipt. Never looks into an object. Modules are declared in the order data passes.

mod blocking;
mod branch;
mod clock;
pub mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod key;
pub mod metrics;
mod probe;
mod retry;
mod run;
pub mod s3;
pub mod spool;
pub mod status;
pub mod store;
#[cfg(test)]
mod test_server;
mod turn;
mod upload;

use serde::{Deserialize, Serialize};

pub use branch::{EVENTS, Inlet};
pub use metrics::Metrics;
pub use probe::{Below, Probe, Written, probe};
pub use run::{DRAIN, Error, Sinks, open};
pub use s3::credentials;
pub use status::{Status, StatusHandle};
pub use turn::{Backlog, Claim, Turn, Verdict};

/// The three sections of the configuration that belong to the sinks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Section `spool`.
    pub spool: spool::Config,
    /// Section `sink`.
    pub sink: SinkConfig,
    /// Section `credentials`.
    pub credentials: credentials::Config,
}

/// Section `sink`: where objects are delivered. Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// A bucket of an S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<s3::Config>,
    /// A local directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<file::Config>,
}

impl Config {
    /// Problems in the relations between fields: path (`sink.s3.bucket`), then problem and remedy.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut add = |section: &str, found: Vec<(String, String)>| {
            problems.extend(found.into_iter().map(|(path, text)| (join(section, &path), text)));
        };
        add("spool", self.spool.check());
        match (&self.sink.s3, &self.sink.file) {
            (Some(s3), None) => {
                add("sink.s3", s3.check());
                add("credentials", self.credentials.check());
                let place = self.credentials.cedana.is_none() && s3.bucket.is_none();
                if place {
                    let text = "is missing: only the Cedana API's answer names a bucket by itself";
                    add("sink.s3", vec![("bucket".into(), text.into())]);
                }
            }
            (None, Some(file)) => add("sink.file", file.check()),
            (None, None) => add("sink", vec![(String::new(), "needs a destination: s3 or file".into())]),
            (Some(_), Some(_)) => {
                add("sink", vec![(String::new(), "has both s3 and file: keep one of them".into())]);
            }
        }
        problems
    }

    /// The writer id that the configuration asks for, if it does.
    pub(crate) fn writer(&self) -> Option<&str> {
        self.sink.s3.as_ref().and_then(|s3| s3.writer.as_deref())
    }
}

fn join(section: &str, path: &str) -> String {
    if path.is_empty() { section.to_owned() } else { format!("{section}.{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_between_sections_are_checked_with_their_paths() {
        let check = |sink: SinkConfig, credentials: credentials::Config, expected: &[&str]| {
            let config = Config { sink, credentials, ..Config::default() };
            let paths: Vec<_> = config.check().into_iter().map(|(path, _)| path).collect();
            assert_eq!(paths, expected);
        };
        let aws = || credentials::Config { aws: Some(credentials::Aws {}), cedana: None };
        let file = || Some(file::Config { dir: "objects".into() });
        let s3 = |bucket: Option<&str>| {
            Some(s3::Config { bucket: bucket.map(str::to_owned), ..s3::Config::default() })
        };
        check(SinkConfig { s3: None, file: file() }, credentials::Config::default(), &[]);
        check(SinkConfig { s3: s3(Some("b")), file: None }, aws(), &[]);
        check(SinkConfig { s3: s3(None), file: None }, aws(), &["sink.s3.bucket"]);
        check(SinkConfig { s3: s3(Some("b")), file: None }, credentials::Config::default(), &["credentials"]);
        check(SinkConfig { s3: s3(Some("b")), file: file() }, aws(), &["sink"]);
        check(SinkConfig::default(), aws(), &["sink"]);
    }
}
