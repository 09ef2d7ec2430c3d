//! The agent's configuration as text, with a comment wherever a translation has a reason.
//!
//! Takes jobs and sections, gives YAML that the agent's own loader takes.

use pipeline::relabel::{Action, RelabelConfig};

use super::endpoint::Service;
use super::formula::escape;
use super::job::{Entry, Job, Targets, Written};
use super::report::one_line;

/// Where comments are folded.
const WIDTH: usize = 118;

/// YAML under construction.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) out: String,
    /// Which of the shared rules have been written: from then on they are named.
    has_address: bool,
    has_node: bool,
}

impl Text {
    pub(super) fn line(&mut self, indent: usize, text: &str) {
        self.out.push_str(&" ".repeat(indent));
        self.out.push_str(text);
        self.out.push('\n');
    }

    pub(super) fn blank(&mut self) {
        self.out.push('\n');
    }

    pub(super) fn comment(&mut self, indent: usize, text: &str) {
        let text = one_line(text);
        let mut line = String::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if !line.is_empty() && indent + 3 + line.chars().count() + word.chars().count() > WIDTH {
                self.line(indent, &format!("# {line}"));
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        self.line(indent, &format!("# {line}"));
    }

    /// One of `scrape_configs`.
    pub(super) fn job(&mut self, job: &Job) {
        job.comments.iter().for_each(|comment| self.comment(2, comment));
        self.line(2, &format!("- job_name: {}", scalar(&job.name)));
        for (key, value) in [("scrape_interval", &job.interval), ("scrape_timeout", &job.timeout)] {
            if let Some(value) = value {
                self.line(4, &format!("{key}: {value}"));
            }
        }
        self.targets(job);
        if job.scheme == "https" {
            self.line(4, "scheme: https");
        }
        if job.path != "/metrics" {
            self.line(4, &format!("metrics_path: {}", scalar(&job.path)));
        }
        if !job.params.is_empty() {
            self.line(4, "params:");
            for (name, values) in &job.params {
                let values: Vec<_> = values.iter().map(|value| scalar(value)).collect();
                self.line(6, &format!("{}: [{}]", scalar(name), values.join(", ")));
            }
        }
        if job.targets == Targets::Kubelets {
            self.kubelet();
        }
        for Written(depth, key, value) in &job.client {
            let value = value.as_ref().map_or(String::new(), |value| format!(" {value}"));
            self.line(4 + 2 * depth, &format!("{key}:{value}"));
        }
        if job.honor_labels {
            self.comment(4, "Labels that the exporter gives itself stay as they are, as in Vector.");
            self.line(4, "honor_labels: true");
        }
        self.relabel(job);
        self.entries("metric_relabel_configs", &job.metric_relabel);
    }

    fn targets(&mut self, job: &Job) {
        match &job.targets {
            Targets::Addresses(addresses) => {
                let list: Vec<_> = addresses.iter().map(|address| scalar(address)).collect();
                self.line(4, "static_configs:");
                self.line(6, &format!("- targets: [{}]", list.join(", ")));
            }
            Targets::Services(services) => {
                let mut namespaces: Vec<_> = services.iter().filter_map(|s| s.namespace.as_deref()).collect();
                namespaces.sort_unstable();
                namespaces.dedup();
                self.line(4, "kubernetes_sd_configs:");
                self.line(6, "- role: endpointslice");
                self.line(8, "namespaces:");
                if services.iter().any(|service| service.namespace.is_none()) {
                    self.line(10, "own_namespace: true");
                }
                if !namespaces.is_empty() {
                    let list: Vec<_> = namespaces.into_iter().map(scalar).collect();
                    self.line(10, &format!("names: [{}]", list.join(", ")));
                }
            }
            Targets::Kubelets => {
                self.line(4, "kubernetes_sd_configs:");
                self.line(6, "- role: node");
            }
        }
    }

    fn kubelet(&mut self) {
        self.line(4, "authorization:");
        self.line(6, "credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token");
        self.line(4, "tls_config:");
        self.line(6, "ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
        self.comment(6, "Many kubelets have a certificate that they signed themselves: true takes it, for this job alone.");
        self.line(6, "insecure_skip_verify: ${KUBELET_INSECURE_SKIP_VERIFY:-false}");
    }

    fn relabel(&mut self, job: &Job) {
        match &job.targets {
            Targets::Services(services) => {
                self.line(4, "relabel_configs:");
                self.services(services);
                self.address();
                if job.node {
                    self.node();
                }
                job.relabel.iter().for_each(|entry| self.entry(entry));
            }
            Targets::Kubelets => {
                self.line(4, "relabel_configs:");
                self.line(6, "- source_labels: [__meta_kubernetes_node_name]");
                self.line(8, "target_label: node");
            }
            Targets::Addresses(_) => self.entries("relabel_configs", &job.relabel),
        }
    }

    /// The endpoints of these services, by name and port.
    fn services(&mut self, services: &[Service]) {
        let by_namespace = services.iter().any(|service| service.namespace.is_some()) && services.len() > 1;
        let alternatives: Vec<_> = services
            .iter()
            .map(|service| {
                let namespace = match (&service.namespace, by_namespace) {
                    (_, false) => String::new(),
                    (Some(namespace), true) => format!("{};", escape(namespace)),
                    (None, true) => ".*;".to_owned(),
                };
                let port =
                    if matches!(service.port, 80 | 443) { ".*".to_owned() } else { service.port.to_string() };
                format!("{namespace}{};{port}", escape(&service.name))
            })
            .collect();
        let namespace = if by_namespace { "__meta_kubernetes_namespace, " } else { "" };
        let sources = "__meta_kubernetes_service_name, __meta_kubernetes_endpointslice_port";
        self.line(6, &format!("- source_labels: [{namespace}{sources}]"));
        self.line(8, &format!("regex: {}", scalar(&alternatives.join("|"))));
        self.line(8, "action: keep");
    }

    /// A pod's first address, once; no pod that has ended.
    fn address(&mut self) {
        if std::mem::replace(&mut self.has_address, true) {
            ["- *first_address", "- *first_address_v6", "- *alive"]
                .iter()
                .for_each(|line| self.line(6, line));
            return;
        }
        self.comment(6, "A pod with addresses of both families is in two slices: its first address is the one that is scraped, once.");
        for (name, regex, replacement) in [
            ("first_address", r"([^:;]+);(\d+)", "$1:$2"),
            ("first_address_v6", r"([^;]*:[^;]*);(\d+)", "\"[$1]:$2\""),
        ] {
            self.line(6, &format!("- &{name}"));
            self.line(8, "source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_endpointslice_port]");
            self.line(8, &format!("regex: {regex}"));
            self.line(8, "target_label: __address__");
            self.line(8, &format!("replacement: {replacement}"));
        }
        self.comment(6, "A pod that has ended keeps its place for a while and answers nothing.");
        self.line(6, "- &alive");
        self.line(8, "source_labels: [__meta_kubernetes_pod_phase]");
        self.line(8, "regex: Succeeded|Failed");
        self.line(8, "action: drop");
    }

    /// The node of the pod that answers.
    fn node(&mut self) {
        if std::mem::replace(&mut self.has_node, true) {
            ["- *node_of_slice", "- *node"].iter().for_each(|line| self.line(6, line));
            return;
        }
        self.comment(6, "The node of the pod that answers; the slice knows it, too, when the pod is just being forgotten.");
        let labels = [
            ("node_of_slice", "__meta_kubernetes_endpointslice_endpoint_node_name"),
            ("node", "__meta_kubernetes_pod_node_name"),
        ];
        for (name, label) in labels {
            self.line(6, &format!("- &{name}"));
            self.line(8, &format!("source_labels: [{label}]"));
            self.line(8, "regex: (.+)");
            self.line(8, "target_label: node");
        }
    }

    fn entries(&mut self, key: &str, entries: &[Entry]) {
        if entries.iter().any(|entry| matches!(entry, Entry::Rule(_))) {
            self.line(4, &format!("{key}:"));
        }
        entries.iter().for_each(|entry| self.entry(entry));
    }

    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Comment(text) => self.comment(6, text),
            Entry::Rule(rule) => self.rule(rule),
        }
    }

    fn rule(&mut self, rule: &RelabelConfig) {
        let default = RelabelConfig::default();
        let mut keys = Vec::new();
        if !rule.source_labels.is_empty() {
            let labels: Vec<_> = rule.source_labels.iter().map(|label| scalar(label)).collect();
            keys.push(format!("source_labels: [{}]", labels.join(", ")));
        }
        if rule.regex != default.regex {
            keys.push(format!("regex: {}", scalar(&rule.regex)));
        }
        if !rule.target_label.is_empty() {
            keys.push(format!("target_label: {}", scalar(&rule.target_label)));
        }
        if rule.replacement != default.replacement {
            keys.push(format!("replacement: {}", scalar(&rule.replacement)));
        }
        if rule.action != Action::Replace {
            keys.push(format!("action: {}", rule.action.as_str()));
        }
        for (i, key) in keys.iter().enumerate() {
            self.line(6, &format!("{} {key}", if i == 0 { "-" } else { " " }));
        }
    }
}

/// A text as YAML: plain where that cannot be misread, in quotes otherwise.
pub(super) fn scalar(text: &str) -> String {
    let starts = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/' | '.' | '(' | '$');
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./|()*+?\\^$;=".contains(c);
    let word = !matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n" | ".inf" | ".nan"
    );
    let number = text.parse::<f64>().is_ok();
    if text.starts_with(starts) && text.chars().all(plain) && word && !number {
        return text.to_owned();
    }
    let printable = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.chars().all(printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if printable(c) || (c.is_alphanumeric() && !c.is_ascii()) => quoted.push(c),
            c if u32::from(c) <= 0xffff => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}
