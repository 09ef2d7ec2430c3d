//! What each command does. Takes the command line, the environment and two streams; gives how it ended.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::Path;

use clap::CommandFactory as _;
use pipeline::encode::Encoding;

use crate::cli::{Cli, Command, Format};
use crate::config::{self, Config, Environment, Ingestion, Loaded, Purpose, Source};
use crate::objects::{self, Place};
use crate::progress::Progress;
use crate::{clock, compare, doctor, dry_run, inspect, migrate, tail, targets, telemetry};

/// How a command ended. `main` makes the exit code of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// Some targets did not answer a dry run.
    TargetsDown,
    /// The doctor has found something to mend.
    Unwell,
    /// A migration leaves something to decide.
    Undecided,
    /// The configuration or the command line is refused; the reasons have been printed.
    Refused,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent or a dry run failed.
    #[error(transparent)]
    Run(#[from] crate::Error),
    /// Objects cannot be found.
    #[error("{0}")]
    Objects(String),
    /// Nothing can be shown as it comes.
    #[error(transparent)]
    Tail(#[from] tail::Error),
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
    let problems = match telemetry::log_to_stderr(cli.level(environment)) {
        Ok(problems) => problems,
        Err(problem) => {
            writeln!(err, "error: {problem}")?;
            return Ok(Outcome::Refused);
        }
    };
    match &cli.command {
        Some(Command::DefaultConfig { kubernetes }) => {
            let text = if *kubernetes { config::KUBERNETES } else { config::DEFAULT };
            return quietly(out.write_all(text.as_bytes()));
        }
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "agent", &mut script);
            return quietly(out.write_all(&script));
        }
        Some(Command::Compare(arguments)) => {
            return Box::pin(compare(arguments, &cli, environment, out, err)).await;
        }
        Some(Command::Inspect(arguments)) => {
            return Box::pin(inspect(arguments, &cli, environment, out, err)).await;
        }
        Some(Command::Migrate { file, sink, keep_encoding }) => {
            let (file_name, sink) = (file.display().to_string(), sink.clone());
            let options = migrate::Options { file: file_name, sink, keep_encoding: *keep_encoding };
            return translate(file, &options, out, err);
        }
        _ => {}
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
        Some(Command::Targets) => print_targets(&loaded, out, err).await,
        Some(Command::Schema) => print_schema(&loaded, out),
        Some(Command::Doctor) => {
            let well = doctor::examine(&loaded, out, &mut Progress::to_people(err)).await?;
            Ok(if well { Outcome::Success } else { Outcome::Unwell })
        }
        Some(Command::Tail(arguments)) => {
            tail::run(&arguments, &loaded.config, out).await?;
            Ok(Outcome::Success)
        }
        // The others have been done above.
        _ if cli.dry_run => dry(&loaded, cli.format.unwrap_or_default(), out, err).await,
        _ => {
            crate::run_until_signal(loaded, problems).await?;
            Ok(Outcome::Success)
        }
    }
}

/// Translates a configuration of Vector.
fn translate(
    file: &Path,
    options: &migrate::Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<Outcome, Error> {
    let translated = match read_bounded(file) {
        Ok(text) => migrate::migrate(&text, options),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    match translated {
        Ok(migration) => {
            let printed = quietly(out.write_all(migration.config.as_bytes()))?;
            write!(err, "{}", migration.report)?;
            Ok(if migration.report.needs_decision() { Outcome::Undecided } else { printed })
        }
        Err(problem) => {
            writeln!(err, "error: {}: {problem}", options.file)?;
            Ok(Outcome::Refused)
        }
    }
}

/// The text of a file, or of stdin for `-`, no more of it than is taken.
fn read_bounded(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bytes_max = migrate::FILE_BYTES_MAX as u64 + 1;
    if file == Path::new("-") {
        io::stdin().take(bytes_max).read_to_string(&mut text)?;
    } else {
        File::open(file)?.take(bytes_max).read_to_string(&mut text)?;
    }
    Ok(text)
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

async fn print_targets(
    loaded: &Loaded,
    out: &mut impl Write,
    err: &mut (impl Write + Send),
) -> Result<Outcome, Error> {
    let looking = targets::discover(&loaded.config);
    let text = || "looking for targets, for ten seconds at most".to_owned();
    let jobs = Progress::to_people(err).during(looking, text).await.map_err(crate::Error::from)?;
    quietly(writeln!(out, "{:#}", targets::view(&jobs)))
}

fn print_schema(loaded: &Loaded, out: &mut impl Write) -> Result<Outcome, Error> {
    if loaded.config.pipeline.encoding == Encoding::VectorJson {
        return quietly(out.write_all(old_table(&loaded.config).as_bytes()));
    }
    let promote = &loaded.config.pipeline.parquet.promote;
    // Its problems are those of the check before.
    let schema = pipeline::schema::Schema::new(promote).unwrap_or_default();
    let mut text = schema.clickhouse_table(TABLE);
    if loaded.config.ingestion == Ingestion::Partitioned {
        text.push_str(&queue_settings(sinks::key::PARTITION_REGEX));
    }
    quietly(out.write_all(text.as_bytes()))
}

/// What to say of the table where objects are as Vector wrote them.
fn old_table(config: &Config) -> String {
    let extension = config.pipeline.vector_json.format().extension();
    let mut text = format!(
        "-- encoding: vector_json. No table is needed: the one that reads Vector's objects stays in use as it is. It reads keys\n\
         -- like {{prefix}}/{{epoch}}/{{epoch}}-{{uuid}}.{extension}: look whether its glob takes them in (SHOW CREATE TABLE).\n\
         -- deploy/MIGRATION.md says where rows differ from Vector's.\n"
    );
    if config.ingestion == Ingestion::Partitioned {
        text.push_str(&queue_settings(sinks::key::PARTITION_REGEX_VECTOR));
    }
    text
}

/// What makes an S3Queue table keep one pointer per writer. It cannot be changed on a table that exists.
fn queue_settings(regex: &str) -> String {
    // A backslash in a text of SQL is written twice.
    let regex = regex.replace('\\', r"\\");
    format!(
        "\n-- ingestion: partitioned. The S3Queue table is made with these settings (and cannot be given them later):\n\
         --   mode = 'ordered', partitioning_mode = 'regex', partition_component = 'writer',\n\
         --   partition_regex = '{regex}',\n\
         --   bucketing_mode = 'partition', buckets = 16\n"
    )
}

async fn compare(
    arguments: &compare::Arguments,
    cli: &Cli,
    environment: &Environment,
    out: &mut (impl Write + Send),
    err: &mut (impl Write + Send),
) -> Result<Outcome, Error> {
    // Progress is for people who wait for it.
    let mut nobody = io::sink();
    let progress: &mut (dyn Write + Send) = if io::stderr().is_terminal() { err } else { &mut nobody };
    let places = [&arguments.old, &arguments.new];
    let reaching = Reaching { places: &places, options: &arguments.access, cli, environment };
    let compared = reaching
        .reach(async |s3| compare::run(arguments, s3, clock::now_millis(), out, progress).await)
        .await;
    let compared = match compared {
        Ok(compared) => compared,
        Err(problem) => {
            writeln!(err, "error: {problem}")?;
            return Ok(Outcome::Refused);
        }
    };
    match compared {
        Ok(well) => Ok(if well { Outcome::Success } else { Outcome::Unwell }),
        Err(compare::Error::Print(error)) => quietly(Err(error)),
        Err(compare::Error::Refused(problem)) => {
            writeln!(err, "error: {problem}")?;
            Ok(Outcome::Refused)
        }
        Err(compare::Error::Place(problem)) => Err(Error::Objects(problem)),
    }
}

async fn inspect(
    arguments: &inspect::Arguments,
    cli: &Cli,
    environment: &Environment,
    out: &mut (impl Write + Send),
    err: &mut (impl Write + Send),
) -> Result<Outcome, Error> {
    let places: Vec<_> = arguments.objects.iter().collect();
    let reaching = Reaching { places: &places, options: &arguments.access, cli, environment };
    let inspected = reaching.reach(async |s3| inspect::run(arguments, s3, out, err).await).await;
    let inspected = match inspected {
        Ok(inspected) => inspected,
        Err(problem) => {
            writeln!(err, "error: {problem}")?;
            return Ok(Outcome::Refused);
        }
    };
    match inspected {
        Ok(all_read) => Ok(if all_read { Outcome::Success } else { Outcome::Unwell }),
        Err(inspect::Error::Print(error)) => quietly(Err(error)),
        Err(inspect::Error::Place(problem)) => Err(Error::Objects(problem)),
    }
}

/// How objects in buckets are reached.
struct Reaching<'a> {
    places: &'a [&'a Place],
    options: &'a objects::Options,
    cli: &'a Cli,
    environment: &'a Environment,
}

impl Reaching<'_> {
    /// Does something with an S3 whose credentials are kept, or without one where no place needs it.
    async fn reach<T>(self, work: impl AsyncFnOnce(Option<&sinks::s3::S3>) -> T) -> Result<T, String> {
        if !self.places.iter().any(|place| place.is_remote()) {
            return Ok(work(None).await);
        }
        let s3 = objects::connect(self.options, self.cli.config.as_deref(), self.environment)?;
        let done = async {
            s3.readable().await?;
            Ok(work(Some(&s3)).await)
        };
        tokio::select! {
            done = done => done,
            () = s3.keep_credentials() => Err("the refresher of credentials has ended".to_owned()),
        }
    }
}

/// The table that a view of the queue table writes to.
const TABLE: &str = "landing";

async fn dry(
    loaded: &Loaded,
    format: Format,
    out: &mut impl Write,
    err: &mut (impl Write + Send),
) -> Result<Outcome, Error> {
    warn(loaded, err)?;
    writeln!(err, "dry run of {}", loaded.source)?;
    let registry = telemetry::registry().map_err(crate::Error::from)?;
    let scraping = dry_run::scrape(&loaded.config, &registry, usize::MAX);
    let text = || dry_run::progress(&registry);
    let run = Progress::to_people(err).during(scraping, text).await?;
    dry_run::print_samples(out, &run, format)?;
    let all_answered = dry_run::print_report(err, &run, &loaded.config, &registry, clock::now_millis())?;
    Ok(if all_answered { Outcome::Success } else { Outcome::TargetsDown })
}

#[cfg(test)]
mod tests;
