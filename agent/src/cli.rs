//! The command line: what can be asked of the agent. A contract that scripts rely on.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::telemetry::{LEVEL_DEFAULT, VERSION};

// Paragraphs are one line each, so that they are wrapped to the width of the terminal.
const EXAMPLES: &str = "\
Examples:
  agent --dry-run | head             one scrape of every target, one JSON object per sample
  agent --dry-run | jq .metric       the same, piped into jq
  agent                              run until SIGTERM or Ctrl-C
  agent default-config > agent.yaml  the complete configuration, every key commented
  agent check --config agent.yaml    every problem of a configuration at once

Without a configuration: inside Kubernetes the built-in production configuration; elsewhere a local one, which scrapes \
the usual ports of this machine (9100, 9400, 8080, 2112) and the agent itself, and writes objects below ./agent-data.

Exit codes: 0 all is well; 1 a failure, a target that did not answer a dry run, or something that the doctor found; 2 the configuration or the \
command line is refused.";

const DRY_RUN: &str = "\
Scrape every target once, show what would be shipped, write and send nothing

On stdout one JSON object per sample; on stderr the targets with their states and the object that would have been \
uploaded. Needs no credentials. Exit code 0 when all targets answered, 1 when some did not, 2 when the configuration is \
refused.";

const CHECK: &str = "\
Checks the configuration and does nothing else: no network, no files written.

Example:
  agent check --config agent.yaml

Exit code 0 when it is sound, 2 when anything is wrong; every problem is one line with its path, the value and the \
remedy.";

const TARGETS: &str = "\
Prints a JSON list. Each target has its job, state (active, or dropped with the reason), url, labels (after relabelling) \
and discovered_labels (before it, which is what relabel_configs see).

Examples:
  agent targets
  agent targets | jq '.[] | select(.state == \"dropped\")'";

const DOCTOR: &str = "\
Prints one line for each thing looked at: ok, note or FAIL, with the remedy. Scrapes one target of each job, and proves \
the permission to write to the bucket without leaving an object there. Run it in the pod, or anywhere with the same \
configuration and environment.

Examples:
  agent doctor --config agent.yaml
  kubectl -n cedana-monitoring exec deploy/cedana-agent -- /agent doctor

Exit code 0 when nothing has to be mended, 1 when something has, 2 when the configuration is refused.";

const DEFAULT_CONFIG: &str = "\
Examples:
  agent default-config > agent.yaml && agent check --config agent.yaml
  agent default-config --kubernetes > agent.yaml";

const SCHEMA: &str = "\
Prints SQL. Apply it before the agent writes such objects: a column that the table lacks is silently ignored.

Example:
  agent schema --config agent.yaml | clickhouse-client";

/// Scrapes Prometheus exporters and ships the samples as Parquet objects to S3.
#[derive(Debug, Parser)]
#[command(name = "agent", version = VERSION, after_help = EXAMPLES, max_term_width = 120)]
pub struct Cli {
    /// The configuration (YAML) [env: AGENT_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A dry run instead of running
    #[arg(long, help = "Scrape every target once and show what would be shipped", long_help = DRY_RUN)]
    pub dry_run: bool,

    /// How a dry run prints samples [default: json]
    #[arg(long, requires = "dry_run", value_name = "FORMAT")]
    pub format: Option<Format>,

    /// What is logged
    #[arg(long, global = true, value_name = "LEVEL", help = LEVEL)]
    pub log_level: Option<String>,

    /// What to do instead of running
    #[command(subcommand)]
    pub command: Option<Command>,
}

const LEVEL: &str = "error, warn, info, debug or trace; or per part as in info,pipeline=debug [env: AGENT_LOG] \
                     [default: info; error for everything but running]";

/// How samples are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object per sample
    #[default]
    Json,
    /// Prometheus' text format
    Prometheus,
}

/// What to do instead of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Check the configuration; report every problem at once
    #[command(after_help = CHECK)]
    Check,
    /// Print the targets after discovery and relabelling, as JSON
    #[command(after_help = TARGETS)]
    Targets,
    /// Look at everything that has to be right: names, permissions, targets, credentials, clock, bucket
    #[command(after_help = DOCTOR)]
    Doctor,
    /// Print the complete configuration, every key with its default, unit and reason
    #[command(after_help = DEFAULT_CONFIG)]
    DefaultConfig {
        /// Print the built-in production configuration for Kubernetes instead
        #[arg(long)]
        kubernetes: bool,
    },
    /// Print the ClickHouse table for the columns in force
    #[command(after_help = SCHEMA)]
    Schema,
}

impl Cli {
    /// The log level: the command line's, or `AGENT_LOG`, or the default.
    pub(crate) fn level<'a>(&'a self, environment: &'a crate::config::Environment) -> &'a str {
        // Whoever asks for something sees the answer on the same screen, states of targets included.
        let default = if self.command.is_some() || self.dry_run { "error" } else { LEVEL_DEFAULT };
        self.log_level.as_deref().or_else(|| environment.set("AGENT_LOG")).unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments() {
        let check = |arguments: &[&str], good: bool| {
            let parsed = Cli::try_parse_from([&["agent"], arguments].concat());
            assert_eq!(parsed.is_ok(), good, "{arguments:?}");
        };
        check(&[], true);
        check(&["--config", "a.yaml"], true);
        check(&["check", "--config", "a.yaml"], true);
        check(&["--dry-run", "--format", "prometheus"], true);
        check(&["--format", "prometheus"], false);
        check(&["--dry-run", "--format", "xml"], false);
        check(&["doctor"], true);
        check(&["default-config", "--kubernetes"], true);
        check(&["heal"], false);
    }

    #[test]
    fn every_command_says_how_it_is_used() {
        let mut command = Cli::command();
        assert!(command.render_help().to_string().contains("agent --dry-run | head"));
        for command in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{help}");
        }
        let version = Cli::command().render_version();
        assert!(version.starts_with("agent ") && version.contains("(commit "), "{version}");
    }
}
