//! Two sides that hold the same give nothing; each change that is made is found, by its name, and nothing else is.

use proptest::prelude::*;
use serde_json::json;
use support::objects::{self, Row as Written};

use super::*;

const FROM: i64 = 1_795_303_000_000;
const MINUTE: i64 = 60_000;
const COUNT: i64 = 20;

/// A series that is made up.
#[derive(Clone, Debug)]
struct Made {
    name: String,
    kind: &'static str,
    labels: Vec<(String, String)>,
    samples: Vec<Sample>,
}

/// One of each kind, `count` of each; every name has several series.
fn made(count: usize, start: i64, interval: i64) -> Vec<Made> {
    let mut all = Vec::new();
    for number in 0..count {
        let base = number as f64 + 1.0;
        let value = |kind: usize, time: i64| {
            let seconds = (time - FROM) as f64 / 1000.0;
            match kind {
                0 => 7.0 * base,
                1 => 1e6 * base + base * seconds,
                2 => 100.0 * base + (seconds / 90.0).sin() * base,
                _ => f64::NAN,
            }
        };
        for (kind, name) in ["constant", "requests_total", "waves", "nothing"].into_iter().enumerate() {
            let times =
                (0..FROM + COUNT * MINUTE - start).step_by(interval as usize).map(|time| start + time);
            all.push(Made {
                name: name.to_owned(),
                kind: if kind == 1 { "counter" } else { "gauge" },
                labels: vec![
                    ("id".to_owned(), number.to_string()),
                    ("path".to_owned(), format!("/a\"b\\c\n{number}")),
                ],
                samples: times.map(|time| (time, value(kind, time))).collect(),
            });
        }
    }
    all
}

fn parquet(all: &[Made]) -> Bytes {
    let row = |made: &Made, (timestamp, value): Sample| Written {
        timestamp,
        metric: made.name.clone(),
        kind: made.kind.to_owned(),
        promoted: [("job", "j"), ("node", "n1"), ("instance", "i"), ("cluster_id", "c")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        labels: made.labels.iter().cloned().collect(),
        value,
    };
    let rows: Vec<_> =
        all.iter().flat_map(|made| made.samples.iter().map(|sample| row(made, *sample))).collect();
    objects::write(&rows).unwrap()
}

fn vector(all: &[Made]) -> Bytes {
    let element = |made: &Made, (time, value): Sample| {
        let mut tags: serde_json::Map<_, _> =
            made.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        tags.extend([("collector", "j"), ("host", "n1"), ("ts", "1")].map(|(n, v)| (n.to_owned(), json!(v))));
        let time = jiff::Timestamp::from_millisecond(time).unwrap().to_string();
        let value = json!({"value": if value.is_finite() { json!(value) } else { json!(null) }});
        json!({"name": made.name, "tags": tags, "timestamp": time, "kind": "absolute", made.kind: value})
    };
    let all: Vec<_> =
        all.iter().flat_map(|made| made.samples.iter().map(|sample| element(made, *sample))).collect();
    serde_json::to_vec(&all).unwrap().into()
}

fn compare(old: &Bytes, new: &Bytes) -> BTreeMap<String, Row> {
    let range = (FROM, FROM + COUNT * MINUTE);
    let mut state = State {
        identities: Identities::new(&[]),
        select: Selector::default(),
        range,
        table: Table::new(10_000),
    };
    state.take(Side::Old, old).0.unwrap();
    state.take(Side::New, new).0.unwrap();
    let mut rows = state.table.rows(Judging { range, slack: 0, examples: 1 });
    rows.retain(|_, row| row.is_bad() || row.extra + row.edge > 0);
    rows
}

#[test]
fn the_same_in_both_encodings_is_the_same() {
    let all = made(3, FROM, MINUTE);
    let (parquet, vector) = (parquet(&all), vector(&all));
    for (old, new) in [(&parquet, &vector), (&vector, &parquet), (&parquet, &parquet), (&vector, &vector)] {
        assert_eq!(compare(old, new), BTreeMap::new());
    }
}

#[test]
fn a_histogram_and_a_summary_are_the_series_of_the_text_format() {
    let time = "2026-11-21T23:16:41Z";
    let vector = json!([
        {"name": "h", "tags": {"a": "b"}, "timestamp": time, "kind": "absolute", "aggregated_histogram":
            {"buckets": [{"upper_limit": 0.1, "count": 10}, {"upper_limit": 1.0, "count": 5}], "count": 17, "sum": 8.25}},
        {"name": "s", "tags": {}, "timestamp": time, "kind": "absolute", "aggregated_summary":
            {"quantiles": [{"quantile": 0.5, "value": 0.05}], "count": 4, "sum": 1.5}},
    ]);
    let text = [
        ("h_bucket", "histogram", Some(("le", "0.1")), 10.0),
        ("h_bucket", "histogram", Some(("le", "1.0")), 15.0),
        ("h_bucket", "histogram", Some(("le", "+Inf")), 17.0),
        ("h_sum", "histogram", None, 8.25),
        ("h_count", "histogram", None, 17.0),
        ("s", "summary", Some(("quantile", "0.50")), 0.05),
        ("s_sum", "summary", None, 1.5),
        ("s_count", "summary", None, 4.0),
    ];
    let ours = text.map(|(name, kind, label, value)| {
        let mut labels =
            if name.starts_with('h') { vec![("a".to_owned(), "b".to_owned())] } else { Vec::new() };
        labels.extend(label.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Made { name: name.to_owned(), kind, labels, samples: vec![(FROM + 1000, value)] }
    });
    let vector = Bytes::from(vector.to_string());
    assert_eq!(compare(&vector, &parquet(&ours)), BTreeMap::new());
    let mut wrong = ours.clone();
    wrong[1].samples[0].1 = 5.0;
    let found = compare(&vector, &parquet(&wrong));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["h_bucket"], "a bucket that is not cumulative");
}

/// What is done to one series of the new side.
#[derive(Clone, Copy, Debug)]
enum Change {
    Drop,
    Add,
    Relabel,
    Larger,
    Stop,
    Hole,
    Empty,
}

fn change(all: &mut Vec<Made>, at: usize, change: Change) {
    match change {
        Change::Drop => drop(all.remove(at)),
        Change::Add => {
            let mut made = all[at].clone();
            made.labels.push(("new".to_owned(), "1".to_owned()));
            all.push(made);
        }
        Change::Relabel => all[at].labels[0].1.push('x'),
        Change::Larger => all[at].samples.iter_mut().for_each(|sample| sample.1 *= 1.5),
        Change::Stop => all[at].samples.truncate(8),
        Change::Hole => drop(all[at].samples.drain(4..12)),
        Change::Empty => all[at].samples.iter_mut().for_each(|sample| sample.1 = f64::NAN),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two agents that look at other moments, and as often as they like, see the same.
    #[test]
    fn other_moments_make_no_difference(
        count in 1_usize..5, late in 0..MINUTE, interval in prop_oneof![Just(15_000), Just(30_000), Just(60_000)],
    ) {
        let (old, new) = (made(count, FROM, MINUTE), made(count, FROM + late, interval));
        let found = compare(&vector(&old), &parquet(&new));
        prop_assert_eq!(found, BTreeMap::new());
    }

    /// Whatever is done to one series is found, under its name, and nothing else is.
    #[test]
    fn a_change_is_found_by_its_name(
        count in 1_usize..5, at in any::<prop::sample::Index>(), late in 0..MINUTE,
        kind in prop_oneof![
            Just(Change::Drop), Just(Change::Add), Just(Change::Relabel), Just(Change::Larger), Just(Change::Stop),
            Just(Change::Hole), Just(Change::Empty),
        ],
        to_vector in any::<bool>(),
    ) {
        let (old, mut new) = (made(count, FROM, MINUTE), made(count, FROM + late, MINUTE));
        let at = at.index(new.len());
        let name = new[at].name.clone();
        change(&mut new, at, kind);
        let (old, new) = match to_vector {
            true => (parquet(&old), vector(&new)),
            false => (vector(&old), parquet(&new)),
        };
        let found = compare(&old, &new);
        // What is no number is no number, be it multiplied or not.
        if name == "nothing" && matches!(kind, Change::Larger | Change::Empty) {
            prop_assert_eq!(found, BTreeMap::new());
            return Ok(());
        }
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), [&name]);
        let row = &found[&name];
        let numbers = (row.missing, row.extra, row.differ, row.holes);
        let expected = match kind {
            Change::Drop => (1, 0, 0, 0),
            Change::Add => (0, 1, 0, 0),
            Change::Relabel => (1, 1, 0, 0),
            Change::Larger | Change::Empty => (0, 0, 1, 0),
            // A counter of which less is seen has also grown less.
            Change::Stop => (0, 0, row.differ, 1),
            Change::Hole => (0, 0, 0, 1),
        };
        prop_assert_eq!(numbers, expected, "{:?} {:?}", kind, row);
        let example = &row.examples[0];
        prop_assert!(example.series.starts_with(&format!("{name}{{id=")), "{:?}", example);
    }
}

fn arguments(old: &std::path::Path, new: &std::path::Path) -> Arguments {
    use clap::Parser;
    let [old, new] = [old, new].map(|path| path.display().to_string());
    let range = ["--from", "2026-11-21T23:16:40Z", "--to", "2026-11-21T23:36:40Z"];
    let line = [&["agent", "compare", &old, &new][..], &range].concat();
    match crate::cli::Cli::parse_from(line).command {
        Some(crate::cli::Command::Compare(arguments)) => *arguments,
        other => panic!("{other:?}"),
    }
}

fn write(dir: &std::path::Path, name: &str, bytes: &[u8]) {
    let path = dir.join("1795303300").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// As the migration has it: otherwise the old side would have all that the new one has, and no value could differ.
#[tokio::test]
async fn a_place_below_the_other_is_not_a_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (outer, inner) = (dir.path().to_owned(), dir.path().join("parquet"));
    let mut all = made(2, FROM, MINUTE);
    write(&outer, "1795303300-5c0e.log", &vector(&all));
    for made in all.iter_mut().filter(|made| made.name == "constant") {
        made.samples.iter_mut().for_each(|(_, value)| *value += 1.0);
    }
    write(&inner, "w0-1.parquet", &parquet(&all));
    for (old, new) in [(&outer, &inner), (&inner, &outer)] {
        let mut out = Vec::new();
        assert!(!run(&arguments(old, new), None, 0, &mut out, &mut io::sink()).await.unwrap());
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("the new side lacks 0 series, differs in 2 and has holes in 0\n"), "{text}");
    }
}

#[tokio::test]
async fn a_comparison_of_directories_as_it_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let mut all = made(2, FROM, MINUTE);
    write(&old, "1795303300-5c0e.log", &vector(&all));
    write(&old, "broken.log", b"[{\"name\":");
    write(&old, "notes.txt", b"");
    all.truncate(6);
    write(&new, "w0-1.parquet", &parquet(&all));
    let arguments = Arguments { select: "{__name__!=\"nothing\"}".parse().ok(), ..arguments(&old, &new) };
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let well = run(&arguments, None, 0, &mut out, &mut progress).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!well, "{text}");
    let line = |start: &str| {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}: {text}"))
    };
    assert!(
        line("waves").contains("missing: waves{id=\"1\",path=") && line("waves").contains("old 1"),
        "{text}"
    );
    assert!(!text.contains("nothing"), "{text}");
    let words: Vec<_> = line("all metrics").split_whitespace().skip(2).collect();
    assert_eq!(words, ["6", "5", "5", "1", "0", "0", "0"], "{text}");
    assert!(
        text.contains("broken.log: cannot be read as Vector's JSON") && text.contains("1 files passed over")
    );
    assert!(text.ends_with("the new side lacks 1 series, differs in 0 and has holes in 0\n"), "{text}");
    assert!(String::from_utf8(progress).unwrap().contains("2 objects"));
    let json = Arguments { format: crate::cli::Shape::Json, ..arguments.clone() };
    let mut out = Vec::new();
    run(&json, None, 0, &mut out, &mut io::sink()).await.unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&value["totals"]["missing"], &value["old"]["unreadable"]),
        (&json!(1), &json!(1)),
        "{value:#}"
    );
    let few = Arguments { max_series: 3, ..arguments.clone() };
    let mut out = Vec::new();
    assert!(!run(&few, None, 0, &mut out, &mut io::sink()).await.unwrap());
    assert!(String::from_utf8(out).unwrap().contains("beyond --max-series 3"));
    let backwards = Arguments { to: Moment::At(0), ..arguments };
    let refused = run(&backwards, None, 0, &mut Vec::new(), &mut io::sink()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
}
