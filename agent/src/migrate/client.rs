//! `auth` and `tls` of a source: how to get in.
//!
//! Takes the sections, gives the agent's keys. A secret never reaches the output or the report: the output names a file for it.

use super::job::Written;
use super::report::{Place, Report};
use super::write::scalar;
use super::yaml::Node;

/// Where the files of secrets are expected.
const SECRETS: &str = "/etc/agent";

/// `auth`: <https://vector.dev/docs/reference/configuration/sources/prometheus_scrape/#auth>.
pub(super) fn auth(id: &str, auth: &Node, place: &Place, client: &mut Vec<Written>, report: &mut Report) {
    let text = |key: &str| auth.get(key).and_then(Node::text);
    match text("strategy") {
        Some("basic") => {
            let reference = text("password").and_then(reference);
            if reference.is_none() {
                report.decide(
                    place,
                    format!(
                        "the password is a secret, which is left out here: put it into the file {}",
                        file(id, "password")
                    ),
                );
            }
            report.translated(place, "basic_auth");
            let user = text("user").unwrap_or_default();
            client.push(Written(0, "basic_auth", None));
            client.push(Written(1, "username", Some(scalar(user))));
            client.push(match reference {
                Some(reference) => Written(1, "password", Some(scalar(&reference))),
                None => Written(1, "password_file", Some(scalar(&file(id, "password")))),
            });
        }
        Some("bearer") => {
            let reference = text("token").and_then(reference);
            if reference.is_none() {
                report.decide(
                    place,
                    format!(
                        "the token is a secret, which is left out here: put it into the file {}",
                        file(id, "token")
                    ),
                );
            }
            report.translated(place, "authorization");
            client.push(Written(0, "authorization", None));
            client.push(match reference {
                Some(reference) => Written(1, "credentials", Some(scalar(&reference))),
                None => Written(1, "credentials_file", Some(scalar(&file(id, "token")))),
            });
        }
        strategy => {
            let strategy = strategy.unwrap_or("none");
            report.decide(place, format!("the strategy {strategy:?}: the agent knows basic and bearer"));
        }
    }
}

/// `basic_auth` of a URL's user.
pub(super) fn basic(user: &str, client: &mut Vec<Written>) {
    client.push(Written(0, "basic_auth", None));
    client.push(Written(1, "username", Some(scalar(user))));
    client.push(Written(1, "password_file", Some(format!("{SECRETS}/password"))));
}

/// A value that only names a variable is no secret itself.
fn reference(value: &str) -> Option<String> {
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))?;
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(letter)).then(|| value.to_owned())
}

/// The file of a source's secret.
fn file(id: &str, what: &str) -> String {
    let letters = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    format!("{SECRETS}/{}-{what}", letters.collect::<String>())
}

/// `tls`: <https://vector.dev/docs/reference/configuration/sources/prometheus_scrape/#tls>.
pub(super) fn tls(tls: &Node, place: &Place, client: &mut Vec<Written>, report: &mut Report) {
    let mut keys = Vec::new();
    for entry in tls.entries() {
        let at = Place { line: entry.line, path: format!("{}.{}", place.path, entry.key) };
        let text = entry.value.text().unwrap_or_default();
        let is_inline = text.contains("-----BEGIN");
        let key = match entry.key.as_str() {
            "ca_file" => Some("ca_file"),
            "crt_file" => Some("cert_file"),
            "key_file" => Some("key_file"),
            "server_name" => Some("server_name"),
            _ => None,
        };
        match (key, entry.key.as_str()) {
            (Some(key), _) if is_inline => {
                let path = format!("{SECRETS}/{key}.pem");
                report.decide(
                    &at,
                    format!("the text itself stands here, and is left out: put it into the file {path}"),
                );
                keys.push(Written(1, key, Some(path)));
            }
            (Some(key), _) => {
                report.translated(&at, format!("tls_config.{key}"));
                keys.push(Written(1, key, Some(scalar(text))));
            }
            (None, "verify_certificate") if text == "false" => {
                report.translated(
                    &at,
                    "tls_config.insecure_skip_verify: any certificate is taken, and anyone can answer",
                );
                keys.push(Written(1, "insecure_skip_verify", Some("true".to_owned())));
            }
            (None, "verify_certificate" | "verify_hostname") if text == "true" => {
                report.not_needed(&at, "certificates are verified unless insecure_skip_verify is true");
            }
            (None, "enabled" | "alpn_protocols") => {
                report.not_needed(&at, "the scheme of the endpoint decides");
            }
            (None, "verify_hostname") => {
                report.decide(&at, "the name in the certificate is always verified: name the one it has by tls_config.server_name");
            }
            (None, key) => report.decide(&at, format!("the agent's tls_config has nothing for {key:?}")),
        }
    }
    if !keys.is_empty() {
        client.push(Written(0, "tls_config", None));
        client.append(&mut keys);
    }
}
