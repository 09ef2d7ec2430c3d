//! `dns_sd_configs`: the entries of names in DNS.
//!
//! Takes the section, asks for each name once per look, gives the whole set. A name without entries has no targets; one
//! that could not be asked for keeps those it had.
//! Source: Prometheus' documentation, `<dns_sd_config>`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::config::DnsConfig;
use super::list::Found;
use crate::model::labels::Labels;
use crate::model::target::TargetGroup;

const NAME: &str = "__meta_dns_name";
const SRV_TARGET: &str = "__meta_dns_srv_record_target";
const SRV_PORT: &str = "__meta_dns_srv_record_port";
const MX_TARGET: &str = "__meta_dns_mx_record_target";
const NS_TARGET: &str = "__meta_dns_ns_record_target";

/// Names that are asked for.
pub(super) struct Names {
    config: DnsConfig,
    known: BTreeMap<String, Arc<TargetGroup>>,
}

impl Names {
    pub(super) fn new(config: &DnsConfig) -> Self {
        Self { config: config.clone(), known: BTreeMap::new() }
    }

    /// Until the next look.
    pub(super) fn interval(&self) -> Duration {
        self.config.refresh_interval.0
    }

    /// Asks for all names.
    pub(super) async fn look(&mut self) -> Found {
        // Made anew each time: the system's servers and search path are those of now, and nothing is answered from memory.
        match resolver() {
            Ok(resolver) => self.ask(&resolver).await,
            Err(error) => {
                Found { groups: self.groups(), problems: vec![format!("/etc/resolv.conf: {error}")] }
            }
        }
    }

    async fn ask(&mut self, resolver: &TokioResolver) -> Found {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for name in &self.config.names {
            match resolver.lookup(name.as_str(), kind(&self.config.kind)).await {
                Ok(answer) => {
                    let entries = answer.answers().iter().map(|answer| answer.data.clone());
                    found.push((name.clone(), entries.collect()));
                }
                Err(error) if error.is_no_records_found() || error.is_nx_domain() => {
                    found.push((name.clone(), Vec::new()));
                }
                Err(error) => problems.push(format!("{name}: {error}")),
            }
        }
        found.iter().for_each(|(name, entries)| self.keep(name, entries));
        Found { groups: self.groups(), problems }
    }

    /// Replaces what is known of a name, where it has changed.
    fn keep(&mut self, name: &str, entries: &[RData]) {
        let mut targets: Vec<Labels> =
            entries.iter().filter_map(|entry| target(name, entry, self.config.port)).collect();
        // Servers shuffle their answers to spread load.
        targets.sort_by(|a, b| a.value("__address__").cmp(b.value("__address__")));
        let group = TargetGroup { source: name.to_owned(), targets, ..TargetGroup::default() };
        if self.known.get(name).is_none_or(|known| **known != group) {
            self.known.insert(name.to_owned(), Arc::new(group));
        }
    }

    fn groups(&self) -> Vec<Arc<TargetGroup>> {
        self.known.values().cloned().collect()
    }
}

fn resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    builder.options_mut().cache_size = 0;
    builder.build()
}

fn kind(text: &str) -> RecordType {
    match text.to_ascii_uppercase().as_str() {
        "A" => RecordType::A,
        "AAAA" => RecordType::AAAA,
        "MX" => RecordType::MX,
        "NS" => RecordType::NS,
        _ => RecordType::SRV,
    }
}

/// One target, or none for an entry that is none, such as an alias on the way.
fn target(name: &str, entry: &RData, port: u16) -> Option<Labels> {
    // The final dot of a rooted name stays in the label and goes from the address.
    let of_name = |label, rooted: String, port: u16| {
        let address = format!("{}:{port}", rooted.trim_end_matches('.'));
        vec![(label, rooted), ("__address__", address)]
    };
    let mut labels = match entry {
        RData::A(address) => vec![("__address__", format!("{address}:{port}"))],
        RData::AAAA(address) => vec![("__address__", format!("[{address}]:{port}"))],
        RData::SRV(entry) => {
            let mut labels = of_name(SRV_TARGET, entry.target.to_utf8(), entry.port);
            labels.push((SRV_PORT, entry.port.to_string()));
            labels
        }
        RData::MX(entry) => of_name(MX_TARGET, entry.exchange.to_utf8(), port),
        RData::NS(entry) => of_name(NS_TARGET, entry.to_utf8(), port),
        _ => return None,
    };
    labels.push((NAME, name.to_owned()));
    Some(Labels::from_pairs(labels))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    /// An answer to the question in `query` (RFC 1035, section 4): `code`, and entries of type and data.
    fn answer(query: &[u8], code: u8, entries: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let count = u16::try_from(entries.len()).unwrap().to_be_bytes();
        let mut all = [&query[..2], &[0x81, 0x80 | code, 0, 1], &count, &[0; 4], &query[12..end]].concat();
        for (kind, data) in entries {
            let length = u16::try_from(data.len()).unwrap().to_be_bytes();
            // The name is the question's; class IN, 60 s.
            all.extend(
                [&[0xc0, 12], kind.to_be_bytes().as_slice(), &[0, 1, 0, 0, 0, 60], &length, data].concat(),
            );
        }
        all
    }

    /// A name in the form of the wire.
    fn wire(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes
    }

    fn resolver_at(server: SocketAddr) -> TokioResolver {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        builder.options_mut().attempts = 1;
        builder.build().unwrap()
    }

    /// A code, and entries of type and data.
    type Answer = (u8, Vec<(u16, Vec<u8>)>);

    /// What is found of the name `n.test.` when the server answers with each of `answers` in turn: code and entries.
    async fn looks(yaml: &str, answers: &[Answer]) -> Vec<Found> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = resolver_at(socket.local_addr().unwrap());
        let mut names = Names::new(&serde_norway::from_str(yaml).unwrap());
        let mut found = Vec::new();
        for (code, entries) in answers {
            let serve = async {
                let mut query = [0; 512];
                loop {
                    let (length, from) = socket.recv_from(&mut query).await.unwrap();
                    socket.send_to(&answer(&query[..length], *code, entries), from).await.unwrap();
                }
            };
            tokio::select! {
                one = names.ask(&resolver) => found.push(one),
                () = serve => {}
            }
        }
        found
    }

    fn labels(found: &Found) -> Vec<String> {
        found.groups.iter().flat_map(|group| &group.targets).map(|target| format!("{target:?}")).collect()
    }

    #[tokio::test]
    async fn each_kind_of_entry_has_its_labels() {
        let srv = [&[0, 1, 0, 2, 0x23, 0x8c][..], &wire("a.test")].concat();
        let mx = [&[0, 10][..], &wire("mail.test")].concat();
        for (kind, entry, expected) in [
            ("A", (1, vec![10, 0, 0, 1]), r#"{__address__="10.0.0.1:80",__meta_dns_name="n.test."}"#),
            (
                "AAAA",
                (28, [&[0x20, 1][..], &[0; 13], &[1]].concat()),
                r#"{__address__="[2001::1]:80",__meta_dns_name="n.test."}"#,
            ),
            (
                "srv",
                (33, srv),
                r#"{__address__="a.test:9100",__meta_dns_name="n.test.",__meta_dns_srv_record_port="9100",__meta_dns_srv_record_target="a.test."}"#,
            ),
            (
                "MX",
                (15, mx),
                r#"{__address__="mail.test:80",__meta_dns_mx_record_target="mail.test.",__meta_dns_name="n.test."}"#,
            ),
            (
                "NS",
                (2, wire("ns.test")),
                r#"{__address__="ns.test:80",__meta_dns_name="n.test.",__meta_dns_ns_record_target="ns.test."}"#,
            ),
        ] {
            let yaml = format!("{{names: [n.test.], type: {kind}, port: 80}}");
            let found = looks(&yaml, &[(0, vec![entry])]).await;
            assert_eq!(found[0].problems, Vec::<String>::new(), "{kind}");
            assert_eq!(labels(&found[0]), [expected], "{kind}");
        }
    }

    #[tokio::test]
    async fn a_name_keeps_its_targets_unless_the_server_knows_better() {
        let two = vec![(1, vec![10, 0, 0, 2]), (1, vec![10, 0, 0, 1])];
        let turned = two.iter().rev().cloned().collect();
        let yaml = "{names: [n.test.], type: A, port: 80}";
        // Two, the same in another order, SERVFAIL, NXDOMAIN.
        let found = looks(yaml, &[(0, two), (0, turned), (2, Vec::new()), (3, Vec::new())]).await;
        assert_eq!(labels(&found[0]).len(), 2);
        assert!(Arc::ptr_eq(&found[0].groups[0], &found[1].groups[0]), "unchanged groups are the same");
        assert_eq!((labels(&found[2]).len(), found[2].problems.len()), (2, 1), "{found:?}");
        assert_eq!((labels(&found[3]).len(), found[3].problems.len()), (0, 0));
    }
}
