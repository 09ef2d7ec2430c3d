//! Lines that are written like one before them take a short way to their series. The simple way, for each line, is the oracle:
//! see [`super::fuzz`].

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::intern::{Resolver, TargetSeries};
use crate::model::alike::{Alike, Kinds, Resolve};
use crate::model::labels::LabelsBuilder;
use crate::model::sample::{Exposed, MetricType, Refusal, Samples, Slot};

const NAMES: [&str; 11] =
    ["drop", "a", "a_total", "a_b", "h_bucket", "h_sum", "h_count", "x:y", "9a", "a-b", ""];

const LABELS: [&str; 13] = [
    "x",
    "y",
    "le",
    "long_name_of_a_label",
    "job",
    "instance",
    "exported_job",
    "exported_exported_job",
    "cluster_id",
    "exported_cluster_id",
    "zone",
    "__name__",
    "9x",
];

/// As they are written.
const VALUES: [&[u8]; 21] = [
    b"",
    b"",
    b"1",
    b"1",
    b"2",
    b"3",
    b"12",
    b"a longer value, that one word does not hold",
    b"a longer value, that one word does not hald",
    "ü€".as_bytes(),
    b"\xff",
    b"\xc3",
    b"a\\\"b",
    b"a\\",
    b"\\n",
    b"} 1",
    b"{x=",
    b"\x010",
    b"\x011",
    b",",
    b"own",
];

/// Between two labels, before them and behind them. The first is the plain way.
const COMMAS: [&str; 4] = [",", " ,", ", ", ",,"];
const OPENINGS: [&str; 3] = ["{", " {", "{ "];
const CLOSINGS: [&str; 3] = ["}", ",}", " }"];
const TYPES: [&str; 6] = [
    "# TYPE a counter\n",
    "# TYPE a gauge\n",
    "# TYPE h histogram\n",
    "# TYPE h summary\n",
    "# TYPE x:y gauge\n",
    "# HELP a b\n",
];

/// Mostly the first.
fn mostly<T: Clone + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop_oneof![12 => Just(all[0].clone()), 1 => select(all)]
}

/// One line: which label names it has of those that its body has, which name, and what they say.
#[derive(Clone, Debug)]
struct Line {
    names: usize,
    metric: &'static str,
    values: Vec<&'static [u8]>,
    comma: &'static str,
    opening: &'static str,
    closing: &'static str,
    tail: &'static str,
}

impl Line {
    fn write(&self, names: &[Vec<&str>], body: &mut Vec<u8>) {
        body.extend_from_slice(self.metric.as_bytes());
        let names = &names[self.names % names.len()];
        for (at, name) in names.iter().enumerate() {
            let before = if at == 0 { self.opening } else { self.comma };
            body.extend_from_slice(format!("{before}{name}=\"").as_bytes());
            body.extend_from_slice(self.values[at]);
            body.push(b'"');
        }
        if !names.is_empty() {
            body.extend_from_slice(self.closing.as_bytes());
        }
        body.extend_from_slice(self.tail.as_bytes());
    }
}

fn line() -> impl Strategy<Value = Line> {
    let metric = prop_oneof![8 => select(&NAMES[..6]), 1 => select(&NAMES[..])];
    let values = prop::collection::vec(prop_oneof![5 => select(&VALUES[1..8]), 1 => select(&VALUES[..])], 4);
    let tails = mostly(&[
        " 1\n",
        " 2 17\n",
        " {} 1\n",
        "\t1\n",
        "1\n",
        "\n",
        "  3 \r\n",
        " x\n",
        " 1 # {a=\"\"} 2\n",
    ]);
    let written = (mostly(&COMMAS), mostly(&OPENINGS), mostly(&CLOSINGS), tails);
    (0..3_usize, metric, values, written).prop_map(
        |(names, metric, values, (comma, opening, closing, tail))| Line {
            names,
            metric,
            values,
            comma,
            opening,
            closing,
            tail,
        },
    )
}

/// A body of lines with few sets of label names, as bodies have, some `# TYPE` lines among them.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let names =
        prop::collection::vec(prop_oneof![4 => select(&LABELS[..11]), 1 => select(&LABELS[..])], 0..5);
    let lines = prop::collection::vec((line(), prop_oneof![6 => Just(""), 1 => select(&TYPES[..])]), 0..25);
    (prop::collection::vec(names, 1..4), lines).prop_map(|(names, lines)| {
        let mut body = Vec::new();
        for (line, declared) in &lines {
            body.extend_from_slice(declared.as_bytes());
            line.write(&names, &mut body);
        }
        body
    })
}

/// A target whose job has what these bits say.
fn target_of(bits: u8) -> Target {
    let on = |bit: u8| bits >> bit & 1 == 1;
    let metric_relabel = match (on(1), on(2)) {
        (false, _) => Rules::default(),
        (true, false) => rules("[{source_labels: [__name__, x], regex: '.*;2', action: drop}]"),
        (true, true) => rules(
            "[{source_labels: [__name__], regex: 'drop|h_.*', action: drop}, \
             {source_labels: [__name__], regex: a_b, action: drop}]",
        ),
    };
    let limits = match on(3) && on(4) {
        true => JobLimits { samples: 12, labels: 6, label_name_bytes: 12, label_value_bytes: 9 },
        false => JobLimits { samples: if on(3) { 20 } else { 0 }, ..JobLimits::default() },
    };
    let job = Job { honor_labels: on(0), metric_relabel, limits, ..plain() };
    let mut labels = LabelsBuilder::from_labels(&Labels::from_pairs([("job", "j"), ("instance", "i")]));
    if on(5) {
        labels.set("x", "own");
    }
    if on(6) && on(7) {
        labels.set("le", "\u{1}0");
    }
    Target::new(Arc::new(job), labels.build(), Labels::default().into(), "http://i/metrics".to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_short_way_leads_where_the_simple_one_does(
        bits in any::<u8>(),
        bodies in prop::collection::vec((body(), select(&[50, 300, 10_000][..])), 1..4),
    ) {
        let external = Labels::from_pairs([("cluster_id", "c1"), ("zone", "z")]);
        fuzz::check_alike(&target_of(bits), &external, bodies.iter().map(|(body, piece)| (body.as_slice(), *piece)));
    }
}

/// Counts the lines that take the simple way.
struct Counting<'a>(Resolver<'a>, usize);

impl Resolve for Counting<'_> {
    fn resolve(&mut self, exposed: Exposed<'_>) -> Result<Slot, Refusal> {
        self.1 += 1;
        self.0.resolve(exposed)
    }

    fn knows_alike(&self) -> bool {
        self.0.knows_alike()
    }

    fn resolve_alike(&mut self, alike: &Alike<'_>, kinds: &mut Kinds) -> Option<Slot> {
        self.0.resolve_alike(alike, kinds)
    }

    fn learn<'n>(
        &mut self,
        slot: Slot,
        alike: &Alike<'_>,
        names: impl Iterator<Item = &'n str>,
        kinds: &mut Kinds,
    ) {
        self.0.learn(slot, alike, names, kinds);
    }
}

/// How many lines of a body take the simple way.
fn simple(body: &str, bits: u8) -> usize {
    let (mut series, mut table) = (TargetSeries::new(), SeriesTable::default());
    let external = Labels::from_pairs([("cluster_id", "c1")]);
    let (mut cache, mut progress) = (Cache::new(Secret::random(), Lines::new(1000)), Progress::default());
    let (target, series_max) = (target_of(bits), 1000);
    let resolver =
        Resolver { series: &mut series, target: &target, external: &external, series_max, table: &mut table };
    let mut counting = Counting(resolver, 0);
    progress.begin(&mut cache);
    progress.piece_with(body.as_bytes(), &mut cache, 0, &mut counting);
    let reading = progress.finish_with(&mut cache, 0, &mut counting);
    assert_eq!((reading.lines_bad, reading.samples), (0, body.matches(" 1\n").count() as u64));
    counting.1
}

/// The comparison above would be of no use if nothing took the short way.
#[test]
fn one_line_of_each_kind_takes_the_simple_way() {
    let of = |line: &dyn Fn(usize) -> String| (0..50).map(line).collect::<String>();
    let plain = of(&|n| format!("a{{x=\"{n}\",job=\"b\"}} 1\n"));
    assert_eq!((simple(&plain, 0), simple(&plain, 1)), (1, 1));
    // What a rule drops by its name, each line of it.
    assert_eq!(simple(&plain.replace("a{", "drop{"), 0b110), 1);
    // Rules that look at values, rules that look at names, and limits of labels.
    let of_y = plain.replace("job", "y");
    assert_eq!((simple(&plain, 0b10), simple(&plain, 0b110), simple(&of_y, 0b11000)), (50, 1, 50));
    assert_eq!(simple(&of(&|n| format!("a_{n} 1\n")), 0), 1);
    assert_eq!(simple(&of(&|n| format!("a_{n}{{x=\"1\"}} 1\n")), 0), 1);
    // Two types, and two sets of values that are empty.
    assert_eq!(simple(&format!("{plain}# TYPE b gauge\n{}", plain.replace("a{", "b{")), 0), 2);
    assert_eq!(
        simple(&of(&|n| format!("a{{x=\"{}\",y=\"{n}\"}} 1\n", if n % 2 == 0 { "" } else { "1" })), 0),
        2
    );
    // Two sets of names in turn.
    assert_eq!(simple(&of(&|n| format!("a{{x=\"{n}\"}} 1\na{{x=\"{n}\",y=\"1\"}} 1\n")), 0), 2);
    // An escape takes the simple way, and those after it the short one.
    assert_eq!(simple(&of(&|n| format!("a{{x=\"{n}{}\"}} 1\n", if n == 20 { "\\n" } else { "" })), 0), 2);
}

/// Texts that went with their series are held by nobody, and their numbers may be those of others by now.
#[test]
fn what_is_gone_is_not_taken_for_what_a_line_says() {
    let bodies = [("a{x=\"1\"} 1\na{x=\"2\"} 1\n", ["b", "y"]), ("a{x=\"3\"} 1\na{x=\"2\"} 1\n", ["c", "z"])];
    let (external, target) = (Labels::default(), target_of(0));
    for is_failed in [false, true] {
        let (mut series, mut table) = (TargetSeries::new(), SeriesTable::default());
        let (mut cache, mut progress) = (Cache::new(Secret::random(), Lines::new(1000)), Progress::default());
        let mut labels = Vec::new();
        progress.begin(&mut cache);
        for (body, others) in bodies {
            let (table, series) = (&mut table, &mut series);
            let mut resolver =
                Resolver { series, target: &target, external: &external, series_max: 9, table };
            progress.piece_with(body.as_bytes(), &mut cache, 0, &mut resolver);
            if is_failed && labels.is_empty() {
                labels.extend(["".to_owned(), "".to_owned()]);
                series.roll_back(table);
            } else {
                let mut batch = Batch::default();
                let (limits, mut kept) = (Limits::default(), Kept::default());
                series.commit(&progress.samples, 0, false, &limits, &[], &mut kept);
                series.add(&mut kept, &[], 0, &mut batch);
                labels.extend(batch.series().map(|id| table.get(id).unwrap().to_series().labels.to_string()));
                series.clear(table);
                table.sweep();
            }
            progress.samples = Samples::default();
            cache.clear();
            table.insert(others.map(|name| (name, name)).into_iter(), MetricType::Gauge);
        }
        let expected = [3, 2].map(|x| format!("{{__name__=\"a\",instance=\"i\",job=\"j\",x=\"{x}\"}}"));
        assert_eq!(labels[2..], expected, "{is_failed}");
    }
}

/// What became of the lines of one target says nothing of those of the next.
#[test]
fn each_target_has_its_own_labels() {
    let mut bench = bench(plain());
    for instance in ["a:1", "b:1"] {
        bench.target = target(Arc::clone(&bench.target.job), instance);
        bench.scrape(TIME, "a{x=\"1\"} 1\na{x=\"2\"} 1\n");
    }
    let instances: Vec<_> = bench
        .samples()
        .iter()
        .map(|sample| (sample.contains("\"a:1\""), sample.contains("\"b:1\"")))
        .collect();
    assert_eq!(instances, [(true, false), (true, false), (false, true), (false, true)]);
}
