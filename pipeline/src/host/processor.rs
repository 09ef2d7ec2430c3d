//! Processors: time by mode, frequencies, throttling, the scheduler, and what the kernel counts in all.
//!
//! `/proc/stat` and `/proc/schedstat` as proc(5) and Documentation/scheduler/sched-stats.rst describe them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::Host;
use super::page::Page;
use super::read::{Error, attribute, number, numbered, value};

/// The columns of `/proc/stat`, in clock ticks.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// Time in guests, which is part of the first two as well.
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const IDLE: usize = 3;
/// The column of idle time goes back by this much only when a processor was taken away and came back.
const JUMP_BACK_SECONDS: f64 = 3.0;

const CPUS: &str = "devices/system/cpu";
/// The kernel's own limit is 8,192 (NR_CPUS).
const CPUS_MAX: usize = 65_536;

/// The columns of each processor as they were last.
pub(super) type Times = BTreeMap<u32, [f64; 10]>;

/// Collector `cpu`.
pub(super) fn cpu(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.proc("stat")?;
    let mut times = host.times.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = Times::new();
    for (cpu, columns) in text.lines().filter_map(columns) {
        // The kernel's sums are made while it counts, so that some columns go back for a moment.
        let before = times.get(&cpu).filter(|before| {
            let idle = |columns: &[f64; 10]| columns.get(IDLE).copied().unwrap_or_default();
            idle(before) - idle(&columns) < JUMP_BACK_SECONDS
        });
        let mut columns = columns;
        for (now, before) in columns.iter_mut().zip(before.into_iter().flatten()) {
            *now = now.max(*before);
        }
        found.insert(cpu, columns);
    }
    if found.is_empty() {
        return Err(Error::Odd { path: host.tree.procfs.join("stat"), what: "no processors".to_owned() });
    }
    for (cpu, columns) in &found {
        let cpu = cpu.to_string();
        let (modes, guests) = columns.split_at(MODES.len());
        for (mode, seconds) in MODES.iter().zip(modes) {
            let labels = [("cpu", cpu.as_str()), ("mode", *mode)];
            page.counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.", &labels, *seconds);
        }
        for (mode, seconds) in GUEST_MODES.iter().zip(guests) {
            let (name, help) =
                ("node_cpu_guest_seconds_total", "Seconds the CPUs spent in guests (VMs) for each mode.");
            page.counter(name, help, &[("cpu", &cpu), ("mode", mode)], *seconds);
        }
    }
    *times = found;
    drop(times);
    isolated(host, page);
    throttles(host, page);
    Ok(())
}

/// One line of a single processor; columns that an old kernel does not have are zero.
fn columns(line: &str) -> Option<(u32, [f64; 10])> {
    let mut words = line.split_ascii_whitespace();
    let cpu = words.next()?.strip_prefix("cpu")?.parse().ok()?;
    let mut columns = [0.0; 10];
    for (column, word) in columns.iter_mut().zip(words) {
        *column = number(word)? / ticks_per_second();
    }
    Some((cpu, columns))
}

/// USER_HZ, which is 100 on every architecture that is built for.
fn ticks_per_second() -> f64 {
    100.0
}

/// Processors that the scheduler leaves alone: a list such as `1,4-7`.
fn isolated(host: &Host, page: &mut Page) {
    let list = attribute(&host.tree.sys(&format!("{CPUS}/isolated"))).unwrap_or_default();
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse().ok()?)
    };
    let cpus: BTreeSet<_> = list.split(',').filter_map(range).flatten().take(CPUS_MAX).collect();
    for cpu in cpus {
        let help = "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.";
        page.gauge("node_cpu_isolated", help, &[("cpu", &cpu.to_string())], 1.0);
    }
}

/// How often cores and packages were too hot; threads of one core count together.
fn throttles(host: &Host, page: &mut Page) {
    let mut seen = BTreeSet::new();
    for (_, cpu) in numbered(&host.tree.sys(CPUS), "cpu").unwrap_or_default() {
        let of = |path: &str| attribute(&cpu.join(path)).filter(|text| number(text).is_some());
        let (Some(package), Some(core)) = (of("topology/physical_package_id"), of("topology/core_id")) else {
            continue;
        };
        let count = |path: &str| value(&cpu.join("thermal_throttle").join(path));
        if let Some(count) = count("core_throttle_count")
            && seen.insert((package.clone(), Some(core.clone())))
        {
            let help = "Number of times this CPU core has been throttled.";
            let labels = [("package", package.as_str()), ("core", core.as_str())];
            page.counter("node_cpu_core_throttles_total", help, &labels, count);
        }
        if let Some(count) = count("package_throttle_count")
            && seen.insert((package.clone(), None))
        {
            let help = "Number of times this CPU package has been throttled.";
            page.counter("node_cpu_package_throttles_total", help, &[("package", &package)], count);
        }
    }
}

/// Attribute, metric and help of each frequency.
const FREQUENCIES: [(&str, &str, &str); 6] = [
    ("cpuinfo_cur_freq", "node_cpu_frequency_hertz", "Current CPU thread frequency in hertz."),
    ("cpuinfo_min_freq", "node_cpu_frequency_min_hertz", "Minimum CPU thread frequency in hertz."),
    ("cpuinfo_max_freq", "node_cpu_frequency_max_hertz", "Maximum CPU thread frequency in hertz."),
    ("scaling_cur_freq", "node_cpu_scaling_frequency_hertz", "Current scaled CPU thread frequency in hertz."),
    (
        "scaling_min_freq",
        "node_cpu_scaling_frequency_min_hertz",
        "Minimum scaled CPU thread frequency in hertz.",
    ),
    (
        "scaling_max_freq",
        "node_cpu_scaling_frequency_max_hertz",
        "Maximum scaled CPU thread frequency in hertz.",
    ),
];

/// Collector `cpufreq`. The kernel says kHz.
pub(super) fn cpufreq(host: &Host, page: &mut Page) -> Result<(), Error> {
    for (cpu, path) in numbered(&host.tree.sys(CPUS), "cpu")? {
        let path = path.join("cpufreq");
        for (file, name, help) in FREQUENCIES {
            if let Some(khz) = value(&path.join(file)) {
                page.gauge(name, help, &[("cpu", &cpu)], khz * 1_000.0);
            }
        }
        let Some(governor) = attribute(&path.join("scaling_governor")) else { continue };
        let available = attribute(&path.join("scaling_available_governors")).unwrap_or_default();
        for one in available.split_ascii_whitespace() {
            let is_on = if one == governor { 1.0 } else { 0.0 };
            let labels = [("cpu", cpu.as_str()), ("governor", one)];
            let help = "Current enabled CPU frequency governor.";
            page.gauge("node_cpu_scaling_governor", help, &labels, is_on);
        }
    }
    Ok(())
}

/// Collector `schedstat`: the last three columns of each processor.
pub(super) fn schedstat(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.proc("schedstat")?;
    for line in text.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let [cpu, _, _, _, _, _, _, running, waiting, slices, ..] = words.as_slice() else { continue };
        let cpu = cpu.strip_prefix("cpu").filter(|number| number.parse::<u32>().is_ok());
        let numbers = (number(running), number(waiting), number(slices));
        let (Some(cpu), (Some(running), Some(waiting), Some(slices))) = (cpu, numbers) else { continue };
        let labels = [("cpu", cpu)];
        let help = "Number of seconds CPU spent running a process.";
        page.counter("node_schedstat_running_seconds_total", help, &labels, running / 1e9);
        let help = "Number of seconds spent by processing waiting for this CPU.";
        page.counter("node_schedstat_waiting_seconds_total", help, &labels, waiting / 1e9);
        let help = "Number of timeslices executed by CPU.";
        page.counter("node_schedstat_timeslices_total", help, &labels, slices);
    }
    Ok(())
}

/// Collector `stat`: what is counted for the host as a whole.
pub(super) fn stat(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.proc("stat")?;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        // The first number of the interrupts is their sum.
        let (Some(key), Some(value)) = (words.next(), words.next().and_then(number)) else { continue };
        match key {
            "intr" => page.counter("node_intr_total", "Total number of interrupts serviced.", &[], value),
            "ctxt" => {
                page.counter("node_context_switches_total", "Total number of context switches.", &[], value);
            }
            "processes" => page.counter("node_forks_total", "Total number of forks.", &[], value),
            "btime" => page.gauge("node_boot_time_seconds", "Node boot time, in unixtime.", &[], value),
            "procs_running" => {
                page.gauge("node_procs_running", "Number of processes in runnable state.", &[], value);
            }
            "procs_blocked" => {
                let help = "Number of processes blocked waiting for I/O to complete.";
                page.gauge("node_procs_blocked", help, &[], value);
            }
            _ => {}
        }
    }
    Ok(())
}
