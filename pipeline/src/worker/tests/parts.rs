//! Bodies in parts: what was read of one counts when its scrape says so, and leaves nothing otherwise.

use super::*;

/// The pieces of a body that is cut at these places.
fn cut(body: &str, at: &[usize]) -> Vec<Bytes> {
    let ends = at.iter().copied().chain([body.len()]);
    let starts = [0].into_iter().chain(at.iter().copied());
    starts.zip(ends).map(|(start, end)| Bytes::copy_from_slice(&body.as_bytes()[start..end])).collect()
}

impl Bench {
    /// Has the worker read a part; gives where the next begins.
    fn part(&mut self, target: &Arc<Target>, before: u64, pieces: Vec<Bytes>) -> u64 {
        let exposition = Exposition { before, pieces };
        let end = exposition.end();
        self.worker.read_part(&Part { target: Arc::clone(target), exposition, turn: None });
        end
    }

    fn end(&mut self, target: &Arc<Target>, time: i64, outcome: Result<Exposition, ScrapeError>) {
        let (target, duration) = (Arc::clone(target), Duration::from_millis(5));
        self.worker.take(Scrape { target, time, duration, outcome }, Instant::now());
    }

    /// A body in parts of one piece each, the last with the scrape.
    fn in_parts(&mut self, time: i64, body: &str, at: &[usize]) {
        let target = Arc::clone(&self.target);
        let mut pieces = cut(body, at);
        let last = pieces.pop().into_iter().collect();
        let before = pieces.into_iter().fold(0, |before, piece| self.part(&target, before, vec![piece]));
        self.end(&target, time, Ok(Exposition { before, pieces: last }));
    }
}

const BODY: &str =
    "# TYPE m counter\nm{a=\"1\"} 1\r\nm{a=\"2\"} 2.5 1700000000001\n# HELP x y\nm{a=\"3\"} NaN\nbad\nlast 4";

#[test]
fn a_body_cut_anywhere_is_the_same_body() {
    let mut whole = bench(plain());
    for time in [TIME, TIME + 1] {
        whole.scrape(time, BODY);
    }
    for first in 0..=BODY.len() {
        for second in [first, (first + 1).min(BODY.len()), (first + 9).min(BODY.len())] {
            let mut parts = bench(plain());
            // The second time the lines are known.
            for time in [TIME, TIME + 1] {
                parts.in_parts(time, BODY, &[first, second]);
            }
            assert_eq!(parts.all(), whole.all(), "cut at {first} and {second}");
            assert_eq!(parts.metrics.lines_bad.get(), 2);
            assert_eq!(
                parts.target.last().unwrap().first_bad_line,
                whole.target.last().unwrap().first_bad_line
            );
        }
    }
}

#[test]
fn a_body_that_breaks_off_leaves_nothing_and_the_next_one_counts() {
    let mut bench = bench(plain());
    let target = Arc::clone(&bench.target);
    bench.scrape(TIME, "old 1\n");
    let (held, before) = (bench.worker.table.len(), bench.all().len());
    // Broken off, given up without a word, and given up by everyone at once.
    bench.part(&target, 0, cut("old 2\nnew 1\n", &[]));
    bench.end(&target, TIME + 1, Err(ScrapeError::Truncated("cut".to_owned())));
    assert_eq!((bench.report("up"), bench.report("scrape_samples_scraped")), (0.0, 0.0));
    assert_eq!((bench.worker.table.len(), bench.all().len()), (held, before + report::NAMES.len()));
    bench.part(&target, 0, cut("old 3\nnewer 1\n", &[]));
    bench.scrape(TIME + 2, "old 4\nnew 5\n");
    bench.part(&target, 0, cut("newest 1\n", &[]));
    bench.worker.give_up_all();
    assert_eq!(bench.worker.table.len(), held + 1);
    bench.scrape(TIME + 3, "old 6\nnewest 7\n");
    let values: Vec<_> =
        bench.samples().iter().map(|sample| sample.split("} ").last().unwrap().to_owned()).collect();
    assert_eq!(values, ["1 @0", "4 @2", "5 @2", "6 @3", "7 @3"]);
    assert!(bench.samples()[4].contains("newest"));
    assert_eq!((bench.metrics.samples_scraped.get(), bench.dropped(reason::SCRAPE_FAILED)), (5, 0));
}

#[test]
fn a_limit_fails_the_whole_body() {
    let limits = JobLimits { samples: 2, ..JobLimits::default() };
    let mut bench = bench(Job { limits, ..plain() });
    let target = Arc::clone(&bench.target);
    bench.part(&target, 0, cut("a 1\nb 1\nc 1\n", &[4]));
    let report = report::NAMES.len();
    assert_eq!(bench.worker.table.len(), report, "others may need the room before the end comes");
    bench.end(&target, TIME, Ok(Exposition { before: 12, pieces: cut("d 1\n", &[]) }));
    assert!(matches!(bench.health(), Health::Down(text) if text.contains("sample_limit")));
    assert_eq!((bench.samples().len(), bench.worker.table.len()), (0, report));
    assert_eq!((bench.metrics.samples_scraped.get(), bench.dropped(reason::SCRAPE_FAILED)), (4, 4));
}

#[test]
fn bodies_of_several_targets_come_in_turns() {
    let mut bench = bench(plain());
    let (one, other) = (Arc::clone(&bench.target), target(Arc::new(plain()), "b:1"));
    let ahead = bench.part(&one, 0, cut("a 1\nb", &[]));
    let behind = bench.part(&other, 0, cut("a 3\n", &[]));
    // A batch is sealed meanwhile, and a target of which a part was read goes away.
    let gone = target(Arc::new(plain()), "c:1");
    bench.part(&gone, 0, cut("a 9\n", &[]));
    drop(gone);
    bench.scrape(TIME - 1, "");
    // That began anew with the target at hand, as a loop that was stopped in between does.
    assert!(bench.worker.seal().is_some());
    let ahead = bench.part(&one, 0, cut("a 1\nb", &[])).max(ahead);
    bench.part(&other, behind, cut("b 4\n", &[]));
    bench.end(&one, TIME, Ok(Exposition { before: ahead, pieces: cut(" 2\n", &[]) }));
    bench.end(&other, TIME, Ok(Exposition { before: behind + 4, pieces: Vec::new() }));
    let samples = bench.samples();
    for (sample, expected) in
        samples.iter().zip([("a:1", "} 1 "), ("a:1", "} 2 "), ("b:1", "} 3 "), ("b:1", "} 4 ")])
    {
        assert!(sample.contains(expected.0) && sample.contains(expected.1), "{samples:?}");
    }
    assert_eq!((samples.len(), bench.worker.targets.len()), (4, 2));
    assert_eq!(bench.worker.table.len(), 4 + 2 * report::NAMES.len());
}

#[test]
fn a_target_whose_series_all_change_finds_room_again_in_parts() {
    let mut bench = bench_with(plain(), Limits { max_series: 16, ..Limits::default() });
    let body = |version: u8| (0..8).map(|i| format!("m{i}{{version=\"{version}\"}} 1\n")).collect::<String>();
    for version in [1, 2] {
        bench.in_parts(TIME + i64::from(version), &body(version), &[100, 120]);
    }
    assert!(matches!(bench.health(), Health::Down(text) if text.contains("limits.max_series")));
    assert!(bench.worker.is_due(Instant::now()), "what is gone makes room with the next object");
    bench.worker.seal();
    bench.in_parts(TIME + 3, &body(2), &[100, 120]);
    assert_eq!(bench.health(), Health::Up);
}
