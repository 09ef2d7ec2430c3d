//! A scrape that brings just what the one before brought takes a short cut. Here a worker that remembers no line, and so always
//! goes the long way, is the oracle of one that takes it wherever it can.

use proptest::prelude::*;

use super::*;

/// What an exporter may say up to the value; two spellings of one series are among them, what relabelling drops, and what
/// cannot be read.
const LINES: [&str; 14] = [
    "# TYPE a counter",
    "# TYPE a gauge",
    "# HELP b words",
    "a",
    "a{x=\"1\"}",
    "a{x=\"2\"}",
    "b{x=\"1\",y=\"2\"}",
    "b{y=\"2\",x=\"1\"}",
    "c{x=\"\"}",
    "c",
    "d{job=\"own\"}",
    "drop{x=\"1\"}",
    "drop{x=\"2\"}",
    "bad{x=1}",
];

/// A line that is exposed until it is removed: which of [`LINES`], and which timestamp it has.
#[derive(Clone, Copy, Debug)]
struct Line {
    text: usize,
    timestamp: u8,
}

impl Line {
    fn write(self, time: i64, value: usize, body: &mut String) {
        let text = LINES[self.text];
        let timestamp = match self.timestamp {
            1 => format!(" {}", TIME - 5),
            2 => format!(" {}", time - 3),
            3 => format!(" {}", time + 700_000),
            _ => String::new(),
        };
        match text.starts_with('#') {
            true => body.push_str(&format!("{text}\n")),
            false => body.push_str(&format!("{text} {value}{timestamp}\n")),
        }
    }
}

/// What happens between two scrapes.
#[derive(Clone, Debug)]
enum Step {
    /// As before.
    Nothing,
    Insert(prop::sample::Index, Line),
    Remove(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    /// The line gets another timestamp, or none.
    Stamp(prop::sample::Index, u8),
    /// The target does not answer.
    Down,
    /// The next answer has more samples than are allowed; many of them were never seen.
    TooMany,
    Seal,
}

fn line() -> impl Strategy<Value = Line> {
    let timestamp = prop_oneof![6 => Just(0_u8), 1 => 1..4_u8];
    (0..LINES.len(), timestamp).prop_map(|(text, timestamp)| Line { text, timestamp })
}

fn step() -> impl Strategy<Value = Step> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        6 => Just(Step::Nothing),
        2 => (place(), line()).prop_map(|(at, line)| Step::Insert(at, line)),
        2 => place().prop_map(Step::Remove),
        1 => (place(), place()).prop_map(|(from, to)| Step::Repeat(from, to)),
        1 => (place(), place()).prop_map(|(a, b)| Step::Swap(a, b)),
        1 => (place(), 0..4_u8).prop_map(|(at, timestamp)| Step::Stamp(at, timestamp)),
        1 => Just(Step::Down),
        1 => Just(Step::TooMany),
        2 => Just(Step::Seal),
    ]
}

fn edit(lines: &mut Vec<Line>, step: &Step) {
    let count = lines.len();
    match step {
        Step::Insert(at, line) => lines.insert(at.index(count + 1), *line),
        _ if count == 0 => {}
        Step::Remove(at) => drop(lines.remove(at.index(count))),
        Step::Repeat(from, to) => lines.insert(to.index(count + 1), lines[from.index(count)]),
        Step::Swap(a, b) => lines.swap(a.index(count), b.index(count)),
        Step::Stamp(at, timestamp) => lines[at.index(count)].timestamp = *timestamp,
        _ => {}
    }
}

fn counted(bench: &Bench) -> Vec<u64> {
    let metrics = &bench.metrics;
    let own = [
        &metrics.samples_scraped,
        &metrics.samples_reported,
        &metrics.lines_bad,
        &metrics.objects_sealed,
        &metrics.object_bytes,
        &metrics.samples_sealed,
    ];
    let refused = ["limit", "unreadable"].map(|reason| metrics.scrapes_refused.with_label_values(&[reason]));
    let gauges = [&metrics.series, &metrics.batch_samples].map(|gauge| u64::try_from(gauge.get()).unwrap());
    let own = own.into_iter().chain(&refused).map(prometheus::IntCounter::get);
    own.chain(reason::ALL.map(|reason| bench.dropped(reason))).chain(gauges).collect()
}

fn check(honor_timestamps: bool, mut lines: Vec<Line>, steps: &[Step]) -> Result<(), TestCaseError> {
    let both = || {
        let metric_relabel = rules("[{source_labels: [__name__], regex: drop, action: drop}]");
        let limits = JobLimits { samples: 25, ..JobLimits::default() };
        bench(Job { honor_timestamps, metric_relabel, limits, ..plain() })
    };
    let (mut short, mut long) = (both(), both());
    long.worker.lines = Lines::new(0);
    for (number, step) in steps.iter().enumerate() {
        let time = TIME + i64::try_from(number).unwrap() * 1_000;
        edit(&mut lines, step);
        let mut body = String::new();
        for (at, line) in lines.iter().enumerate() {
            // Some values change from scrape to scrape, and some do not.
            line.write(time, if at % 3 == 0 { number } else { at }, &mut body);
        }
        if matches!(step, Step::TooMany) {
            (0..30).for_each(|i| body.push_str(&format!("more{{i=\"{}\"}} 1\n", i + number % 2)));
        }
        for bench in [&mut short, &mut long] {
            match step {
                Step::Down => bench.outcome(time, Err(ScrapeError::Status(500))),
                _ => bench.scrape(time, &body),
            }
        }
        prop_assert_eq!(short.all(), long.all(), "after step {}: {:?}", number, step);
        if matches!(step, Step::Seal) {
            prop_assert_eq!(short.worker.seal(), long.worker.seal());
        }
        prop_assert_eq!(counted(&short), counted(&long), "after step {}: {:?}", number, step);
        prop_assert_eq!(short.health(), long.health());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_short_cut_leads_where_the_long_way_does(
        honor_timestamps in any::<bool>(),
        lines in prop::collection::vec(line(), 0..10),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        check(honor_timestamps, lines, &steps)?;
    }
}

/// The comparison above would be of no use if nothing took the short cut.
#[test]
fn a_worker_without_memory_goes_the_long_way() {
    let mut short = bench(plain());
    let mut long = bench(plain());
    long.worker.lines = Lines::new(0);
    for time in TIME..TIME + 3 {
        short.scrape(time, "a 1\nb 2\n");
        long.scrape(time, "a 1\nb 2\n");
    }
    assert!(short.worker.spare.unwrap().samples.is_as_before);
    assert!(!long.worker.spare.unwrap().samples.is_as_before);
}
