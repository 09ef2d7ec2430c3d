//! From target groups to targets: defaults, relabelling, URL (Prometheus' `scrape.PopulateLabels`).
//!
//! Takes what discovery found and the job, gives the targets to scrape and those that are not, with the reason. Does no
//! I/O: a name that does not resolve is found out by the scrape.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time;

use url::Url;

use super::job::ResolvedJob;
use crate::model::labels::{Labels, LabelsBuilder};
use crate::model::target::{Target, TargetGroup};
use crate::model::units::Duration;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const INTERNAL_PREFIX: &str = "__";

/// The targets of one job, scraped or not.
#[derive(Clone, Debug, Default)]
pub struct JobTargets {
    /// `job_name`.
    pub job: String,
    /// What is scraped.
    pub active: Vec<ActiveTarget>,
    /// What is not, and why.
    pub dropped: Vec<DroppedTarget>,
    /// `target_limit`, where there are more targets: then every scrape fails without being tried.
    pub limit_exceeded: Option<u64>,
}

/// A target and how often it is scraped.
#[derive(Clone, Debug)]
pub struct ActiveTarget {
    /// The target.
    pub target: Arc<Target>,
    /// How often.
    pub interval: time::Duration,
    /// How long one scrape may take.
    pub timeout: time::Duration,
}

/// A target that is not scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTarget {
    /// Labels before relabelling.
    pub discovered: Labels,
    /// Why it is not scraped.
    pub reason: DropReason,
}

/// Why a target is not scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A rule of `relabel_configs` dropped it, which is what the rules are for.
    Relabelling,
    /// The same labels and URL as another target of the job.
    Duplicate,
    /// Another agent scrapes it (`sharding`).
    OtherShard,
    /// It cannot be scraped; the text says why.
    Invalid(String),
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relabelling => f.write_str("dropped by relabel_configs"),
            Self::Duplicate => f.write_str("the same as another target of the job"),
            Self::OtherShard => f.write_str("another agent scrapes it (sharding)"),
            Self::Invalid(reason) => f.write_str(reason),
        }
    }
}

/// The targets that `groups` give in `job`.
#[must_use]
pub fn resolve(job: &ResolvedJob, groups: &[TargetGroup]) -> JobTargets {
    let mut targets = JobTargets { job: job.job.name.clone(), ..JobTargets::default() };
    let mut seen = HashSet::new();
    let mut builder = LabelsBuilder::default();
    for group in groups {
        for found in &group.targets {
            builder.clear();
            builder.extend(&group.labels);
            builder.extend(found);
            let discovered = with_defaults(job, &mut builder);
            let dropped = |reason| DroppedTarget { discovered: discovered.clone(), reason };
            match populate(job, &mut builder) {
                Ok(Some(populated)) => {
                    if !seen.insert((populated.labels.clone(), populated.url.clone())) {
                        targets.dropped.push(dropped(DropReason::Duplicate));
                        continue;
                    }
                    let Populated { labels, url, interval, timeout } = populated;
                    let target = Arc::new(Target::new(Arc::clone(&job.job), labels, discovered, url));
                    let active = ActiveTarget { target, interval, timeout };
                    if job.sharding.is_mine(&active) {
                        targets.active.push(active);
                    } else {
                        let discovered = active.target.discovered.clone();
                        targets.dropped.push(DroppedTarget { discovered, reason: DropReason::OtherShard });
                    }
                }
                Ok(None) => targets.dropped.push(dropped(DropReason::Relabelling)),
                Err(problem) => targets.dropped.push(dropped(DropReason::Invalid(problem))),
            }
        }
    }
    if job.target_limit > 0 && targets.active.len() as u64 > job.target_limit {
        targets.limit_exceeded = Some(job.target_limit);
    }
    targets
}

/// Sets what the job gives where discovery gave nothing, and returns the labels as they are before relabelling.
fn with_defaults(job: &ResolvedJob, labels: &mut LabelsBuilder) -> Labels {
    let defaults = [
        ("job", job.job.name.as_str()),
        (SCRAPE_INTERVAL, &Duration(job.interval).to_string()),
        (SCRAPE_TIMEOUT, &Duration(job.timeout).to_string()),
        (METRICS_PATH, &job.config.metrics_path),
        (SCHEME, job.config.scheme.as_str()),
    ];
    for (name, value) in defaults {
        if labels.get(name).is_empty() {
            labels.set(name, value);
        }
    }
    for (name, values) in &job.config.params {
        if let Some(first) = values.first() {
            labels.set(&format!("{PARAM_PREFIX}{name}"), first);
        }
    }
    labels.build()
}

struct Populated {
    labels: Labels,
    url: String,
    interval: time::Duration,
    timeout: time::Duration,
}

/// Relabels and reads the special labels; `None` for a target that the rules drop.
fn populate(job: &ResolvedJob, labels: &mut LabelsBuilder) -> Result<Option<Populated>, String> {
    if !job.relabel.apply(labels) {
        return Ok(None);
    }
    let address = labels.get(ADDRESS).to_owned();
    check_address(&address)?;
    let interval = duration(labels, SCRAPE_INTERVAL)?;
    let timeout = duration(labels, SCRAPE_TIMEOUT)?;
    if timeout > interval {
        let (timeout, interval) = (Duration(timeout), Duration(interval));
        return Err(format!("scrape timeout {timeout} is longer than the scrape interval {interval}"));
    }
    let url = url(job, labels, &address)?;
    if labels.get("instance").is_empty() {
        labels.set("instance", &address);
    }
    labels.retain(|name, _| !name.starts_with(INTERNAL_PREFIX));
    Ok(Some(Populated { labels: labels.build(), url, interval, timeout }))
}

/// Whether `address` can be the host and port of a URL. Prometheus 3 takes it as it is: without a port it is the
/// scheme's.
pub(super) fn check_address(address: &str) -> Result<(), String> {
    if address.is_empty() {
        return Err("no address: set __address__ to host:port".to_owned());
    }
    if address.contains(['/', '?', '#', '@', '\\']) || address.chars().any(char::is_whitespace) {
        return Err(format!("{address:?} is not an address: write host:port, without scheme and path"));
    }
    Url::parse(&format!("http://{address}/")).map(drop).map_err(|e| {
        format!("{address:?} is not an address ({e}): write host:port, an IPv6 address in brackets")
    })
}

fn duration(labels: &LabelsBuilder, name: &str) -> Result<time::Duration, String> {
    let duration: Duration = labels.get(name).parse().map_err(|e| format!("label {name}: {e}"))?;
    if duration.0.is_zero() {
        return Err(format!("label {name} is 0"));
    }
    Ok(duration.0)
}

fn url(job: &ResolvedJob, labels: &LabelsBuilder, address: &str) -> Result<String, String> {
    let scheme = labels.get(SCHEME);
    if !matches!(scheme, "http" | "https") {
        return Err(format!("label {SCHEME} is {scheme:?}: it can be http or https"));
    }
    let parsed = Url::parse(&format!("{scheme}://{address}/"));
    let mut url = parsed.map_err(|e| format!("{address:?} is not an address ({e})"))?;
    url.set_path(labels.get(METRICS_PATH));
    // As in Prometheus, a label stands for the first value of its parameter.
    let mut params = job.config.params.clone();
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix(PARAM_PREFIX) else { continue };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => value.clone_into(first),
            None => values.push(value.to_owned()),
        }
    }
    if params.values().any(|values| !values.is_empty()) {
        let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url.into())
}
