//! An endpoint of Vector: a URL. In the agent: a service whose endpoints are discovered, or an address.
//!
//! Takes the URL and the query of the source, gives what is scraped and how. A user and a password in it are never shown.

use std::net::IpAddr;

use url::{Host, Url};

use super::document::is_secret;

/// What is scraped at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: Where,
    pub(super) scheme: String,
    pub(super) path: String,
    /// URL parameters in their order, each with its values.
    pub(super) params: Vec<(String, Vec<String>)>,
    /// A user in the URL itself; the password is left where it is.
    pub(super) user: Option<String>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Service(Service),
    /// `host:port`
    Address(String),
}

/// A service of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    /// The agent's own if none is named.
    pub(super) namespace: Option<String>,
    pub(super) port: u16,
}

impl Service {
    /// As it is spoken of.
    pub(super) fn shown(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Reads a URL. `in_cluster`: Vector runs there, where a name without dots is a service.
pub(super) fn read(text: &str, in_cluster: bool) -> Result<Endpoint, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    let scheme = url.scheme().to_owned();
    if scheme != "http" && scheme != "https" {
        return Err(format!("has the scheme {scheme:?}: the agent scrapes http and https"));
    }
    let port = url.port_or_known_default().unwrap_or(80);
    let host = match url.host() {
        Some(Host::Ipv6(address)) => Where::Address(format!("[{address}]:{port}")),
        Some(Host::Ipv4(address)) => Where::Address(format!("{address}:{port}")),
        Some(Host::Domain(name)) => match service(name, in_cluster) {
            Some((name, namespace)) => Where::Service(Service { name, namespace, port }),
            None => Where::Address(format!("{name}:{port}")),
        },
        None => return Err("has no host".to_owned()),
    };
    let path = if url.path().is_empty() { "/".to_owned() } else { url.path().to_owned() };
    let mut params = Vec::new();
    for (name, value) in url.query_pairs() {
        add(&mut params, &name, &value);
    }
    let user = (!url.username().is_empty() || url.password().is_some()).then(|| url.username().to_owned());
    Ok(Endpoint { host, scheme, path, params, user })
}

/// Adds a value of a parameter.
pub(super) fn add(params: &mut Vec<(String, Vec<String>)>, name: &str, value: &str) {
    // A secret does not belong into the output, where everyone reads it.
    let value = if is_secret(name) && !value.starts_with("${") { variable(name) } else { value.to_owned() };
    match params.iter_mut().find(|(known, _)| known == name) {
        Some((_, values)) => values.push(value),
        None => params.push((name.to_owned(), vec![value])),
    }
}

/// The variable that stands for a secret.
pub(super) fn variable(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("${{SCRAPE_{}:-}}", letters.collect::<String>())
}

/// What ends the name of a host outside: a domain of the Internet or of a house.
const DOMAINS: [&str; 16] = [
    "com",
    "net",
    "org",
    "edu",
    "gov",
    "info",
    "biz",
    "cloud",
    "app",
    "dev",
    "local",
    "lan",
    "internal",
    "home",
    "corp",
    "localdomain",
];

/// The service and namespace that a name is of: `svc`, `svc.ns`, `svc.ns.svc`, `svc.ns.svc.cluster.local`.
fn service(host: &str, in_cluster: bool) -> Option<(String, Option<String>)> {
    let host = host.trim_end_matches('.');
    if host == "localhost" || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let labels: Vec<_> = host.split('.').collect();
    match labels.as_slice() {
        [name, namespace, "svc", ..] => Some(((*name).to_owned(), Some((*namespace).to_owned()))),
        // A country's domain has two letters.
        [name, namespace] if in_cluster && namespace.len() > 2 && !DOMAINS.contains(namespace) => {
            Some(((*name).to_owned(), Some((*namespace).to_owned())))
        }
        [name] if in_cluster => Some(((*name).to_owned(), None)),
        _ => None,
    }
}

/// The URL without its user, its password and secrets in its query, for people.
pub(super) fn shown(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "<no URL>".to_owned() };
    if !url.username().is_empty() || url.password().is_some() {
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    if url.query_pairs().any(|(name, _)| is_secret(&name)) {
        url.set_query(None);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_addresses() {
        let check = |url: &str, in_cluster: bool, expected: &str| {
            let host = match read(url, in_cluster).unwrap().host {
                Where::Service(service) => format!("{}:{} discovered", service.shown(), service.port),
                Where::Address(address) => address,
            };
            assert_eq!(host, expected, "{url}");
        };
        check("http://a.b.svc.cluster.local:9100/metrics", false, "b/a:9100 discovered");
        check("http://a.b.svc/metrics", false, "b/a:80 discovered");
        check("https://a.bcd:8443/metrics", true, "bcd/a:8443 discovered");
        check("http://a.bcd:9100", false, "a.bcd:9100");
        check("http://a:9100", true, "a:9100 discovered");
        check("http://a:9100", false, "a:9100");
        check("http://example.com", true, "example.com:80");
        check("http://example.de", true, "example.de:80");
        check("http://host.example.com:1", true, "host.example.com:1");
        check("http://localhost:9100", true, "localhost:9100");
        check("http://10.0.0.1:9100", true, "10.0.0.1:9100");
        check("https://[::1]/metrics", true, "[::1]:443");
        check("http://pod-0.a.b.svc.cluster.local:1", true, "pod-0.a.b.svc.cluster.local:1");
    }

    #[test]
    fn parts_of_a_url() {
        let endpoint = read("https://me:pw@h:1/p?match[]=a&match[]=b&token=abc", false).unwrap();
        assert_eq!((endpoint.scheme.as_str(), endpoint.path.as_str()), ("https", "/p"));
        let expected = [
            ("match[]".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ("token".to_owned(), vec!["${SCRAPE_TOKEN:-}".to_owned()]),
        ];
        assert_eq!(endpoint.params, expected);
        assert_eq!(endpoint.user.as_deref(), Some("me"));
        assert_eq!(shown("https://me:pw@h:1/p?token=abc"), "https://h:1/p");
        for (url, part) in [("x", "is no URL"), ("ftp://h/x", "scheme \"ftp\""), ("http://", "is no URL")] {
            assert!(read(url, false).unwrap_err().contains(part), "{url}");
        }
    }
}
