//! Targets as JSON, for `agent targets` and `/targets`. Takes what the pipeline knows, gives a list that is pleasant
//! to filter; never holds credentials, since URLs and labels never do.

use std::sync::Arc;

use pipeline::discovery::{self, Discovery};
use pipeline::find_targets;
use pipeline::model::labels::Labels;
use pipeline::model::target::{Health, LastScrape};
use pipeline::scrape::{ActiveTarget, DroppedTarget, JobTargets, Render, resolve};
use prometheus::Registry;
use serde_json::{Map, Value, json};

use crate::config::Config;

/// The targets that a configuration gives, none of them asked yet. Discovery is given ten seconds to find them.
///
/// # Errors
/// Problems that `check` would have reported.
pub async fn discover(config: &Config) -> Result<Vec<Arc<JobTargets>>, pipeline::Error> {
    let own: Option<Render> = config.internal_metrics.then(|| Arc::new(Vec::new) as Render);
    let jobs = config.pipeline.jobs(own).map_err(pipeline::Error::Config)?;
    let discovery = Discovery::new(discovery::Metrics::new(&Registry::new())?);
    let found = find_targets(jobs, &discovery).await?;
    Ok(found.iter().map(|(job, set)| Arc::new(resolve(job, set))).collect())
}

/// One list of all targets, those that are scraped first within each job.
#[must_use]
pub fn view(jobs: &[Arc<JobTargets>]) -> Value {
    let of_job = |job: &Arc<JobTargets>| {
        let active = job.active.iter().map(|target| active(&job.job, target));
        let dropped = job.dropped.iter().map(|target| dropped(&job.job, target));
        let problems = job.problems.iter().map(|problem| undiscovered(&job.job, problem));
        active.chain(dropped).chain(problems).collect::<Vec<_>>()
    };
    Value::Array(jobs.iter().flat_map(of_job).collect())
}

fn active(job: &str, active: &ActiveTarget) -> Value {
    let target = &active.target;
    let seconds = |duration: std::time::Duration| pipeline::model::units::Duration(duration).to_string();
    json!({
        "job": job,
        "state": "active",
        "url": target.url,
        "labels": labels(&target.labels),
        "discovered_labels": labels(&target.discovered().labels()),
        "scrape_interval": seconds(active.interval),
        "scrape_timeout": seconds(active.timeout),
        "last_scrape": target.last().map(last_scrape),
    })
}

fn dropped(job: &str, dropped: &DroppedTarget) -> Value {
    json!({
        "job": job,
        "state": "dropped",
        "reason": dropped.reason.to_string(),
        "discovered_labels": labels(&dropped.discovered.labels()),
    })
}

/// Stands for the targets that are not known because discovery cannot look.
fn undiscovered(job: &str, problem: &str) -> Value {
    json!({"job": job, "state": "undiscovered", "reason": problem})
}

pub(crate) fn labels(labels: &Labels) -> Value {
    Value::Object(Map::from_iter(labels.iter().map(|(name, value)| (name.to_owned(), value.into()))))
}

#[expect(clippy::needless_pass_by_value, reason = "a copy made for this purpose")]
fn last_scrape(last: LastScrape) -> Value {
    let (health, error) = health(&last.health);
    json!({
        "time": rfc3339(last.time),
        "health": health,
        "error": error,
        "duration_seconds": last.duration.as_secs_f64(),
        "samples_scraped": last.samples_scraped,
        "samples_kept": last.samples_kept,
        "bad_lines": last.lines_bad,
        "first_bad_line": last.first_bad_line,
    })
}

/// The state in plain words, and the error if there is one.
pub(crate) fn health(health: &Health) -> (&'static str, Option<&str>) {
    match health {
        Health::Up => ("up", None),
        Health::Down(error) => ("down", Some(error)),
        Health::NotRunning => ("not running here", None),
    }
}

/// Milliseconds since the Unix epoch in the form of RFC 3339, with milliseconds.
pub(crate) fn rfc3339(millis: i64) -> String {
    // Only times more than 7,000 years away cannot be written; those stay numbers.
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::model::target::{Job, Target};
    use pipeline::scrape::DropReason;
    use std::time::Duration;

    #[test]
    fn targets_show_what_happened_to_them() {
        let text = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let discovered = text(&[("__address__", "a:1")]);
        let labels = text(&[("instance", "a:1"), ("job", "j")]);
        let target = Target::new(
            Arc::new(Job::default()),
            labels,
            discovered.clone().into(),
            "http://a:1/m".to_owned(),
        );
        let active = ActiveTarget {
            target: Arc::new(target),
            interval: Duration::from_secs(90),
            timeout: Duration::from_secs(10),
        };
        let dropped = DroppedTarget { discovered: discovered.into(), reason: DropReason::Relabelling };
        let job = JobTargets {
            job: "j".to_owned(),
            active: vec![active],
            dropped: vec![dropped],
            limit_exceeded: None,
            problems: vec!["away".to_owned()],
        };
        let expected = json!([
            {
                "job": "j", "state": "active", "url": "http://a:1/m",
                "labels": {"instance": "a:1", "job": "j"}, "discovered_labels": {"__address__": "a:1"},
                "scrape_interval": "1m30s", "scrape_timeout": "10s", "last_scrape": null,
            },
            {
                "job": "j", "state": "dropped", "reason": "dropped by relabel_configs",
                "discovered_labels": {"__address__": "a:1"},
            },
            {"job": "j", "state": "undiscovered", "reason": "away"},
        ]);
        assert_eq!(view(&[Arc::new(job)]), expected);
    }

    #[test]
    fn times_are_written_with_milliseconds() {
        assert_eq!(rfc3339(1_795_303_367_401), "2026-11-21T23:22:47.401Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }
}
