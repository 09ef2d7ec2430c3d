//! What each command does. Takes the command line, the environment and two streams; gives how it ended.

use std::io::{self, Write};

use crate::cli::{Cli, Command, Format};
use crate::config::{self, Environment, Ingestion, Loaded, Purpose, Source};
use crate::{clock, doctor, dry_run, targets, telemetry};

/// How a command ended. `main` makes the exit code of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// Some targets did not answer a dry run.
    TargetsDown,
    /// The doctor has found something to mend.
    Unwell,
    /// The configuration or the command line is refused; the reasons have been printed.
    Refused,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent or a dry run failed.
    #[error(transparent)]
    Run(#[from] crate::Error),
    /// Nobody reads what is printed.
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// Does what the command line asks for.
///
/// # Errors
/// When it fails; a configuration that is refused and a target that does not answer are outcomes.
pub async fn execute(
    cli: Cli,
    environment: &Environment,
    out: &mut (impl Write + Send),
    err: &mut (impl Write + Send),
) -> Result<Outcome, Error> {
    if let Err(problem) = telemetry::log_to_stderr(cli.level(environment)) {
        writeln!(err, "error: {problem}")?;
        return Ok(Outcome::Refused);
    }
    if let Some(Command::DefaultConfig { kubernetes }) = cli.command {
        let text = if kubernetes { config::KUBERNETES } else { config::DEFAULT };
        return quietly(out.write_all(text.as_bytes()));
    }
    // Only what sends needs to be complete.
    let sends = matches!(cli.command, None | Some(Command::Check | Command::Doctor)) && !cli.dry_run;
    let purpose = if sends { Purpose::Run } else { Purpose::DryRun };
    let source = Source::choose(cli.config.clone(), environment);
    let loaded = match config::load(source, environment, purpose) {
        Ok(loaded) => loaded,
        Err(refused) => {
            writeln!(err, "error: {}", with_causes(&refused))?;
            return Ok(Outcome::Refused);
        }
    };
    match cli.command {
        Some(Command::Check) => check(&loaded, out, err),
        Some(Command::Targets) => print_targets(&loaded, out).await,
        Some(Command::Schema) => print_schema(&loaded, out),
        Some(Command::Doctor) => {
            let well = doctor::examine(&loaded, out).await?;
            Ok(if well { Outcome::Success } else { Outcome::Unwell })
        }
        Some(Command::DefaultConfig { .. }) | None if cli.dry_run => {
            dry(&loaded, cli.format.unwrap_or_default(), out, err).await
        }
        Some(Command::DefaultConfig { .. }) | None => {
            crate::run_until_signal(loaded).await?;
            Ok(Outcome::Success)
        }
    }
}

/// An error and its causes, in one line each as people write it.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A reader that has seen enough, such as `head`, is no failure.
fn quietly(written: io::Result<()>) -> Result<Outcome, Error> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Outcome::Success),
    }
}

fn warn(loaded: &Loaded, err: &mut impl Write) -> io::Result<()> {
    loaded.warnings.iter().try_for_each(|warning| writeln!(err, "warning: {warning}"))
}

fn check(loaded: &Loaded, out: &mut impl Write, err: &mut impl Write) -> Result<Outcome, Error> {
    warn(loaded, err)?;
    let jobs = loaded.config.pipeline.scrape_configs.len();
    let plural = if jobs == 1 { "job" } else { "jobs" };
    quietly(writeln!(out, "{} is sound ({jobs} {plural})", loaded.source))
}

async fn print_targets(loaded: &Loaded, out: &mut impl Write) -> Result<Outcome, Error> {
    let jobs = targets::discover(&loaded.config).await.map_err(crate::Error::from)?;
    quietly(writeln!(out, "{:#}", targets::view(&jobs)))
}

fn print_schema(loaded: &Loaded, out: &mut impl Write) -> Result<Outcome, Error> {
    let promote = &loaded.config.pipeline.parquet.promote;
    // Its problems are those of the check before.
    let schema = pipeline::schema::Schema::new(promote).unwrap_or_default();
    let mut text = schema.clickhouse_table(TABLE);
    if loaded.config.ingestion == Ingestion::Partitioned {
        text.push_str(&queue_settings());
    }
    quietly(out.write_all(text.as_bytes()))
}

/// What makes an S3Queue table keep one pointer per writer. It cannot be changed on a table that exists.
fn queue_settings() -> String {
    // A backslash in a text of SQL is written twice.
    let regex = sinks::key::PARTITION_REGEX.replace('\\', r"\\");
    format!(
        "\n-- ingestion: partitioned. The S3Queue table is made with these settings (and cannot be given them later):\n\
         --   mode = 'ordered', partitioning_mode = 'regex', partition_component = 'writer',\n\
         --   partition_regex = '{regex}',\n\
         --   bucketing_mode = 'partition', buckets = 16\n"
    )
}

/// The table that a view of the queue table writes to.
const TABLE: &str = "landing";

async fn dry(
    loaded: &Loaded,
    format: Format,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<Outcome, Error> {
    warn(loaded, err)?;
    writeln!(err, "dry run of {}", loaded.source)?;
    let registry = telemetry::registry().map_err(crate::Error::from)?;
    let run = dry_run::scrape(&loaded.config, &registry, usize::MAX).await?;
    dry_run::print_samples(out, &run, format)?;
    let all_answered = dry_run::print_report(err, &run, &loaded.config, &registry, clock::now_millis())?;
    Ok(if all_answered { Outcome::Success } else { Outcome::TargetsDown })
}

#[cfg(test)]
mod tests {
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
    async fn a_table_for_several_writers_tells_them_by_the_names_of_objects() {
        let (_, out, _) = run(&["schema"], "ingestion: partitioned").await;
        assert!(out.contains(r"'(?P<writer>[a-z0-9]+)-(?P<sequence>[0-9]+)\\.parquet'"), "{out}");
        let regex = regex::Regex::new(&format!("^(?:{})$", sinks::key::PARTITION_REGEX)).unwrap();
        let key = sinks::key::Key::next(None, 1_795_303_367, "w12", 7).to_string();
        let (_, name) = key.split_once('/').unwrap();
        assert_eq!(&regex.captures(name).unwrap()["writer"], "w12");
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
        assert_eq!(
            (&m["labels"]["b"], &m["value"], &m["type"]),
            (&"c".into(), &1.5.into(), &"counter".into())
        );
        assert_eq!(m["labels"]["job"], "a");
        for part in
            ["targets: 1 up, 0 down", "key  ", "{prefix of the credentials}/p/", "rows              8 "]
        {
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
}
