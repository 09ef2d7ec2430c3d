//! What each command prints, and how it ends.

use super::*;
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Runs a command with `config` as its file; `$FILE` in the arguments is that file.
async fn run(arguments: &[&str], config: &str) -> (Outcome, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("agent.yaml");
    std::fs::write(&file, config).unwrap();
    let environment = Environment::from_pairs([("AGENT_CONFIG", file.to_str().unwrap())]);
    let cli = Cli::try_parse_from([&["agent"], arguments].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = execute(cli, &environment, &mut out, &mut err).await.unwrap();
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Answers every request with `body`, until the test ends.
async fn exporter(listener: TcpListener, body: &str) {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

/// A dry run of a job `a` that exposes `body`, and `more` YAML below it.
async fn dry_run_of(arguments: &[&str], body: &str, more: &str) -> (Outcome, String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = format!(
        "internal_metrics: false\nsink: {{s3: {{prefix_suffix: p}}}}\ncredentials: {{cedana: {{}}}}\nscrape_configs:\n\
         - {{job_name: a, static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]}}\n{more}"
    );
    let running = run(arguments, &config);
    let limited = tokio::time::timeout(std::time::Duration::from_secs(20), running);
    tokio::select! {
        done = limited => done.expect("a dry run ends"),
        () = exporter(listener, body) => unreachable!(),
    }
}

#[tokio::test]
async fn a_sound_configuration() {
    let (outcome, out, err) =
        run(&["check"], "sink: {file: {dir: x}}\nscrape_configs: [{job_name: a}]").await;
    assert_eq!((outcome, err.as_str()), (Outcome::Success, ""));
    assert!(out.ends_with("agent.yaml is sound (1 job)\n"), "{out}");
}

#[tokio::test]
async fn a_refused_configuration() {
    for arguments in [["check"].as_slice(), &["--dry-run"], &["targets"], &["schema"], &[]] {
        let (outcome, out, err) =
            run(arguments, "batch: {max_age: 1}\nsink: {file: {dir: x}, files: {}}").await;
        assert_eq!((outcome, out.as_str()), (Outcome::Refused, ""));
        assert!(err.starts_with("error: 2 problems in /"), "{err}");
        assert!(err.contains("\n  batch.max_age: \"1\" is not a duration"), "{err}");
        assert!(err.contains("\n  sink.files: unknown key, did you mean `file`?\n"), "{err}");
    }
}

#[tokio::test]
async fn a_script_for_a_shell() {
    let (outcome, out, _) = run(&["completions", "bash"], "not: looked at").await;
    assert_eq!(outcome, Outcome::Success);
    assert!(out.contains("complete -F _agent") && out.contains("--keep-encoding"), "{out}");
}

#[tokio::test]
async fn a_level_that_is_none() {
    let (outcome, _, err) = run(&["check", "--log-level", "info,["], "").await;
    assert_eq!(outcome, Outcome::Refused);
    assert!(err.contains("is not a log level"), "{err}");
}

#[tokio::test]
async fn what_is_printed_is_the_shipped_file() {
    let (outcome, out, _) = run(&["default-config"], "not: looked at").await;
    assert_eq!((outcome, out.as_str()), (Outcome::Success, config::DEFAULT));
}

#[tokio::test]
async fn the_table_has_the_promoted_labels() {
    let (outcome, out, _) = run(&["schema"], "parquet: {promote: [image]}").await;
    assert_eq!(outcome, Outcome::Success);
    assert!(out.contains("`image` LowCardinality(String)"), "{out}");
}

#[tokio::test]
async fn the_old_table_stays_where_objects_are_as_vector_wrote_them() {
    let (outcome, out, _) = run(&["schema"], "encoding: vector_json").await;
    assert_eq!(outcome, Outcome::Success);
    assert!(out.contains("stays in use") && out.contains("{uuid}.log:"), "{out}");
    assert!(out.lines().all(|line| line.starts_with("--")), "{out}");
    let gzip = "encoding: vector_json\nvector_json: {compression: gzip}\ningestion: partitioned";
    let (_, out, _) = run(&["schema"], gzip).await;
    assert!(out.contains("{uuid}.log.gz:") && out.contains("partitioning_mode"), "{out}");
}

#[tokio::test]
async fn a_table_for_several_writers_tells_them_by_the_names_of_objects() {
    let (_, out, _) = run(&["schema"], "ingestion: partitioned").await;
    assert!(out.contains(r"'(?P<writer>[a-z0-9]+)-(?P<sequence>[0-9]+)\\.parquet'"), "{out}");
    use pipeline::model::object::Format;
    let writer_of = |regex: &str, writer: &str, format: Format| {
        let regex = regex::Regex::new(&format!("^(?:{regex})$")).unwrap();
        let key = sinks::key::Key::next(None, 1_795_303_367, writer, 7, format).to_string();
        let (_, name) = key.split_once('/').unwrap();
        regex.captures(name).unwrap()["writer"].to_owned()
    };
    assert_eq!(writer_of(sinks::key::PARTITION_REGEX, "w12", Format::Parquet), "w12");
    let vector = sinks::key::PARTITION_REGEX_VECTOR;
    let of = |writer: &str, format: Format| writer_of(vector, writer, format);
    assert_eq!(of("w12", Format::VectorJson), of("w12", Format::VectorJsonGzip));
    assert_ne!(of("w12", Format::VectorJson), of("w13", Format::VectorJson));
    let (_, out, _) = run(&["schema"], "").await;
    assert!(!out.contains("S3Queue"), "{out}");
}

#[tokio::test]
async fn targets_are_listed_with_the_dropped_ones() {
    let config = "scrape_configs:\n- job_name: a\n  static_configs: [{targets: [x:1, y:2]}]\n  relabel_configs:\n  \
                  - {source_labels: [__address__], regex: x.*, action: drop}";
    let (outcome, out, _) = run(&["targets"], config).await;
    assert_eq!(outcome, Outcome::Success);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let states: Vec<_> = list.as_array().unwrap().iter().map(|t| (&t["job"], &t["state"])).collect();
    assert_eq!(states.len(), 3, "{out}");
    assert_eq!(
        (states[0].1, states[1].1, states[2].0),
        (&"active".into(), &"dropped".into(), &"agent".into())
    );
    assert_eq!(list[1]["discovered_labels"]["__address__"], "x:1");
}

#[tokio::test]
async fn a_dry_run_shows_samples_and_targets() {
    let body = "# TYPE m counter\nm{b=\"c\"} 1.5\nn 2\n";
    let (outcome, out, err) = dry_run_of(&["--dry-run"], body, "").await;
    assert_eq!(outcome, Outcome::Success, "{err}");
    let samples: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(samples.len(), 2 + 6, "{out}");
    let m = samples.iter().find(|sample| sample["metric"] == "m").unwrap();
    assert_eq!((&m["labels"]["b"], &m["value"], &m["type"]), (&"c".into(), &1.5.into(), &"counter".into()));
    assert_eq!(m["labels"]["job"], "a");
    for part in ["targets: 1 up, 0 down", "key  ", "{prefix of the credentials}/p/", "rows              8 "] {
        assert!(err.contains(part), "no {part}: {err}");
    }
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_an_outcome() {
    let (outcome, out, err) = dry_run_of(&["--dry-run"], "<html>not metrics</html>", "").await;
    assert_eq!(outcome, Outcome::TargetsDown);
    assert!(out.contains("\"metric\":\"up\""), "{out}");
    assert!(err.contains("targets: 0 up, 1 down") && err.contains("exit code 1"), "{err}");
}

#[tokio::test]
async fn a_dry_run_in_text_format() {
    let (outcome, out, _) = dry_run_of(&["--dry-run", "--format", "prometheus"], "n 2\n", "").await;
    assert_eq!(outcome, Outcome::Success);
    assert!(out.contains("# TYPE up gauge\nup{"), "{out}");
    assert!(out.contains("# TYPE n untyped\nn{instance=\"127.0.0.1:"), "{out}");
}

/// Takes `room` bytes; then its reader is gone.
struct Pipe {
    room: usize,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        if taken == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let cli = Cli::try_parse_from(["agent", "--dry-run", "--config", "/dev/null"]).unwrap();
    let mut err = Vec::new();
    let done = execute(cli, &Environment::default(), &mut Pipe { room: 100 }, &mut err).await;
    assert_eq!(done.unwrap(), Outcome::Success);
    assert!(String::from_utf8(err).unwrap().contains("targets: 1 up"));
}
