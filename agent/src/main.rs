//! Arguments, runtime and exit codes.
//!
//! 0: all is well. 1: a failure, a target that did not answer a dry run, something that the doctor found, or that a
//! migration leaves to decide. 2: the configuration or the command line is refused.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use agent::cli::Cli;
use agent::commands::{self, Outcome};
use agent::config::Environment;
use anyhow::Context;
use clap::Parser;

/// With 131,000 series every second the heap takes 32 MiB by this allocator and 49 by glibc's, at the same CPU: glibc keeps what an
/// object, a body or the first scrapes took. What this one is told stands in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long blocking work may go on after everything has been stopped, such as a write to a disk that hangs.
const LINGER: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // Prints help, version and mistakes itself; its exit code for mistakes is 2.
    let cli = Cli::parse();
    match execute(cli) {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::TargetsDown | Outcome::Unwell | Outcome::Undecided) => ExitCode::from(1),
        Ok(Outcome::Refused) => ExitCode::from(2),
        Err(error) => {
            // If nobody reads stderr, the exit code still says it.
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<Outcome> {
    // One TLS provider for everything; a second installation would be the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread for all I/O, which is mostly waiting; the worker and the disk have threads of their own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start threads")?;
    let environment = Environment::of_process();
    let outcome = runtime.block_on(commands::execute(cli, &environment, &mut stdout(), &mut stderr()));
    runtime.shutdown_timeout(LINGER);
    Ok(outcome?)
}
