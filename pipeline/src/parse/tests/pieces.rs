//! Bodies that come in pieces, and series that are as they were, each against doing it the plain way.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Lines chosen among those of all kinds, with their ends.
fn body() -> impl Strategy<Value = Vec<(Index, &'static str)>> {
    let end = prop::sample::select(vec!["\n", "\r\n", " \n"]);
    prop::collection::vec((any::<Index>(), end), 0..30)
}

fn text(body: &[(Index, &str)], lines: &[String]) -> String {
    body.iter().map(|(line, end)| format!("{}{end}", line.get(lines))).collect()
}

/// Gives every line that it is asked about a series of its own; refuses some lines, and some scrapes.
fn resolve(exposed: &Exposed<'_>, series: &mut u32) -> Result<Slot, Refusal> {
    match exposed.labels.get(METRIC_NAME) {
        "dropped" => Ok(Slot::DROPPED),
        "refused" => Err(Refusal::Line("refused")),
        "full" => Err(Refusal::Scrape(ScrapeError::Limit("full".to_owned()))),
        _ => {
            *series += 1;
            Ok(Slot(*series))
        }
    }
}

/// Lines of all kinds, and some that the caller refuses.
fn lines() -> Vec<String> {
    let mut lines = lines_of_all_kinds();
    lines.extend(["refused 1", "refused{a=\"1\"} 2 3", "full 1"].map(str::to_owned));
    lines
}

/// What a reading gives, comparable to the bit.
fn bits(samples: &Samples) -> (Vec<Slot>, Vec<u64>, Vec<i64>, bool) {
    let Samples { slots, values, timestamps, is_as_before } = samples.clone();
    (slots, values.into_iter().map(f64::to_bits).collect(), timestamps, is_as_before)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn pieces_are_read_as_the_whole(
        bodies in prop::collection::vec((body(), prop::collection::vec(any::<Index>(), 0..12)), 1..5),
        is_ended in any::<bool>(),
        samples_max in prop::sample::select(vec![0, 0, 3, 10]),
        room in prop::sample::select(vec![0, 4, 1000]),
    ) {
        let lines = lines();
        let (mut whole, mut pieces) = (Progress::default(), Progress::default());
        let cache = || Cache::new(Secret::random(), Lines::new(room));
        let (mut cache_whole, mut cache_pieces) = (cache(), cache());
        let (mut series_whole, mut series_pieces) = (0, 0);
        for (body, cuts) in bodies {
            let mut text = text(&body, &lines);
            if !is_ended {
                text.pop();
            }
            let text = text.as_bytes();
            let expected = read(text, &mut cache_whole, samples_max, &mut whole, |exposed| {
                resolve(&exposed, &mut series_whole)
            });
            let mut cuts: Vec<_> = cuts.iter().map(|at| at.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            pieces.begin(&mut cache_pieces);
            for cut in cuts.windows(2) {
                let piece = text[cut[0]..cut[1]].to_vec();
                pieces.piece(&piece, &mut cache_pieces, samples_max, |exposed| {
                    resolve(&exposed, &mut series_pieces)
                });
            }
            let found = pieces.finish(&mut cache_pieces, samples_max, |exposed| {
                resolve(&exposed, &mut series_pieces)
            });
            prop_assert_eq!(&found, &expected, "{:?}", String::from_utf8_lossy(text));
            prop_assert_eq!(bits(&pieces.samples), bits(&whole.samples));
            prop_assert_eq!(cache_pieces.len(), cache_whole.len());
            for cache in [&mut cache_whole, &mut cache_pieces] {
                if cache.has_idle() {
                    cache.prune();
                }
            }
        }
    }

    #[test]
    fn series_are_as_before_only_where_they_are(
        body in body(),
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), 0..9_u8), 0..24),
        room in prop::sample::select(vec![2, 5, 1000, 1000]),
        samples_max in prop::sample::select(vec![0, 0, 0, 12]),
    ) {
        let lines = lines();
        let (mut cache, mut progress) = (Cache::new(Secret::random(), Lines::new(room)), Progress::default());
        let (mut series, mut body) = (0, body);
        let mut before = None;
        for (from, to, edit) in edits {
            let at = |length: usize| (length > 0).then(|| from.index(length));
            match (edit, at(body.len())) {
                (0, Some(at)) => { body.remove(at); }
                (1, Some(at)) => { let line = body.remove(at); body.insert(to.index(body.len() + 1), line); }
                (2, Some(at)) => { let line = body[at]; body.insert(to.index(body.len() + 1), line); }
                (3, _) => body.insert(to.index(body.len() + 1), (from, "\n")),
                (4, _) => cache.clear(),
                (5, _) => cache.prune(),
                _ => {}
            }
            let mut text = text(&body, &lines);
            match edit {
                // An answer that ends early, and one that nobody waits for.
                6 => text.truncate(to.index(text.len() + 1)),
                7 => {
                    progress.begin(&mut cache);
                    progress.piece(text.as_bytes(), &mut cache, 0, |exposed| resolve(&exposed, &mut series));
                }
                _ => {}
            }
            let reading = read(text.as_bytes(), &mut cache, samples_max, &mut progress, |exposed| {
                resolve(&exposed, &mut series)
            });
            let Samples { slots, is_as_before, .. } = &progress.samples;
            if *is_as_before {
                prop_assert_eq!(Some(slots), before.as_ref(), "{}", text);
            }
            if reading.failed.is_none() {
                before = Some(slots.clone());
            }
            if cache.has_idle() && edit != 3 {
                cache.prune();
            }
        }
    }

    /// Whatever came before, some answers with the same lines are enough, where none stands twice.
    #[test]
    fn a_steady_target_is_as_before(bodies in prop::collection::vec(body(), 1..4)) {
        let lines = lines_of_all_kinds();
        let (mut cache, mut progress) = (Cache::new(Secret::random(), Lines::new(1000)), Progress::default());
        let mut series = 0;
        for mut body in bodies {
            let mut seen = BTreeMap::new();
            body.retain(|(line, _)| {
                let line = line.get(lines.as_slice());
                // Of one series, one line.
                let series = match line.lines().last() {
                    Some(comment) if line.starts_with('#') => comment,
                    _ => line.split(' ').next().unwrap_or_default(),
                };
                seen.insert(series.to_owned(), ()).is_none()
            });
            let text = text(&body, &lines);
            let mut round = || {
                read(text.as_bytes(), &mut cache, 0, &mut progress, |exposed| resolve(&exposed, &mut series));
                if cache.has_idle() {
                    cache.prune();
                }
                progress.samples.is_as_before
            };
            // Until the lines of the body before are forgotten, and with them, where they are many, all.
            for _ in 0..4 {
                round();
            }
            for _ in 0..4 {
                prop_assert!(round(), "{}", text);
            }
            prop_assert!(!cache.has_idle());
        }
    }
}

/// What stands twice has one successor, and the chain does not lead along all lines.
#[test]
fn a_line_that_stands_twice_is_never_taken_for_steady() {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let mut progress = Progress::default();
    let bodies = ["a 1\nb 1\na 1\nc 1\n", "a 1\nc 1\n", "a 1\nb 1\na 1\nb 1\n", "a 1\nb 1\na 1\n"];
    for body in bodies.into_iter().cycle().take(40) {
        let mut series = 0;
        let before = progress.samples.slots.clone();
        read(body.as_bytes(), &mut cache, 0, &mut progress, |_| {
            series += 1;
            Ok(Slot(series))
        });
        assert!(!progress.samples.is_as_before || progress.samples.slots == before, "{body}");
    }
}

/// Timestamps are a column only where there are any.
#[test]
fn timestamps_begin_with_the_first() {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let mut progress = Progress::default();
    let mut timestamps = |body: &str| {
        read(body.as_bytes(), &mut cache, 0, &mut progress, |_| Ok(Slot(1)));
        progress.samples.timestamps.clone()
    };
    for _ in 0..2 {
        assert_eq!(timestamps("a 1\nb 1\n"), Vec::<i64>::new());
        assert_eq!(timestamps("a 1\nb 1 17\nc 1\n"), [NO_TIMESTAMP, 17, NO_TIMESTAMP]);
    }
}

/// The number of a bad line counts the lines of the pieces before.
#[test]
fn a_bad_line_has_its_number_in_the_whole() {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let mut progress = Progress::default();
    for _ in 0..2 {
        progress.begin(&mut cache);
        for piece in ["# HELP a b\n# TYPE a gau", "ge\na 1\n", "", "\nb ", "1\nbad", " x\n", "c 1\nbad"] {
            progress.piece(piece.as_bytes(), &mut cache, 0, |_| Ok(Slot(1)));
        }
        let reading = progress.finish(&mut cache, 0, |_| Ok(Slot(1)));
        assert_eq!((reading.samples, reading.lines_bad), (3, 2));
        assert_eq!(reading.first_bad.as_deref(), Some("line 6: not a value: \"bad x\""));
    }
}

/// Nobody makes us hold a line without an end, and what is left out of it is no shorter line.
#[test]
fn a_line_of_more_than_a_mebibyte_costs_itself_and_no_memory() {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let mut progress = Progress::default();
    for length in [LINE_BYTES_MAX - 4, LINE_BYTES_MAX - 1, 3 * LINE_BYTES_MAX] {
        let body = format!("a 1\na {}1\nb 2\n", "0".repeat(length));
        let bad = u64::from(length + 3 > LINE_BYTES_MAX);
        for piece_bytes in [body.len(), 64 << 10] {
            progress.begin(&mut cache);
            for piece in body.as_bytes().chunks(piece_bytes) {
                progress.piece(piece, &mut cache, 0, |_| Ok(Slot(0)));
                assert!(progress.cut.capacity() <= 2 * LINE_BYTES_MAX + 2, "{}", progress.cut.capacity());
            }
            let reading = progress.finish(&mut cache, 0, |_| Ok(Slot(0)));
            assert_eq!((reading.samples, reading.lines_bad), (3 - bad, bad), "{length} by {piece_bytes}");
        }
    }
}
