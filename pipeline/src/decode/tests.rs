//! What is read back is what was written: by our encoder, and by Vector.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::encode::tests as written;
use crate::model::sample::MetricType;

type Found = Vec<written::ReadRow>;

fn read_all(bytes: &[u8]) -> (Found, Result<Counts, Error>) {
    let mut found = Vec::new();
    let counts = read(&Bytes::copy_from_slice(bytes), &mut |series, samples| {
        for (time, value) in samples {
            found.push((series.labels.to_string(), series.metric_type.as_str(), *time, value.to_bits()));
        }
    });
    (found, counts)
}

fn check_vector(json: &str, expected: &[(&str, &str, f64)]) -> Counts {
    let (found, counts) = read_all(json.as_bytes());
    let expected: Found = expected
        .iter()
        .map(|(labels, kind, value)| {
            let kind = MetricType::from_name(kind).unwrap().as_str();
            ((*labels).to_owned(), kind, 1_795_303_367_401, value.to_bits())
        })
        .collect();
    assert_eq!(found, expected);
    counts.unwrap()
}

/// The lines that Vector 0.58 wrote of an exporter made for the purpose.
#[test]
fn vectors_metrics_become_prometheus_series() {
    let json = r#"[
        {"name":"probe_requests_total","tags":{"method":"GET","path":"/a\"b\\c\nd","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","counter":{"value":1234567.0}},
        {"name":"probe_latency_seconds","tags":{"route":"/x"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","aggregated_histogram":{"buckets":[{"upper_limit":1.0,"count":5},{"upper_limit":0.1,"count":10}],"count":17,"sum":8.25}},
        {"name":"probe_rpc_seconds","tags":{"service":"s"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","aggregated_summary":{"quantiles":[{"quantile":0.5,"value":0.05},{"quantile":0.99,"value":null}],"count":2693,"sum":17560.473}},
        {"name":"load1","namespace":"host","tags":{"empty":"","host":"n1","none":null},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","gauge":{"value":21.5}},
        {"name":"nan","timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","gauge":{"value":null}}
    ]"#;
    let expected = [
        (
            r#"{__name__="probe_requests_total",method="GET",path="/a\"b\\c\nd",ts="1795303367"}"#,
            "counter",
            1_234_567.0,
        ),
        (r#"{__name__="probe_latency_seconds_bucket",le="0.1",route="/x"}"#, "histogram", 10.0),
        (r#"{__name__="probe_latency_seconds_bucket",le="1",route="/x"}"#, "histogram", 15.0),
        (r#"{__name__="probe_latency_seconds_bucket",le="+Inf",route="/x"}"#, "histogram", 17.0),
        (r#"{__name__="probe_latency_seconds_sum",route="/x"}"#, "histogram", 8.25),
        (r#"{__name__="probe_latency_seconds_count",route="/x"}"#, "histogram", 17.0),
        (r#"{__name__="probe_rpc_seconds",quantile="0.5",service="s"}"#, "summary", 0.05),
        (r#"{__name__="probe_rpc_seconds",quantile="0.99",service="s"}"#, "summary", f64::NAN),
        (r#"{__name__="probe_rpc_seconds_sum",service="s"}"#, "summary", 17_560.473),
        (r#"{__name__="probe_rpc_seconds_count",service="s"}"#, "summary", 2693.0),
        (r#"{__name__="host_load1",host="n1"}"#, "gauge", 21.5),
        (r#"{__name__="nan"}"#, "gauge", f64::NAN),
    ];
    let counts = check_vector(json, &expected);
    assert_eq!((counts.samples, counts.left_out.len()), (12, 0));
}

#[test]
fn lines_compressed_or_not_are_read_too() {
    let line = r#"{"name":"a","timestamp":"2026-11-21T23:22:47.401Z","kind":"absolute","gauge":{"value":1}}"#;
    let a = (r#"{__name__="a"}"#, "gauge", 1.0);
    check_vector(&format!("{line}\n{line}\n"), &[a, a]);
    check_vector("[]", &[]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(format!("[{line}]").as_bytes()).unwrap();
    let mut bytes = gzip.finish().unwrap();
    let (found, counts) = read_all(&bytes);
    assert_eq!((found.len(), counts.unwrap().samples), (1, 1));
    assert!(matches!(decompress(&bytes, 10), Err(Error::Large)));
    bytes.truncate(bytes.len() - 9);
    assert!(matches!(read_all(&bytes).1, Err(Error::Gzip(_))));
}

#[test]
fn what_is_no_sample_is_counted() {
    let check = |element: &str, reason: &'static str| {
        let counts = check_vector(&format!("[{element}]"), &[]);
        assert_eq!(counts.left_out, BTreeMap::from([(reason, 1)]), "{element}");
    };
    let time = r#""timestamp":"2026-11-21T23:22:47.401Z""#;
    check(r#"{"message":"a log","host":"n1"}"#, "no metric");
    check(r#"{"name":"a","kind":"absolute","gauge":{"value":1}}"#, "no timestamp");
    check(r#"{"name":"a","kind":"absolute","timestamp":"today","gauge":{"value":1}}"#, "no timestamp");
    check(
        &format!(r#"{{"name":"a","kind":"incremental",{time},"counter":{{"value":1}}}}"#),
        "an increment, which is no value",
    );
    check(&format!(r#"{{"name":"a",{time},"set":{{"values":[]}}}}"#), "a set, a distribution or a sketch");
    check(
        &format!(r#"{{"name":"a",{time},"tags":{{"b":["c"]}},"gauge":{{"value":1}}}}"#),
        "a tag that is no text",
    );
}

#[test]
fn what_cannot_be_read_says_why() {
    let check = |bytes: &[u8], part: &str| {
        let problem = read_all(bytes).1.unwrap_err().to_string();
        assert!(problem.contains(part), "{problem}");
    };
    check(b"", "empty");
    check(b"hello world", "\"hello wo\"");
    check(b"PAR1", "as Parquet");
    check(br#"[{"name":"a""#, "as Vector's JSON: EOF");
    check(br#"[{"name":1}]"#, "line 1 column");
    check(b"[] []", "trailing");
}

/// Whatever was written is there again, in order, and the parts that were not damaged are given before the error.
#[test]
fn an_object_of_ours_is_read_as_it_was_written() {
    for (bytes, expected) in written::objects() {
        let (found, counts) = read_all(&bytes);
        assert_eq!(counts.unwrap().samples, expected.len() as u64);
        assert_eq!(found, expected);
        let description = describe(&bytes).unwrap();
        assert_eq!((description.rows, description.row_groups.len()), (expected.len() as u64, 1));
        assert!(description.created_by.starts_with("cedana-agent"));
        assert!(description.metadata.contains(&("sequence".to_owned(), "7".to_owned())));
        let names: Vec<_> = description.row_groups[0].columns.iter().map(|c| c.name.as_str()).collect();
        assert!(names.contains(&"labels.key_value.key") && names.contains(&"job"), "{names:?}");
    }
}

proptest! {
    /// Damage is an error or other values; it is never the end of the process.
    #[test]
    fn damage_is_no_panic(at in 4_usize..4000, bits in 1_u8..) {
        let mut bytes = written::objects()[3].0.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= bits;
        let _ = read_all(&bytes);
        let _ = read_all(&bytes[..at]);
    }
}
