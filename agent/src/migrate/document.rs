//! Where in a file Vector's configuration is, and what the chart's values around it say.
//!
//! Takes the tree, gives the mapping with `sources`, `transforms` and `sinks`, and the environment as far as the values tell it.

use std::collections::BTreeMap;

use super::report::{Place, Report};
use super::yaml::Node;

/// A Vector configuration.
pub(super) struct Document<'a> {
    pub(super) config: &'a Node,
    /// The values of the chart, if it stands in them.
    pub(super) values: Option<&'a Node>,
    pub(super) environment: Variables,
}

const SECTIONS: [&str; 3] = ["sources", "transforms", "sinks"];

/// Finds the configuration, or says why there is none.
pub(super) fn find(root: &Node) -> Result<Document<'_>, String> {
    let is_config = |node: &Node| SECTIONS.iter().any(|section| node.get(section).is_some());
    if is_config(root) {
        return Ok(Document { config: root, values: None, environment: Variables::default() });
    }
    // The chart by itself, or as a part of another one.
    let below = root.entries().iter().map(|entry| &entry.value);
    for values in std::iter::once(root).chain(below) {
        if let Some(config) = values.get("customConfig").filter(|config| is_config(config)) {
            return Ok(Document { config, values: Some(values), environment: Variables::of(values) });
        }
    }
    Err("is no Vector configuration: neither `sources:`, `transforms:` or `sinks:` at the top, nor under `customConfig:` as in \
         the values of Vector's chart; TOML and JSON are turned into YAML by `vector convert-config`"
        .to_owned())
}

/// What is known of an environment variable of Vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// Its value.
    Text(String),
    /// The name of the node that Vector runs on.
    Node,
    /// Something that only the pod knows.
    Unknown,
}

/// Vector's environment variables, as far as the values tell them.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(BTreeMap<String, Variable>);

/// Names that say what they hold.
const NODE_NAMES: [&str; 6] = [
    "SPEC_NODE_NAME",
    "VECTOR_SELF_NODE_NAME",
    "NODE_NAME",
    "K8S_NODE_NAME",
    "KUBE_NODE_NAME",
    "MY_NODE_NAME",
];

impl Variables {
    fn of(values: &Node) -> Self {
        let mut known = BTreeMap::new();
        for variable in values.get("env").map(Node::list).unwrap_or_default() {
            let Some(name) = variable.get("name").and_then(Node::text) else { continue };
            let field =
                variable.get("valueFrom").and_then(|from| from.get("fieldRef")?.get("fieldPath")?.text());
            let value = match (variable.get("value").and_then(Node::text), field) {
                _ if is_secret(name) => Variable::Unknown,
                (Some(text), _) => Variable::Text(text.to_owned()),
                (None, Some("spec.nodeName")) => Variable::Node,
                (None, _) => Variable::Unknown,
            };
            known.insert(name.to_owned(), value);
        }
        Self(known)
    }

    /// What is known of a variable.
    pub(super) fn get(&self, name: &str) -> Variable {
        match self.0.get(name) {
            Some(variable) => variable.clone(),
            None if NODE_NAMES.contains(&name) => Variable::Node,
            None => Variable::Unknown,
        }
    }

    /// Whether the values give credentials of AWS.
    pub(super) fn has_aws_keys(&self) -> bool {
        self.0.contains_key("AWS_ACCESS_KEY_ID") || self.0.contains_key("AWS_ROLE_ARN")
    }

    /// A text as Vector expands it (`$V`, `${V}`, `${V:-default}`, `$$`), with `${V}` for what is not known.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, default, end) = if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            } else if let Some((inside, end)) =
                after.strip_prefix('{').and_then(|inside| inside.split_once('}'))
            {
                let end_of_name = inside.find(|c: char| !letter(c)).unwrap_or(inside.len());
                let (name, more) = inside.split_at(end_of_name);
                let default = more.strip_prefix(":-").or_else(|| more.strip_prefix('-'));
                (name, default, end)
            } else {
                let (name, end) = after.split_at(after.find(|c: char| !letter(c)).unwrap_or(after.len()));
                (name, None, end)
            };
            if name.is_empty() {
                out.push('$');
                rest = after;
                continue;
            }
            match (self.get(name), default) {
                (Variable::Text(text), _) => out.push_str(&text),
                (_, Some(default)) => out.push_str(&format!("${{{name}:-{default}}}")),
                (_, None) => out.push_str(&format!("${{{name}}}")),
            }
            rest = end;
        }
        out.push_str(rest);
        out
    }
}

/// Whether a name says that it holds a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "secret",
        "token",
        "password",
        "passwd",
        "apikey",
        "api_key",
        "access_key",
        "credential",
        "signature",
    ];
    words.iter().any(|word| name.contains(word)) || name == "key" || name == "auth" || name == "sig"
}

/// Values of the chart, and what to do about them with the agent's.
const AROUND: [(&str, &str); 20] = [
    ("image", "the agent's image: `image.repository` and `image.tag` of its chart"),
    ("replicas", "one agent scrapes everything once: `replicas` of its chart, 2 for one that stands by"),
    ("serviceAccount", "`serviceAccount` of the agent's chart; what IRSA needs is an annotation there"),
    (
        "rbac",
        "the agent's chart makes its own ClusterRole: list and watch of what it discovers, `get nodes/metrics`",
    ),
    ("psp", "the agent runs as uid 65532 with no capability and needs no exception"),
    ("securityContext", "the agent runs as uid 65532 with no capability and a read-only root"),
    ("podSecurityContext", "the agent runs as uid 65532 with no capability and a read-only root"),
    ("service", "nothing is pushed to the agent: it needs no service for its data"),
    ("serviceHeadless", "nothing is pushed to the agent: it needs no service for its data"),
    ("ingress", "nothing is pushed to the agent: it needs no ingress"),
    ("haproxy", "nothing is pushed to the agent: it needs no balancer"),
    (
        "autoscaling",
        "one agent holds 300,000 series and more; deploy/SIZING.md says when to share the targets",
    ),
    ("persistence", "`spool.persistence` of the agent's chart keeps what is not uploaded"),
    ("dataDir", "the agent's own directory is `spool.dir`"),
    ("livenessProbe", "the agent's chart probes /healthz"),
    ("readinessProbe", "the agent's chart probes /readyz"),
    ("podMonitor", "the agent's own metrics are shipped as job `agent`, and served on port 9598"),
    ("logLevel", "`logLevel` of the agent's chart"),
    ("defaultVolumes", "Vector reads the node's logs there, which the agent does not"),
    ("defaultVolumeMounts", "Vector reads the node's logs there, which the agent does not"),
];

/// Says what becomes of the values around the configuration.
pub(super) fn surroundings(document: &Document<'_>, report: &mut Report) {
    for entry in document.values.map(Node::entries).unwrap_or_default() {
        let place = Place { line: entry.line, path: entry.key.clone() };
        match entry.key.as_str() {
            "customConfig" => {}
            "env" => environment(&entry.value, document, report),
            "role" => match entry.value.text() {
                Some("Agent") => report.fixed(
                    &place,
                    "a pod on each node, each of which scraped every endpoint: one agent (`mode: deployment` of its chart) \
                     scrapes each endpoint once",
                ),
                _ => report.not_needed(&place, "one agent (`mode: deployment` of its chart) scrapes each endpoint once"),
            },
            key => match AROUND.iter().find(|(known, _)| *known == key) {
                Some((_, text)) => report.not_needed(&place, format!("a value of Vector's chart: {text}")),
                None => report.decide(
                    &place,
                    format!("a value beside Vector's configuration: see whether the agent's chart needs the like of {key:?}"),
                ),
            },
        }
    }
}

fn environment(list: &Node, document: &Document<'_>, report: &mut Report) {
    for (i, variable) in list.list().iter().enumerate() {
        let place = Place { line: variable.line, path: format!("env[{i}]") };
        let name = variable.get("name").and_then(Node::text).unwrap_or_default();
        match (name, document.environment.get(name)) {
            (
                "CEDANA_URL" | "CEDANA_AUTH_TOKEN" | "CLUSTER_ID" | "REFRESH_INTERVAL" | "S3_BUCKET"
                | "AWS_REGION",
                _,
            ) => {
                report.translated(
                    &place,
                    format!("the agent reads {name} too: set it there (its chart has values for it)"),
                );
            }
            ("AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" | "AWS_ROLE_ARN", _) => {
                report.translated(
                    &place,
                    format!("the agent reads {name} too: `credentials.source: static` or `aws` of its chart"),
                );
            }
            (_, Variable::Node) => report
                .not_needed(&place, "the node of what is measured comes from discovery, not from the pod"),
            (_, Variable::Text(_)) => {
                report.translated(&place, "its value is put where the configuration names it");
            }
            (_, Variable::Unknown) => {
                report.translated(
                    &place,
                    format!(
                        "where the output names ${{{name}}}, give it to the agent: `extraEnv` of its chart"
                    ),
                );
            }
        }
    }
}

impl Variables {
    /// A text for a place where the agent expands variables too: what it would refuse is quoted.
    pub(super) fn carry(&self, text: &str) -> String {
        let text = self.expand(text);
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = after.split_once('}').map(|(inside, _)| inside.split(":-").next().unwrap_or_default());
            let is_name = |name: &str| {
                !name.is_empty()
                    && name.chars().all(letter)
                    && !name.starts_with(|c: char| c.is_ascii_digit())
            };
            out.push_str(if name.is_some_and(is_name) { "${" } else { "$${" });
            rest = after;
        }
        out.push_str(rest);
        out
    }
}
