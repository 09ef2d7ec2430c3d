//! A worker and its targets: bodies go in, and objects come out when they are asked for.
#![expect(clippy::expect_used, reason = "a bench")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipeline::encode::{self, Encoder};
use pipeline::model::labels::Labels;
use pipeline::model::object::Object;
use pipeline::model::scrape::{Exposition, Scrape};
use pipeline::model::target::{Job, Target};
use pipeline::model::units::Size;
use pipeline::worker::{Settings, Worker};
use pipeline::{Limits, Metrics, batch};
use prometheus::Registry;
use support::cluster::{Member, mixed};

/// When everything begins, milliseconds since the Unix epoch.
const BEGIN: i64 = 1_700_000_000_000;
/// Between two scrapes, milliseconds.
const INTERVAL: i64 = 15_000;

/// When the scrape with this number is made, milliseconds since the Unix epoch.
#[must_use]
pub fn time(scrape: u64) -> i64 {
    BEGIN + i64::try_from(scrape).unwrap_or_default() * INTERVAL
}

/// See the module.
#[derive(Debug)]
pub struct Fleet {
    worker: Worker,
    targets: Vec<Arc<Target>>,
}

impl Fleet {
    /// A worker that has seen none of its targets, each given as its `job` and its `instance`.
    #[must_use]
    pub fn new(targets: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { worker: worker(), targets: targets.into_iter().map(|(job, at)| target(job, &at)).collect() }
    }

    /// Targets of one job.
    #[must_use]
    pub fn of(job: &'static str, count: usize) -> Self {
        Self::new((0..count).map(|n| (job, format!("10.0.{}.{}:9100", n / 250, n % 250))))
    }

    /// A mixed cluster.
    #[must_use]
    pub fn mixed(members: &[Member]) -> Self {
        Self::new(members.iter().map(|member| (member.job(), member.instance())))
    }

    /// What a target answered.
    #[must_use]
    pub fn scrape(&self, target: usize, scrape: u64, body: Bytes) -> Scrape {
        let target = Arc::clone(self.targets.get(target).expect("a target of the fleet"));
        let outcome = Ok(Exposition::whole(body));
        Scrape { target, time: time(scrape), duration: Duration::from_millis(5), outcome }
    }

    /// Adds what a target answered to the open batch.
    pub fn take(&mut self, scrape: Scrape) {
        self.worker.take(scrape, Instant::now());
    }

    /// Makes an object of the open batch.
    pub fn seal(&mut self) -> Object {
        self.worker.seal().expect("something was scraped")
    }

    /// The worker.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }
}

/// The mixed cluster and its worker, scrape after scrape.
#[derive(Debug)]
pub struct MixedCluster {
    members: Vec<Member>,
    /// Its worker.
    pub fleet: Fleet,
    scrapes: u64,
    /// How often pods were replaced.
    pub replacements: u64,
}

impl MixedCluster {
    /// A cluster of which nothing was seen.
    #[must_use]
    pub fn new() -> Self {
        let members = mixed();
        Self { fleet: Fleet::mixed(&members), members, scrapes: 0, replacements: 0 }
    }

    /// So many scrapes of all its targets.
    pub fn take(&mut self, scrapes: u64) {
        for _ in 0..scrapes {
            let (scrape, now) = (self.scrapes, time(self.scrapes));
            for (target, member) in self.members.iter().enumerate() {
                let body = Bytes::from(member.body(scrape, now, self.replacements));
                self.fleet.take(self.fleet.scrape(target, scrape, body));
            }
            self.scrapes += 1;
        }
    }
}

impl Default for MixedCluster {
    fn default() -> Self {
        Self::new()
    }
}

fn worker() -> Worker {
    let settings = Settings {
        // Objects are made when the bench says so.
        batch: batch::Config { max_rows: 50_000_000, max_bytes: Size(1 << 40), ..batch::Config::default() },
        limits: Limits { max_series: 50_000_000, ..Limits::default() },
        external: Labels::from_pairs([("cluster_id", "bench")]),
        next_sequence: 1,
    };
    let encoder = Encoder::new(&encode::Config::default(), "bench", "bench").expect("the defaults");
    let metrics = Metrics::new(&Registry::new()).expect("a new registry");
    Worker::new(settings, encoder, Arc::new(metrics))
}

fn target(job: &'static str, instance: &str) -> Arc<Target> {
    let url = format!("http://{instance}/metrics");
    let labels = Labels::from_pairs([("instance", instance), ("job", job)]);
    let job = Job { name: job.to_owned(), honor_timestamps: true, ..Job::default() };
    Arc::new(Target::new(Arc::new(job), labels, Labels::default().into(), url))
}
