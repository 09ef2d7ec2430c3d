//! The keys of a section that say how to authenticate and encrypt: Prometheus' `authorization`, `basic_auth`,
//! `tls_config` and `http_headers`.
//!
//! Takes them as they stand in the file, gives plain structs. Never reads a file: that is done at each scrape.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::secret::Secret;
use crate::relabel::scalar;

/// `authorization`: the header `Authorization: <type> <credentials>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// The authentication type. `Bearer`, as in Prometheus.
    #[serde(rename = "type")]
    pub kind: String,
    /// The credentials themselves. Better: `credentials_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Secret>,
    /// A file with the credentials, read afresh at each scrape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<String>,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { kind: "Bearer".to_owned(), credentials: None, credentials_file: None }
    }
}

/// `basic_auth`: user name and password (RFC 7617).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// The user name.
    #[serde(deserialize_with = "scalar::text", skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// A file with the user name, read afresh at each scrape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_file: Option<String>,
    /// The password itself. Better: `password_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file with the password, read afresh at each scrape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
}

/// `tls_config`: whom to trust and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificates (PEM) of the authorities to trust, in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// A file with such certificates, read at each new connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The client's certificate (PEM), with its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// A file with the client's certificate, read at each new connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// The client's private key (PEM). Better: `key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A file with the client's private key, read at each new connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// The name that the server's certificate must carry, in place of the host in the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Take any certificate: encrypted, but anyone can answer.
    pub insecure_skip_verify: bool,
    /// The oldest TLS version to speak; nothing below TLS12 is ever spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The newest TLS version to speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
    /// Not in the file: what to set so that any certificate is taken, where that is not `insecure_skip_verify` itself.
    #[serde(skip)]
    pub relaxed_by: Option<&'static str>,
}

/// A TLS version, by Prometheus' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.0
    #[serde(rename = "TLS10")]
    Tls10,
    /// TLS 1.1
    #[serde(rename = "TLS11")]
    Tls11,
    /// TLS 1.2
    #[serde(rename = "TLS12")]
    Tls12,
    /// TLS 1.3
    #[serde(rename = "TLS13")]
    Tls13,
}

/// One of `http_headers`: its values, wherever they come from; all of them are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderConfig {
    /// Values that anyone may see.
    #[serde(deserialize_with = "scalar::texts", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Values that are secret. Better: `files`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Files with one secret value each, read afresh at each scrape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// `http_headers`: additional headers by name.
pub type Headers = BTreeMap<String, HeaderConfig>;

/// The keys of one section, wherever they stand in it.
#[derive(Clone, Copy, Debug)]
pub struct ClientKeys<'a> {
    /// `authorization`.
    pub authorization: Option<&'a Authorization>,
    /// `bearer_token`.
    pub bearer_token: Option<&'a Secret>,
    /// `bearer_token_file`.
    pub bearer_token_file: Option<&'a String>,
    /// `basic_auth`.
    pub basic_auth: Option<&'a BasicAuth>,
    /// `tls_config`.
    pub tls_config: Option<&'a TlsConfig>,
    /// `http_headers`.
    pub http_headers: &'a Headers,
}

/// The keys of one section, owned: for whoever asks the server later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConfig {
    /// `authorization`.
    pub authorization: Option<Authorization>,
    /// `bearer_token`.
    pub bearer_token: Option<Secret>,
    /// `bearer_token_file`.
    pub bearer_token_file: Option<String>,
    /// `basic_auth`.
    pub basic_auth: Option<BasicAuth>,
    /// `tls_config`.
    pub tls_config: Option<TlsConfig>,
    /// `http_headers`.
    pub http_headers: Headers,
}

impl ClientConfig {
    /// The keys, borrowed.
    #[must_use]
    pub fn keys(&self) -> ClientKeys<'_> {
        ClientKeys {
            authorization: self.authorization.as_ref(),
            bearer_token: self.bearer_token.as_ref(),
            bearer_token_file: self.bearer_token_file.as_ref(),
            basic_auth: self.basic_auth.as_ref(),
            tls_config: self.tls_config.as_ref(),
            http_headers: &self.http_headers,
        }
    }
}

impl ClientKeys<'_> {
    /// A copy that outlives the section.
    #[must_use]
    pub fn to_owned(&self) -> ClientConfig {
        ClientConfig {
            authorization: self.authorization.cloned(),
            bearer_token: self.bearer_token.cloned(),
            bearer_token_file: self.bearer_token_file.cloned(),
            basic_auth: self.basic_auth.cloned(),
            tls_config: self.tls_config.cloned(),
            http_headers: self.http_headers.clone(),
        }
    }

    /// Whether none of them is set.
    #[must_use]
    pub fn are_unset(&self) -> bool {
        self.authorization.is_none()
            && self.bearer_token.is_none()
            && self.bearer_token_file.is_none()
            && self.basic_auth.is_none()
            && self.tls_config.is_none()
            && self.http_headers.is_empty()
    }
}

/// Takes the paths of all files that the keys name to be relative to `directory`.
pub(crate) fn join_client_paths(
    directory: &Path,
    authorization: Option<&mut Authorization>,
    bearer_token_file: Option<&mut String>,
    basic_auth: Option<&mut BasicAuth>,
    tls_config: Option<&mut TlsConfig>,
    http_headers: &mut Headers,
) {
    join(directory, bearer_token_file);
    if let Some(authorization) = authorization {
        join(directory, authorization.credentials_file.as_mut());
    }
    if let Some(basic) = basic_auth {
        join(directory, basic.username_file.as_mut());
        join(directory, basic.password_file.as_mut());
    }
    if let Some(tls) = tls_config {
        join(directory, tls.ca_file.as_mut());
        join(directory, tls.cert_file.as_mut());
        join(directory, tls.key_file.as_mut());
    }
    for file in http_headers.values_mut().flat_map(|header| &mut header.files) {
        join(directory, Some(file));
    }
}

/// Makes a path relative to the configuration file one that can be opened from anywhere.
pub(crate) fn join(directory: &Path, file: Option<&mut String>) {
    if let Some(file) = file.filter(|file| !file.is_empty()) {
        // An absolute path stays what it is.
        *file = directory.join(&file).display().to_string();
    }
}
