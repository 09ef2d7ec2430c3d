//! Section `credentials`. The agent fills in what the environment says before it hands this over.

use std::path::PathBuf;

use pipeline::model::secret::Secret;
use pipeline::model::units::Duration;
use serde::{Deserialize, Serialize};

/// Section `credentials`: exactly one source, needed for `sink.s3` only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The Cedana API gives short-lived credentials and says where to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cedana: Option<Cedana>,
    /// The standard chain of AWS: environment, profile, web identity, ECS and EKS pod identity, IMDS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
}

/// Section `credentials.cedana`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cedana {
    /// The API, with its scheme, with or without `/v2`.
    pub url: String,
    /// The token that the API asks for, when it comes from the environment. Prefer `auth_token_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<Secret>,
    /// A file with the token; read again at every refresh, so that a rotated one needs no restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_token_file: Option<PathBuf>,
    /// The cluster that the credentials are for.
    pub cluster_id: String,
    /// Refreshed this often, or at three quarters of the lifetime, whichever comes first. 45m of the 60m they live.
    pub refresh_interval: Duration,
}

/// Section `credentials.aws`, which has no keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Aws {}

impl Default for Cedana {
    fn default() -> Self {
        Self {
            url: "https://api.cedana.ai".to_owned(),
            auth_token: None,
            auth_token_file: None,
            cluster_id: String::new(),
            refresh_interval: Duration::from_secs(45 * 60),
        }
    }
}

impl Config {
    /// Problems in the relations between fields.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        match (&self.cedana, &self.aws) {
            (Some(cedana), None) => cedana.check(),
            (None, Some(_)) => Vec::new(),
            (None, None) => vec![(String::new(), "needs a source for sink.s3: cedana or aws".into())],
            (Some(_), Some(_)) => vec![(String::new(), "has both cedana and aws: keep one of them".into())],
        }
    }
}

impl Cedana {
    /// Problems in the relations between fields.
    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut add = |path: &str, text: String| problems.push((format!("cedana.{path}"), text));
        if let Err(text) = endpoint(&self.url) {
            add("url", text);
        }
        if self.auth_token.is_none() && self.auth_token_file.is_none() {
            add(
                "auth_token_file",
                "is missing: name the file with the token, or set CEDANA_AUTH_TOKEN".into(),
            );
        }
        if self.auth_token.is_some() && self.auth_token_file.is_some() {
            add("auth_token", "is given beside auth_token_file: keep one of them".into());
        }
        if self.cluster_id.is_empty() {
            add("cluster_id", "is missing: name the cluster, or set CLUSTER_ID".into());
        }
        if self.refresh_interval < REFRESH_INTERVAL_MIN {
            add("refresh_interval", format!("is {}: at least {REFRESH_INTERVAL_MIN}", self.refresh_interval));
        }
        problems
    }
}

/// Below this the API would be asked all the time.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The address of the credentials, made of `url` with or without a trailing slash, with or without `/v2`.
pub(super) fn endpoint(url: &str) -> Result<String, String> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match host {
        None => Err(format!("is {url:?}, without a scheme: write https://{}", url.trim_start_matches('/'))),
        Some(host) if has_credentials(host) => {
            Err("holds a user or password, which would be shown in messages: take them out".to_owned())
        }
        Some(host) if host.trim_matches('/').is_empty() => Err(format!("is {url:?}, without a host")),
        Some(_) => {
            let base = url.trim_end_matches('/');
            let base = base.strip_suffix("/v2").unwrap_or(base).trim_end_matches('/');
            Ok(format!("{base}/v2/monitoring/credentials"))
        }
    }
}

/// Whether a URL without its scheme begins with `user:password@` (RFC 3986, section 3.2.1).
pub(in crate::s3) fn has_credentials(host: &str) -> bool {
    host.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_same_however_it_is_written() {
        for url in [
            "https://api.cedana.ai",
            "https://api.cedana.ai/",
            "https://api.cedana.ai/v2",
            "https://api.cedana.ai/v2/",
        ] {
            assert_eq!(
                endpoint(url).as_deref(),
                Ok("https://api.cedana.ai/v2/monitoring/credentials"),
                "{url}"
            );
        }
        assert_eq!(endpoint("http://h:1/x").as_deref(), Ok("http://h:1/x/v2/monitoring/credentials"));
        for url in ["api.cedana.ai", "ftp://api.cedana.ai", "", "https://"] {
            assert!(endpoint(url).is_err(), "{url}");
        }
        let shown = endpoint("https://me:hush@api.cedana.ai").unwrap_err();
        assert!(shown.contains("holds a user or password") && !shown.contains("hush"), "{shown}");
        assert!(endpoint("https://api.cedana.ai/@").is_ok());
        assert!(endpoint("api.cedana.ai/v2").is_err_and(|text| text.contains("without a scheme")));
    }

    #[test]
    fn each_problem_names_its_field() {
        let cedana =
            Cedana { url: "x".into(), refresh_interval: Duration::from_secs(0), ..Cedana::default() };
        let paths = |config: &Config| config.check().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        let config = Config { cedana: Some(cedana), aws: None };
        let expected =
            ["cedana.url", "cedana.auth_token_file", "cedana.cluster_id", "cedana.refresh_interval"];
        assert_eq!(paths(&config), expected);
        assert_eq!(paths(&Config::default()), [""]);
        let both = Config { aws: Some(Aws {}), ..config };
        assert!(both.check().iter().any(|(_, text)| text.contains("both")));
    }
}
