//! Transforms: what each does to a sample, said once; and the rules of a way through several.
//!
//! Takes the component, gives steps and a finding for each of its statements. `filter` and `remap` are read; of the others only
//! those that do nothing to a scrape. What is not read leaves a comment where its rule would stand.

use pipeline::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use pipeline::relabel::Rules;

use super::Setting;
use super::document::Variable;
use super::formula::{CARRIER, Formula, Writer};
use super::graph::Component;
use super::job::Entry;
use super::report::{Place, Report, one_line};
use super::vrl::{self, Expr, Statement};
use super::yaml::Node;
use super::{lower, steps};

/// One thing that a transform does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Lets through what is true.
    Keep(Formula),
    /// Changes labels.
    Change(Expr),
    /// `.tags.collector = "x"`: the name of the job.
    Collector(String),
    /// `.tags.host` = the node; from these labels first, if the exporter says it.
    Host(Vec<String>),
    /// A label with the value of an environment variable.
    Variable { label: String, value: String, place: Place },
    /// Nothing that a label could say.
    Nothing,
    /// What is not translated, for the place where its rule would stand.
    Unknown(String),
}

/// What a transform does.
#[derive(Clone, Debug, Default)]
pub(super) struct Understood {
    pub(super) id: String,
    pub(super) steps: Vec<Step>,
}

/// Reads a transform.
pub(super) fn understand(
    component: &Component<'_>,
    setting: &Setting<'_>,
    report: &mut Report,
) -> Understood {
    let steps = match component.kind {
        "filter" => filter(component, setting, report),
        "remap" => remap(component, setting, report),
        "incremental_to_absolute" | "aggregate" => {
            report.not_needed(
                &component.place,
                "what is scraped is absolute, and every sample of it is shipped",
            );
            vec![Step::Nothing]
        }
        kind => {
            let instead = match kind {
                "route" | "exclusive_route" => {
                    "write the condition of the output as a filter and translate again"
                }
                "tag_cardinality_limit" => "limits.max_series and sample_limit bound the agent's series",
                "sample" | "throttle" => "a longer scrape_interval ships less",
                "dedupe" | "reduce" => "each endpoint is scraped once, so that nothing comes twice",
                "log_to_metric" | "metric_to_log" => "the agent ships metrics only",
                _ => {
                    "the agent has filters and relabelling of samples, and nothing else between scrape and object"
                }
            };
            report.decide(
                &component.place,
                format!("a transform of type {kind:?} is not translated: {instead}"),
            );
            vec![Step::Unknown(format!("{}: a transform of type {kind:?}", component.place.path))]
        }
    };
    Understood { id: component.id.to_owned(), steps }
}

/// Says of keys that matter to no sample that they do not.
fn other_keys(component: &Component<'_>, known: &[&str], report: &mut Report) {
    for entry in component.node.entries().iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        let place = component.at(&entry.key);
        match (entry.key.as_str(), entry.value.text()) {
            ("type" | "inputs", _) => {}
            ("drop_on_error", Some("false"))
            | ("drop_on_abort", Some("true"))
            | ("reroute_dropped", Some("false")) => {
                report.not_needed(&place, "Vector's default, and what the rules do");
            }
            ("timezone" | "metric_tag_values" | "graph", _) => {
                report.not_needed(&place, "says nothing about labels");
            }
            (key, _) => report.decide(&place, format!("the key {key:?} is not translated: see what it did")),
        }
    }
}

fn filter(component: &Component<'_>, setting: &Setting<'_>, report: &mut Report) -> Vec<Step> {
    other_keys(component, &["condition"], report);
    let place = component.at("condition");
    let Some(node) = component.node.get("condition") else {
        report.decide(&place, "the filter has no condition: Vector would not start");
        return vec![Step::Unknown(format!("{}: no condition", component.place.path))];
    };
    let kind = node.get("type").and_then(Node::text).unwrap_or("vrl");
    let source = if node.entries().is_empty() { Some(node) } else { node.get("source") };
    let (Some(source), "vrl") = (source, kind) else {
        return match kind {
            "is_metric" => {
                report.not_needed(&place, "everything here is a metric");
                vec![Step::Nothing]
            }
            kind => unread(component, &place, &format!("a condition of type {kind:?}"), kind, report),
        };
    };
    let text = setting.document.environment.expand(source.text().unwrap_or_default());
    let place = Place { line: source.line, ..place };
    let lowered = vrl::condition(&text).and_then(|expr| lower::condition(&expr)).and_then(|truth| {
        Writer::default().keep(&truth.yes)?;
        Ok(truth.yes.simple(false))
    });
    match lowered {
        Ok(formula) => {
            report.translated(&place, "keep and drop rules of metric_relabel_configs");
            vec![Step::Keep(formula)]
        }
        Err(problem) => unread(component, &place, &problem, &text, report),
    }
}

/// What cannot be translated: a finding with its text, and a comment where its rule would stand.
fn unread(
    component: &Component<'_>,
    place: &Place,
    problem: &str,
    text: &str,
    report: &mut Report,
) -> Vec<Step> {
    let text = one_line(text);
    report.decide(place, format!("not translated ({problem}): {text}"));
    vec![Step::Unknown(format!(
        "{}, line {}, not translated ({problem}): {text}",
        component.place.path, place.line
    ))]
}

fn remap(component: &Component<'_>, setting: &Setting<'_>, report: &mut Report) -> Vec<Step> {
    other_keys(component, &["source"], report);
    let place = component.at("source");
    let Some(source) = component.node.get("source") else {
        return unread(component, &place, "its program is not in this file", "file", report);
    };
    let text = setting.document.environment.expand(source.text().unwrap_or_default());
    let keeps_aborted = component.node.get("drop_on_abort").is_some_and(|node| node.is(false));
    let mut found = Vec::new();
    let statements = vrl::program(&text);
    if statements.is_empty() {
        report.not_needed(&place, "an empty program");
    }
    for statement in statements {
        let place = Place { line: source.line + statement.line, ..place.clone() };
        let aborts = keeps_aborted && statement.text.contains("abort");
        match step(&statement, setting) {
            Ok((step, _)) if aborts && matches!(step, Step::Change(_)) => {
                found.extend(unread(
                    component,
                    &place,
                    "abort with drop_on_abort: false",
                    &statement.text,
                    report,
                ));
            }
            Ok((Step::Variable { label, value, .. }, _)) => {
                found.push(Step::Variable { label, value, place });
            }
            Ok((step, text)) => {
                match &step {
                    Step::Collector(_) => report.translated(&place, text),
                    Step::Host(_) => report.fixed(&place, text),
                    Step::Nothing => report.not_needed(&place, text),
                    _ => report.translated(&place, text),
                }
                found.push(step);
            }
            Err(problem) => found.extend(unread(component, &place, &problem, &statement.text, report)),
        }
    }
    found
}

/// What a statement does, and what is said of it.
fn step(statement: &Statement, setting: &Setting<'_>) -> Result<(Step, String), String> {
    let expr = statement.expr.clone()?;
    if let Expr::Assign(target, value) = &expr
        && let Expr::Label(label) = &**target
        && let Some(special) = special(label, value, setting)
    {
        return Ok(special);
    }
    steps::statement(&expr, &mut Writer::default())?;
    Ok((Step::Change(expr), "rules of metric_relabel_configs".to_owned()))
}

/// Assignments whose meaning is more than a value.
fn special(label: &str, value: &Expr, setting: &Setting<'_>) -> Option<(Step, String)> {
    if value.calls("now") && !setting.is_read(label) {
        let text = format!("the time is in the key of an object and in each row: no label {label:?}");
        return Some((Step::Nothing, text));
    }
    if let ("collector", Expr::Text(text)) = (label, value)
        && !text.is_empty()
        && !text.contains("${")
        && !setting.is_read(label)
    {
        let text = text.clone();
        let said =
            format!("the job is called {text:?}, and the view for Vector's rows makes the collector of it");
        return Some((Step::Collector(text), said));
    }
    if label == "host"
        && let Some(first) = node(value, setting)
    {
        let text = match first.is_empty() {
            true => {
                "host was the node of Vector's own pod, whatever was measured: the column `node` is that of the target"
            }
            false => {
                "the column `node` is that of the target; where Kubernetes does not say it, the exporter does, by Hostname or hostname \
                 (dcgm-exporter renamed it)"
            }
        };
        return Some((Step::Host(first), text.to_owned()));
    }
    let variable = variable(value)?;
    let place = Place { line: 0, path: String::new() };
    Some(match setting.document.environment.get(&variable) {
        Variable::Text(text) if !text.contains('$') => {
            let expr = Expr::Assign(Box::new(Expr::Label(label.to_owned())), Box::new(Expr::Text(text)));
            (Step::Change(expr), format!("the value that the chart's values give to {variable}"))
        }
        _ if label == "cluster_id" => {
            (Step::Nothing, format!("the agent sets cluster_id itself: give it {variable} as CLUSTER_ID"))
        }
        _ => (
            Step::Variable { label: label.to_owned(), value: format!("${{{variable}:-}}"), place },
            String::new(),
        ),
    })
}

/// The variable whose value this is.
fn variable(value: &Expr) -> Option<String> {
    let name = match value {
        Expr::Call { function, arguments } => match (function.as_str(), arguments.as_slice()) {
            ("get_env_var", [Expr::Text(name)]) => name.clone(),
            _ => return None,
        },
        Expr::Text(text) => text.strip_prefix("${")?.strip_suffix('}')?.split(":-").next()?.to_owned(),
        Expr::Binary(vrl::Operator::Else, value, _) => return variable(value),
        _ => return None,
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name =
        !name.is_empty() && name.chars().all(letter) && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then_some(name)
}

/// Whether a value is the name of the node, and which labels are asked for it first.
fn node(value: &Expr, setting: &Setting<'_>) -> Option<Vec<String>> {
    if let Some(variable) = variable(value) {
        return (setting.document.environment.get(&variable) == Variable::Node).then(Vec::new);
    }
    match value {
        Expr::Call { function, .. } if function == "get_hostname" => Some(Vec::new()),
        Expr::Label(label) if is_hostname(label) => Some(hostnames()),
        Expr::If(condition, then, otherwise) => match (then.as_slice(), otherwise.as_slice()) {
            ([Expr::Label(label)], [otherwise]) if is_hostname(label) => {
                let truth = lower::condition(condition).ok()?;
                let asks = truth.yes.simple(false) == Formula::present(label);
                (asks && node(otherwise, setting).is_some()).then(hostnames)
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_hostname(label: &str) -> bool {
    hostnames().iter().any(|known| known == label)
}

/// dcgm-exporter's label, in its versions.
fn hostnames() -> Vec<String> {
    vec!["Hostname".to_owned(), "hostname".to_owned()]
}

/// What a way through transforms makes of a job.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Chain {
    pub(super) collector: Option<String>,
    /// Labels that know the node; `Some` if the node was asked for at all.
    pub(super) host: Option<Vec<String>>,
    /// Label, value with its variable, and where that stands.
    pub(super) variables: Vec<(String, String, Place)>,
    pub(super) rules: Vec<Entry>,
}

/// The rules of transforms, one after the other, for samples that have one of these names, or any if none is given.
pub(super) fn chain(transforms: &[&Understood], names: &[String]) -> Chain {
    let mut chain = Chain::default();
    let mut writer = Writer::default();
    let mut is_carrying = false;
    let mut names = names;
    for transform in transforms {
        for (i, step) in transform.steps.iter().enumerate() {
            let made = match step {
                Step::Keep(formula) if lets_through(formula, names) => {
                    let text =
                        format!("transforms.{} lets all of these through: it needs no rule", transform.id);
                    chain.rules.push(Entry::Comment(text));
                    continue;
                }
                Step::Keep(formula) => writer.keep(formula),
                Step::Change(expr) => {
                    names = &[];
                    steps::statement(expr, &mut writer)
                }
                Step::Collector(name) => {
                    chain.collector = Some(name.clone());
                    continue;
                }
                Step::Host(labels) => {
                    chain.host = Some(labels.clone());
                    continue;
                }
                Step::Variable { label, value, place } => {
                    chain.variables.retain(|(known, ..)| known != label);
                    chain.variables.push((label.clone(), value.clone(), place.clone()));
                    continue;
                }
                Step::Nothing => continue,
                Step::Unknown(text) => {
                    chain.rules.push(Entry::Comment(format!("TO DECIDE: {text}")));
                    continue;
                }
            };
            if i == 0 || !matches!(chain.rules.last(), Some(Entry::Rule(_))) {
                chain.rules.push(Entry::Comment(format!("transforms.{}", transform.id)));
            }
            match made {
                Ok(rules) => {
                    is_carrying |= rules.iter().any(|rule| rule.target_label.starts_with(CARRIER));
                    chain.rules.extend(rules.into_iter().map(Entry::Rule));
                }
                Err(problem) => chain.rules.push(Entry::Comment(format!("TO DECIDE: {problem}"))),
            }
        }
    }
    if is_carrying {
        chain.rules.extend(writer.cleaned().map(Entry::Rule));
    }
    chain
}

/// Whether a filter says nothing about any sample with one of these names.
fn lets_through(formula: &Formula, names: &[String]) -> bool {
    let Ok(Ok(rules)) = Writer::default().keep(formula).map(|rules| Rules::compile(&rules)) else {
        return false;
    };
    let passes = |name: &String| {
        rules.apply(&mut LabelsBuilder::from_labels(&Labels::from_pairs([(METRIC_NAME, name)])))
    };
    !names.is_empty() && formula.is_of_name() && names.iter().all(passes)
}

/// Several ways that only let through more or less, as one way: what any of them lets through.
pub(super) fn joined(ways: &[Vec<&Understood>]) -> Option<Understood> {
    let split = |way: &[&Understood]| {
        let mut keeps = Vec::new();
        let mut others = Vec::new();
        for step in way.iter().flat_map(|transform| &transform.steps) {
            match step {
                Step::Keep(formula) => keeps.push(formula.clone()),
                Step::Change(_) | Step::Unknown(_) => return None,
                Step::Nothing => {}
                other => others.push(other.clone()),
            }
        }
        Some((Formula::All(keeps), others))
    };
    let split: Vec<_> = ways.iter().map(|way| split(way)).collect::<Option<_>>()?;
    let (_, others) = split.first()?;
    if split.iter().any(|(_, other)| other != others) {
        return None;
    }
    let any = Formula::Any(split.iter().map(|(keep, _)| keep.clone()).collect()).simple(false);
    Writer::default().keep(&any).ok()?;
    let steps = std::iter::once(Step::Keep(any)).chain(others.clone()).collect();
    let mut ids: Vec<_> = ways.iter().flatten().map(|transform| transform.id.as_str()).collect();
    ids.dedup();
    Some(Understood { id: ids.join(" or "), steps })
}
