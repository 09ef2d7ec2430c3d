//! Scraping: one loop per target asks for its exposition and hands it to the worker.
//!
//! Takes target groups from discovery, gives [`Scrape`](crate::model::scrape::Scrape)s. Never looks into a body.

mod body;
mod check;
mod config;
mod fetch;
mod gzip;
mod job;
mod job_loops;
mod metrics;
mod pool;
mod schedule;
mod sharding;
mod target_loop;
mod targets;
#[cfg(test)]
pub(crate) mod tests;
mod unsupported;
mod view;

pub use self::check::check_names;
pub use self::config::{GlobalConfig, Scheme, ScrapeConfig, StaticConfig};
pub use self::job::{IN_PROCESS_ADDRESS, IN_PROCESS_JOB, Render, ResolvedJob};
pub use self::metrics::Metrics;
pub use self::pool::{Change, Changed, Clock, Error, Pool};
pub use self::sharding::Sharding;
pub use self::targets::{ActiveTarget, DropReason, DroppedTarget, JobTargets, resolve};
pub use self::unsupported::{UNSUPPORTED_GLOBAL_KEYS, UNSUPPORTED_KEYS};
pub use self::view::TargetsView;
