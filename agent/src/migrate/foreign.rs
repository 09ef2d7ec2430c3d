//! What is no scrape, no filter and no upload: other sources and sinks, settings of Vector's own process, and what is
//! commented out.
//!
//! Takes components and the text, gives findings. Nothing of the input is passed over in silence.

use granit_parser::ScalarStyle;

use super::graph::Component;
use super::report::{Place, Report};
use super::yaml::{Kind, Node};

/// Sources by what they bring, and what to do instead.
const SOURCES: [(&[&str], &str); 3] = [
    (
        &[
            "file",
            "kubernetes_logs",
            "journald",
            "docker_logs",
            "stdin",
            "syslog",
            "fluent",
            "logstash",
            "demo_logs",
            "exec",
            "heroku_logs",
            "http_server",
            "http_client",
            "socket",
            "kafka",
            "aws_s3",
            "aws_sqs",
            "gcp_pubsub",
            "splunk_hec",
        ],
        "it brings logs, and the agent ships metrics only: leave a Vector for it",
    ),
    (
        &[
            "prometheus_remote_write",
            "prometheus_pushgateway",
            "statsd",
            "opentelemetry",
            "influxdb",
            "vector",
            "datadog_agent",
            "dnstap",
            "amqp",
            "nats",
            "redis",
            "mqtt",
        ],
        "nothing is pushed to the agent: let it scrape who pushes, or leave a Vector for it",
    ),
    (
        &[
            "apache_metrics",
            "nginx_metrics",
            "mongodb_metrics",
            "postgresql_metrics",
            "eventstoredb_metrics",
            "aws_ecs_metrics",
            "static_metrics",
        ],
        "scrape the Prometheus exporter of that server instead, as a job of its own",
    ),
];

/// Settings of Vector's own process.
const SETTINGS: [(&str, &str); 12] = [
    ("acknowledgements", "an object leaves the disk only when S3 has confirmed it"),
    ("buffer_utilization_ewma_alpha", "a setting of Vector's own metrics"),
    ("buffer_utilization_ewma_half_life_seconds", "a setting of Vector's own metrics"),
    ("expire_metrics", "a setting of Vector's own metrics"),
    ("expire_metrics_secs", "a setting of Vector's own metrics"),
    ("healthchecks", "`agent doctor` looks at everything, and /readyz says how uploads fare"),
    ("latency_ewma_alpha", "a setting of Vector's own metrics"),
    ("log_schema", "names of fields of logs"),
    ("schema", "names of fields of logs"),
    ("timezone", "times are in UTC"),
    ("wildcard_matching", "patterns among inputs are resolved here"),
    ("tests", "tests of Vector's transforms: the rules here were tested against VRL as a whole"),
];

/// A source that is not scraped.
pub(super) fn source(component: &Component<'_>, report: &mut Report) {
    keys(component, report);
    let text = match component.kind {
        "host_metrics" => {
            "Vector measured its own node: node-exporter on every node, which the agent scrapes, does it from one agent; or \
             host_metrics.enabled in an agent on every node. Names are node_* either way, and the view host_metrics_as_vector \
             (deploy/clickhouse/host_metrics.sql) has them as host_*"
        }
        "internal_metrics" => {
            report.translated(
                &component.place,
                "internal_metrics: true ships the agent's own, as job `agent`; their names are agent_*",
            );
            return;
        }
        "internal_logs" => {
            report.not_needed(&component.place, "the agent logs to stderr");
            return;
        }
        kind => SOURCES
            .iter()
            .find(|(kinds, _)| kinds.contains(&kind))
            .map_or("the agent has no such source", |(_, text)| text),
    };
    report
        .decide(&component.place, format!("a source of type {:?} is not translated: {text}", component.kind));
}

/// A sink that is not the one of the output.
pub(super) fn sink(component: &Component<'_>, feeds: &[&str], chosen: Option<&str>, report: &mut Report) {
    keys(component, report);
    let feeds = if feeds.is_empty() { "nothing".to_owned() } else { feeds.join(", ") };
    let text = match (component.kind, chosen) {
        ("aws_s3", Some(chosen)) => format!(
            "one agent has one destination, and {chosen:?} is it: translate with --sink {} for an agent of its own (it is fed by {feeds})",
            component.id
        ),
        ("prometheus_exporter" | "prometheus_remote_write", _) => {
            format!(
                "the agent ships to S3 only: let who reads this scrape the exporters itself (it is fed by {feeds})"
            )
        }
        ("console" | "blackhole", _) => {
            format!(
                "`agent --dry-run` shows what would be shipped; nothing else is needed if this was for looking (it is fed by {feeds})"
            )
        }
        (kind, _) => format!(
            "a sink of type {kind:?} is not translated: the agent ships to S3 or a directory (it is fed by {feeds})"
        ),
    };
    report.decide(&component.place, text);
}

/// Every key of something that is not translated goes with it.
fn keys(component: &Component<'_>, report: &mut Report) {
    for entry in component.node.entries() {
        report.not_needed(&component.at(&entry.key), format!("goes with {}", component.place.path));
    }
}

/// A section that is none of the three; `data_dir` and `api` are left to who writes what they become.
pub(super) fn setting(key: &str, line: usize, report: &mut Report) {
    let place = Place { line, path: key.to_owned() };
    match SETTINGS.iter().find(|(known, _)| *known == key) {
        Some((_, text)) => report.not_needed(&place, *text),
        None => {
            let text = match key {
                "enrichment_tables" => {
                    "the agent joins nothing to samples: do it in ClickHouse, by a dictionary"
                }
                "secret" => "the agent reads secrets from files, which may change while it runs: mount them",
                "proxy" => "the agent scrapes and uploads without a proxy",
                _ => "a section that is not known: see what it did",
            };
            report.decide(&place, text);
        }
    }
}

/// Components that are commented out: a name, and below it a type.
pub(super) fn commented_out(text: &str, root: &Node, report: &mut Report) {
    let mut is_text = vec![false; text.lines().count() + 2];
    mark(root, &mut is_text);
    let comment = |(i, line): (usize, &str)| {
        let inside = is_text.get(i + 1).copied().unwrap_or_default();
        let body = line.trim_start().strip_prefix('#').filter(|_| !inside)?;
        Some(body.strip_prefix(' ').unwrap_or(body).to_owned())
    };
    let lines: Vec<Option<String>> = text.lines().enumerate().map(comment).collect();
    let mut last: Option<(usize, String, usize)> = None;
    for (i, body) in lines.iter().enumerate() {
        let Some(body) = body else {
            last = None;
            continue;
        };
        let depth = body.len() - body.trim_start().len();
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let trimmed = body.trim_end();
        match trimmed.strip_suffix(':') {
            Some(name) if !name.is_empty() && name.trim_start().chars().all(word) => {
                last = Some((i + 1, name.trim().to_owned(), depth));
            }
            _ => {
                let kind = trimmed.trim_start().strip_prefix("type:").map(str::trim);
                if let (Some(kind), Some((line, name, above))) = (kind, &last)
                    && depth > *above
                {
                    let place = Place { line: *line, path: format!("# {name}") };
                    report.not_needed(
                        &place,
                        format!("commented out (type {kind:?}): it did not run, and is not translated"),
                    );
                    last = None;
                }
            }
        }
    }
}

/// Marks the lines of texts of several lines, in which `#` begins no comment of YAML.
fn mark(node: &Node, lines: &mut [bool]) {
    match &node.kind {
        Kind::Scalar { style, .. } => {
            let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
            let inner = node.line + usize::from(!is_block)..=node.end;
            inner.for_each(|line| {
                if let Some(line) = lines.get_mut(line) {
                    *line = true;
                }
            });
        }
        Kind::List(nodes) => nodes.iter().for_each(|node| mark(node, lines)),
        Kind::Map(entries) => entries.iter().for_each(|entry| mark(&entry.value, lines)),
        _ => {}
    }
}
