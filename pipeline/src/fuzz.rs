//! Fuzz targets: what must hold for any bytes that others send us.
//!
//! Each target takes bytes and panics where something is not as it must be. `tests/fuzz` runs them guided by coverage; the
//! tests below run them over the corpus that is kept there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Registry;

pub use crate::discovery::fuzz::{lists, watch};
use crate::encode::{self, Compression, Encoder};
pub use crate::journal::fuzz::journal;
use crate::metrics::{Metrics, reason};
use crate::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use crate::model::sample::SeriesTable;
use crate::model::scrape::{Exposition, Scrape};
use crate::model::target::{self, Job, Target};
use crate::relabel::{Action, RelabelConfig, Rules};
use crate::worker::{Settings, Worker};
use crate::{Limits, batch};

/// When the scrapes of [`exposition`] are made.
const TIME: i64 = 1_700_000_000_000;

/// The settings of a job, each chosen by one bit.
fn job(bits: u8) -> Job {
    let on = |bit: u8| bits >> bit & 1 == 1;
    let rules = RelabelConfig {
        source_labels: vec![METRIC_NAME.to_owned()],
        regex: "go_.*|b".to_owned(),
        action: Action::Drop,
        ..RelabelConfig::default()
    };
    let moved = RelabelConfig {
        source_labels: vec!["a".to_owned()],
        target_label: METRIC_NAME.to_owned(),
        ..RelabelConfig::default()
    };
    let rules = if on(2) { vec![rules, moved] } else { Vec::new() };
    let limits = match on(3) {
        true => target::Limits { samples: 5, labels: 6, label_name_bytes: 20, label_value_bytes: 30 },
        false => target::Limits::default(),
    };
    Job {
        name: "j".to_owned(),
        honor_labels: on(0),
        honor_timestamps: on(1),
        metric_relabel: Rules::compile(&rules).unwrap_or_default(),
        limits,
        optional: false,
    }
}

/// A body on its way through the worker: read, relabelled, batched, encoded. The first byte chooses the job's settings. The
/// ledger closes, labels are in order, and the object is the same however often it is made.
pub fn exposition(data: &[u8]) {
    let Some((bits, body)) = data.split_first() else { return };
    let (registry, config) =
        (Registry::new(), encode::Config { compression: Compression::None, ..Default::default() });
    let (Ok(metrics), Ok(encoder)) = (Metrics::new(&registry), Encoder::new(&config, "w0", "c1")) else {
        return;
    };
    let metrics = Arc::new(metrics);
    let external = Labels::from_pairs([("cluster_id", "c1"), ("zone", "z")]);
    let limits = Limits { max_series: 50, ..Limits::default() };
    let settings = Settings { batch: batch::Config::default(), limits, external, next_sequence: 1 };
    let mut worker = Worker::new(settings, encoder, Arc::clone(&metrics));
    let labels = Labels::from_pairs([("job", "j"), ("instance", "i")]);
    let target =
        Target::new(Arc::new(job(*bits)), labels, Labels::default().into(), "http://i/metrics".to_owned());
    let target = Arc::new(target);
    for round in 0..3 {
        // The second time every line is known, the third half of them are gone.
        let half = if round == 2 { body.len() / 2 } else { 0 };
        let body = Bytes::copy_from_slice(body.get(half..).unwrap_or_default());
        let outcome = Ok(Exposition { body, permit: None });
        let time = TIME + round * 15_000;
        worker.take(
            Scrape { target: Arc::clone(&target), time, duration: Duration::ZERO, outcome },
            Instant::now(),
        );
    }
    let batched = {
        let (batch, table) = worker.open();
        batch.series().iter().for_each(|id| check_labels(table.get(*id).map(|series| &series.labels)));
        check_table(table);
        batch.len() as u64
    };
    let dropped: u64 =
        reason::ALL.iter().map(|r| metrics.samples_dropped.with_label_values(&[r]).get()).sum();
    let taken = metrics.samples_scraped.get() + metrics.samples_reported.get();
    assert_eq!(taken, batched + dropped, "the ledger does not close");
    let preview = worker.preview();
    let sealed = worker.seal();
    assert_eq!(preview, sealed, "the same batch gave other bytes");
    assert_eq!(sealed.map(|object| object.samples), Some(metrics.samples_sealed.get()));
    let duplicates = metrics.samples_dropped.with_label_values(&[reason::DUPLICATE]).get();
    assert!(metrics.samples_sealed.get() + duplicates >= batched, "samples went without a word");
}

/// A series that is shipped: its labels in order, each once, none empty, and a name among them.
fn check_labels(labels: Option<&Labels>) {
    let pairs: Vec<_> = labels.map(|labels| labels.iter().collect()).unwrap_or_default();
    assert!(pairs.is_sorted_by(|(a, _), (b, _)| a < b), "{pairs:?}");
    assert!(pairs.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "{pairs:?}");
    assert!(pairs.iter().any(|(name, _)| *name == METRIC_NAME), "{pairs:?}");
    let cluster = pairs.iter().find(|(name, _)| *name == "cluster_id");
    assert_eq!(cluster.map(|(_, value)| *value), Some("c1"), "{pairs:?}");
}

fn check_table(table: &SeriesTable) {
    assert!(table.len() <= 50 + crate::report::NAMES.len(), "{} series", table.len());
}

/// A relabelling rule (its keys a line each: action, regular expression, replacement, target label, source labels) and
/// the labels that it is applied to (`name=value` lines): twice the same, and a label set afterwards.
pub fn relabel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let [action, regex, replacement, target_label, sources] = std::array::from_fn(|_| next());
    let config = RelabelConfig {
        action: serde_norway::from_str(&action).unwrap_or_default(),
        regex,
        replacement,
        target_label,
        source_labels: sources.split(',').map(str::to_owned).collect(),
        modulus: 7,
        ..RelabelConfig::default()
    };
    let rules = [config, RelabelConfig { target_label: "a".to_owned(), ..RelabelConfig::default() }];
    let Ok(rules) = Rules::compile(&rules) else { return };
    let mut labels = LabelsBuilder::default();
    lines.filter_map(|line| line.split_once('=')).for_each(|(name, value)| labels.set(name, value));
    let before = labels.build();
    let kept = rules.apply(&mut labels);
    let after = labels.build();
    let pairs: Vec<_> = after.iter().collect();
    assert!(pairs.is_sorted_by(|(a, _), (b, _)| a < b), "{pairs:?}");
    assert_eq!(after, Labels::from_pairs(pairs), "a set that is none");
    let mut again = LabelsBuilder::from_labels(&before);
    assert_eq!((rules.apply(&mut again), again.build()), (kept, after), "not the same the second time");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs a target over its corpus.
    fn replay(name: &str, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
        let mut count = 0;
        for entry in std::fs::read_dir(&corpus).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} is empty", corpus.display());
    }

    #[test]
    fn expositions_of_the_corpus() {
        replay("exposition", super::exposition);
    }

    #[test]
    fn relabelling_rules_of_the_corpus() {
        replay("relabel", super::relabel);
    }

    #[test]
    fn journals_of_the_corpus() {
        replay("journal", super::journal);
    }

    #[test]
    fn lists_of_targets_of_the_corpus() {
        replay("lists", super::lists);
    }

    #[test]
    fn watches_of_the_corpus() {
        replay("watch", super::watch);
    }
}
