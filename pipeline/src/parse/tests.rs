//! The parser against tables, against `prometheus-parse`, and against noise.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

mod pieces;

/// Reads with a resolver that interns by text, and gives `name{labels} type value timestamp` lines.
fn read_text(body: &[u8], cache: &mut Cache, known: &mut Vec<String>) -> (Vec<String>, Reading) {
    let mut progress = Progress::default();
    let reading = read(body, cache, 0, &mut progress, |exposed| {
        let labels = exposed.labels.build();
        if labels.value(METRIC_NAME) == "dropped" {
            return Ok(Slot::DROPPED);
        }
        let text = format!("{labels} {}", exposed.metric_type.as_str());
        let at = known.iter().position(|k| *k == text).unwrap_or_else(|| {
            known.push(text);
            known.len() - 1
        });
        Ok(Slot(u32::try_from(at).unwrap()))
    });
    let line = |(slot, timestamp, value): (Slot, i64, f64)| {
        let time = if timestamp == NO_TIMESTAMP { String::new() } else { format!(" @{timestamp}") };
        format!("{} {value}{time}", known[slot.0 as usize])
    };
    (progress.samples.iter().map(line).collect(), reading)
}

fn check(body: &str, expected: &[&str], bad: u64) {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let mut known = Vec::new();
    // The second reading comes from the cache and has to say the same.
    for round in ["first", "cached"] {
        let (samples, reading) = read_text(body.as_bytes(), &mut cache, &mut known);
        assert_eq!(samples, expected, "{round}: {body}");
        assert_eq!(reading.lines_bad, bad, "{round}: {body}: {:?}", reading.first_bad);
    }
}

#[test]
fn the_text_format() {
    check("up 1\n", &[r#"{__name__="up"} unknown 1"#], 0);
    check("up 1", &[r#"{__name__="up"} unknown 1"#], 0);
    check("\r\n\n# a comment\r\nup 1 1395066363000\r\n", &[r#"{__name__="up"} unknown 1 @1395066363000"#], 0);
    check(
        "# HELP a Help.\n# TYPE a counter\na{x=\"1\"} +Inf\na {x=\"2\",} NaN\nb 2\n",
        &[
            r#"{__name__="a",x="1"} counter inf"#,
            r#"{__name__="a",x="2"} counter NaN"#,
            r#"{__name__="b"} unknown 2"#,
        ],
        0,
    );
    check(
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\nh_other 1\n",
        &[
            r#"{__name__="h_bucket",le="+Inf"} histogram 3"#,
            r#"{__name__="h_sum"} histogram 4.5"#,
            r#"{__name__="h_count"} histogram 3"#,
            r#"{__name__="h_other"} unknown 1"#,
        ],
        0,
    );
    check("a{e=\"\"} 1\ndropped 2\n", &[r#"{__name__="a"} unknown 1"#], 0);
}

#[test]
fn a_bad_line_costs_that_line() {
    let good = r#"{__name__="good"} unknown 1"#;
    for bad in [
        "bad",
        "bad x",
        "bad 1 x",
        "bad{a=1} 1",
        "bad{a=\"1\",a=\"2\"} 1",
        "bad{__name__=\"x\"} 1",
        "<html>",
        "bad{a=\"1\" 1",
        "9bad 1",
        "bad 1 2 3",
        "# TYPE bad colour",
    ] {
        check(&format!("{bad}\ngood 1\n"), &[good], 1);
    }
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let body = [b"ok 1\nbad{a=\"\xff".as_slice(), &[b'x'; 300], b"\"} 1\n"].concat();
    let (samples, reading) = read_text(&body, &mut cache, &mut Vec::new());
    assert_eq!((samples.len(), reading.lines_bad), (1, 1));
    let first = reading.first_bad.unwrap();
    assert!(
        first.starts_with("line 2: invalid UTF-8: ") && first.ends_with("...") && first.len() < 200,
        "{first}"
    );
}

#[test]
fn a_type_is_part_of_what_a_line_means() {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let mut known = Vec::new();
    let mut types = |body: &str| read_text(body.as_bytes(), &mut cache, &mut known).0;
    assert_eq!(types("# TYPE a counter\na 1\n"), [r#"{__name__="a"} counter 1"#]);
    assert_eq!(types("# TYPE a gauge\na 1\n"), [r#"{__name__="a"} gauge 1"#]);
    assert_eq!(types("# TYPE b gauge\na 1\n"), [r#"{__name__="a"} unknown 1"#]);
}

/// The comments before a family are known by their hash, and by nothing less.
#[test]
fn comments_of_one_length_are_told_apart() {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let bodies = [
        "# HELP a about a counter\n# TYPE a counter\na 1\n",
        "# HELP a about a counter\n# TYPE a summary\na 1\n",
        "# HELP a about a\nb 12345\n# TYPE a counter\na 1\n",
        "# HELP a about a summary\n# TYPE a counter\na 1\n",
    ];
    let mut known = Vec::new();
    for body in bodies.into_iter().cycle().take(20).chain(bodies.map(|body| [body; 3]).into_iter().flatten())
    {
        let mut plain = Cache::new(Secret::random(), Lines::new(0));
        let (found, _) = read_text(body.as_bytes(), &mut cache, &mut known);
        let (expected, _) = read_text(body.as_bytes(), &mut plain, &mut Vec::new());
        assert_eq!(found, expected, "{body}");
    }
}

/// Comments that are forgotten leave nothing at the place that others take.
#[test]
fn forgotten_comments_are_not_taken_for_others() {
    let others: String = (0..9).map(|n| format!("k{n} 1\n")).collect();
    let family = |kind: &str| format!("{others}# HELP a about a\n# TYPE a {kind}\na 1\n");
    for _ in 0..30 {
        let mut cache = Cache::new(Secret::random(), Lines::new(1000));
        let mut known = Vec::new();
        let mut check = |body: &str, expected: Option<&str>| {
            let samples = read_text(body.as_bytes(), &mut cache, &mut known).0;
            assert_eq!(samples.get(9).map(String::as_str), expected, "{body}");
            if cache.has_idle() {
                cache.prune();
            }
        };
        let (counter, summary) = (r#"{__name__="a"} counter 1"#, r#"{__name__="a"} summary 1"#);
        for _ in 0..3 {
            check(&family("counter"), Some(counter));
        }
        for _ in 0..3 {
            check(&others, None);
        }
        check(&family("summary"), Some(summary));
        check(&family("counter"), Some(counter));
    }
}

#[test]
fn lines_that_are_their_familys_name_stay_apart() {
    check(
        "# TYPE a gauge\na 1\n# TYPE b gauge\nb 2\n# TYPE c counter\nc 3\n# TYPE d counter\nd 4\n",
        &[
            r#"{__name__="a"} gauge 1"#,
            r#"{__name__="b"} gauge 2"#,
            r#"{__name__="c"} counter 3"#,
            r#"{__name__="d"} counter 4"#,
        ],
        0,
    );
}

#[test]
fn lines_not_seen_for_two_scrapes_are_forgotten() {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let mut known = Vec::new();
    read_text(b"a 1\nb 1\n", &mut cache, &mut known);
    for (body, expected) in [("a 1\n", 2), ("a 1\n", 1)] {
        read_text(body.as_bytes(), &mut cache, &mut known);
        cache.prune();
        assert_eq!(cache.len(), expected);
    }
}

/// What a forgotten line led to may be another series by now, even where the line before it still leads to its place.
#[test]
fn a_forgotten_line_is_decoded_again() {
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let mut out = Progress::default();
    let mut decoded = |body: &str| {
        let mut count = 0;
        read(body.as_bytes(), &mut cache, 0, &mut out, |_| {
            count += 1;
            Ok(Slot(count))
        });
        if cache.has_idle() {
            cache.prune();
        }
        count
    };
    let bodies = ["a 1\nb 1\n", "a 1\nb 1\n", "a 1\n", "a 1\n", "a 1\nb 1\n", "a 1\nb 1\n"];
    assert_eq!(bodies.map(&mut decoded), [2, 0, 0, 0, 1, 0]);
}

#[test]
fn the_sample_limit_ends_the_reading() {
    let mut out = Progress::default();
    let mut cache = Cache::new(Secret::random(), Lines::new(1000));
    let reading = read(b"a 1\nb 1\nc 1\nd 1\n", &mut cache, 2, &mut out, |_| Ok(Slot(0)));
    assert_eq!((reading.samples, reading.failed.map(|e| e.reason())), (4, Some("limit")));
}

/// `prometheus-parse`' reading of a body: labels with name, and the bits of the value. It folds histograms and summaries, so
/// bodies for it hold plain types only.
fn oracle(body: &str) -> BTreeMap<String, u64> {
    let lines = body.lines().map(|l| Ok(l.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
    let samples = scrape.samples.into_iter().map(|s| {
        let value = match s.value {
            prometheus_parse::Value::Counter(v)
            | prometheus_parse::Value::Gauge(v)
            | prometheus_parse::Value::Untyped(v) => v,
            _ => panic!("not a plain type"),
        };
        let mut labels = LabelsBuilder::default();
        labels.set(METRIC_NAME, &s.metric);
        for (n, v) in s.labels.iter() {
            labels.set(n, v);
        }
        (labels.build().to_string(), if value.is_nan() { number::NORMAL_NAN } else { value.to_bits() })
    });
    samples.collect()
}

proptest! {
    #[test]
    fn it_agrees_with_prometheus_parse(
        lines in prop::collection::btree_map(
            ("[a-z_][a-z0-9_]{0,8}", prop::collection::btree_map("[a-z][a-z0-9]{0,5}", "[a-zA-Z0-9 .:/_ü-]{1,12}", 0..4)),
            prop_oneof![any::<f64>(), any::<i32>().prop_map(f64::from), Just(f64::NAN), Just(f64::INFINITY)],
            1..20,
        )
    ) {
        let mut body = String::from("# HELP x y\n");
        let mut expected = BTreeMap::new();
        for ((name, labels), value) in &lines {
            let text: Vec<_> = labels.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
            let braces = if text.is_empty() { String::new() } else { format!("{{{}}}", text.join(",")) };
            body.push_str(&format!("{name}{braces} {value}\n"));
            let mut all = LabelsBuilder::default();
            all.set(METRIC_NAME, name);
            labels.iter().for_each(|(n, v)| all.set(n, v));
            expected.insert(all.build().to_string(), if value.is_nan() { number::NORMAL_NAN } else { value.to_bits() });
        }
        let mut cache = Cache::new(Secret::random(), Lines::new(1000));
        let mut known = Vec::new();
        let mut out = Progress::default();
        for _ in 0..2 {
            read(body.as_bytes(), &mut cache, 0, &mut out, |exposed| {
                known.push(exposed.labels.build().to_string());
                Ok(Slot(u32::try_from(known.len() - 1).unwrap()))
            });
            let ours: BTreeMap<_, _> = out.samples.iter().map(|(slot, _, value)| (known[slot.0 as usize].clone(), value.to_bits())).collect();
            prop_assert_eq!(&ours, &expected);
            prop_assert_eq!(&ours, &oracle(&body));
        }
    }

    #[test]
    fn noise_costs_only_itself(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut body = noise;
        body.extend_from_slice(b"\nfine 1\n");
        let mut cache = Cache::new(Secret::random(), Lines::new(1000));
        let (samples, reading) = read_text(&body, &mut cache, &mut Vec::new());
        prop_assert_eq!(samples.len() as u64 + reading.dropped, reading.samples);
        prop_assert!(samples.iter().any(|s| s.contains("fine")));
    }

    #[test]
    fn lines_like_real_ones_never_panic(body in "([a-z_:]{1,4}[{]?([a-z]{1,3}=\"[^\"]{0,5}\",?){0,3}[}]? ?[0-9.eE+-]{0,6}( [0-9]{1,4})?\r?\n){0,20}") {
        let mut cache = Cache::new(Secret::random(), Lines::new(1000));
        read_text(body.as_bytes(), &mut cache, &mut Vec::new());
    }
}

/// Lines of all kinds, some of them bad, from which bodies are made.
fn lines_of_all_kinds() -> Vec<String> {
    let mut lines: Vec<String> = [
        "# TYPE a counter",
        "# TYPE b gauge",
        "#  TYPE  b   gauge ",
        "# TYPE h histogram",
        "# TYPE x colour",
        "# HELP a About a.",
        "# HELP a About a.\n# TYPE a counter",
        "# HELP a About a.\n# TYPE a summary",
        "# HELP b About b.\n# TYPE b counter",
        "# HELPLESS",
        "#",
        "",
        "a",
        "a{ 1",
        "a{x=\"1\"} 5\"} 7",
        "a{x=\"} 1\"",
        "dropped",
        "9a 1",
    ]
    .map(str::to_owned)
    .to_vec();
    let series = [
        "a",
        "a {x=\"1\"}",
        "a{x=\"1\"}",
        "a{x=\"1\",}",
        "a{x=\"} 3\"}",
        "a{x=\"\\\"} 4\"}",
        "a{}",
        "b",
        "b{y=\"2\"}",
        "h_bucket{le=\"1\"}",
        "h_count",
        "dropped{z=\"1\"}",
        "ab",
    ];
    let values = [
        "1",
        "2.5",
        "NaN",
        "+Inf",
        "1e3",
        "0.00014209700000000002",
        "1x",
        "3 1395066363000",
        "3  17",
        "3 x",
        "3 17 x",
        "3 17x",
        "3x 17",
        "3 # {a=\"b\"} 1",
    ];
    for name in series {
        lines.extend(values.iter().map(|value| format!("{name} {value}")));
    }
    lines
}

proptest! {
    /// Whatever a cache has seen before, it reads what is read without any memory, every line decoded.
    #[test]
    fn a_cache_changes_nothing(
        bodies in prop::collection::vec(
            prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec!["\n", "\r\n", " \n", "\n\t"])), 0..30),
            1..6,
        ),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 0..10),
    ) {
        let lines = lines_of_all_kinds();
        let text = |body: &[(prop::sample::Index, &str)]| -> String {
            body.iter().map(|(line, end)| format!("{}{end}", line.get(&lines))).collect()
        };
        let mut texts: Vec<String> = bodies.iter().map(|body| text(body)).collect();
        // Each body again with a line more, a line less, or a line elsewhere.
        let mut edited = bodies[0].clone();
        for (from, to, is_move) in edits {
            if edited.is_empty() {
                break;
            }
            let line = edited.remove(from.index(edited.len()));
            if is_move {
                edited.insert(to.index(edited.len() + 1), line);
            }
            texts.push(text(&edited));
        }
        let mut cache = Cache::new(Secret::random(), Lines::new(1000));
        let mut known = Vec::new();
        for text in texts {
            let (with, reading) = read_text(text.as_bytes(), &mut cache, &mut known);
            let mut empty = Cache::new(Secret::random(), Lines::new(0));
            let (without, expected) = read_text(text.as_bytes(), &mut empty, &mut Vec::new());
            prop_assert_eq!(empty.len(), 0);
            prop_assert_eq!(&with, &without, "{}", text);
            prop_assert_eq!(&reading, &expected, "{}", text);
            if cache.has_idle() {
                cache.prune();
            }
        }
    }
}

proptest! {
    /// Values that stay, change, and come again are read as without any memory, whatever stands behind them.
    #[test]
    fn a_kept_value_is_never_taken_for_another(
        scrapes in prop::collection::vec(prop::collection::vec((0..4_usize, 0..8_usize), 4), 1..24),
    ) {
        let series = ["a", "a{x=\"1\"}", "name_of_sixteen_b{label=\"and a value of some length\"}", "dropped"];
        let values = ["1", "10", "1.0", "NaN"];
        let ends = ["\n", "\n", "\n", "\r\n", " 1395066363000\n", " 1395066363001\n", " 7\n", " x\n"];
        let mut cache = Cache::new(Secret::random(), Lines::new(1000));
        let mut known = Vec::new();
        for scrape in scrapes {
            let lines = series.iter().zip(&scrape);
            // Three of four times the first one, so that values are kept.
            let text: String =
                lines.map(|(name, (value, end))| format!("{name} {}{}", values[value / 3], ends[*end])).collect();
            let (with, reading) = read_text(text.as_bytes(), &mut cache, &mut known);
            let mut empty = Cache::new(Secret::random(), Lines::new(0));
            let (without, expected) = read_text(text.as_bytes(), &mut empty, &mut Vec::new());
            prop_assert_eq!(&with, &without, "{}", text);
            prop_assert_eq!(&reading, &expected, "{}", text);
        }
    }
}

/// Lines beyond the room for them are decoded each time, and mean the same.
#[test]
fn lines_that_find_no_room_are_read_all_the_same() {
    let all = Lines::new(1);
    let mut cache = Cache::new(Secret::random(), Arc::clone(&all));
    let mut out = Progress::default();
    for scrape in 1..4 {
        let mut decoded = 0;
        let reading = read(b"a 1\nb 1\nc 1\nd 1\n", &mut cache, 0, &mut out, |_| {
            decoded += 1;
            Ok(Slot(decoded))
        });
        assert_eq!((reading.samples, out.samples.slots.len(), cache.len()), (4, 4, 2));
        assert_eq!(decoded, if scrape == 1 { 4 } else { 2 });
    }
    let mut other = Cache::new(Secret::random(), Arc::clone(&all));
    read(b"e 1\n", &mut other, 0, &mut out, |_| Ok(Slot(0)));
    assert_eq!(other.len(), 0);
    drop(cache);
    read(b"e 1\n", &mut other, 0, &mut out, |_| Ok(Slot(0)));
    assert_eq!(other.len(), 1);
}
