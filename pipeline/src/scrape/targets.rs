//! From target groups to targets: defaults, relabelling, URL (Prometheus' `scrape.PopulateLabels`).
//!
//! Takes what discovery found and the job, gives the targets to scrape and those that are not, with the reason. Does no
//! I/O: a name that does not resolve is found out by the scrape.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time;

use url::Url;

use super::job::ResolvedJob;
use crate::model::labels::{CLUSTER_ID, Labels, LabelsBuilder};
use crate::model::target::{Discovered, Target, TargetGroup, TargetSet};
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
    /// What keeps discovery from looking, in words.
    pub problems: Vec<String>,
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
    pub discovered: Discovered,
    /// Why it is not scraped.
    pub reason: DropReason,
}

/// Why a target is not scraped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
pub fn resolve(job: &ResolvedJob, set: &TargetSet) -> JobTargets {
    Resolver::new(job).resolve(job, set)
}

/// Turns sets of groups into targets, one set after the other: a group that is still the same is not looked at again.
#[derive(Debug)]
pub(super) struct Resolver {
    defaults: Arc<Labels>,
    /// What the groups of the last set gave, by the address of the group, which is kept alive by the value.
    groups: HashMap<usize, (Arc<TargetGroup>, Vec<Found>)>,
    /// The active targets of the last set: one that is found again, in whichever group, stays the same.
    known: HashSet<Unique>,
    /// Reused.
    builder: LabelsBuilder,
}

/// What became of one target of a group.
#[derive(Clone, Debug)]
enum Found {
    Active(ActiveTarget, Discovered),
    Dropped(DroppedTarget),
}

impl Resolver {
    pub(super) fn new(job: &ResolvedJob) -> Self {
        let defaults = Arc::new(defaults(job));
        Self { defaults, groups: HashMap::new(), known: HashSet::new(), builder: LabelsBuilder::default() }
    }

    /// Goes on with another version of the job. Targets that are found again stay the same only if they are scraped alike.
    pub(super) fn follow(&mut self, job: &ResolvedJob, is_alike: bool) {
        self.defaults = Arc::new(defaults(job));
        self.groups.clear();
        if !is_alike {
            self.known.clear();
        }
    }

    /// The targets of `set`.
    pub(super) fn resolve(&mut self, job: &ResolvedJob, set: &TargetSet) -> JobTargets {
        let mut targets =
            JobTargets { job: job.job.name.clone(), problems: set.problems.clone(), ..JobTargets::default() };
        #[expect(clippy::mutable_key_type, reason = "hash and equality look at nothing that changes")]
        let mut seen: HashSet<Unique> = HashSet::new();
        let mut groups = HashMap::with_capacity(set.groups.len());
        for group in &set.groups {
            let address = Arc::as_ptr(group).addr();
            let known = self.groups.remove(&address);
            let (group, found) = known.unwrap_or_else(|| (Arc::clone(group), self.populate(job, group)));
            for one in &found {
                match one {
                    Found::Active(active, discovered) if seen.insert(Unique(Arc::clone(&active.target))) => {
                        active.target.rediscover(discovered);
                        targets.active.push(active.clone());
                    }
                    Found::Active(_, discovered) => {
                        let discovered = discovered.clone();
                        targets.dropped.push(DroppedTarget { discovered, reason: DropReason::Duplicate });
                    }
                    Found::Dropped(dropped) => targets.dropped.push(dropped.clone()),
                }
            }
            groups.insert(address, (group, found));
        }
        (self.groups, self.known) = (groups, seen);
        if job.target_limit > 0 && targets.active.len() as u64 > job.target_limit {
            targets.limit_exceeded = Some(job.target_limit);
        }
        targets
    }

    /// Relabels the targets of one group.
    fn populate(&mut self, job: &ResolvedJob, group: &Arc<TargetGroup>) -> Vec<Found> {
        let one = |position: usize| {
            let discovered = Discovered::new(&self.defaults, group, position);
            discovered.write(&mut self.builder);
            let reason = match populate(job, &mut self.builder) {
                Ok(Some(Populated { labels, url, interval, timeout })) => {
                    let target = Target::new(Arc::clone(&job.job), labels, discovered.clone(), url);
                    let target = Unique(Arc::new(target));
                    let Unique(target) = self.known.get(&target).unwrap_or(&target);
                    let active = ActiveTarget { target: Arc::clone(target), interval, timeout };
                    if job.sharding.is_mine(&active.target, &discovered) {
                        return Found::Active(active, discovered);
                    }
                    DropReason::OtherShard
                }
                Ok(None) => DropReason::Relabelling,
                Err(problem) => DropReason::Invalid(problem),
            };
            Found::Dropped(DroppedTarget { discovered, reason })
        };
        (0..group.targets.len()).map(one).collect()
    }
}

/// What makes a target the same as another: labels and URL.
#[derive(Debug)]
pub(super) struct Unique(pub(super) Arc<Target>);

impl PartialEq for Unique {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.labels == other.0.labels && self.0.url == other.0.url)
    }
}

impl Eq for Unique {}

impl Hash for Unique {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.labels_hash);
    }
}

/// What the job gives where discovery gives nothing.
fn defaults(job: &ResolvedJob) -> Labels {
    let mut labels = LabelsBuilder::default();
    labels.set("job", &job.job.name);
    labels.set(SCRAPE_INTERVAL, &Duration(job.interval).to_string());
    labels.set(SCRAPE_TIMEOUT, &Duration(job.timeout).to_string());
    labels.set(METRICS_PATH, &job.config.metrics_path);
    labels.set(SCHEME, job.config.scheme.as_str());
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
    // A rule that copies what others wrote, such as the labels of a pod, does not move a target to another cluster.
    labels.give_way(CLUSTER_ID, |_| false);
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
