//! How much memory the process takes at the very most, by the configuration alone: printed at the start, and held against what
//! is measured by `tests/faults/memory.py`.
//!
//! Takes the configuration, gives bytes. A sum of limits, each times what a thing of that kind takes where an exporter does
//! its worst; in practice it is far less. What no limit bounds is the number of targets, which is discovery's: up to
//! [`TARGETS`] are in the sum, and each one beyond may take [`TARGET_BYTES`] more.

use pipeline::Config as Pipeline;
use pipeline::encode::Encoding;
use pipeline::journal::PENDING_BYTES_MAX;
use pipeline::model::series::LABEL_BYTES;

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
/// of rows, in the open batch and in the columns of an object. Measured: 116 bytes with one line, labels and eight samples.
const SERIES_BYTES: u64 = 256;

/// How often the labels of a series are held: in the table; and again in an object's dictionaries while it is made, or in an
/// entry of the journal when they are new.
const LABEL_COPIES: u64 = 2;

/// A sample that was read, and what is kept of it: series, timestamp and value, twice.
const PARSED_BYTES: u64 = 40;

/// A sample in the open batch: 20 where it comes with other series each time and a timestamp of its own, and what its vectors have
/// in reserve; 32 while it is put in order, if it was not.
const ROW_BYTES: u64 = 60;

/// A row beside the text that is made of it: its value once more.
const TEXT_ROW_BYTES: u64 = 8;

/// A row of an object whose values are noise: value and timestamp, which no compression makes smaller.
const OBJECT_ROW_BYTES: u64 = 16;

/// Text and meaning of the longest list that discovery reads (32 MiB): a page of a Kubernetes list, a file, an answer of
/// an HTTP server.
const LIST_BYTES: u64 = 64 << 20;

/// A row of a Kubernetes event with the longest texts that are kept.
const EVENT_BYTES: u64 = 4 << 10;

/// Of them, those between the watches and the rows.
const EVENTS_BROUGHT: u64 = 1 << 10;

/// Something that was shipped: in the table of hashes, and as a line of the position.
const REMEMBERED_BYTES: u64 = 64;

/// Pods of a large cluster, and what is known of each.
const EVENTS_PODS: u64 = 20_000;
const OWNER_BYTES: u64 = 512;

/// What an allocator holds without anybody using it, as a share of the whole: one part in so many.
const SLACK: u64 = 8;

/// The bound, bytes.
pub(crate) fn bytes_max(config: &Config) -> u64 {
    let pipeline = &config.pipeline;
    let parts = [
        BASE_BYTES,
        pipeline.limits.max_body_bytes.0,
        if pipeline.host_metrics.enabled { pipeline::host::MEMORY_BYTES_MAX } else { 0 },
        targets(pipeline).saturating_mul(TARGET_BYTES),
        pipeline.limits.max_series.saturating_mul(SERIES_BYTES + LABEL_COPIES * LABEL_BYTES),
        rows(pipeline),
        objects(pipeline),
        u64::from(PENDING_BYTES_MAX),
        lists(pipeline).saturating_mul(LIST_BYTES),
        if config.watches_events() { events(&pipeline.kubernetes_events) } else { 0 },
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
    // A scrape may bring as many as a batch holds.
    let of_text = if pipeline.encoding == Encoding::VectorJson { TEXT_ROW_BYTES } else { 0 };
    pipeline.batch.max_rows.saturating_mul(2 * ROW_BYTES + PARSED_BYTES + of_text)
}

/// Kubernetes events: rows that are open and those being sealed, what was brought and waits, what is remembered (twice while it is
/// written), pods with their owners, and pages of the two lists.
fn events(section: &pipeline::kube_events::Config) -> u64 {
    let rows = (2 * section.max_object_rows as u64).saturating_add(EVENTS_BROUGHT);
    let remembered = (section.max_remembered as u64).saturating_mul(2 * REMEMBERED_BYTES);
    rows.saturating_mul(EVENT_BYTES)
        .saturating_add(remembered)
        .saturating_add(EVENTS_PODS * OWNER_BYTES)
        .saturating_add(2 * LIST_BYTES)
}

/// Objects in the queue, the one being made, and the one being written or sent.
fn objects(pipeline: &Pipeline) -> u64 {
    if pipeline.encoding == Encoding::VectorJson {
        // One more: while text is made, its memory doubles; and while it is compressed, it is there twice.
        return pipeline.vector_json.cut().saturating_mul(OBJECTS_MAX as u64 + 3);
    }
    let of_noise = pipeline.batch.max_rows.saturating_mul(OBJECT_ROW_BYTES);
    pipeline.batch.max_bytes.0.max(of_noise).saturating_mul(OBJECTS_MAX as u64 + 2)
}

/// Sources that are read as a whole. Jobs with the same section of Kubernetes share its watches.
fn lists(pipeline: &Pipeline) -> u64 {
    let jobs = &pipeline.scrape_configs;
    let mut sections = Vec::new();
    for section in jobs.iter().flat_map(|job| &job.kubernetes_sd_configs) {
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    let others = jobs.iter().map(|job| job.http_sd_configs.len() + job.file_sd_configs.len());
    (sections.len() + others.sum::<usize>()) as u64
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
            84 << 20,            // the host
            1_000 * (128 << 10), // targets
            5_000_000 * 768,     // series
            160 * 2_000_000,     // rows
            4 * 32_000_000,      // objects
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
        config.pipeline.batch.max_bytes.0 = 0;
        config.pipeline.batch.max_rows = 2_000_000;
        let parquet = bytes_max(&config);
        config.pipeline.encoding = Encoding::VectorJson;
        let (rows, text) = (8 * 2_000_000, 5 * (20 << 20));
        let expected = parquet + (rows + text) * 9 / 8 - 4 * 32_000_000 * 9 / 8;
        assert!(bytes_max(&config).abs_diff(expected) < 9, "{} {expected}", bytes_max(&config));
        config.pipeline.vector_json.max_bytes.0 *= 100;
        grows(&config, "vector_json.max_bytes");
        config.pipeline.kubernetes_events.enabled = true;
        grows(&config, "kubernetes_events");
        config.pipeline.kubernetes_events.max_remembered *= 2;
        grows(&config, "kubernetes_events.max_remembered");
    }
}
