//! Objects in a bucket: how it is reached, and what is listed of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use sinks::s3::{self, S3};

use super::{At, Found, Window, is_object, moment};
use crate::config::{self, Environment, Purpose, Source};
use crate::telemetry;

/// How a bucket is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Region of the bucket [env: AWS_REGION] [default: that of the configuration, or us-east-1]
    #[arg(long, value_name = "REGION", help_heading = "For s3://")]
    pub region: Option<String>,

    /// Another S3 than Amazon's, such as http://127.0.0.1:9000 [env: AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL", help_heading = "For s3://")]
    pub endpoint_url: Option<String>,
}

/// The S3 that the configuration names, with its credentials; without a configuration the standard chain of AWS.
///
/// # Errors
/// When the configuration or an argument is refused; the text says how.
pub fn connect(options: &Options, config: Option<&Path>, environment: &Environment) -> Result<S3, String> {
    let (mut place, credentials) = configured(config, environment)?;
    let set = |names: &[&str]| names.iter().find_map(|name| environment.set(name)).map(str::to_owned);
    place.region =
        options.region.clone().or(place.region).or_else(|| set(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    let variable = || set(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    if let Some(url) =
        options.endpoint_url.clone().or_else(|| variable().filter(|_| place.endpoint_url.is_none()))
    {
        place.endpoint_url = Some(url);
        place.force_path_style = true;
    }
    let problems = place.check();
    if let Some((path, problem)) = problems.first() {
        return Err(format!("{path} {problem}"));
    }
    let registry = prometheus::Registry::new();
    let metrics = sinks::Metrics::new(&registry).map_err(|error| error.to_string())?;
    s3::open(&place, &credentials, telemetry::VERSION, &Arc::new(metrics))
}

/// The sections of the configuration that say how a bucket is reached.
fn configured(
    config: Option<&Path>,
    environment: &Environment,
) -> Result<(s3::Config, sinks::credentials::Config), String> {
    let chain = || sinks::credentials::Config { aws: Some(sinks::credentials::Aws {}), cedana: None };
    let source = Source::choose(config.map(Path::to_owned), environment);
    let Source::File(_) = source else { return Ok((s3::Config::default(), chain())) };
    let loaded = config::load(source, environment, Purpose::DryRun);
    let sinks = loaded.map_err(|refused| crate::commands::with_causes(&refused))?.config.sinks;
    let credentials = match &sinks.credentials {
        credentials if credentials.cedana.is_some() || credentials.aws.is_some() => credentials.clone(),
        _ => chain(),
    };
    Ok((sinks.sink.s3.unwrap_or_default(), credentials))
}

/// What of a prefix has not been listed yet.
#[derive(Debug)]
pub(super) struct Rest {
    bucket: String,
    /// With a slash at its end, unless empty.
    prefix: String,
    /// Keys up to this one are done.
    after: String,
    window: Window,
}

impl Rest {
    pub(super) fn new(bucket: &str, prefix: &str, window: Window) -> Self {
        let slash = if prefix.is_empty() { "" } else { "/" };
        let prefix = format!("{prefix}{slash}");
        // Keys with a second begin with it, and so the page before it needs no look. What begins with less than a digit is rare,
        // and then it is no object of a shipper.
        let after = match window.from {
            from if from > 0 => format!("{prefix}{from:010}"),
            _ => String::new(),
        };
        Self { bucket: bucket.to_owned(), prefix, after, window }
    }

    /// Lists the next page; whether there is more.
    pub(super) async fn page(
        &mut self,
        s3: &S3,
        found: &mut VecDeque<Found>,
        passed_over: &mut u64,
    ) -> Result<bool, String> {
        let page = Box::pin(s3.page(&self.bucket, &self.prefix, &self.after)).await;
        let page = page.map_err(|error| error.text)?;
        // Where nothing is listed nothing more can be asked for.
        let is_more = page.is_more && !page.objects.is_empty();
        for listed in page.objects {
            let relative = listed.key.strip_prefix(&self.prefix).unwrap_or(&listed.key);
            let first = relative.split('/').next().and_then(moment::second);
            if first.is_some_and(|second| second > self.window.to) {
                // All further seconds are later still; behind the digits stands what has none.
                let behind = format!("{}:", self.prefix);
                let is_new = self.after < behind;
                self.after = behind;
                return Ok(is_new);
            }
            if !is_object(relative) {
                *passed_over += 1;
            } else if self.window.may_have(relative) {
                let name = format!("s3://{}/{}", self.bucket, listed.key);
                let at = At::Key { bucket: self.bucket.clone(), key: listed.key.clone() };
                found.push_back(Found { name, size: listed.size, at });
            }
            self.after = listed.key;
        }
        Ok(is_more)
    }
}
