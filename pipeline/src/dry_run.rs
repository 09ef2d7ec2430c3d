//! `agent --dry-run`: every target once, through the real stages, into an object that nobody sends.

use std::sync::Arc;
use std::time::Instant;

use crate::model::object::Object;
use crate::model::sample::Series;
use crate::scrape::JobTargets;
use crate::worker::Worker;
use crate::{Error, Pipeline};

/// What one round of scrapes yielded.
#[derive(Debug)]
pub struct DryRun {
    /// The targets of every job, with their state.
    pub jobs: Vec<Arc<JobTargets>>,
    /// The object that would have been uploaded; `None` without samples.
    pub object: Option<Object>,
    worker: Worker,
}

impl DryRun {
    /// All samples with their series, in order of arrival.
    pub fn samples(&self) -> impl Iterator<Item = (&Series, i64, f64)> {
        let (batch, table) = self.worker.open();
        batch.iter().filter_map(|(id, timestamp, value)| Some((table.get(id)?, timestamp, value)))
    }
}

impl Pipeline {
    /// Scrapes every target once and shows what would be shipped. Writes and sends nothing.
    ///
    /// # Errors
    /// When a part of the pipeline fails; a target that does not answer is no error.
    pub async fn dry_run(self) -> Result<DryRun, Error> {
        let Self { jobs, pool, mut scrapes, mut worker } = self;
        let jobs: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let groups = job.static_groups.clone();
                (job, groups)
            })
            .collect();
        let view = pool.targets();
        let asking = async {
            let asked = pool.scrape_once(&jobs).await;
            drop(pool); // Closes the queue.
            asked
        };
        let taking = async {
            while let Some(scrape) = scrapes.recv().await {
                worker.take(scrape, Instant::now());
            }
        };
        let (asked, ()) = tokio::join!(asking, taking);
        asked?;
        let object = worker.preview();
        Ok(DryRun { jobs: view.jobs(), object, worker })
    }
}
