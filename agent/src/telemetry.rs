//! Logs and the metric registry.
//!
//! Logs go to stderr: text for people at a terminal, JSON for machines. Never a secret, nothing per sample.

use std::io::IsTerminal;
use std::sync::PoisonError;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge, Opts, Registry, TextEncoder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::problems::RecentProblems;

/// The version with the commit, as `--version` prints it.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("AGENT_COMMIT"), ")");

/// What is logged where nothing is said.
pub const LEVEL_DEFAULT: &str = "info";

/// Kubernetes' client logs each failed request by itself, and without saying which. Discovery and the Lease log what changed,
/// so that these are off unless they are asked for by name.
const QUIET: &str = "kube_client=off";

/// Starts logging at `level`, which may be a whole filter such as `info,pipeline=debug`. Gives the warnings and errors among
/// what is logged.
///
/// # Errors
/// A text for people when the level is none.
pub fn log_to_stderr(level: &str) -> Result<RecentProblems, String> {
    let refused =
        |why: &str| format!("{level:?} is not a log level ({why}): use error, warn, info, debug or trace");
    // The filter takes a bare word that is no level for the name of a part, and would then log nothing.
    let is_level = |part: &str| part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok();
    if let Some(part) = level.split(',').find(|part| !is_level(part)) {
        return Err(refused(&format!("{part:?} is neither a level nor PART=LEVEL")));
    }
    // What stands later wins over what it repeats.
    let filter =
        EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|error| refused(&error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let problems = RecentProblems::default();
    // A second start, as in tests, is no error: the first keeps logging.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).finish().with(problems.clone()).try_init()
    } else {
        builder.json().flatten_event(true).with_target(false).finish().with(problems.clone()).try_init()
    };
    Ok(problems)
}

/// A registry that holds the build and the process.
///
/// # Errors
/// When a metric cannot be registered, which is a defect.
pub fn registry() -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    let options = Opts::new("agent_build_info", "Constant 1; the labels say which agent this is.")
        .const_label("version", env!("CARGO_PKG_VERSION"))
        .const_label("commit", env!("AGENT_COMMIT"));
    let build = IntGauge::with_opts(options)?;
    build.set(1);
    registry.register(Box::new(build))?;
    registry.register(Box::new(Process::new()?))?;
    Ok(registry)
}

/// All metrics in text format 0.0.4.
#[must_use]
pub fn render(registry: &Registry) -> String {
    let mut text = String::new();
    // Fails only on a family without metrics, which the registry does not gather.
    if let Err(error) = TextEncoder::new().encode_utf8(&registry.gather(), &mut text) {
        tracing::error!(%error, "cannot encode the agent's metrics");
    }
    text
}

/// The metrics of a second stream of objects under names of their own, among those of `registry`.
///
/// # Errors
/// When a metric cannot be registered, which is a defect.
pub fn registry_of_events(registry: &Registry) -> Result<Registry, prometheus::Error> {
    let inner = Registry::new();
    let name = format!("{OF_EVENTS}spool");
    let about = Desc::new(name, "A stream of objects of its own.".into(), Vec::new(), Default::default())?;
    registry.register(Box::new(OfEvents { about, inner: inner.clone() }))?;
    Ok(inner)
}

/// What the names of these metrics begin with, instead of [`OF_AGENT`].
const OF_EVENTS: &str = "agent_kubernetes_events_";
const OF_AGENT: &str = "agent_";
/// What both streams have in common is said once.
const SHARED: [&str; 2] = ["agent_credentials_", "agent_clock_"];

/// The metrics of another registry, renamed.
struct OfEvents {
    about: Desc,
    inner: Registry,
}

impl Collector for OfEvents {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.about]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let is_own = |family: &MetricFamily| !SHARED.iter().any(|prefix| family.name().starts_with(prefix));
        let renamed = |mut family: MetricFamily| {
            let rest = family.name().strip_prefix(OF_AGENT).unwrap_or_default().replace("samples", "rows");
            family.set_name(format!("{OF_EVENTS}{rest}"));
            let help = family.help().replace("Samples", "Rows").replace("samples", "rows");
            family.set_help(help.replace(OF_AGENT, OF_EVENTS));
            family
        };
        self.inner.gather().into_iter().filter(is_own).map(renamed).collect()
    }
}

/// The process as Linux sees it, under the names of Prometheus' client libraries.
struct Process {
    cpu: std::sync::Mutex<Counter>,
    memory: Gauge,
    files: Gauge,
    files_max: Gauge,
    start: Gauge,
}

/// Ticks per second in `/proc` (`USER_HZ`, proc(5)): 100 on every platform that Rust's tier 1 and 2 has.
const TICKS: f64 = 100.0;

impl Process {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            cpu: Counter::new("process_cpu_seconds_total", "User and system CPU time.")?.into(),
            memory: Gauge::new("process_resident_memory_bytes", "Resident memory.")?,
            files: Gauge::new("process_open_fds", "Open file descriptors.")?,
            files_max: Gauge::new("process_max_fds", "Limit of open file descriptors.")?,
            start: Gauge::new("process_start_time_seconds", "Unix time of the start.")?,
        })
    }

    fn gauges(&self) -> [&Gauge; 4] {
        [&self.memory, &self.files, &self.files_max, &self.start]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().iter().flat_map(|gauge| gauge.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seconds) = cpu_seconds() {
            cpu.inc_by((seconds - cpu.get()).max(0.0));
        }
        for (gauge, value) in self.gauges().into_iter().zip([memory(), files(), files_max(), start()]) {
            gauge.set(value.unwrap_or(f64::NAN));
        }
        let gauges = self.gauges().into_iter().flat_map(Collector::collect);
        cpu.collect().into_iter().chain(gauges).collect()
    }
}

/// A field of `/proc/self/stat`, counted from 1 as in proc_pid_stat(5).
fn stat(field: usize) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat(14)? + stat(15)?) / TICKS)
}

fn memory() -> Option<f64> {
    Some(number_after("/proc/self/status", "VmRSS:")? * 1024.0)
}

fn files() -> Option<f64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

fn files_max() -> Option<f64> {
    number_after("/proc/self/limits", "Max open files")
}

fn start() -> Option<f64> {
    Some(number_after("/proc/stat", "btime")? + stat(22)? / TICKS)
}

/// The first number in the line of `file` that begins with `start`.
fn number_after(file: &str, start: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(start))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        let registry = registry().unwrap();
        let text = render(&registry);
        for (name, at_least) in [
            ("process_resident_memory_bytes", 1e6),
            ("process_open_fds", 3.0),
            ("process_max_fds", 16.0),
            ("process_start_time_seconds", 1e9),
            ("process_cpu_seconds_total", 0.0),
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= at_least, "{line}");
        }
        assert!(text.contains("agent_build_info{"), "{text}");
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"), "{text}");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for level in ["info,[", "loud", "info,loud"] {
            let text = log_to_stderr(level).unwrap_err();
            assert!(text.contains("use error, warn, info, debug or trace"), "{text}");
        }
    }
}
