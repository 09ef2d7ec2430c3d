//! Clients of the AWS SDK with every second layer switched off.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, IdentityCache, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_smithy_http_client::tls;

use super::Config;
use super::credentials::Credentials;
use super::server_time::{ServerTime, Source};

/// A server that cannot be reached at all is found out soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The HTTP client for S3 and for the sources of AWS credentials: rustls with ring.
pub(super) fn http() -> SharedHttpClient {
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    aws_smithy_http_client::Builder::new().tls_provider(ring).build_https()
}

/// The client for the region in use; made again when the region changes.
#[derive(Debug)]
pub(super) struct Clients {
    /// Everything but the region.
    base: aws_sdk_s3::config::Builder,
    current: Mutex<Option<(String, Client)>>,
}

impl Clients {
    pub(super) fn new(
        config: &Config,
        http: SharedHttpClient,
        credentials: Arc<Credentials>,
        time: ServerTime,
    ) -> Self {
        let mut base = aws_sdk_s3::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .credentials_provider(credentials as Arc<dyn ProvideCredentials>)
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .disable_clock_skew_correction(true)
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .interceptor(DateReader(time.clone()))
            .time_source(time)
            .force_path_style(config.force_path_style);
        base.set_endpoint_url(config.endpoint_url.clone());
        Self { base, current: Mutex::new(None) }
    }

    pub(super) fn get(&self, region: &str) -> Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((known, client)) if known == region => client.clone(),
            _ => {
                let config = self.base.clone().region(Region::new(region.to_owned())).build();
                let client = Client::from_conf(config);
                *current = Some((region.to_owned(), client.clone()));
                client
            }
        }
    }
}

/// Takes the `Date` from every answer, also from refusals.
#[derive(Debug)]
struct DateReader(ServerTime);

impl Intercept for DateReader {
    fn name(&self) -> &'static str {
        "DateReader"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.0.observe(Source::Store, date);
        }
        Ok(())
    }
}
