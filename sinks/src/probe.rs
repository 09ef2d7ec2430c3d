//! Looking before the first upload: credentials, clock, what lies below the prefix, and whether it may be written.
//!
//! Takes the configuration, gives what was found, each part by itself. Leaves nothing that an S3Queue could trip over,
//! and needs no spool.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::blocking::blocking;
use crate::metrics::Metrics;
use crate::s3;
use crate::status::{CredentialsStatus, Place};
use crate::store::Store as _;
use crate::{Config, Error};

/// How long credentials are waited for: a few attempts.
const CREDENTIALS_MAX: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug)]
pub struct Probe {
    /// The credentials, or why there are none; `None` where none are needed.
    pub credentials: Option<Result<CredentialsStatus, String>>,
    /// Where objects would go; `None` while that is not known.
    pub place: Option<Place>,
    /// The servers' time less the local one, seconds; `None` if no server has said its time.
    pub clock_offset: Option<f64>,
    /// What lies below the prefix, or why that cannot be seen; `None` where it was not looked for.
    pub below: Option<Result<Below, String>>,
    /// Whether objects may be written, or why not; `None` where it was not tried.
    pub write: Option<Result<Written, String>>,
}

/// What lies below the prefix, as far as its first thousand keys tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// Objects seen.
    pub objects: usize,
    /// The first key that is not one of an agent's objects.
    pub foreign: Option<String>,
}

/// How the permission to write was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// By a request that was allowed and then refused for its checksum: nothing is stored.
    Nothing,
    /// The store did not look at the checksum. An empty object lies at this key, which sorts below all others.
    Empty(String),
}

/// Looks. Takes a minute at most where servers do not answer.
///
/// # Errors
/// When the configuration is unusable.
pub async fn probe(config: &Config, version: &str, metrics: &Arc<Metrics>) -> Result<Probe, Error> {
    match (&config.sink.s3, &config.sink.file) {
        (Some(s3), None) => {
            let s3 = s3::open(s3, &config.credentials, version, metrics).map_err(Error::S3)?;
            Ok(tokio::select! {
                found = ask(&s3) => found,
                () = s3.keep_credentials() => return Err(Error::Ended("the refresher of credentials")),
            })
        }
        (None, Some(file)) => {
            let dir = file.dir.clone();
            let write = blocking(move || try_directory(&dir)).await;
            let place = Some(Place { bucket: file.dir.display().to_string(), ..Place::default() });
            Ok(Probe { credentials: None, place, clock_offset: None, below: None, write: Some(write) })
        }
        _ => Err(Error::Sink),
    }
}

async fn ask(s3: &s3::S3) -> Probe {
    let mut probe = Probe { credentials: None, place: None, clock_offset: None, below: None, write: None };
    let valid = tokio::time::timeout(CREDENTIALS_MAX, s3.ready()).await.is_ok();
    probe.clock_offset = s3.clock_offset();
    let none = || s3.problem().unwrap_or_else(|| format!("none within {CREDENTIALS_MAX:?}"));
    let status = Some(s3.credentials_status()).filter(|_| valid);
    probe.credentials = Some(status.ok_or_else(none));
    if !valid {
        return probe;
    }
    probe.place = s3.place();
    probe.below = Some(s3.below().await.map_err(|error| error.text));
    probe.write = Some(s3.try_write().await.map_err(|error| error.text));
    // The store's clock, where it has answered, is the better one.
    probe.clock_offset = s3.clock_offset();
    probe
}

/// Writes a file aside, as an upload does, and removes it.
fn try_directory(dir: &Path) -> Result<Written, String> {
    let file = dir.join(".probe.tmp");
    let tried = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, b""));
    tried
        .and_then(|()| std::fs::remove_file(&file))
        .map(|()| Written::Nothing)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::metrics;
    use crate::{SinkConfig, file};

    async fn of_directory(dir: &Path) -> Probe {
        let sink = SinkConfig { s3: None, file: Some(file::Config { dir: dir.to_owned() }) };
        probe(&Config { sink, ..Config::default() }, "0", &metrics()).await.unwrap()
    }

    #[tokio::test]
    async fn a_directory_is_tried_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let found = of_directory(&dir.path().join("objects")).await;
        assert_eq!(found.write, Some(Ok(Written::Nothing)));
        assert_eq!(std::fs::read_dir(dir.path().join("objects")).unwrap().count(), 0);
        std::fs::write(dir.path().join("file"), "").unwrap();
        let found = of_directory(&dir.path().join("file")).await;
        assert!(matches!(found.write, Some(Err(_))), "{found:?}");
    }
}
