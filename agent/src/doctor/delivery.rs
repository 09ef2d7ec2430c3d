//! The way to the bucket: credentials, clock, what lies there already, permission to write.

use std::collections::BTreeSet;
use std::sync::Arc;

use pipeline::encode::Encoding;
use sinks::{Below, Probe, Written};

use super::Finding;
use crate::config::{Config, Ingestion};
use crate::targets::rfc3339;
use crate::telemetry;

/// A clock that is off by more is reported, seconds: what S3 tolerates is three times as much.
const CLOCK_MAX: f64 = 300.0;

/// What to look at before the first upload.
const TABLE: &str = "before the first upload look at the table that reads this prefix, by SHOW CREATE TABLE: a glob that takes \
                     in everything (**) would feed Parquet to the parser of another format. */*.parquet takes these objects \
                     alone; sink.s3.prefix_suffix (S3_PREFIX_SUFFIX) puts them below a prefix of their own";

/// The same where objects are as Vector wrote them.
const OLD_TABLE: &str = "before the first upload look at the table that reads Vector's objects, by SHOW CREATE TABLE: its glob \
                         has to take in */*.log (*/*.log.gz with vector_json.compression: gzip), and Vector must not write \
                         below the prefix any more";

/// Asks the servers, or says why that cannot be done.
pub(super) async fn examine(config: &Config) -> Result<Probe, String> {
    let registry = prometheus::Registry::new();
    let metrics = Arc::new(sinks::Metrics::new(&registry).map_err(|error| error.to_string())?);
    let probed = sinks::probe(&config.sinks, telemetry::VERSION, &metrics).await;
    probed.map_err(|error| crate::commands::with_causes(&error))
}

/// The hosts that have to be found by name.
pub(super) fn hosts(config: &Config, probed: &Result<Probe, String>) -> BTreeSet<String> {
    let host = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        (host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[') && !host.is_empty())
            .then(|| host.to_owned())
    };
    let cedana = config.sinks.credentials.cedana.as_ref().map(|cedana| cedana.url.as_str());
    let s3 = config.sinks.sink.s3.as_ref().map(|s3| match (&s3.endpoint_url, probed) {
        (Some(url), _) => url.clone(),
        (None, Ok(Probe { place: Some(place), .. })) => format!("s3.{}.amazonaws.com", place.region),
        (None, _) => "s3.amazonaws.com".to_owned(),
    });
    cedana
        .filter(|_| config.sinks.sink.s3.is_some())
        .into_iter()
        .chain(s3.as_deref())
        .filter_map(host)
        .collect()
}

/// What the probe means.
pub(super) fn findings(config: &Config, probed: Result<Probe, String>) -> Vec<Finding> {
    let probe = match probed {
        Ok(probe) => probe,
        Err(error) => return vec![Finding::bad("sink", error)],
    };
    let place = probe.place.as_ref().map_or_else(String::new, |place| match place.region.as_str() {
        "" => place.bucket.clone(),
        region => format!("s3://{}/{} ({region})", place.bucket, place.prefix),
    });
    let mut findings = Vec::new();
    findings.extend(probe.credentials.map(|credentials| match credentials {
        Ok(status) => {
            let until = status.expires.map_or("they do not expire".to_owned(), |expires| {
                format!("until {}", rfc3339(expires.saturating_mul(1000)))
            });
            Finding::good("credentials", format!("from {}, {until}, for {place}", status.source))
        }
        Err(problem) => Finding::bad("credentials", problem),
    }));
    findings.extend(probe.clock_offset.map(clock));
    findings.extend(probe.write.map(|write| match write {
        Ok(Written::Nothing) => Finding::good("write", format!("{place}: allowed, and nothing was stored")),
        Ok(Written::Empty(key)) => Finding::good(
            "write",
            format!("{place}: allowed; the server does not look at Content-MD5 and stored the empty object {key}, which is in nobody's way"),
        ),
        Err(problem) => Finding::bad("write", problem),
    }));
    findings.extend(probe.below.map(below));
    if config.sinks.sink.s3.is_some() {
        findings.push(table(config));
    }
    findings
}

fn clock(offset: f64) -> Finding {
    let side = if offset < 0.0 { "ahead of" } else { "behind" };
    let text = format!("{:.1} s {side} the servers'", offset.abs());
    if offset.abs() <= CLOCK_MAX {
        Finding::good("clock", text)
    } else {
        Finding::bad("clock", format!("{text}: set this machine's clock, with NTP for example"))
    }
}

fn below(below: Result<Below, String>) -> Finding {
    match below {
        Ok(Below { objects: 0, .. }) => Finding::good("prefix", "nothing lies below it yet"),
        Ok(Below { foreign: None, .. }) => Finding::good("prefix", "only objects of agents lie below it"),
        Ok(Below { foreign: Some(key), .. }) => Finding::note(
            "prefix",
            format!(
                "objects of another shipper lie below it, such as {key}: the table that reads them may take in these too"
            ),
        ),
        // Permission to write is all that is needed.
        Err(problem) => {
            Finding::note("prefix", format!("what lies below it cannot be seen, which is no harm: {problem}"))
        }
    }
}

fn table(config: &Config) -> Finding {
    let text = match config.pipeline.encoding {
        Encoding::Parquet => TABLE,
        Encoding::VectorJson => OLD_TABLE,
    };
    match config.ingestion {
        Ingestion::Plain => Finding::note("table", text),
        Ingestion::Partitioned => Finding::note(
            "table",
            format!("{text}. It must keep one pointer per writer: `agent schema` prints its settings"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::config::{Environment, Purpose, Source, load};

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.yaml");
        std::fs::write(&file, text).unwrap();
        load(Source::File(file), &Environment::default(), Purpose::Run).unwrap().config
    }

    const S3: &str = "sink: {s3: {bucket: b}}\ncredentials: {aws: {}}";

    #[test]
    fn hosts_that_have_names() {
        let check = |text: &str, expected: &[&str]| {
            let hosts = hosts(&config(text), &Err(String::new()));
            assert_eq!(hosts.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        };
        check(S3, &["s3.amazonaws.com"]);
        check("sink: {file: {dir: x}}", &[]);
        check(
            "sink: {s3: {endpoint_url: 'http://minio.storage:9000'}}\ncredentials: {cedana: {url: 'https://api.test/v2', auth_token: t, cluster_id: c}}",
            &["api.test", "minio.storage"],
        );
        check("sink: {s3: {bucket: b, endpoint_url: 'http://127.0.0.1:9000'}}\ncredentials: {aws: {}}", &[]);
        check("sink: {s3: {bucket: b, endpoint_url: 'http://[::1]:9000'}}\ncredentials: {aws: {}}", &[]);
    }

    #[test]
    fn each_part_is_a_line_with_its_remedy() {
        let check = |probe: Probe, expected: &[(State, &str, &str)]| {
            let found = findings(&config(S3), Ok(probe));
            let found: Vec<_> = found.iter().filter(|finding| finding.subject != "table").collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, (state, subject, part)) in found.iter().zip(expected) {
                assert_eq!((finding.state, finding.subject.as_str()), (*state, *subject));
                assert!(finding.text.contains(part), "{finding:?}");
            }
        };
        let none = || Probe { credentials: None, place: None, clock_offset: None, below: None, write: None };
        check(
            Probe { credentials: Some(Err("no credentials yet: status 401".to_owned())), ..none() },
            &[(State::Bad, "credentials", "401")],
        );
        let below = Below { objects: 1, foreign: Some("1/1-x.log".to_owned()) };
        check(
            Probe {
                clock_offset: Some(-400.0),
                below: Some(Ok(below)),
                write: Some(Err("allow s3:PutObject".to_owned())),
                ..none()
            },
            &[
                (State::Bad, "clock", "400.0 s ahead of the servers': set"),
                (State::Bad, "write", "allow s3:PutObject"),
                (State::Note, "prefix", "1/1-x.log"),
            ],
        );
        check(
            Probe { write: Some(Ok(Written::Nothing)), below: Some(Err("denied".to_owned())), ..none() },
            &[(State::Good, "write", "nothing was stored"), (State::Note, "prefix", "no harm: denied")],
        );
    }

    #[test]
    fn the_table_is_always_spoken_of() {
        let found = findings(&config(S3), Err("broken".to_owned()));
        assert_eq!((found.len(), found[0].state), (1, State::Bad));
        let none = Probe { credentials: None, place: None, clock_offset: None, below: None, write: None };
        let found = findings(&config(&format!("{S3}\ningestion: partitioned")), Ok(none));
        assert!(
            found[0].text.contains("SHOW CREATE TABLE") && found[0].text.contains("one pointer per writer")
        );
        let none = Probe { credentials: None, place: None, clock_offset: None, below: None, write: None };
        let found = findings(&config(&format!("{S3}\nencoding: vector_json")), Ok(none));
        assert!(found[0].text.contains("*/*.log"), "{found:?}");
    }
}
