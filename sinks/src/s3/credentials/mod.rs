//! Credentials for S3: where they come from and how they stay fresh.
//!
//! A source fetches a grant; [`Credentials`] holds the one in force, refreshes it for ever in one task, and is what
//! the SDK asks before it signs. Secrets leave this module in that way only.

mod aws;
mod cedana;
mod config;
mod held;

#[cfg(any(test, fuzzing))]
pub(super) use cedana::read as read_answer;

use std::fmt;

use aws_sdk_s3::config::SharedHttpClient;
use pipeline::model::secret::Secret;

pub(super) use config::has_credentials;
pub use config::{Aws, Cedana, Config};
pub(crate) use held::Credentials;

use super::server_time::ServerTime;

/// What a source gives.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
    /// Unix seconds by the servers' time; `None` for credentials that do not expire.
    pub expires: Option<i64>,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    pub region: Option<String>,
}

/// An access key's id is no secret, but nobody needs it in a log either.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expires, bucket, prefix, region, .. } = self;
        write!(
            f,
            "Grant {{ expires: {expires:?}, bucket: {bucket:?}, prefix: {prefix:?}, region: {region:?} }}"
        )
    }
}

/// Gets a grant. Two real sources, and scripts in tests.
pub(crate) trait Fetch {
    /// One attempt. The error says what failed and the remedy, without a body or a secret.
    fn fetch(&self) -> impl Future<Output = Result<Grant, String>> + Send;

    /// How long a grant may be used before it is fetched again, if its lifetime allows.
    fn interval(&self, grant: &Grant) -> std::time::Duration;
}

/// The source that the configuration names.
#[derive(Debug)]
pub(crate) enum Source {
    Cedana(cedana::Client),
    Aws(aws::Chain),
}

impl Source {
    pub(crate) fn new(
        config: &Config,
        region: Option<&str>,
        version: &str,
        time: &ServerTime,
        http: &SharedHttpClient,
    ) -> Result<Self, String> {
        match (&config.cedana, &config.aws) {
            (Some(cedana), None) => cedana::Client::new(cedana, version, time.clone()).map(Self::Cedana),
            (None, Some(_)) => Ok(Self::Aws(aws::Chain::new(region, time.clone(), http.clone()))),
            _ => Err("credentials needs exactly one source for sink.s3: cedana or aws".to_owned()),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Cedana(_) => "cedana",
            Self::Aws(_) => "aws",
        }
    }
}

impl Fetch for Source {
    async fn fetch(&self) -> Result<Grant, String> {
        match self {
            Self::Cedana(client) => client.fetch().await,
            Self::Aws(chain) => chain.fetch().await,
        }
    }

    fn interval(&self, grant: &Grant) -> std::time::Duration {
        match self {
            Self::Cedana(client) => client.interval(grant),
            Self::Aws(chain) => chain.interval(grant),
        }
    }
}
