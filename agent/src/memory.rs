//! How much memory the process takes at the very most, by the configuration alone: printed at the start, and held against what
//! is measured by `tests/faults/memory.py`.
//!
//! Takes the configuration, gives bytes. A sum of limits, each times what a thing of that kind takes where an exporter does
//! its worst; in practice it is far less. What no limit bounds is the number of targets, which is discovery's: up to
//! [`TARGETS`] are in the sum, and each one beyond may take [`TARGET_BYTES`] more.

use pipeline::Config as Pipeline;
use pipeline::batch::SCRAPE_BATCHES;
use pipeline::journal::PENDING_BYTES_MAX;
use pipeline::model::sample::LABEL_BYTES;

use crate::OBJECTS_MAX;
use crate::config::Config;

/// The program, its runtime, the certificates of the system, the clients of S3 and of the API, logs, and 64 connections to
/// the server. Measured: 20 MiB before the first scrape.
const BASE_BYTES: u64 = 48 << 20;

/// Targets in the sum.
pub(crate) const TARGETS: u64 = 1_000;

/// A target: its labels before and after relabelling, its task, and an idle connection with the buffer that hyper keeps
/// (64 KiB at most) and TLS's own. Measured: 45 KiB without TLS.
pub(crate) const TARGET_BYTES: u64 = 128 << 10;

/// Beside its labels, what a series takes in the table, in its target's index, in the memory of lines (two lines), in the order
/// of rows and in the columns of an object. Measured: 165 bytes with one line.
const SERIES_BYTES: u64 = 256;

/// How often the labels of a series are held: in the table; and again in an object's dictionaries while it is made, or in an
/// entry of the journal when they are new.
const LABEL_COPIES: u64 = 2;

/// A sample that was read: series, timestamp, value.
const PARSED_BYTES: u64 = 24;

/// A sample in the open batch: 12, and 16 more where each has a timestamp of its own; 16 while it is put in order; 16 at most in
/// an entry of the journal.
const ROW_BYTES: u64 = 60;

/// A row of an object whose values are noise: value and timestamp, which no compression makes smaller.
const OBJECT_ROW_BYTES: u64 = 16;

/// Text and meaning of the longest list that discovery reads (32 MiB): a page of a Kubernetes list, a file, an answer of
/// an HTTP server.
const LIST_BYTES: u64 = 64 << 20;

/// What an allocator holds without anybody using it, as a share of the whole: one part in so many.
const SLACK: u64 = 8;

/// The bound, bytes.
pub(crate) fn bytes_max(config: &Config) -> u64 {
    let pipeline = &config.pipeline;
    let parts = [
        BASE_BYTES,
        pipeline.limits.max_body_bytes.0,
        targets(pipeline).saturating_mul(TARGET_BYTES),
        pipeline.limits.max_series.saturating_mul(SERIES_BYTES + LABEL_COPIES * LABEL_BYTES),
        rows(pipeline),
        objects(pipeline),
        u64::from(PENDING_BYTES_MAX),
        lists(pipeline).saturating_mul(LIST_BYTES),
    ];
    let sum = parts.into_iter().fold(0, u64::saturating_add);
    sum.saturating_add(sum / SLACK)
}

/// Targets in the sum: those that stand in the configuration, where they are more than [`TARGETS`].
fn targets(pipeline: &Pipeline) -> u64 {
    let groups = pipeline.scrape_configs.iter().flat_map(|job| &job.static_configs);
    TARGETS.max(groups.map(|group| group.targets.len() as u64).sum())
}

/// Rows of the open batch, which is looked at between scrapes, and those of the scrape that is being read.
fn rows(pipeline: &Pipeline) -> u64 {
    let rows = pipeline.batch.max_rows;
    let scrape = rows.saturating_mul(SCRAPE_BATCHES);
    let open = rows.saturating_add(scrape).saturating_mul(ROW_BYTES);
    open.saturating_add(scrape.saturating_mul(PARSED_BYTES))
}

/// Objects in the queue, the one being made, and the one being written or sent.
fn objects(pipeline: &Pipeline) -> u64 {
    let of_noise = pipeline.batch.max_rows.saturating_mul(OBJECT_ROW_BYTES);
    pipeline.batch.max_bytes.0.max(of_noise).saturating_mul(OBJECTS_MAX as u64 + 2)
}

/// Sources that are read as a whole.
fn lists(pipeline: &Pipeline) -> u64 {
    let of_job = |job: &pipeline::scrape::ScrapeConfig| {
        job.kubernetes_sd_configs.len() + job.http_sd_configs.len() + job.file_sd_configs.len()
    };
    pipeline.scrape_configs.iter().map(|job| of_job(job) as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Purpose, Source, load};

    /// The limit of the pod in `deploy/`.
    #[test]
    fn what_is_shipped_fits_into_its_pod() {
        let pairs =
            [("CEDANA_AUTH_TOKEN", "t"), ("CLUSTER_ID", "c"), ("POD_NAME", "p"), ("POD_NAMESPACE", "n")];
        let config = load(Source::Kubernetes, &Environment::from_pairs(pairs), Purpose::Run).unwrap().config;
        let limit = 2 << 30;
        assert!((limit / 2..limit).contains(&bytes_max(&config)), "{}", bytes_max(&config));
        let deployment = include_str!("../../deploy/kubernetes/deployment.yaml");
        assert!(deployment.contains("memory: 2Gi"));
    }

    #[test]
    fn every_limit_is_in_the_sum() {
        let mut config = load(Source::Local, &Environment::default(), Purpose::Run).unwrap().config;
        let parts = [
            48 << 20,            // the process
            128 << 20,           // bodies
            1_000 * (128 << 10), // targets
            5_000_000 * 768,     // series
            228 * 1_000_000,     // rows
            4 * 16_000_000,      // objects
            32 << 20,            // the journal
        ];
        let sum: u64 = parts.iter().sum();
        assert_eq!(bytes_max(&config), sum + sum / 8);
        let mut last = bytes_max(&config);
        let mut grows = |config: &Config, what: &str| {
            let now = bytes_max(config);
            assert!(now > last, "{what} is not in it");
            last = now;
        };
        config.pipeline.limits.max_body_bytes.0 *= 2;
        grows(&config, "limits.max_body_bytes");
        config.pipeline.limits.max_series *= 2;
        grows(&config, "limits.max_series");
        config.pipeline.batch.max_rows *= 2;
        grows(&config, "batch.max_rows");
        config.pipeline.batch.max_bytes.0 = 1 << 30;
        grows(&config, "batch.max_bytes");
        config.pipeline.scrape_configs[0].http_sd_configs.push(Default::default());
        grows(&config, "a list");
    }
}
