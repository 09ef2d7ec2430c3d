//! Memory: how it is used, what the kernel did to it, and who waited.
//!
//! `/proc/meminfo` and `/proc/vmstat` as proc(5), `/proc/pressure` as Documentation/accounting/psi.rst describe them.

use std::io::ErrorKind;

use super::Host;
use super::page::Page;
use super::read::{Error, number};

/// Collector `meminfo`: every field, whatever it is called.
pub(super) fn meminfo(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.proc("meminfo")?;
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_ascii_whitespace();
        let Some(value) = words.next().and_then(number) else { continue };
        // Such as `Active(anon)`.
        let key = key.trim().replace('(', "_").replace(')', "");
        let (key, value) = match words.next() {
            Some("kB") => (format!("{key}_bytes"), value * 1_024.0),
            _ => (key, value),
        };
        page.gauge(&format!("node_memory_{key}"), &format!("Memory information field {key}."), &[], value);
    }
    Ok(())
}

/// Collector `vmstat`: the fields that are asked for.
pub(super) fn vmstat(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.proc("vmstat")?;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let Some(value) = number(value.trim()).filter(|_| host.patterns.vmstat_fields.is_match(key)) else {
            continue;
        };
        page.untyped(
            &format!("node_vmstat_{key}"),
            &format!("/proc/vmstat information field {key}."),
            &[],
            value,
        );
    }
    Ok(())
}

/// File, kind of line, metric and help. Processors as a whole never stall, and interrupts know only that.
const PRESSURES: [(&str, &str, &str, &str); 6] = [
    ("cpu", "some", "cpu_waiting", "Total time in seconds that processes have waited for CPU time"),
    ("io", "some", "io_waiting", "Total time in seconds that processes have waited due to IO congestion"),
    ("io", "full", "io_stalled", "Total time in seconds no process could make progress due to IO congestion"),
    ("memory", "some", "memory_waiting", "Total time in seconds that processes have waited for memory"),
    (
        "memory",
        "full",
        "memory_stalled",
        "Total time in seconds no process could make progress due to memory congestion",
    ),
    (
        "irq",
        "full",
        "irq_stalled",
        "Total time in seconds no process could make progress due to IRQ congestion",
    ),
];

/// Collector `pressure`.
pub(super) fn pressure(host: &Host, page: &mut Page) -> Result<(), Error> {
    for (file, kind, name, help) in PRESSURES {
        let text = match host.tree.proc(&format!("pressure/{file}")) {
            Ok(text) => text,
            // Kernels before 6.1, and those that do not count the time of interrupts, do not have it.
            Err(_) if file == "irq" => continue,
            // It is compiled in and switched off.
            Err(Error::Read { source, .. }) if source.kind() == ErrorKind::Unsupported => {
                return Err(Error::NoData);
            }
            Err(error) => return Err(error),
        };
        let line = text.lines().find(|line| line.split_ascii_whitespace().next() == Some(kind));
        let total = line.and_then(|line| line.rsplit_once("total="));
        let Some(total) = total.and_then(|(_, total)| number(total.trim())) else { continue };
        page.counter(&format!("node_pressure_{name}_seconds_total"), help, &[], total / 1e6);
    }
    Ok(())
}
