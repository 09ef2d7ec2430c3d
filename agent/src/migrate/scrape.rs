//! A source `prometheus_scrape`: <https://vector.dev/docs/reference/configuration/sources/prometheus_scrape/>.
//!
//! Takes the component, gives jobs without names and without what transforms do, and a finding for each of its keys.

use pipeline::model::labels::METRIC_NAME;
use pipeline::model::units::Duration;
use pipeline::relabel::{Action, RelabelConfig};

use super::document::is_secret;
use super::endpoint::{self, Endpoint, Where};
use super::formula::{Formula, Writer, rule};
use super::graph::Component;
use super::job::{Entry, Job, Targets, Written};
use super::report::{Place, Report};
use super::steps::escaped;
use super::yaml::Node;
use super::{Setting, client, selector};

/// What Vector scrapes where a source does not say.
pub(super) const INTERVAL_DEFAULT: &str = "15s";

/// What cAdvisor's metrics are asked for: rules that stand before those of transforms.
type Selection = Vec<(Place, Formula)>;

/// Reads a source.
pub(super) fn jobs(component: &Component<'_>, setting: &Setting<'_>, report: &mut Report) -> Vec<Job> {
    let template = template(component, report);
    let mut jobs: Vec<Job> = Vec::new();
    let mut cadvisor = Selection::new();
    let endpoints = component.node.get("endpoints").or_else(|| component.node.get("hosts"));
    for (i, node) in endpoints.map(Node::list).unwrap_or_default().iter().enumerate() {
        let place = Place { line: node.line, path: format!("{}.endpoints[{i}]", component.place.path) };
        let text = setting.document.environment.expand(node.text().unwrap_or_default());
        if text.contains("${") {
            let text = format!(
                "{text:?} holds an environment variable, and whether it is a service cannot be seen: write the job by hand"
            );
            report.decide(&place, text);
            continue;
        }
        let mut endpoint = match endpoint::read(&text, setting.document.values.is_some()) {
            Ok(endpoint) => endpoint,
            Err(problem) => {
                report.decide(&place, format!("{:?} {problem}", endpoint::shown(&text)));
                continue;
            }
        };
        query(component, &mut endpoint);
        secrets(&endpoint, &place, report);
        if endpoint.path.ends_with("/federate") {
            federation(&mut endpoint, &place, &mut cadvisor, report);
            if endpoint.params.is_empty() {
                continue;
            }
        }
        add(&mut jobs, &template, endpoint, &place, report);
    }
    if jobs.is_empty() && cadvisor.is_empty() {
        report.decide(&component.place, "has no endpoint that could be translated: no job is written for it");
    }
    if !cadvisor.is_empty() {
        jobs.push(kubelets(&template, cadvisor, report));
    }
    jobs
}

/// Everything but the endpoints.
fn template(component: &Component<'_>, report: &mut Report) -> Job {
    let mut job = Job { honor_labels: true, ..Job::default() };
    let mut tags = (None, None);
    let mut honors = false;
    for entry in component.node.entries() {
        let (place, value) = (component.at(&entry.key), &entry.value);
        match entry.key.as_str() {
            "type" | "endpoints" | "hosts" => {}
            "scrape_interval_secs" => match seconds(value) {
                Some(interval) => {
                    report.translated(&place, format!("scrape_interval: {interval}"));
                    job.interval = (interval != INTERVAL_DEFAULT).then_some(interval);
                }
                None => report.decide(&place, "is no number of seconds above 0: the default of 15s is taken"),
            },
            "scrape_timeout_secs" => job.timeout = seconds(value),
            "honor_labels" => {
                honors = value.is(true);
                report.translated(&place, "see instance_tag: Vector gives no other label to what it scrapes");
            }
            "instance_tag" => tags.0 = value.text(),
            "endpoint_tag" => tags.1 = value.text(),
            "query" => report.translated(&place, "becomes params"),
            "auth" => client::auth(component.id, value, &place, &mut job.client, report),
            "tls" => client::tls(value, &place, &mut job.client, report),
            "proxy" => report
                .decide(&place, "the agent scrapes without a proxy: it has to reach the endpoint itself"),
            key => report.decide(&place, format!("the key {key:?} is not known: see what it did")),
        }
    }
    fit_timeout(component, &mut job, report);
    if let Some(tag) = tags.0 {
        instance_tag(&component.at("instance_tag"), tag, honors, &mut job, report);
    }
    if let Some(tag) = tags.1 {
        report.translated(
            &component.at("endpoint_tag"),
            format!("the label {tag:?} is made of the target's scheme, address and path"),
        );
        let sources = ["__scheme__", "__address__", "__metrics_path__"];
        let made = RelabelConfig {
            target_label: escaped(tag),
            replacement: "$1://$2$3".to_owned(),
            ..rule(&sources, "(.*);(.*);(.*)", Action::Replace)
        };
        job.relabel.push(Entry::Rule(made));
        job.honor_labels = job.honor_labels && honors;
    }
    job
}

/// Prometheus refuses a timeout above the interval; Vector only warns.
fn fit_timeout(component: &Component<'_>, job: &mut Job, report: &mut Report) {
    let place = component.at("scrape_timeout_secs");
    let parse = |text: &str| text.parse::<Duration>().ok();
    let interval = job.interval.as_deref().unwrap_or(INTERVAL_DEFAULT).to_owned();
    match job.timeout.clone() {
        Some(timeout) if parse(&timeout) > parse(&interval) => {
            report.fixed(
                &place,
                format!("{timeout} is longer than the interval, so that scrapes would overlap: {interval}"),
            );
            job.timeout = Some(interval);
        }
        Some(timeout) => report.translated(&place, format!("scrape_timeout: {timeout}")),
        None if component.node.get("scrape_timeout_secs").is_some() => {
            report.decide(&place, "is no number of seconds above 0: the default of 10s is taken");
        }
        None => {}
    }
}

fn instance_tag(place: &Place, tag: &str, honors: bool, job: &mut Job, report: &mut Report) {
    if tag == "instance" {
        // Without honor_labels, Vector too renames what the exposition has to exported_instance.
        job.honor_labels = honors;
        report.translated(place, "the label `instance`, as the agent gives it by itself; of a service it is each endpoint's address");
        return;
    }
    report.translated(place, format!("the label {tag:?} is a copy of `instance`"));
    let copy = RelabelConfig { target_label: escaped(tag), ..rule(&["instance"], "(.*)", Action::Replace) };
    job.metric_relabel.push(Entry::Rule(copy));
}

/// A number of seconds as a duration.
fn seconds(node: &Node) -> Option<String> {
    let seconds: f64 = node.text()?.parse().ok()?;
    let text = Duration(std::time::Duration::try_from_secs_f64(seconds).ok()?).to_string();
    // A whole number of the largest unit says it best; 0 is none.
    let duration: Duration = text.parse().ok()?;
    let (millis, is_odd) = (duration.as_millis(), seconds > 1e9);
    match millis {
        _ if is_odd => None,
        0 => None,
        millis if millis % 1_000 == 0 => Some(format!("{}s", millis / 1_000)),
        millis => Some(format!("{millis}ms")),
    }
}

/// `query` of the source, which every endpoint gets.
fn query(component: &Component<'_>, endpoint: &mut Endpoint) {
    for entry in component.node.get("query").map(Node::entries).unwrap_or_default() {
        for value in entry.value.list() {
            // A value may be a mapping with a type, of which only plain ones are more than a text.
            let text = value.text().or_else(|| value.get("value").and_then(Node::text));
            endpoint::add(&mut endpoint.params, &entry.key, text.unwrap_or_default());
        }
    }
}

fn secrets(endpoint: &Endpoint, place: &Place, report: &mut Report) {
    if endpoint.user.is_some() {
        let text =
            "holds a user and a password, which are left out here: give them by basic_auth.password_file";
        report.decide(place, text);
    }
    for (name, _) in endpoint.params.iter().filter(|(name, _)| is_secret(name)) {
        let variable = endpoint::variable(name);
        report.decide(
            place,
            format!(
                "the parameter {name:?} is a secret, which is left out here: set the variable of {variable}"
            ),
        );
    }
}

/// Adds an endpoint to the job that scrapes its like, or makes one.
fn add(jobs: &mut Vec<Job>, template: &Job, endpoint: Endpoint, place: &Place, report: &mut Report) {
    let Endpoint { host, scheme, path, params, user } = endpoint;
    let same = |job: &&mut Job| {
        let kind = matches!(
            (&job.targets, &host),
            (Targets::Services(_), Where::Service(_)) | (Targets::Addresses(_), Where::Address(_))
        );
        kind && job.scheme == scheme && job.path == path && job.params == params
    };
    match &host {
        Where::Service(service) => {
            let shown = service.shown();
            report.fixed(
                place,
                format!(
                    "the service {shown} answers from one of its pods, a random one behind a ClusterIP: its endpoints are \
                     discovered by their slices, and each is scraped once"
                ),
            );
            if matches!(service.port, 80 | 443) {
                let text = format!(
                    "port {} is the service's, and mostly not that of its pods: every port of theirs is scraped until the rule \
                     in relabel_configs names the right one (`kubectl get endpointslices` shows it)",
                    service.port
                );
                report.decide(place, text);
            }
        }
        Where::Address(address) => report.translated(place, format!("static_configs: {address}")),
    }
    let found = jobs.iter_mut().find(same);
    match (found, host) {
        (Some(Job { targets: Targets::Services(list), .. }), Where::Service(service)) => list.push(service),
        (Some(Job { targets: Targets::Addresses(list), .. }), Where::Address(address)) => list.push(address),
        (_, host) => {
            let targets = match host {
                Where::Service(service) => Targets::Services(vec![service]),
                Where::Address(address) => Targets::Addresses(vec![address]),
            };
            let mut job = Job { targets, scheme, path, params, ..template.clone() };
            let known = |written: &Written| matches!(written, Written(0, "basic_auth" | "authorization", _));
            if let Some(user) = user
                && !job.client.iter().any(known)
            {
                client::basic(&user, &mut job.client);
            }
            jobs.push(job);
        }
    }
}

/// A Prometheus server in between: what is cAdvisor's is asked of the kubelets; the rest stays.
fn federation(endpoint: &mut Endpoint, place: &Place, cadvisor: &mut Selection, report: &mut Report) {
    let mut rest = Vec::new();
    for (name, values) in std::mem::take(&mut endpoint.params) {
        let mut others = Vec::new();
        for value in values {
            match selector::read(&value) {
                Ok(selector) if name == "match[]" && selector.is_cadvisor() => {
                    for matcher in selector.left_out {
                        report.not_needed(
                            place,
                            format!("{matcher} chose among the server's jobs: there is one source here"),
                        );
                    }
                    cadvisor.push((place.clone(), selector.formula));
                }
                _ => others.push(value),
            }
        }
        if !others.is_empty() {
            rest.push((name, others));
        }
    }
    if !rest.is_empty() {
        let text = "what these match[] ask of a Prometheus server is still asked of it: the server has to stay, or the exporters \
                    behind it are scraped instead";
        report.decide(place, text);
    }
    endpoint.params = rest;
}

/// The job that asks every kubelet.
fn kubelets(template: &Job, cadvisor: Selection, report: &mut Report) -> Job {
    for (place, _) in &cadvisor {
        let text = "cAdvisor's metrics came through a Prometheus server: they are scraped from every kubelet's /metrics/cadvisor, \
                    and match[] became rules (needs `get nodes/metrics`)";
        report.fixed(place, text);
    }
    let mut job = Job {
        interval: template.interval.clone(),
        timeout: template.timeout.clone(),
        targets: Targets::Kubelets,
        scheme: "https".to_owned(),
        path: "/metrics/cadvisor".to_owned(),
        honor_labels: true,
        node: true,
        ..Job::default()
    };
    let literal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = |(_, formula): &(Place, Formula)| match formula {
        Formula::Is(label, regexes) if label == METRIC_NAME => match regexes.as_slice() {
            [name] if name.chars().all(literal) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    job.names = cadvisor.iter().map(name).collect::<Option<_>>().unwrap_or_default();
    let any = Formula::Any(cadvisor.into_iter().map(|(_, formula)| formula).collect());
    job.metric_relabel.push(Entry::Comment("What match[] asked for.".to_owned()));
    let mut writer = Writer::default();
    match writer.keep(&any) {
        Ok(rules) => {
            job.metric_relabel.extend(rules.into_iter().map(Entry::Rule));
            job.metric_relabel.extend(writer.cleaned().map(Entry::Rule));
        }
        Err(problem) => job.metric_relabel.push(Entry::Comment(format!("not translated: {problem}"))),
    }
    job
}
