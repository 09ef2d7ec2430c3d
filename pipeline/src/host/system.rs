//! The system as a whole: load, files, entropy, names, releases, time.

use std::collections::BTreeMap;

use super::Host;
use super::page::Page;
use super::read::{Error, attribute, number, numbered, text};
use crate::clock;

/// Collector `loadavg`.
pub(super) fn loadavg(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.proc("loadavg")?;
    for (minutes, word) in ["1", "5", "15"].iter().zip(text.split_ascii_whitespace()) {
        let Some(value) = number(word) else { continue };
        page.gauge(&format!("node_load{minutes}"), &format!("{minutes}m load average."), &[], value);
    }
    Ok(())
}

/// Collector `filefd`: in use, formerly those that are kept ready, and the most there can be.
pub(super) fn filefd(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text = host.tree.proc("sys/fs/file-nr")?;
    let numbers: Vec<_> = text.split_ascii_whitespace().filter_map(number).collect();
    let [allocated, _, maximum] = numbers.as_slice() else {
        let path = host.tree.procfs.join("sys/fs/file-nr");
        return Err(Error::Odd { path, what: "not three numbers".to_owned() });
    };
    page.gauge("node_filefd_allocated", "File descriptor statistics: allocated.", &[], *allocated);
    page.gauge("node_filefd_maximum", "File descriptor statistics: maximum.", &[], *maximum);
    Ok(())
}

/// Collector `entropy`.
pub(super) fn entropy(host: &Host, page: &mut Page) -> Result<(), Error> {
    let files = [
        ("entropy_avail", "node_entropy_available_bits", "Bits of available entropy."),
        ("poolsize", "node_entropy_pool_size_bits", "Bits of entropy pool."),
    ];
    for (file, name, help) in files {
        let text = host.tree.proc(&format!("sys/kernel/random/{file}"))?;
        if let Some(value) = number(text.trim()) {
            page.gauge(name, help, &[], value);
        }
    }
    Ok(())
}

/// Collector `uname`. A container has a name of its own: the node's is given to it.
pub(super) fn uname(host: &Host, page: &mut Page) -> Result<(), Error> {
    let of = |file: &str| Ok(host.tree.proc(&format!("sys/kernel/{file}"))?.trim().to_owned());
    let name = match &host.node {
        Some(node) => node.clone(),
        None => of("hostname")?,
    };
    let (release, system, version) = (of("osrelease")?, of("ostype")?, of("version")?);
    // Some hardened kernels hide it.
    let domain = of("domainname").unwrap_or_else(|_: Error| String::new());
    let kernel = rustix::system::uname();
    let labels = [
        ("domainname", domain.as_str()),
        ("machine", kernel.machine().to_str().unwrap_or_default()),
        ("nodename", &name),
        ("release", &release),
        ("sysname", &system),
        ("version", &version),
    ];
    let help = "Labeled system information as provided by the uname system call.";
    page.gauge("node_uname_info", help, &labels, 1.0);
    Ok(())
}

/// The labels of `node_os_info`, which are the keys of os-release(5) in lower case.
const RELEASE_KEYS: [&str; 12] = [
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];

/// Collector `os`.
pub(super) fn os(host: &Host, page: &mut Page) -> Result<(), Error> {
    let text =
        text(&host.tree.root("etc/os-release")).or_else(|_| text(&host.tree.root("usr/lib/os-release")))?;
    let keys: BTreeMap<_, _> = text.lines().filter_map(assignment).collect();
    let of = |key: &str| keys.get(key).map(String::as_str).unwrap_or_default();
    let labels = RELEASE_KEYS.map(|key| (key, of(key)));
    let help = "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, \
                name, pretty_name, variant, variant_id, version, version_codename, version_id.";
    page.gauge("node_os_info", help, &labels, 1.0);
    if let Some(version) = major_minor(of("version_id")).filter(|version| *version > 0.0) {
        let labels = [("id", of("id")), ("id_like", of("id_like")), ("name", of("name"))];
        let help = "Metric containing the major.minor part of the OS version.";
        page.gauge("node_os_version", help, &labels, version);
    }
    if let Some(end) = midnight(of("support_end")) {
        let help = "Metric containing the end-of-life date timestamp of the OS.";
        page.gauge("node_os_support_end_timestamp_seconds", help, &[], end);
    }
    Ok(())
}

/// One line of os-release(5): a key in lower case, and a value that a shell would read.
fn assignment(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim().split_once('=').filter(|(key, _)| !key.starts_with('#'))?;
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    let mut out = String::new();
    let mut letters = unquoted.unwrap_or(value).chars();
    while let Some(letter) = letters.next() {
        out.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
    }
    Some((key.to_lowercase(), out))
}

/// `24.04` of `24.04.1`.
fn major_minor(version: &str) -> Option<f64> {
    let mut parts = version.split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part.get(..end).unwrap_or_default()
    });
    let major = parts.next().filter(|major| !major.is_empty())?;
    format!("{major}.{}", parts.next().unwrap_or_default()).parse().ok()
}

/// The first second of a day.
fn midnight(day: &str) -> Option<f64> {
    let day: jiff::civil::Date = day.parse().ok()?;
    let start = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
    Some(start as f64)
}

/// Collector `time`: the clock, and what it is made of.
pub(super) fn time(host: &Host, page: &mut Page) -> Result<(), Error> {
    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
    let now = clock::now_millis() as f64 / 1_000.0;
    page.gauge("node_time_seconds", "System time in seconds since epoch (1970).", &[], now);
    let sources = numbered(&host.tree.sys("devices/system/clocksource"), "clocksource").unwrap_or_default();
    for (device, path) in sources {
        let available = attribute(&path.join("available_clocksource")).unwrap_or_default();
        for source in available.split_ascii_whitespace() {
            let help = "Available clocksources read from '/sys/devices/system/clocksource'.";
            let labels = [("clocksource", source), ("device", &device)];
            page.gauge("node_time_clocksource_available_info", help, &labels, 1.0);
        }
        if let Some(source) = attribute(&path.join("current_clocksource")) {
            let help = "Current clocksource read from '/sys/devices/system/clocksource'.";
            let labels = [("clocksource", source.as_str()), ("device", &device)];
            page.gauge("node_time_clocksource_current_info", help, &labels, 1.0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_os_release_are_read() {
        let check = |line: &str, expected: Option<(&str, &str)>| {
            let found = assignment(line);
            assert_eq!(found.as_ref().map(|(k, v)| (k.as_str(), v.as_str())), expected, "{line}");
        };
        check("ID=debian", Some(("id", "debian")));
        check("NAME=\"Debian \\\"GNU\\\"/Linux\"", Some(("name", "Debian \"GNU\"/Linux")));
        check("A='b c'", Some(("a", "b c")));
        check("A=\"", Some(("a", "\"")));
        check("A=b\\", Some(("a", "b\\")));
        check("# A=b", None);
        check("", None);
    }

    #[test]
    fn versions_are_numbers_where_they_can_be() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(major_minor(text), expected, "{text}");
        check("24.04.1", Some(24.04));
        check("12", Some(12.0));
        check("9.3-beta", Some(9.3));
        check("rolling", None);
        check("", None);
    }

    #[test]
    fn a_day_begins_at_midnight() {
        assert_eq!(midnight("2026-05-13"), Some(1_778_630_400.0));
        assert_eq!(midnight("soon"), None);
    }
}
