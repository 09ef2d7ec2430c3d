//! The host that the agent runs on, read without an exporter.
//!
//! Takes procfs, sysfs and the host's root; gives an exposition in text format, under node-exporter's names and labels, so that
//! questions and dashboards need not be told apart. Each collector is by itself: one that fails, or hangs, says so and costs
//! nothing else. Blocks; never writes. `deploy/HOST_METRICS.md` lists what node-exporter has beyond it.
//!
//! Files are taken apart right here. The crate `procfs` has types for them, which fit one kernel's fields and lose what does not fit:
//! the numbers of processors when one is off, fields of meminfo that it does not know, blanks in mount points.

mod ask;
mod config;
mod disks;
mod filesystem;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hardware;
mod hwmon;
mod memory;
mod netclass;
mod network;
mod page;
mod processor;
mod read;
mod system;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::config::Config;

use self::ask::Asked;
use self::config::Patterns;
use self::page::Page;
use self::processor::Times;
use self::read::{Error, Tree};

type Collect = fn(&Host, &mut Page) -> Result<(), Error>;

/// Every collector by node-exporter's name for it.
const COLLECTORS: [(&str, Collect); 26] = [
    ("arp", network::arp),
    ("conntrack", network::conntrack),
    ("cpu", processor::cpu),
    ("cpufreq", processor::cpufreq),
    ("diskstats", disks::diskstats),
    ("edac", hardware::edac),
    ("entropy", system::entropy),
    ("filefd", system::filefd),
    ("filesystem", filesystem::filesystem),
    ("hwmon", hwmon::hwmon),
    ("loadavg", system::loadavg),
    ("meminfo", memory::meminfo),
    ("netclass", netclass::netclass),
    ("netdev", network::netdev),
    ("netstat", network::netstat),
    ("os", system::os),
    ("pressure", memory::pressure),
    ("schedstat", processor::schedstat),
    ("sockstat", network::sockstat),
    ("softnet", network::softnet),
    ("stat", processor::stat),
    ("thermal_zone", hardware::thermal_zone),
    ("time", system::time),
    ("udp_queues", network::udp_queues),
    ("uname", system::uname),
    ("vmstat", memory::vmstat),
];

/// Bytes of the whole exposition.
const BYTES_MAX: usize = 16 << 20;
/// What a reading may take at the very most: every collector's lines, and the exposition while it grows.
pub const MEMORY_BYTES_MAX: u64 = (COLLECTORS.len() * page::PAGE_BYTES_MAX + 2 * BYTES_MAX) as u64;
/// Collectors that are asked at a time: while one waits for a slow device, the others go on.
const THREADS: usize = 2;

/// The host, as far as it is read.
pub struct Host {
    tree: Tree,
    patterns: Patterns,
    collectors: Vec<(&'static str, Collect)>,
    /// How long the reading may take in all.
    patience: Duration,
    /// How long file systems may take.
    mount_timeout: Duration,
    /// The node's name, where it is not the one that is seen from here.
    node: Option<String>,
    /// Collectors that have not answered.
    asked: Asked<&'static str>,
    /// Mount points that have not answered.
    mounts: Asked<String>,
    times: Mutex<Times>,
    /// Collectors that failed the last time, so that it is said once.
    failing: Mutex<BTreeSet<&'static str>>,
}

impl Host {
    /// The host as the section says, to be read within `patience`. `node` is what it is called, if that is known.
    ///
    /// # Errors
    /// A pattern that `check` refuses.
    pub fn new(config: &Config, node: Option<&str>, patience: Duration) -> Result<Self, regex::Error> {
        let is_chosen =
            |name: &str| config.collectors.as_ref().is_none_or(|all| all.iter().any(|one| one == name));
        let tree = Tree {
            procfs: config.procfs.clone(),
            sysfs: config.sysfs.clone(),
            rootfs: config.rootfs.clone(),
        };
        Ok(Self {
            // Where procfs is another's, so is the name.
            node: node.filter(|_| tree.procfs != Config::default().procfs).map(str::to_owned),
            tree,
            patterns: Patterns::new(config)?,
            collectors: COLLECTORS.into_iter().filter(|(name, _)| is_chosen(name)).collect(),
            patience,
            mount_timeout: config.filesystem.mount_timeout.0,
            asked: Asked::default(),
            mounts: Asked::default(),
            times: Mutex::default(),
            failing: Mutex::default(),
        })
    }

    /// What the host calls itself.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let name = self.tree.proc("sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// Reads everything, and is over within the patience whatever hangs.
    #[must_use]
    pub fn render(self: &Arc<Self>) -> Vec<u8> {
        let question = |&(name, collect): &(&'static str, Collect)| {
            let host = Arc::clone(self);
            (name, move || host.collect(collect))
        };
        let questions = self.collectors.iter().map(question).collect();
        let mut answers = self.asked.ask(questions, THREADS, self.patience);
        let (mut out, mut results) = (String::new(), Vec::new());
        for (name, _) in &self.collectors {
            let (page, mut result, took) =
                answers.remove(name).unwrap_or_else(|| (Page::default(), Err(Error::Hangs), self.patience));
            match out.len() + page.len() > BYTES_MAX {
                true => result = Err(Error::Size(BYTES_MAX)),
                false => page.write(&mut out),
            }
            results.push((*name, result, took));
        }
        self.report(&results);
        write_results(&mut out, &results);
        out.into_bytes()
    }

    fn collect(&self, collect: Collect) -> (Page, Result<(), Error>, Duration) {
        let (begin, mut page) = (Instant::now(), Page::default());
        let result = collect(self, &mut page).and_then(|()| page.check());
        (page, result, begin.elapsed())
    }

    /// Logs what has changed.
    fn report(&self, results: &[(&'static str, Result<(), Error>, Duration)]) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        for (collector, result, _) in results {
            match result {
                Ok(()) if failing.remove(collector) => {
                    tracing::info!(collector, "a part of the host is read again");
                }
                Ok(()) => {}
                Err(error) if failing.insert(collector) && !error.is_absence() => {
                    tracing::warn!(collector, %error, "a part of the host cannot be read");
                }
                Err(error) => tracing::debug!(collector, %error, "a part of the host cannot be read"),
            }
        }
    }
}

/// How each collector went, as node-exporter says it.
fn write_results(out: &mut String, results: &[(&'static str, Result<(), Error>, Duration)]) {
    let mut page = Page::default();
    for (collector, result, took) in results {
        let labels = [("collector", *collector)];
        let help = "node_exporter: Duration of a collector scrape.";
        page.gauge("node_scrape_collector_duration_seconds", help, &labels, took.as_secs_f64());
        let help = "node_exporter: Whether a collector succeeded.";
        let is_well = if result.is_ok() { 1.0 } else { 0.0 };
        page.gauge("node_scrape_collector_success", help, &labels, is_well);
    }
    page.write(out);
}
