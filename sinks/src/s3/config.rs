//! Section `sink.s3`. What is left out of bucket, region and prefix comes with the credentials.

use serde::{Deserialize, Serialize};

use super::credentials::has_credentials;

/// Section `sink.s3`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The bucket; overrides the one that comes with the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The bucket's region; overrides the one that comes with the credentials. `us-east-1` where neither says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What every key starts with; overrides the one that comes with the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Appended to the prefix, wherever that came from: tells these objects from others below the same grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_suffix: Option<String>,
    /// The writer's id in keys, `[a-z0-9]+`. By default ten random characters, made once per spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// Another S3 than Amazon's, such as `http://127.0.0.1:9000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// The bucket in the path and not in the host name, as most other S3s want it.
    pub force_path_style: bool,
    /// `AES256`, `aws:kms` or `aws:kms:dsse`; left out, the bucket's default applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<String>,
    /// The key for `aws:kms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Such as `STANDARD_IA`; left out, the bucket's default applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

const ENCRYPTIONS: [&str; 3] = ["AES256", "aws:kms", "aws:kms:dsse"];

impl Config {
    /// Problems in the relations between fields.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut add = |path: &str, text: String| problems.push((path.to_owned(), text));
        if self.bucket.as_deref().is_some_and(str::is_empty) {
            add("bucket", "is empty: name the bucket or leave the key out".into());
        }
        if let Some(writer) = self.writer.as_deref().filter(|w| !crate::key::is_writer(w)) {
            add("writer", format!("is {writer:?}: use 1 to 32 of the characters a-z and 0-9"));
        }
        for (path, text) in [("prefix", &self.prefix), ("prefix_suffix", &self.prefix_suffix)] {
            if let Some(text) =
                text.as_deref().filter(|t| t.contains("//") || t.chars().any(char::is_control))
            {
                add(path, format!("is {text:?}: no empty parts and no control characters"));
            }
        }
        if let Some(url) = self.endpoint_url.as_deref()
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            add("endpoint_url", format!("is {url:?}: it starts with http:// or https://"));
        }
        if let Some((_, host)) = self.endpoint_url.as_deref().and_then(|url| url.split_once("://"))
            && has_credentials(host)
        {
            add(
                "endpoint_url",
                "holds a user or password, which would be shown in messages: take them out".into(),
            );
        }
        if let Some(sse) = self.server_side_encryption.as_deref().filter(|s| !ENCRYPTIONS.contains(s)) {
            add("server_side_encryption", format!("is {sse:?}: one of {}", ENCRYPTIONS.join(", ")));
        }
        let kms = self.server_side_encryption.as_deref().is_some_and(|s| s.starts_with("aws:kms"));
        if self.kms_key_id.is_some() && !kms {
            add("kms_key_id", "has no effect without server_side_encryption: aws:kms".into());
        }
        problems
    }

    /// The whole prefix, given the one that came with the credentials: no slash at either end.
    #[must_use]
    pub fn prefix(&self, granted: Option<&str>) -> String {
        let base = self.prefix.as_deref().or(granted).unwrap_or_default();
        let suffix = self.prefix_suffix.as_deref().unwrap_or_default();
        let parts = [base, suffix].map(|part| part.trim_matches('/'));
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_has_no_slash_at_its_ends() {
        let check = |prefix: Option<&str>, suffix: Option<&str>, granted: Option<&str>, expected: &str| {
            let own = |t: Option<&str>| t.map(str::to_owned);
            let config = Config { prefix: own(prefix), prefix_suffix: own(suffix), ..Config::default() };
            assert_eq!(config.prefix(granted), expected);
        };
        check(None, None, None, "");
        check(None, None, Some("org-1/data/"), "org-1/data");
        check(Some("mine"), None, Some("org-1/data"), "mine");
        check(None, Some("/parquet/"), Some("org-1/data"), "org-1/data/parquet");
        check(Some(""), Some("parquet"), Some("org-1"), "parquet");
    }

    #[test]
    fn each_problem_names_its_field() {
        let check = |config: Config, path: &str| {
            let problems = config.check();
            assert_eq!(problems.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), [path], "{problems:?}");
        };
        let text = |t: &str| Some(t.to_owned());
        check(Config { bucket: text(""), ..Config::default() }, "bucket");
        check(Config { writer: text("W-1"), ..Config::default() }, "writer");
        check(Config { prefix: text("a//b"), ..Config::default() }, "prefix");
        check(Config { endpoint_url: text("localhost:9000"), ..Config::default() }, "endpoint_url");
        check(Config { endpoint_url: text("http://me:hush@h:9000"), ..Config::default() }, "endpoint_url");
        check(Config { server_side_encryption: text("kms"), ..Config::default() }, "server_side_encryption");
        check(Config { kms_key_id: text("k"), ..Config::default() }, "kms_key_id");
        assert_eq!(Config::default().check(), []);
    }
}
