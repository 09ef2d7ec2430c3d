//! The whole: sources, the ways from them to the sink, and what is written of them.
//!
//! Takes the document, gives the agent's configuration as text. It decides what becomes a job: every source of Prometheus' format
//! that reaches the sink, and those that reach none, which were scraped for nothing.

use pipeline::relabel::{Action, RelabelConfig};

use super::formula::rule;
use super::graph::{Component, Graph, Section};
use super::job::{Entry, Job, Targets};
use super::report::{Place, Report, Verdict};
use super::sink::Sections;
use super::transform::{Chain, Understood};
use super::write::{Text, scalar};
use super::yaml::Node;
use super::{Options, Setting, document, foreign, scrape, sink, transform};

/// Jobs that are written; a configuration with more is written by a program.
const JOBS_MAX: usize = 500;

/// Variables that the chart sets by itself.
const GIVEN: [&str; 9] = [
    "KUBELET_INSECURE_SKIP_VERIFY",
    "S3_PREFIX_SUFFIX",
    "LEADER_ELECTION",
    "SHARDS",
    "SHARD_NODE",
    "INGESTION",
    "MAX_SERIES",
    "SPOOL_MAX_BYTES",
    "POD_NAME",
];

/// A job, and what its labels are made of.
struct Planned {
    job: Job,
    variables: Vec<(String, String, Place)>,
}

/// The agent's configuration.
pub(super) fn configuration(
    setting: &Setting<'_>,
    options: &Options,
    report: &mut Report,
) -> Result<String, String> {
    let graph = Graph::new(setting.document.config, report);
    let chosen = choose(&graph, options)?;
    let understood: Vec<Understood> = graph
        .components
        .iter()
        .map(|component| match component.section {
            Section::Transform => transform::understand(component, setting, report),
            _ => Understood::default(),
        })
        .collect();
    let mut planned = jobs(&graph, chosen, &understood, setting, report);
    name(&mut planned);
    say_jobs(&graph, &planned, chosen, report);
    let external = external_labels(&mut planned, report);
    let sections = sinks(&graph, chosen, setting, report);
    settings(setting, report);
    document::surroundings(setting.document, report);
    let has_own = graph.of(Section::Source).any(|(_, source)| source.kind == "internal_metrics");
    let text = written(&planned, &external, sections.as_ref(), setting, options, has_own);
    close(&planned, &text, report);
    Ok(text)
}

/// The sink that becomes the agent's.
fn choose(graph: &Graph<'_>, options: &Options) -> Result<Option<usize>, String> {
    let of_s3 = || graph.of(Section::Sink).filter(|(_, sink)| sink.kind == "aws_s3");
    let Some(wanted) = &options.sink else { return Ok(of_s3().next().map(|(position, _)| position)) };
    let found = of_s3().find(|(_, sink)| sink.id == wanted).map(|(position, _)| position);
    found.map(Some).ok_or_else(|| {
        let known: Vec<_> = of_s3().map(|(_, sink)| sink.id).collect();
        format!("has no sink {wanted:?} of type aws_s3: there are {known:?}")
    })
}

fn jobs(
    graph: &Graph<'_>,
    chosen: Option<usize>,
    understood: &[Understood],
    setting: &Setting<'_>,
    report: &mut Report,
) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (position, source) in graph.of(Section::Source) {
        if !is_scrape(source) {
            foreign::source(source, report);
            continue;
        }
        let ways = ways(graph, position, chosen, report);
        let of_way = |way: &Vec<usize>| way.iter().filter_map(|at| understood.get(*at)).collect::<Vec<_>>();
        let mut ways: Vec<Vec<&Understood>> = ways.iter().map(of_way).collect();
        let joined = if ways.len() > 1 { transform::joined(&ways) } else { None };
        match &joined {
            Some(joined) => {
                let text =
                    "reaches the sink on several ways: what any of them lets through is shipped, and once";
                report.fixed(&source.place, text);
                ways = vec![vec![joined]];
            }
            None if ways.len() > 1 => {
                let text = "reaches the sink on several ways that change labels differently: one job for each, which scrapes by itself; \
                            keep one of them if that was not meant";
                report.decide(&source.place, text);
            }
            None => {}
        }
        let jobs = if ways.is_empty() { Vec::new() } else { scrape::jobs(source, setting, report) };
        for way in &ways {
            for job in &jobs {
                let chain = transform::chain(way, &job.names);
                planned.push(plan(source, job.clone(), chain, report));
            }
        }
        if planned.len() > JOBS_MAX {
            report.decide(
                &source.place,
                format!("more than {JOBS_MAX} jobs: those of the sources from here on are not written"),
            );
            planned.truncate(JOBS_MAX);
            break;
        }
    }
    planned
}

fn is_scrape(source: &Component<'_>) -> bool {
    matches!(source.kind, "prometheus_scrape" | "prometheus")
}

/// The transforms on the ways of a source to the sink; of one that reaches none, to where they end.
fn ways(graph: &Graph<'_>, source: usize, chosen: Option<usize>, report: &mut Report) -> Vec<Vec<usize>> {
    let Some(component) = graph.get(source) else { return Vec::new() };
    if let Some(sink) = chosen {
        let (ways, all) = graph.chains(source, sink);
        if !all {
            report.decide(
                &component.place,
                "reaches the sink on more ways than are looked at: see which jobs are missing",
            );
        }
        if !ways.is_empty() {
            return ways;
        }
    }
    let elsewhere = graph.of(Section::Sink).find(|(sink, _)| graph.above(*sink).get(source) == Some(&true));
    if let (Some((_, sink)), true) = (elsewhere, chosen.is_some()) {
        report.decide(
            &component.place,
            format!("reaches the sink {:?} only, and is left out here: see there", sink.id),
        );
        return Vec::new();
    }
    if elsewhere.is_none() {
        let text = "was scraped and then discarded, since its way reaches no sink: it is shipped; delete the job if that was meant";
        report.fixed(&component.place, text);
    }
    // Without a sink to translate, the way to another one is as good.
    if let Some((sink, _)) = elsewhere {
        return graph.chains(source, sink).0;
    }
    match graph.dead_ends(source).as_slice() {
        [way] => vec![way.clone()],
        _ => vec![Vec::new()],
    }
}

/// A job with what its way makes of it.
fn plan(source: &Component<'_>, mut job: Job, chain: Chain, report: &mut Report) -> Planned {
    job.name = chain.collector.unwrap_or_else(|| source.id.to_owned());
    job.comments.insert(0, format!("{} (line {})", source.place.path, source.place.line));
    job.metric_relabel.extend(chain.rules);
    if let Targets::Services(services) = &job.targets {
        let on_each_node = |name: &str| name.ends_with("node-exporter") || name.contains("dcgm-exporter");
        job.node = chain.host.is_some() || services.iter().any(|service| on_each_node(&service.name));
    }
    if let (Targets::Addresses(_), Some(_)) = (&job.targets, &chain.host) {
        let text = "its node is not known from an address, and that of Vector's pod would be wrong: give the targets of static_configs \
                    `labels: {node: NAME}` where they have one";
        report.decide(&source.place, text);
    }
    let exporter_knows = chain.host.unwrap_or_default();
    if !exporter_knows.is_empty() && job.targets != Targets::Kubelets {
        let text =
            "The node is that of the exporter's pod. Where Kubernetes does not know it, the exporter does.";
        job.metric_relabel.push(Entry::Comment(text.to_owned()));
        job.metric_relabel.extend(exporter_knows.iter().map(|label| {
            let rule = rule(&["node", label], ";(.+)", Action::Replace);
            Entry::Rule(RelabelConfig { target_label: "node".to_owned(), ..rule })
        }));
    }
    Planned { job, variables: chain.variables }
}

/// Gives every job a name of its own.
fn name(planned: &mut [Planned]) {
    let mut taken = std::collections::BTreeSet::new();
    for planned in planned {
        let base = planned.job.name.clone();
        let mut number = 1;
        while !taken.insert(planned.job.name.clone()) {
            number += 1;
            planned.job.name = format!("{base}-{number}");
        }
    }
}

/// Which job each source became, and in which jobs each transform's rules are.
fn say_jobs(graph: &Graph<'_>, planned: &[Planned], chosen: Option<usize>, report: &mut Report) {
    for (_, source) in graph.of(Section::Source) {
        let first = format!("{} (line {})", source.place.path, source.place.line);
        let names: Vec<_> = planned
            .iter()
            .filter(|planned| planned.job.comments.first() == Some(&first))
            .map(|planned| planned.job.name.as_str())
            .collect();
        if !names.is_empty() {
            report.translated(&source.place, format!("scrape_configs: {}", names.join(", ")));
        }
    }
    let above = chosen.map(|sink| graph.above(sink)).unwrap_or_default();
    for (position, component) in graph.of(Section::Transform) {
        let inputs: Vec<_> =
            component.inputs.iter().filter_map(|at| graph.get(*at)).map(|input| input.id).collect();
        let scraped = graph.above(position);
        let brings =
            graph.of(Section::Source).any(|(at, source)| is_scrape(source) && scraped.get(at) == Some(&true));
        if !brings {
            report.not_needed(&component.place, "nothing comes here that is translated");
        } else if chosen.is_some() && above.get(position) != Some(&true) {
            report.not_needed(&component.place, "reaches no sink that is translated");
        } else {
            let text = format!("a {} of what comes from {}: see below", component.kind, inputs.join(", "));
            report.translated(&component.place, text);
        }
    }
}

/// Labels that come from the environment: of all samples, or for the operator to place.
fn external_labels(planned: &mut [Planned], report: &mut Report) -> Vec<(String, String)> {
    let mut external: Vec<(String, String)> = Vec::new();
    let all: Vec<_> = planned.iter().flat_map(|planned| planned.variables.clone()).collect();
    for (label, value, place) in all {
        let has = |planned: &Planned| planned.variables.iter().any(|(l, v, _)| *l == label && *v == value);
        if label == "__name__" || !planned.iter().all(has) {
            report.decide(
                &place,
                format!("the label {label:?} = {value} of some jobs only: rules take no variable; write its value into a rule of theirs"),
            );
            for planned in planned.iter_mut().filter(|planned| has(planned)) {
                let text =
                    format!("TO DECIDE: {}, line {}: the label {label:?} = {value}", place.path, place.line);
                let comment = Entry::Comment(text);
                if !planned.job.metric_relabel.contains(&comment) {
                    planned.job.metric_relabel.push(comment);
                }
            }
            continue;
        }
        report.translated(
            &place,
            format!("global.external_labels: {label} = {value}, for samples that do not have it"),
        );
        if !external.iter().any(|(known, _)| *known == label) {
            external.push((label, value));
        }
    }
    external
}

fn sinks(
    graph: &Graph<'_>,
    chosen: Option<usize>,
    setting: &Setting<'_>,
    report: &mut Report,
) -> Option<Sections> {
    let mut sections = None;
    for (position, component) in graph.of(Section::Sink) {
        let above = graph.above(position);
        let feeds: Vec<_> = graph
            .of(Section::Source)
            .filter(|(at, _)| above.get(*at) == Some(&true))
            .map(|(_, source)| source.id)
            .collect();
        if chosen == Some(position) {
            report.translated(&component.place, format!("sink.s3, fed by {}", feeds.join(", ")));
            sections = Some(sink::sections(component, setting, report));
        } else {
            let chosen = chosen.and_then(|at| graph.get(at)).map(|sink| sink.id);
            foreign::sink(component, &feeds, chosen, report);
        }
    }
    if chosen.is_none() {
        let place = Place { line: 1, path: "sinks".to_owned() };
        report.decide(&place, "there is no sink of type aws_s3: objects are written below ./agent-data/objects until sink.s3 is configured");
    }
    sections
}

/// Sections of Vector's own process.
fn settings(setting: &Setting<'_>, report: &mut Report) {
    for entry in setting.document.config.entries() {
        let place = Place { line: entry.line, path: entry.key.clone() };
        match entry.key.as_str() {
            "sources" | "transforms" | "sinks" => {}
            "data_dir" => {
                report.translated(
                    &place,
                    "spool.dir: what is not uploaded waits there, and survives a restart",
                );
            }
            "api" => report.translated(
                &place,
                "server.listen: /healthz, /readyz, /metrics and /targets; there is no GraphQL",
            ),
            key => foreign::setting(key, entry.line, report),
        }
    }
}

fn written(
    planned: &[Planned],
    external: &[(String, String)],
    sections: Option<&Sections>,
    setting: &Setting<'_>,
    options: &Options,
    has_own: bool,
) -> String {
    let mut text = Text::default();
    text.comment(
        0,
        &format!(
            "Translated from {} by `agent migrate`. What the report says to decide comes first.",
            options.file
        ),
    );
    text.blank();
    text.line(0, "global:");
    text.comment(2, "Vector's default; a job says where it differs.");
    text.line(2, &format!("scrape_interval: {}", scrape::INTERVAL_DEFAULT));
    if !external.is_empty() {
        text.line(2, "external_labels:");
        external
            .iter()
            .for_each(|(label, value)| text.line(4, &format!("{}: {}", scalar(label), scalar(value))));
    }
    text.blank();
    text.line(0, if planned.is_empty() { "scrape_configs: []" } else { "scrape_configs:" });
    for (i, planned) in planned.iter().enumerate() {
        if i > 0 {
            text.blank();
        }
        text.job(&planned.job);
    }
    text.blank();
    if has_own {
        text.comment(0, "As the source internal_metrics was.");
    } else {
        text.comment(0, "The agent's own metrics, as job `agent`: how to see that nothing is lost. false leaves them out.");
    }
    text.line(0, "internal_metrics: true");
    if setting.document.values.is_some() {
        text.out.push_str(CHART);
    }
    rest(&mut text, sections, setting);
    text.out
}

/// How the values of the agent's chart reach it, as in the built-in configuration.
const CHART: &str = "
# How the values of the agent's chart reach it, as in its built-in configuration.
leader_election:
  enabled: ${LEADER_ELECTION:-false}
sharding:
  total: ${SHARDS:-1}
  node: ${SHARD_NODE:-}
ingestion: ${INGESTION:-plain}
limits:
  max_series: ${MAX_SERIES:-1000000}
";

/// Where samples wait, and where they go.
fn rest(text: &mut Text, sections: Option<&Sections>, setting: &Setting<'_>) {
    let in_cluster = setting.document.values.is_some();
    let nothing = Sections::default();
    let of_sink = sections.unwrap_or(&nothing);
    if !of_sink.batch.is_empty() {
        text.blank();
        text.line(0, "batch:");
        of_sink.batch.iter().for_each(|line| text.line(2, line));
    }
    if !of_sink.encoding.is_empty() {
        text.blank();
        text.comment(0, "The objects that Vector wrote, for an ingestion that stays as it is.");
        of_sink.encoding.iter().for_each(|line| text.line(0, line));
    }
    text.blank();
    text.line(0, "spool:");
    let data_dir = setting.document.config.get("data_dir").and_then(Node::text).filter(|dir| !dir.is_empty());
    let dir = match data_dir {
        Some(dir) if !in_cluster => {
            let dir = setting.document.environment.carry(dir);
            format!("{}/agent-spool", dir.trim_end_matches('/'))
        }
        _ => "/var/lib/agent/spool".to_owned(),
    };
    text.line(2, &format!("dir: {}", scalar(&dir)));
    match (&of_sink.spool_max_bytes, in_cluster) {
        (Some(size), _) => text.line(2, &format!("max_bytes: {size}")),
        (None, true) => {
            text.comment(2, "Below the size of the volume, so that the agent drops its oldest object before the kubelet evicts the pod.");
            text.line(2, "max_bytes: ${SPOOL_MAX_BYTES:-2GiB}");
        }
        (None, false) => {}
    }
    text.blank();
    match sections {
        Some(sections) => {
            let comment = "Bucket, region and prefix that are not here come with the credentials: from the Cedana API where CEDANA_AUTH_TOKEN \
                           is set, otherwise from S3_BUCKET and AWS_REGION with the standard chain of AWS.";
            text.comment(0, comment);
            text.line(0, "sink:");
            text.line(2, "s3:");
            for line in &sections.s3 {
                if line.starts_with("prefix_suffix") {
                    text.comment(4, "Separates these objects from those of Vector below the same prefix.");
                }
                text.line(4, line);
            }
            if sections.is_aws {
                text.blank();
                text.comment(0, "The standard chain of AWS: environment, profile, web identity, pod identity, instance metadata.");
                text.line(0, "credentials:");
                text.line(2, "aws: {}");
            }
        }
        None => {
            text.comment(0, "TO DECIDE: no sink of type aws_s3 was there to translate.");
            text.line(0, "sink:");
            text.line(2, "file:");
            text.line(4, "dir: agent-data/objects");
        }
    }
    if in_cluster {
        text.blank();
        text.line(0, "server:");
        text.comment(2, "Probes and Prometheus come from outside the pod.");
        text.line(2, "listen: 0.0.0.0:9598");
    }
}

/// What to do next.
fn close(planned: &[Planned], text: &str, report: &mut Report) {
    let names: Vec<_> = planned.iter().map(|planned| planned.job.name.as_str()).collect();
    let plural = if names.len() == 1 { "job" } else { "jobs" };
    report.closing.push(format!("{} {plural}: {}", names.len(), names.join(", ")));
    let mut lines: Vec<_> =
        report.findings.iter().filter(|f| f.verdict == Verdict::Decide).map(|f| f.line).collect();
    lines.sort_unstable();
    lines.dedup();
    if !lines.is_empty() {
        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        report.closing.push(format!("to decide: lines {}", lines.join(", ")));
    }
    let variables = variables(text);
    if !variables.is_empty() {
        report.closing.push(format!("environment of the agent: {}", variables.join(", ")));
    }
    report.closing.push(
        "next: agent check --config FILE; agent targets --config FILE; agent doctor --config FILE".to_owned(),
    );
}

/// The variables that the configuration names, but those that the chart sets.
fn variables(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split("${").skip(1) {
        let name: String = part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let is_group = name.starts_with(|c: char| c.is_ascii_digit());
        if !name.is_empty() && !is_group && !GIVEN.contains(&name.as_str()) && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}
