//! `/api/v1/targets`: Prometheus' list of targets, filtered, sorted and cut into pages here, so that a page is small however
//! many targets there are.
//!
//! Additions to Prometheus' parameters: `search` (words, each of which has to stand in labels, URL or error), `health`, `sort`,
//! `offset`, `limit`, `id` (one target) and `labels=false` (without label sets). Additions to its fields are those at the end of
//! each target, and `matching`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pipeline::model::labels::Labels;
use pipeline::model::target::{Health, LastScrape};
use pipeline::model::units;
use pipeline::scrape::{ActiveTarget, DroppedTarget, JobTargets};
use serde_json::{Map, Value, json};

use super::Data;
use super::query::{Parameters, either, invalid};
use crate::targets::{labels, rfc3339};

/// Targets in one answer, also where `limit` says nothing.
pub(super) const LIMIT_MAX: usize = 1000;

/// Bytes of the targets in one answer; the labels of a thousand pods with their annotations would be more.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// What Go's `time.Time` writes where there is no time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

const KNOWN: [&str; 9] =
    ["state", "scrapePool", "search", "health", "sort", "offset", "limit", "id", "labels"];

/// Which targets, in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    state: State,
    pool: Option<String>,
    /// In lower case.
    words: Vec<String>,
    /// Empty for all.
    health: Vec<Condition>,
    sort: Sort,
    descending: bool,
    offset: usize,
    limit: Option<usize>,
    id: Option<String>,
    without_labels: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Any,
    Active,
    Dropped,
}

/// Prometheus' health, and that nothing listens where nothing has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    Down,
    Unknown,
    Absent,
    Up,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    /// As the configuration and discovery give them.
    #[default]
    Job,
    Health,
    Instance,
    LastScrape,
    Duration,
    Samples,
    NextScrape,
}

const CONDITIONS: [(&str, Condition); 4] = [
    ("up", Condition::Up),
    ("down", Condition::Down),
    ("unknown", Condition::Unknown),
    ("absent", Condition::Absent),
];

const SORTS: [(&str, Sort); 7] = [
    ("job", Sort::Job),
    ("health", Sort::Health),
    ("instance", Sort::Instance),
    ("lastScrape", Sort::LastScrape),
    ("duration", Sort::Duration),
    ("samples", Sort::Samples),
    ("nextScrape", Sort::NextScrape),
];

impl Query {
    /// Reads a query, or says what is wrong with it.
    pub(super) fn read(query: &str) -> Result<Self, String> {
        let parameters = Parameters::read(query, &KNOWN)?;
        let states = [("active", State::Active), ("dropped", State::Dropped), ("any", State::Any)];
        let (sort, descending) = sort(parameters.get("sort").unwrap_or("job"))?;
        let lower = |text: &str| text.split_whitespace().map(str::to_lowercase).collect();
        Ok(Self {
            state: parameters.choose("state", &states, State::Any)?,
            pool: parameters.get("scrapePool").map(str::to_owned),
            words: parameters.get("search").map(lower).unwrap_or_default(),
            health: parameters.get("health").map_or(Ok(Vec::new()), health)?,
            sort,
            descending,
            offset: parameters.number("offset", 0, usize::MAX)?.unwrap_or_default(),
            limit: parameters.number("limit", 1, LIMIT_MAX)?,
            id: parameters.get("id").map(str::to_owned),
            without_labels: !parameters.choose("labels", &[("true", true), ("false", false)], true)?,
        })
    }

    fn has_pool(&self, job: &str) -> bool {
        self.pool.as_deref().is_none_or(|pool| pool == job)
    }
}

fn sort(text: &str) -> Result<(Sort, bool), String> {
    let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let found = SORTS.iter().find(|(word, _)| *word == name);
    found.map(|(_, sort)| (*sort, descending)).ok_or_else(|| {
        let words = SORTS.map(|(word, _)| word);
        invalid("sort", text, &format!("it can be {}, with - before it for descending", either(&words)))
    })
}

fn health(text: &str) -> Result<Vec<Condition>, String> {
    let one =
        |word: &str| CONDITIONS.iter().find(|(known, _)| *known == word).map(|(_, condition)| *condition);
    let words = CONDITIONS.map(|(word, _)| word);
    let refused =
        || invalid("health", text, &format!("it can be {}, or several with commas between", either(&words)));
    text.split(',').map(|word| one(word).ok_or_else(refused)).collect()
}

/// A target that is scraped, as it is now.
struct Row<'a> {
    job: &'a str,
    active: &'a ActiveTarget,
    last: Option<LastScrape>,
}

impl Row<'_> {
    fn condition(&self) -> Condition {
        condition(self.last.as_ref())
    }

    fn matches(&self, words: &[String]) -> bool {
        if words.is_empty() {
            return true;
        }
        let target = &self.active.target;
        let mut text = Lower::default();
        let error = self.last.as_ref().and_then(|last| error(&last.health)).unwrap_or_default();
        [self.job, &target.url, error].into_iter().for_each(|part| text.add(part));
        text.add_labels(&target.labels);
        text.has(words)
    }

    fn id(&self) -> String {
        let target = &self.active.target;
        id(&[self.job, &target.url, &target.labels_hash.to_string()])
    }

    fn order(&self, other: &Self, sort: Sort) -> Ordering {
        let (a, b) = (self, other);
        let last = |row: &Self| row.last.as_ref().map(|last| last.time);
        let duration = |row: &Self| row.last.as_ref().map(|last| last.duration);
        let samples = |row: &Self| row.last.as_ref().map(|last| last.samples_scraped);
        match sort {
            Sort::Job => Ordering::Equal,
            Sort::Health => a.condition().cmp(&b.condition()),
            Sort::Instance => a.active.target.instance().cmp(b.active.target.instance()),
            Sort::LastScrape => last(a).cmp(&last(b)),
            Sort::Duration => duration(a).cmp(&duration(b)),
            Sort::Samples => samples(a).cmp(&samples(b)),
            Sort::NextScrape => a.active.target.next_scrape().cmp(&b.active.target.next_scrape()),
        }
    }

    fn json(&self, query: &Query) -> Value {
        let ActiveTarget { target, interval, timeout } = self.active;
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if !query.without_labels {
            set("discoveredLabels", labels(&target.discovered().labels()));
            set("labels", labels(&target.labels));
        }
        let last = self.last.as_ref();
        let condition = self.condition();
        let health = match condition {
            Condition::Up => "up",
            Condition::Unknown => "unknown",
            Condition::Down | Condition::Absent => "down",
        };
        let seconds = |duration: Duration| units::Duration(duration).to_string();
        set("scrapePool", self.job.into());
        set("scrapeUrl", target.url.as_str().into());
        set("globalUrl", target.url.as_str().into());
        set("lastError", last.and_then(|last| error(&last.health)).unwrap_or_default().into());
        set("lastScrape", last.map_or_else(|| NO_TIME.to_owned(), |last| rfc3339(last.time)).into());
        set("lastScrapeDuration", last.map_or(0.0, |last| last.duration.as_secs_f64()).into());
        set("health", health.into());
        set("scrapeInterval", seconds(*interval).into());
        set("scrapeTimeout", seconds(*timeout).into());
        set("id", self.id().into());
        set("instance", target.instance().into());
        set("absent", (condition == Condition::Absent).into());
        set("nextScrape", target.next_scrape().map(rfc3339).into());
        set("samplesScraped", last.map(|last| last.samples_scraped).into());
        set("samplesKept", last.map(|last| last.samples_kept).into());
        set("badLines", last.map(|last| last.lines_bad).into());
        set("firstBadLine", last.and_then(|last| last.first_bad_line.clone()).into());
        Value::Object(fields)
    }
}

/// Prometheus' health of a target by its last scrape, and one more.
pub(super) fn condition(last: Option<&LastScrape>) -> Condition {
    match last.map(|last| &last.health) {
        None => Condition::Unknown,
        Some(Health::Up) => Condition::Up,
        Some(Health::Down(_)) => Condition::Down,
        Some(Health::NotRunning) => Condition::Absent,
    }
}

fn error(health: &Health) -> Option<&str> {
    match health {
        Health::Up => None,
        Health::Down(error) => Some(error),
        Health::NotRunning => Some("not running here"),
    }
}

/// A name by which one target can be asked for, as long as it stays the same.
fn id(parts: &[&str]) -> String {
    let numbered = parts.iter().enumerate().map(|(n, part)| (n.to_string(), *part));
    format!("{:016x}", Labels::from_pairs(numbered).stable_hash())
}

fn dropped_id(job: &str, discovered: &Labels) -> String {
    id(&[job, &discovered.stable_hash().to_string()])
}

fn dropped(job: &str, target: &DroppedTarget, query: &Query) -> Value {
    let discovered = target.discovered.labels();
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    if !query.without_labels {
        set("discoveredLabels", labels(&discovered));
    }
    set("scrapePool", job.into());
    set("id", dropped_id(job, &discovered).into());
    set("address", discovered.value("__address__").into());
    set("reason", target.reason.to_string().into());
    Value::Object(fields)
}

/// Text in lower case, to be searched.
#[derive(Default)]
struct Lower(String);

impl Lower {
    fn add(&mut self, part: &str) {
        self.0.extend(part.chars().flat_map(char::to_lowercase));
        self.0.push('\n');
    }

    fn add_labels(&mut self, labels: &Labels) {
        for (name, value) in labels.iter() {
            self.0.extend(name.chars().flat_map(char::to_lowercase));
            self.0.push('=');
            self.add(value);
        }
    }

    fn has(&self, words: &[String]) -> bool {
        words.iter().all(|word| self.0.contains(word.as_str()))
    }
}

/// How many targets match, before the list is cut.
#[derive(Default)]
struct Matching {
    active: usize,
    dropped: usize,
    by_condition: [usize; CONDITIONS.len()],
}

impl Matching {
    fn json(&self) -> Value {
        let by_condition = CONDITIONS.iter().zip(self.by_condition).map(|((name, _), count)| (*name, count));
        let all = [("active", self.active), ("dropped", self.dropped)].into_iter().chain(by_condition);
        Value::Object(all.map(|(name, count)| (name.to_owned(), count.into())).collect())
    }
}

/// The targets that the query asks for.
pub(super) fn list(jobs: &[Arc<JobTargets>], query: &Query, now: i64) -> Data {
    let mut matching = Matching::default();
    let rows = active(jobs, query, &mut matching);
    let dropped_targets = dropped_matching(jobs, query);
    (matching.active, matching.dropped) = (rows.len(), dropped_targets.len());
    let mut page = Page::new(query);
    let active = page.take(rows.len(), rows.iter().map(|row| row.json(query)));
    let listed = dropped_targets.iter().map(|(job, target)| dropped(job, target, query));
    let dropped = page.take(dropped_targets.len(), listed);
    let total = matching.active + matching.dropped;
    let counts = jobs.iter().filter(|job| query.has_pool(&job.job));
    let counts = counts.map(|job| (job.job.clone(), job.dropped.len().into()));
    let warnings = page.warning(total, active.len() + dropped.len(), query).into_iter().collect();
    let data = json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": Value::Object(counts.collect()),
        "matching": matching.json(),
        "now": rfc3339(now),
    });
    Data { data, warnings }
}

fn active<'a>(jobs: &'a [Arc<JobTargets>], query: &Query, matching: &mut Matching) -> Vec<Row<'a>> {
    if query.state == State::Dropped {
        return Vec::new();
    }
    let jobs = jobs.iter().filter(|job| query.has_pool(&job.job));
    let all = jobs.flat_map(|job| job.active.iter().map(|active| (job.job.as_str(), active)));
    let rows = all.map(|(job, active)| Row { job, active, last: active.target.last() });
    let rows = rows.filter(|row| row.matches(&query.words));
    let mut rows: Vec<_> = rows.filter(|row| query.id.as_ref().is_none_or(|id| *id == row.id())).collect();
    for (count, (_, condition)) in matching.by_condition.iter_mut().zip(CONDITIONS) {
        *count = rows.iter().filter(|row| row.condition() == condition).count();
    }
    rows.retain(|row| query.health.is_empty() || query.health.contains(&row.condition()));
    // Equal ones stay in the order of the configuration.
    rows.sort_by(|a, b| {
        let order = a.order(b, query.sort);
        if query.descending { order.reverse() } else { order }
    });
    if query.sort == Sort::Job && query.descending {
        rows.reverse();
    }
    rows
}

fn dropped_matching<'a>(jobs: &'a [Arc<JobTargets>], query: &Query) -> Vec<(&'a str, &'a DroppedTarget)> {
    // One that is not scraped has no health.
    if query.state == State::Active || !query.health.is_empty() {
        return Vec::new();
    }
    let jobs = jobs.iter().filter(|job| query.has_pool(&job.job));
    let all = jobs.flat_map(|job| job.dropped.iter().map(|target| (job.job.as_str(), target)));
    let plain = query.words.is_empty() && query.id.is_none();
    let matches = |(job, target): &(&str, &DroppedTarget)| {
        if plain {
            return true;
        }
        let discovered = target.discovered.labels();
        let mut text = Lower::default();
        [*job, &target.reason.to_string()].into_iter().for_each(|part| text.add(part));
        text.add_labels(&discovered);
        text.has(&query.words) && query.id.as_ref().is_none_or(|id| *id == dropped_id(job, &discovered))
    };
    all.filter(matches).collect()
}

/// What is left to skip and to take.
struct Page {
    offset: usize,
    limit: usize,
    bytes: usize,
}

impl Page {
    fn new(query: &Query) -> Self {
        Self { offset: query.offset, limit: query.limit.unwrap_or(LIMIT_MAX), bytes: 0 }
    }

    /// Takes its part of a list of `count`. The first of a page is taken however large it is, so that the next page exists.
    fn take(&mut self, count: usize, list: impl Iterator<Item = Value>) -> Vec<Value> {
        let skipped = self.offset.min(count);
        self.offset -= skipped;
        let mut taken = Vec::new();
        for target in list.skip(skipped) {
            if self.limit == 0 {
                break;
            }
            let bytes = Counted::of(&target);
            if self.bytes > 0 && self.bytes + bytes > ANSWER_BYTES_MAX {
                self.limit = 0;
                break;
            }
            (self.bytes, self.limit) = (self.bytes + bytes, self.limit - 1);
            taken.push(target);
        }
        taken
    }

    /// What to say to whoever asked for more than is there.
    fn warning(&self, total: usize, taken: usize, query: &Query) -> Option<String> {
        let wanted = query.limit.unwrap_or(usize::MAX).min(total.saturating_sub(query.offset));
        let next = query.offset.saturating_add(taken);
        (taken < wanted).then(|| {
            format!(
                "{taken} targets from {} of {total} are in this answer: ask for more with offset={next}",
                query.offset
            )
        })
    }
}

/// Counts what is written to it.
struct Counted(usize);

impl Counted {
    fn of(value: &Value) -> usize {
        let mut counted = Self(0);
        // Counting does not fail.
        let _ = fmt::write(&mut counted, format_args!("{value}"));
        counted.0
    }
}

impl fmt::Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
