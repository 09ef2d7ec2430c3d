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

Without a configuration: inside Kubernetes the built-in production configuration; elsewhere a local one, which reads \
this machine, scrapes its usual ports (9400, 8080, 2112) and the agent itself, and writes objects below ./agent-data.

Exit codes: 0 all is well; 1 a failure, a target that did not answer a dry run, or something that the doctor found or that \
a migration leaves to decide; 2 the configuration or the command line is refused.";

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
Prints SQL, to compare with the table that there is: a column that it lacks is silently ignored. deploy/clickhouse/tables.sql \
makes all tables; its own table of this name has further columns.

Example:
  agent schema --config agent.yaml";

const COMPARE: &str = "\
A series of one side is looked for on the other by its name and labels. Known differences are taken away first: \
Vector's host is read as node, its collector as job; its own host_* get node-exporter's names and units; ts and cluster_id are left \
out. job, and node or else instance, have to be equal where both sides have them. Where Vector's host was the shipper's node and \
not that of the thing measured, as behind a Prometheus server, add --ignore-label node. Where one place lies below the other, \
what is in it is not counted to the other.

Two agents look at different moments, so that samples cannot be equal one by one. Values differ where
  - both sides are constant and not equal;
  - the ranges from smallest to largest value lie further apart than the value ever moved between two looks;
  - a counter that did not restart grew by more or less than two looks, and what one side alone looked at, explain; or of two that do not overlap in time the later one is smaller;
  - one side has numbers and the other has none (Vector writes null for NaN and infinities).
A gauge that moves much can be wrong within its range: that is not seen. HOLES are series that begin later, end earlier or have a gap longer than two and a half intervals and 5 s, and half as long again as on the old side. EXTRA is no fault.

Examples:
  agent compare s3://bucket/org/v2/vector/data s3://bucket/org/v2/vector/data/parquet --from 2h --to 1h --config agent.yaml
  agent compare old/ agent-data/ --from '2026-11-22 10:00' --to '2026-11-22 11:00' --format json | jq .totals

Exit code 0 when nothing is missing, differs or has holes, 1 when something is, 2 when the command line is refused.";

const INSPECT: &str = "\
Without --series or --samples: rows, series, times, and of Parquet the columns with their sizes and encodings.

Examples:
  agent inspect agent-data/1795303367/k3j2h1g0f9-1795303000.parquet
  agent inspect s3://bucket/prefix/1795303367/w0-1795303000.parquet --config agent.yaml --series
  agent inspect agent-data --samples --select '{job=\"dcgm\",__name__=~\"DCGM_.*\"}' --limit 20 --format json

Exit code 0 when all could be read, 1 when some could not, 2 when the command line is refused.";

const TAIL: &str = "\
Scrapes every target at its own interval, as running does, beside an agent that runs or without one, and prints the samples \
within a second. Nothing is written or sent; needs no credentials. Ends at Ctrl-C.

Examples:
  agent tail '{job=\"dcgm\",__name__=~\"DCGM_FI_DEV_.*\"}'
  agent tail up --format json | jq -r 'select(.value == 0) | .labels.instance'
  kubectl -n cedana-monitoring exec deploy/cedana-agent -- /agent tail up --limit 10";

const COMPLETIONS: &str = "\
Examples:
  agent completions bash > /etc/bash_completion.d/agent
  source <(agent completions zsh)";

const MIGRATE: &str = "\
Prints the agent's configuration on stdout, and on stderr what became of every line of the input: translated, fixed, not \
needed, or DECIDE. FILE is YAML: Vector's own configuration, or the values of its Helm chart; - reads stdin. Secrets are \
left out of both.

Examples:
  agent migrate vector-values.yaml > agent.yaml
  helm get values vector -o yaml | agent migrate - > agent.yaml

Exit code 0 when all is translated, 1 when something is to be decided (the configuration is printed all the same), 2 when \
FILE is no Vector configuration.";

/// Scrapes Prometheus exporters and ships the samples as objects to S3.
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

/// For people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// What to do instead of running.
#[derive(Clone, Debug, Subcommand)]
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
    /// Compare the objects of two shippers: what the new one lacks, by metric
    #[command(after_help = COMPARE)]
    Compare(Box<crate::compare::Arguments>),
    /// Show what is in an object, of the agent or of Vector
    #[command(after_help = INSPECT)]
    Inspect(Box<crate::inspect::Arguments>),
    /// Print samples as they come
    #[command(after_help = TAIL)]
    Tail(crate::tail::Arguments),
    /// Print what a shell needs to complete commands and options
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Translate a configuration of Vector
    #[command(after_help = MIGRATE)]
    Migrate {
        /// Vector's configuration, or the values of its chart (YAML)
        file: PathBuf,
        /// The sink to translate [default: the first of type aws_s3]
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// Write the objects that Vector wrote (encoding: vector_json), instead of Parquet
        #[arg(long)]
        keep_encoding: bool,
    },
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
        check(&["migrate", "a.yaml", "--sink", "s", "--keep-encoding"], true);
        check(&["migrate"], false);
        check(&["heal"], false);
        check(&["completions", "bash"], true);
        check(&["completions", "tcl"], false);
        check(&["tail"], true);
        check(&["tail", "up", "--limit", "3", "--format", "json"], true);
        check(&["tail", "{up"], false);
        check(&["inspect"], false);
        check(&["inspect", "a.parquet", "s3://b/k", "--select", "up"], true);
        check(&["inspect", "a.parquet", "--select", "{up"], false);
        check(&["compare", "a", "b", "--from", "1h", "--to", "now"], true);
        check(&["compare", "a", "b", "--from", "1h"], false);
        check(&["compare", "a", "s3://", "--from", "1h", "--to", "now"], false);
        check(&["compare", "a", "b", "--from", "then", "--to", "now"], false);
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
