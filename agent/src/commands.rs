//! What each command does. Takes the command line, the environment and two streams; gives how it ended.

use std::io::{self, Write};

use crate::cli::{Cli, Command, Format};
use crate::config::{self, Environment, Loaded, Purpose, Source};
use crate::{clock, dry_run, targets, telemetry};

/// How a command ended. `main` makes the exit code of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// Some targets did not answer a dry run.
    TargetsDown,
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
    if cli.command == Some(Command::DefaultConfig) {
        return quietly(out.write_all(config::DEFAULT.as_bytes()));
    }
    // Only what sends needs to be complete.
    let sends = matches!(cli.command, None | Some(Command::Check)) && !cli.dry_run;
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
        Some(Command::Targets) => print_targets(&loaded, out),
        Some(Command::Schema) => print_schema(&loaded, out),
        Some(Command::DefaultConfig) | None if cli.dry_run => {
            dry(&loaded, cli.format.unwrap_or_default(), out, err).await
        }
        Some(Command::DefaultConfig) | None => {
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
    quietly(writeln!(out, "{} is sound ({jobs} jobs)", loaded.source))
}

fn print_targets(loaded: &Loaded, out: &mut impl Write) -> Result<Outcome, Error> {
    let jobs = targets::discover(&loaded.config)
        .map_err(|problems| crate::Error::from(pipeline::Error::Config(problems)))?;
    quietly(writeln!(out, "{:#}", targets::view(&jobs)))
}

fn print_schema(loaded: &Loaded, out: &mut impl Write) -> Result<Outcome, Error> {
    let promote = &loaded.config.pipeline.parquet.promote;
    // Its problems are those of the check before.
    let schema = pipeline::schema::Schema::new(promote).unwrap_or_default();
    quietly(out.write_all(schema.clickhouse_table(TABLE).as_bytes()))
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
    let run = dry_run::scrape(&loaded.config).await?;
    dry_run::print_samples(out, &run, format)?;
    let all_answered = dry_run::print_report(err, &run, &loaded.config, clock::now_millis())?;
    Ok(if all_answered { Outcome::Success } else { Outcome::TargetsDown })
}
