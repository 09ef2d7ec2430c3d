//! `agent --dry-run`: every target once, through the real stages, into an object that nobody sends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::Discovery;
use crate::kubernetes::{Permission, Server};
use crate::model::object::{Format, Object};
use crate::model::scrape::Arrival;
use crate::model::series::SeriesRef;
use crate::model::target::TargetSet;
use crate::scrape::{JobTargets, ResolvedJob};
use crate::worker::Worker;
use crate::{Error, Pipeline};

/// The objects that would have been uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    /// How many.
    pub objects: u64,
    /// What they are.
    pub format: Format,
    /// Samples in them.
    pub samples: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// What one round of scrapes yielded.
#[derive(Debug)]
pub struct DryRun {
    /// The targets of every job, with their state.
    pub jobs: Vec<Arc<JobTargets>>,
    /// What would have been uploaded; `None` without samples.
    pub preview: Option<Preview>,
    /// What has to be permitted for discovery, and by which API server.
    pub permissions: Vec<(Server, Permission)>,
    worker: Worker,
}

impl DryRun {
    /// All samples with their series, in order of arrival.
    pub fn samples(&self) -> impl Iterator<Item = (SeriesRef<'_>, i64, f64)> {
        let (batch, table) = self.worker.open();
        batch.iter().filter_map(|(id, timestamp, value)| Some((table.get(id)?, timestamp, value)))
    }
}

/// How long a single look for targets waits for those who know them.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// Looks for the targets of all jobs once, for ten seconds at most; what keeps a job's sources from looking is in its set.
///
/// # Errors
/// When looking fails as a whole, which is a defect.
pub async fn find_targets(
    jobs: Vec<ResolvedJob>,
    discovery: &Discovery,
) -> Result<Vec<(ResolvedJob, TargetSet)>, Error> {
    let looking: Vec<_> = jobs.iter().map(|job| discovery.start(&job.job.name, job.sources())).collect();
    let end = Instant::now() + LOOK_MAX;
    let mut found = Vec::new();
    for (job, mut look) in jobs.into_iter().zip(looking) {
        look.settled(end).await?;
        found.push((job, look.set()));
    }
    Ok(found)
}

impl Pipeline {
    /// Scrapes every target once, or so many of each job, and shows what would be shipped. Writes and sends nothing.
    ///
    /// # Errors
    /// When a part of the pipeline fails; a target that does not answer is no error.
    pub async fn dry_run(self, targets_per_job: usize) -> Result<DryRun, Error> {
        let Self { jobs, discovery, pool, mut scrapes, mut worker, .. } = self;
        let jobs = find_targets(jobs, &discovery).await?;
        let view = pool.targets();
        let asking = async {
            let asked = pool.scrape_once(&jobs, targets_per_job).await;
            drop(pool); // Closes the queue.
            asked
        };
        let taking = async {
            while let Some(arrival) = scrapes.recv().await {
                match arrival {
                    Arrival::Part(part) => worker.read_part(&part),
                    Arrival::Scrape(scrape) => worker.take(scrape, std::time::Instant::now()),
                }
            }
        };
        let (asked, ()) = tokio::join!(asking, taking);
        asked?;
        let mut preview: Option<Preview> = None;
        worker.preview(|Object { format, samples, bytes, .. }| {
            let none = Preview { objects: 0, format, samples: 0, bytes: 0 };
            let all = preview.get_or_insert(none);
            all.objects += 1;
            all.samples += samples;
            all.bytes += bytes.len() as u64;
        });
        let permissions = discovery.permissions();
        Ok(DryRun { jobs: view.jobs(), preview, permissions, worker })
    }
}
