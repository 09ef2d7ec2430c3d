//! What is shown of objects of either kind.

use support::objects::{self, Row};

use super::*;

fn object() -> Bytes {
    let row = |timestamp: i64, metric: &str, gpu: &str, value: f64| Row {
        timestamp,
        metric: metric.to_owned(),
        kind: "gauge".to_owned(),
        promoted: [("job".to_owned(), "dcgm".to_owned())].into(),
        labels: [("gpu".to_owned(), gpu.to_owned())].into(),
        value,
    };
    let rows = [
        row(1000, "a", "0", 1.5),
        row(2000, "a", "0", f64::NAN),
        row(1000, "a", "1", 3.0),
        row(1500, "b", "0", 4.0),
    ];
    objects::write(&rows).unwrap()
}

const VECTOR: &str = r#"[{"name":"a","tags":{"gpu":"0"},"timestamp":"1970-01-01T00:00:01Z","kind":"absolute","gauge":{"value":1.5}},{"message":"log"}]"#;

async fn inspect(more: &[&str]) -> (bool, String, String) {
    use clap::Parser;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("w0-17.parquet"), object()).unwrap();
    std::fs::write(dir.path().join("x.log"), VECTOR).unwrap();
    std::fs::write(dir.path().join("broken.parquet"), "PAR1").unwrap();
    std::fs::create_dir(dir.path().join("others")).unwrap();
    std::fs::write(dir.path().join("others/notes.txt"), "none").unwrap();
    let path = dir.path().display().to_string();
    let words: Vec<String> = more.iter().map(|word| word.replace("DIR", &path)).collect();
    let line = ["agent", "inspect"].map(str::to_owned).into_iter().chain(words);
    let Some(crate::cli::Command::Inspect(arguments)) = crate::cli::Cli::parse_from(line).command else {
        panic!("{more:?}");
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all_read = run(&arguments, None, &mut out, &mut err).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(&path, "DIR");
    (all_read, text(out), text(err))
}

async fn check(more: &[&str], expected: &str) {
    let (all_read, out, err) = inspect(more).await;
    assert!(all_read, "{err}");
    assert_eq!(out, expected);
}

#[tokio::test]
async fn series_and_samples_are_shown_as_asked() {
    check(
        &["DIR/w0-17.parquet", "--series"],
        "a{gpu=\"0\",job=\"dcgm\"} gauge 2 1970-01-01T00:00:01.000Z 1970-01-01T00:00:02.000Z 1.5 1.5\n\
         a{gpu=\"1\",job=\"dcgm\"} gauge 1 1970-01-01T00:00:01.000Z 1970-01-01T00:00:01.000Z 3 3\n\
         b{gpu=\"0\",job=\"dcgm\"} gauge 1 1970-01-01T00:00:01.500Z 1970-01-01T00:00:01.500Z 4 4\n",
    )
    .await;
    check(
        &["DIR/w0-17.parquet", "--samples", "--select", "{gpu=\"0\"}", "--limit", "2"],
        "1970-01-01T00:00:01.000Z a{gpu=\"0\",job=\"dcgm\"} 1.5\n1970-01-01T00:00:02.000Z a{gpu=\"0\",job=\"dcgm\"} NaN\n",
    )
    .await;
    check(&["DIR/x.log", "--samples"], "1970-01-01T00:00:01.000Z a{gpu=\"0\"} 1.5\n").await;
    check(
        &["DIR/w0-17.parquet", "--samples", "--select", "b", "--format", "json"],
        "{\"timestamp\":\"1970-01-01T00:00:01.500Z\",\"metric\":\"b\",\"labels\":{\"gpu\":\"0\",\"job\":\"dcgm\"},\"value\":4.0,\"type\":\"gauge\"}\n",
    )
    .await;
}

#[tokio::test]
async fn an_object_says_what_it_is() {
    let (all_read, out, err) = inspect(&["DIR"]).await;
    assert!(!all_read && err.starts_with("error: DIR/broken.parquet: cannot be read as Parquet"), "{err}");
    for part in [
        "DIR/w0-17.parquet\n  kind             Parquet",
        "samples          4 (4 selected)",
        "series           3",
        "metrics          2",
        "last sample      1970-01-01T00:00:02.000Z",
        "writer           w0",
        "sequence         17",
        "row group 0: 4 rows",
        "    labels.key_value.key     BYTE_ARRAY",
        "DIR/x.log\n  kind             Vector's JSON",
        "left out         1 elements: no metric",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    let (_, out, _) = inspect(&["DIR/w0-17.parquet", "--format", "json"]).await;
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&value["parquet"]["rows"], &value["sequence"]), (&4.into(), &17.into()), "{value:#}");
    let (all_read, _, err) = inspect(&["DIR/no.parquet"]).await;
    assert!(!all_read && err.contains("cannot read DIR/no.parquet"), "{err}");
    let (all_read, _, err) = inspect(&["DIR/others"]).await;
    assert!(!all_read && err == "error: DIR/others: no objects, and 1 other files\n", "{err}");
}
