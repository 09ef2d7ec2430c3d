//! A job made ready: a scrape section with the global defaults filled in, its rules compiled.

use std::fmt;
use std::sync::Arc;
use std::time;

use super::config::{GlobalConfig, ScrapeConfig};
use super::sharding::Sharding;
use crate::discovery;
use crate::model::labels::Labels;
use crate::model::target::{Job, Limits, TargetGroup};
use crate::relabel::Rules;

/// What the agent's own metrics are called in `__address__`.
pub const IN_PROCESS_ADDRESS: &str = "in-process";
/// The job of the agent's own metrics.
pub const IN_PROCESS_JOB: &str = "agent";

/// Gives an exposition in text format 0.0.4, for targets inside this process.
pub type Render = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// Where the expositions of a job come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// HTTP, as the section says.
    Http,
    /// A function of this process.
    InProcess(Render),
    /// A function of this process that reads files, and may take its time; the text is the same where it reads the same.
    Blocking(Render, String),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "Http",
            Self::InProcess(_) => "InProcess",
            Self::Blocking(..) => "Blocking",
        })
    }
}

/// A job with nothing left to look up.
#[derive(Debug)]
pub struct ResolvedJob {
    /// What the pure stages need to know.
    pub job: Arc<Job>,
    /// Targets named in the section; what discovery publishes for `static_configs`.
    pub static_groups: Vec<TargetGroup>,
    /// The section, for everything that is needed as it stands there.
    pub(crate) config: ScrapeConfig,
    pub(crate) interval: time::Duration,
    pub(crate) timeout: time::Duration,
    pub(crate) relabel: Rules,
    /// Zero for none.
    pub(crate) target_limit: u64,
    /// Bytes of one body; never more than all bodies together may take.
    pub(crate) body_limit: u64,
    pub(crate) source: Source,
    /// Which of its targets are this agent's.
    pub(crate) sharding: Sharding,
}

impl ScrapeConfig {
    /// The job of this section.
    ///
    /// # Errors
    /// What [`ScrapeConfig::check`] says.
    pub fn resolve(&self, global: &GlobalConfig) -> Result<ResolvedJob, Vec<(String, String)>> {
        let problems = self.check(global);
        let compile = |key: &str, configs| {
            Rules::compile(configs).map_err(|_| vec![(key.to_owned(), "does not compile".to_owned())])
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let or = |own: u64, global: u64| if own == 0 { global } else { own };
        let body_limit = or(self.body_size_limit.map_or(0, |s| s.0), global.body_size_limit.0);
        let job = Job {
            name: self.job_name.clone(),
            honor_labels: self.honor_labels,
            honor_timestamps: self.honor_timestamps,
            metric_relabel: compile("metric_relabel_configs", &self.metric_relabel_configs)?,
            limits: Limits {
                samples: or(self.sample_limit, global.sample_limit),
                labels: or(self.label_limit, global.label_limit),
                label_name_bytes: or(self.label_name_length_limit, global.label_name_length_limit),
                label_value_bytes: or(self.label_value_length_limit, global.label_value_length_limit),
            },
            optional: self.optional,
        };
        let interval = self.interval(global);
        Ok(ResolvedJob {
            job: Arc::new(job),
            static_groups: self.static_groups(),
            config: self.clone(),
            interval: interval.0,
            timeout: self.timeout(global).0,
            relabel: compile("relabel_configs", &self.relabel_configs)?,
            target_limit: or(self.target_limit, global.target_limit),
            body_limit: if body_limit == 0 { u64::MAX } else { body_limit },
            source: Source::Http,
            sharding: Sharding::default(),
        })
    }

    /// The section without everything that only says which targets there are, and what their labels, URLs and intervals.
    fn without_targets(&self) -> Self {
        let empty = Self::default();
        Self {
            static_configs: empty.static_configs,
            kubernetes_sd_configs: empty.kubernetes_sd_configs,
            file_sd_configs: empty.file_sd_configs,
            http_sd_configs: empty.http_sd_configs,
            dns_sd_configs: empty.dns_sd_configs,
            relabel_configs: empty.relabel_configs,
            scheme: empty.scheme,
            metrics_path: empty.metrics_path,
            params: empty.params,
            scrape_interval: empty.scrape_interval,
            scrape_timeout: empty.scrape_timeout,
            target_limit: empty.target_limit,
            ..self.clone()
        }
    }

    fn static_groups(&self) -> Vec<TargetGroup> {
        let group = |(position, group): (usize, &super::config::StaticConfig)| TargetGroup {
            source: format!("static/{position}"),
            targets: group.targets.iter().map(|t| Labels::from_pairs([("__address__", t)])).collect(),
            labels: Labels::from_pairs(&group.labels),
            ..TargetGroup::default()
        };
        self.static_configs.iter().enumerate().map(group).collect()
    }
}

impl ResolvedJob {
    /// Where its targets are looked for.
    #[must_use]
    pub fn sources(&self) -> Vec<discovery::Source> {
        use discovery::Source;
        let config = &self.config;
        let mut sources = vec![Source::Static(self.static_groups.clone())];
        let kubernetes = config.kubernetes_sd_configs.iter().cloned();
        sources.extend(kubernetes.map(|section| Source::Kubernetes(Box::new(section))));
        sources.extend(config.file_sd_configs.iter().cloned().map(Source::File));
        sources.extend(config.http_sd_configs.iter().cloned().map(|section| Source::Http(Box::new(section))));
        sources.extend(config.dns_sd_configs.iter().cloned().map(Source::Dns));
        sources
    }

    /// The job of the agent's own metrics, which need no port: `render` is called at each scrape.
    #[must_use]
    pub fn in_process(global: &GlobalConfig, render: Render) -> Self {
        Self::in_process_named(IN_PROCESS_JOB, global, render)
    }

    /// Another job inside this process. Its labels win over the target's where it honours its own.
    #[must_use]
    pub(crate) fn in_process_named(name: &str, global: &GlobalConfig, render: Render) -> Self {
        let config = ScrapeConfig { job_name: name.to_owned(), ..ScrapeConfig::default() };
        let labels = Labels::from_pairs([("__address__", IN_PROCESS_ADDRESS)]);
        let group = TargetGroup {
            source: IN_PROCESS_ADDRESS.to_owned(),
            targets: vec![labels],
            ..TargetGroup::default()
        };
        Self {
            job: Arc::new(Job {
                name: name.to_owned(),
                honor_timestamps: true,
                // Namespaces and pods of others stand in it.
                honor_labels: name != IN_PROCESS_JOB,
                ..Job::default()
            }),
            static_groups: vec![group],
            interval: config.interval(global).0,
            timeout: config.timeout(global).0,
            relabel: Rules::default(),
            target_limit: 0,
            body_limit: u64::MAX,
            source: Source::InProcess(render),
            sharding: Sharding::default(),
            config,
        }
    }

    /// The same job, whose one target is a function of this process that may block. `reads` is the same where it reads the
    /// same.
    #[must_use]
    pub fn read_by(self, render: Render, reads: String) -> Self {
        Self { source: Source::Blocking(render, reads), ..self }
    }

    /// Whether nothing of the job is different.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let times = |job: &Self| (job.interval, job.timeout, job.target_limit);
        times(self) == times(other)
            && self.scrapes_like(other)
            && self.config == other.config
            && (&self.static_groups, &self.sharding) == (&other.static_groups, &other.sharding)
    }

    /// Whether a target that is in both is scraped alike, and its samples fare alike. What makes a target another one is in
    /// its labels, its URL, its interval and its timeout.
    pub(crate) fn scrapes_like(&self, other: &Self) -> bool {
        let is_same_source = match (&self.source, &other.source) {
            (Source::Http, Source::Http) => true,
            (Source::InProcess(one), Source::InProcess(two)) => Arc::ptr_eq(one, two),
            (Source::Blocking(_, one), Source::Blocking(_, two)) => one == two,
            _ => false,
        };
        is_same_source
            && (self.job.limits, self.body_limit) == (other.job.limits, other.body_limit)
            && self.config.without_targets() == other.config.without_targets()
    }

    /// The same job, of which this agent scrapes only its share.
    #[must_use]
    pub fn shared(self, sharding: &Sharding) -> Self {
        Self { sharding: sharding.clone(), ..self }
    }

    /// The same job with labels for all its targets, which relabelling may still change.
    #[must_use]
    pub fn labelled(mut self, labels: &Labels) -> Self {
        self.static_groups.iter_mut().for_each(|group| group.labels = labels.clone());
        self
    }
}
