//! What can be wrong between the HTTP client keys of a section.
//!
//! Takes the keys, gives every problem with its path below the section and the remedy. Never reads the files that they
//! name: they may appear later.

use hyper::header::{HeaderName, HeaderValue};

use super::config::{ClientKeys, TlsConfig, TlsVersion};

/// Problems by path below the section, such as `basic_auth.password`.
type Problems = Vec<(String, String)>;

/// Headers that the request itself sets (Prometheus refuses the same; `prometheus/common/config`).
const RESERVED_HEADERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "user-agent",
    "x-prometheus-scrape-timeout-seconds",
];

fn say(problems: &mut Problems, path: impl Into<String>, problem: impl Into<String>) {
    problems.push((path.into(), problem.into()));
}

impl ClientKeys<'_> {
    /// Every problem of the keys.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Problems::new();
        self.check_authentication(&mut problems);
        if let Some(tls) = self.tls_config {
            check_tls(&mut problems, tls);
        }
        self.check_headers(&mut problems);
        problems
    }

    /// Secrets that stand in the file itself, by path, with the advice to name a file instead.
    #[must_use]
    pub fn warnings(&self) -> Vec<(String, String)> {
        let authorization = self.authorization.and_then(|a| a.credentials.as_ref());
        let password = self.basic_auth.and_then(|b| b.password.as_ref());
        let key = self.tls_config.and_then(|t| t.key.as_ref());
        let inline = [
            ("authorization.credentials", authorization.is_some(), "authorization.credentials_file"),
            ("bearer_token", self.bearer_token.is_some(), "bearer_token_file"),
            ("basic_auth.password", password.is_some(), "basic_auth.password_file"),
            ("tls_config.key", key.is_some(), "tls_config.key_file"),
        ];
        let warning = |path: String, better: &str| {
            (path, format!("a secret stands in the configuration itself: name a file by {better} instead"))
        };
        let mut warnings: Problems = inline
            .into_iter()
            .filter(|(_, is_set, _)| *is_set)
            .map(|(path, _, better)| warning(path.to_owned(), better))
            .collect();
        for (name, header) in self.http_headers {
            if !header.secrets.is_empty() {
                let path = format!("http_headers.{name}.secrets");
                warnings.push(warning(path, &format!("http_headers.{name}.files")));
            }
        }
        warnings
    }

    fn check_authentication(&self, problems: &mut Problems) {
        let ways = [
            ("authorization", self.authorization.is_some()),
            ("bearer_token", self.bearer_token.is_some()),
            ("bearer_token_file", self.bearer_token_file.is_some()),
            ("basic_auth", self.basic_auth.is_some()),
        ];
        let used: Vec<_> = ways.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect();
        if let [_, second, ..] = used.as_slice() {
            say(problems, *second, format!("only one of {} can be used: remove the others", used.join(", ")));
        }
        if let Some(authorization) = self.authorization {
            let (inline, file) =
                (authorization.credentials.is_some(), authorization.credentials_file.is_some());
            only_one(problems, "authorization.credentials", inline, file);
            if authorization.kind.trim().eq_ignore_ascii_case("basic") {
                say(problems, "authorization.type", "cannot be Basic: use basic_auth");
            } else if HeaderValue::from_str(&authorization.kind).is_err()
                || authorization.kind.trim().is_empty()
            {
                let text = format!("{:?} is not an authentication type: use Bearer", authorization.kind);
                say(problems, "authorization.type", text);
            }
        }
        if let Some(basic) = self.basic_auth {
            only_one(
                problems,
                "basic_auth.username",
                !basic.username.is_empty(),
                basic.username_file.is_some(),
            );
            only_one(
                problems,
                "basic_auth.password",
                basic.password.is_some(),
                basic.password_file.is_some(),
            );
        }
    }

    fn check_headers(&self, problems: &mut Problems) {
        for (name, header) in self.http_headers {
            let path = format!("http_headers.{name}");
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                say(problems, path.clone(), format!("{name:?} is not a header name"));
            }
            if RESERVED_HEADERS.contains(&name.to_lowercase().as_str()) {
                say(problems, path.clone(), "is set by the request itself: remove it");
            }
            for (i, value) in header.values.iter().enumerate() {
                if HeaderValue::from_str(value).is_err() {
                    let text = format!("{value:?} holds characters that no header may hold");
                    say(problems, format!("{path}.values[{i}]"), text);
                }
            }
            for (i, secret) in header.secrets.iter().enumerate() {
                if HeaderValue::from_str(secret.expose()).is_err() {
                    say(problems, format!("{path}.secrets[{i}]"), "holds characters that no header may hold");
                }
            }
        }
    }
}

fn only_one(problems: &mut Problems, key: &str, inline: bool, file: bool) {
    if inline && file {
        say(problems, key, format!("only one of {key} and {key}_file can be used: remove one"));
    }
}

fn check_tls(problems: &mut Problems, tls: &TlsConfig) {
    only_one(problems, "tls_config.ca", tls.ca.is_some(), tls.ca_file.is_some());
    only_one(problems, "tls_config.cert", tls.cert.is_some(), tls.cert_file.is_some());
    only_one(problems, "tls_config.key", tls.key.is_some(), tls.key_file.is_some());
    let cert = tls.cert.is_some() || tls.cert_file.is_some();
    let key = tls.key.is_some() || tls.key_file.is_some();
    if cert && !key {
        say(problems, "tls_config.key_file", "is missing: a client certificate needs its private key");
    }
    if key && !cert {
        say(problems, "tls_config.cert_file", "is missing: a private key needs its certificate");
    }
    if tls.max_version.is_some_and(|max| max < TlsVersion::Tls12) {
        say(problems, "tls_config.max_version", "is too old: only TLS12 and TLS13 are spoken");
    }
    if let (Some(min), Some(max)) = (tls.min_version, tls.max_version)
        && min > max
    {
        say(problems, "tls_config.min_version", "is newer than max_version: exchange them");
    }
    if let Some(name) = &tls.server_name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        say(problems, "tls_config.server_name", format!("{name:?} is neither a host name nor an address"));
    }
}
