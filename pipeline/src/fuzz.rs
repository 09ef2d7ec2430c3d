//! Fuzz targets: what must hold for any bytes that others send us.
//!
//! Each target takes bytes and panics where something is not as it must be. `tests/fuzz` runs them guided by coverage; the
//! tests below run them over the corpus that is kept there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Registry;

pub use crate::discovery::fuzz::{lists, watch};
use crate::encode::{self, Compression, Encoder, Numbers};
pub use crate::host::fuzz::host;
pub use crate::journal::fuzz::journal;
pub use crate::kube_events::fuzz::kube_events;
use crate::metrics::{Metrics, reason};
use crate::model::batch::Batch;
use crate::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use crate::model::sample::{Exposed, Refusal, Samples, Slot};
use crate::model::scrape::{Exposition, Scrape};
use crate::model::series::{SeriesRef, SeriesTable};
use crate::model::target::{self, Job, Target};
use crate::parse::{self, Cache, Lines, Progress, Secret};
use crate::relabel::{Action, RelabelConfig, Rules};
use crate::selector::Selector;
use crate::worker::fuzz::check_alike;
use crate::worker::{Settings, Worker};
use crate::{Limits, batch, decode};

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
/// ledger closes, pieces are read as the whole, lines that are written alike lead where the simple way does, labels are in
/// order, and the object is the same however often it is made.
pub fn exposition(data: &[u8]) {
    let Some((bits, body)) = data.split_first() else { return };
    check_pieces(body);
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
    let half = body.get(body.len() / 2..).unwrap_or_default();
    check_alike(
        &target,
        &Labels::from_pairs([("cluster_id", "c1"), ("zone", "z")]),
        [(body, body.len()), (half, 64), (body, 100), (body, body.len())],
    );
    for round in 0..3 {
        // The second time every line is known, the third half of them are gone.
        let half = if round == 2 { body.len() / 2 } else { 0 };
        let body = Bytes::copy_from_slice(body.get(half..).unwrap_or_default());
        let outcome = Ok(Exposition::whole(body));
        let time = TIME + round * 15_000;
        worker.take(
            Scrape { target: Arc::clone(&target), time, duration: Duration::ZERO, outcome },
            Instant::now(),
        );
    }
    let batched = {
        let (batch, table) = worker.open();
        batch.series().for_each(|id| check_labels(table.get(id)));
        check_table(table);
        check_vector(batch, table);
        batch.len() as u64
    };
    let dropped: u64 =
        reason::ALL.iter().map(|r| metrics.samples_dropped.with_label_values(&[r]).get()).sum();
    let taken = metrics.samples_scraped.get() + metrics.samples_reported.get();
    assert_eq!(taken, batched + dropped, "the ledger does not close");
    let mut preview = None;
    worker.preview(|object| preview = Some(object));
    let sealed = worker.seal();
    assert_eq!(preview, sealed, "the same batch gave other bytes");
    assert_eq!(sealed.map(|object| object.samples), Some(metrics.samples_sealed.get()));
    let duplicates = metrics.samples_dropped.with_label_values(&[reason::DUPLICATE]).get();
    assert!(metrics.samples_sealed.get() + duplicates >= batched, "samples went without a word");
}

/// As Vector would have written it, it is JSON, and has every sample.
fn check_vector(batch: &Batch, table: &SeriesTable) {
    let (mut samples, mut encoder) = (0, Encoder::vector(&encode::vector::Config::default()));
    let encoded = encoder.encode(batch, table, Numbers { first: 1, last: 9 }, &mut |object| {
        let elements: Result<Vec<serde_json::Value>, _> = serde_json::from_slice(&object.bytes);
        assert!(elements.is_ok_and(|elements| elements.len() as u64 <= object.samples), "no JSON");
        samples += object.samples;
    });
    assert!(
        encoded.is_ok_and(|encoded| samples + encoded.duplicates == batch.len() as u64),
        "samples are lost"
    );
}

/// A body that comes in pieces is read as the whole. Each piece says by its first byte how long it is.
fn check_pieces(body: &[u8]) {
    let new = || (Cache::new(Secret::random(), Lines::new(20)), Progress::default(), 0);
    let ((mut cache, mut whole, mut series), (mut cache_pieces, mut pieces, mut series_pieces)) =
        (new(), new());
    let resolve = |exposed: Exposed<'_>, series: &mut u32| {
        *series += 1;
        match exposed.labels.get(METRIC_NAME) {
            "a" => Ok(Slot::DROPPED),
            "b" => Err(Refusal::Line("b")),
            _ => Ok(Slot(*series)),
        }
    };
    for round in 0..4 {
        let body = body.get(if round == 2 { body.len() / 2 } else { 0 }..).unwrap_or_default();
        let expected = parse::read(body, &mut cache, 30, &mut whole, |e| resolve(e, &mut series));
        pieces.begin(&mut cache_pieces);
        let mut rest = body;
        while let Some(first) = rest.first() {
            let (piece, after) = rest.split_at_checked(1 + usize::from(first % 64)).unwrap_or((rest, &[]));
            pieces.piece(piece, &mut cache_pieces, 30, |e| resolve(e, &mut series_pieces));
            rest = after;
        }
        let found = pieces.finish(&mut cache_pieces, 30, |e| resolve(e, &mut series_pieces));
        assert_eq!(found, expected, "pieces are not the whole");
        let bits = |samples: &Samples| samples.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let (found, expected) = (&pieces.samples, &whole.samples);
        assert_eq!((&found.slots, &found.timestamps), (&expected.slots, &expected.timestamps));
        assert_eq!((bits(found), found.is_as_before), (bits(expected), expected.is_as_before));
        [&mut cache, &mut cache_pieces].into_iter().filter(|cache| cache.has_idle()).for_each(Cache::prune);
    }
}

/// A series that is shipped: its labels in order, each once, none empty, and a name among them.
fn check_labels(series: Option<SeriesRef<'_>>) {
    let pairs: Vec<_> = series.map(|series| series.labels().collect()).unwrap_or_default();
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

/// A selector: refused with words, or written as it can be read again, with the same meaning.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let selector = match text.parse::<Selector>() {
        Ok(selector) => selector,
        Err(problem) => {
            assert!(problem.contains("write it like") || problem.contains("at most"), "{problem}");
            return;
        }
    };
    let written = selector.to_string();
    let again = written.parse::<Selector>().map_err(|problem| format!("{written}: {problem}"));
    assert_eq!(again.as_ref().map(ToString::to_string), Ok(written));
    for value in ["", "a", "up", "dcgm", text] {
        let taken = selector.takes(|_| value);
        assert!(again.as_ref().is_ok_and(|again| again.takes(|_| value) == taken), "{value:?}");
    }
}

/// An object of Vector's: read to its end or to what cannot be read, with every series in order and every sample counted.
pub fn vector(data: &[u8]) {
    let mut given = 0;
    let read = decode::read(&Bytes::copy_from_slice(data), &mut |series, samples| {
        given += samples.len() as u64;
        let pairs: Vec<_> = series.labels.iter().collect();
        assert!(pairs.is_sorted_by(|(a, _), (b, _)| a < b), "{pairs:?}");
        assert!(pairs.iter().any(|(name, _)| *name == METRIC_NAME), "{pairs:?}");
    });
    match read {
        Ok(counts) => assert_eq!(counts.samples, given),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
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
    fn files_of_hosts_of_the_corpus() {
        replay("host", super::host);
    }

    #[test]
    fn selectors_of_the_corpus() {
        replay("selector", super::selector);
    }

    #[test]
    fn objects_of_vector_of_the_corpus() {
        replay("vector", super::vector);
    }

    #[test]
    fn kubernetes_events_of_the_corpus() {
        replay("kube_events", super::kube_events);
    }

    #[test]
    fn watches_of_the_corpus() {
        replay("watch", super::watch);
    }
}
