//! Credentials from the standard chain of AWS: environment, shared files, web identity, ECS and EKS pod identity,
//! IMDS. Not SSO and not `credential_process`, which belong on desks.
//!
//! The chain is built anew for every fetch, so that a changed file is read again.

use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Region, SharedHttpClient};
use aws_sdk_s3::error::DisplayErrorContext;
use pipeline::model::secret::Secret;

use super::{Fetch, Grant};
use crate::clock::unix_millis;
use crate::s3::server_time::ServerTime;
use crate::s3::shorten;

/// For the whole chain.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Credentials that do not expire are read again this often: a changed file is in force within a minute.
const LASTING_INTERVAL: Duration = Duration::from_secs(60);
/// Those that do expire, unless three quarters of their lifetime are shorter.
const EXPIRING_INTERVAL: Duration = Duration::from_secs(45 * 60);

/// The chain.
#[derive(Debug)]
pub(crate) struct Chain {
    region: Option<Region>,
    time: ServerTime,
    http: SharedHttpClient,
}

impl Chain {
    pub(crate) fn new(region: Option<&str>, time: ServerTime, http: SharedHttpClient) -> Self {
        Self { region: region.map(|region| Region::new(region.to_owned())), time, http }
    }

    /// A configuration that has not read any file yet; it would keep what it has read. Retrying is our own refresher's.
    fn fresh(&self) -> ProviderConfig {
        ProviderConfig::default()
            .with_http_client(self.http.clone())
            .with_time_source(self.time.clone())
            .with_retry_config(RetryConfig::disabled())
    }

    async fn provide(&self) -> Result<Grant, String> {
        let mut chain = DefaultCredentialsChain::builder().configure(self.fresh());
        if let Some(region) = self.region.clone() {
            chain = chain.region(region);
        }
        let credentials = chain.build().await.provide_credentials().await.map_err(|e| {
            let problem = shorten(&DisplayErrorContext(&e).to_string());
            format!("no AWS credentials: {problem}; see the standard chain: environment, profile, web identity, pod identity, IMDS")
        })?;
        Ok(Grant {
            access_key_id: credentials.access_key_id().to_owned(),
            secret_access_key: Secret::new(credentials.secret_access_key().to_owned()),
            session_token: credentials.session_token().map(|token| Secret::new(token.to_owned())),
            expires: credentials.expiry().map(|time| unix_millis(time) / 1000),
            bucket: None,
            prefix: None,
            region: None,
        })
    }
}

impl Fetch for Chain {
    async fn fetch(&self) -> Result<Grant, String> {
        let provided = tokio::time::timeout(TIMEOUT, self.provide()).await;
        provided.unwrap_or_else(|_| Err(format!("no AWS credentials within {TIMEOUT:?}")))
    }

    fn interval(&self, grant: &Grant) -> Duration {
        if grant.expires.is_some() { EXPIRING_INTERVAL } else { LASTING_INTERVAL }
    }
}
