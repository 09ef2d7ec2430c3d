//! Sensors: `/sys/class/hwmon` (Documentation/hwmon/sysfs-interface.rst).
//!
//! Each chip's files are named by sensor and property, `temp1_input`; names and units of the metrics are node-exporter's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Host;
use super::page::Page;
use super::read::{Error, attribute, names, number};

/// Kinds of sensors that are known.
const KINDS: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

/// The properties of each sensor; the one without a name is the sensor's own file.
type Sensors = BTreeMap<(String, u32), BTreeMap<String, String>>;

/// Collector `hwmon`.
pub(super) fn hwmon(host: &Host, page: &mut Page) -> Result<(), Error> {
    let class = host.tree.sys("class/hwmon");
    for name in names(&class)? {
        let path = class.join(&name);
        let chip = chip_name(&path, &name);
        let mut sensors = Sensors::new();
        read_sensors(&path.join("device"), &mut sensors);
        read_sensors(&path, &mut sensors);
        if let Some(name) =
            attribute(&path.join("name")).map(|name| clean(&name)).filter(|name| !name.is_empty())
        {
            let help = "Annotation metric for human-readable chip names";
            page.gauge("node_hwmon_chip_names", help, &[("chip", &chip), ("chip_name", &name)], 1.0);
        }
        for ((kind, number), properties) in &sensors {
            let sensor = format!("{kind}{number}");
            write(page, &chip, (kind, &sensor), properties);
        }
    }
    Ok(())
}

/// A name that is the same after the next boot: the device's and its bus's, or else the chip's own.
fn chip_name(path: &Path, entry: &str) -> String {
    let device = fs::canonicalize(path.join("device")).ok();
    let part =
        |path: Option<&Path>| clean(&path.and_then(Path::file_name).unwrap_or_default().to_string_lossy());
    let (name, bus) = (part(device.as_deref()), part(device.as_deref().and_then(Path::parent)));
    match (name.is_empty(), bus.is_empty()) {
        (false, false) => format!("{bus}_{name}"),
        (false, true) => name,
        _ => {
            let own = attribute(&path.join("name")).map(|name| clean(&name)).unwrap_or_default();
            if own.is_empty() { clean(entry) } else { own }
        }
    }
}

/// Letters, digits, `_` and `:`, in lower case.
fn clean(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let is_kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':' || c == '_';
    let name: String = name.chars().map(|c| if is_kept(c) { c } else { '_' }).collect();
    name.trim_matches('_').to_owned()
}

fn read_sensors(directory: &Path, sensors: &mut Sensors) {
    for file in names(directory).unwrap_or_default() {
        let Some((kind, number, property)) = sensor(&file) else { continue };
        if let Some(text) = attribute(&directory.join(&file)) {
            let properties = sensors.entry((kind.to_owned(), number)).or_default();
            properties.insert(property.to_owned(), text);
        }
    }
}

/// Takes a file's name apart: kind, number and property.
fn sensor(file: &str) -> Option<(&str, u32, &str)> {
    let kind_end = file.find(|c: char| c.is_ascii_digit()).unwrap_or(file.len());
    let (kind, rest) = file.split_at_checked(kind_end)?;
    let number_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at_checked(number_end)?;
    let property =
        if rest.is_empty() { rest } else { rest.strip_prefix('_').filter(|rest| !rest.is_empty())? };
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    KINDS.contains(&kind).then_some((kind, number, property))
}

fn write(page: &mut Page, chip: &str, (kind, sensor): (&str, &str), properties: &BTreeMap<String, String>) {
    let labels = [("chip", chip), ("sensor", sensor)];
    let own = properties.get("").map(String::as_str);
    let label = properties.get("label").map(String::as_str).unwrap_or_default();
    if !label.is_empty() {
        let labels = [("chip", chip), ("label", label), ("sensor", sensor)];
        page.gauge("node_hwmon_sensor_label", "Label for given chip and sensor", &labels, 1.0);
    }
    match kind {
        "beep_enable" => {
            let is_on = if own == Some("1") { 1.0 } else { 0.0 };
            page.gauge("node_hwmon_beep_enabled", "Hardware beep enabled", &labels, is_on);
        }
        "vrm" => {
            if let Some(value) = own.and_then(number) {
                let name = "node_hwmon_voltage_regulator_version";
                page.gauge(name, "Hardware voltage regulator", &labels, value);
            }
        }
        "update_interval" => {
            if let Some(value) = own.and_then(number) {
                let name = "node_hwmon_update_interval_seconds";
                page.gauge(name, "Hardware monitor update interval", &labels, value * 0.001);
            }
        }
        _ => {
            for (property, text) in properties.iter().filter(|(property, _)| *property != "label") {
                if let Some(value) = number(text) {
                    write_property(page, &labels, (kind, property, own.is_some(), label), value);
                }
            }
        }
    }
}

/// A property with its unit.
fn write_property(
    page: &mut Page,
    labels: &[(&str, &str); 2],
    (kind, property, has_own, label): (&str, &str, bool, &str),
    value: f64,
) {
    let name = match property {
        // The sensor's value has no other name, unless it has a file of its own.
        "input" if !has_own => format!("node_hwmon_{kind}"),
        "" => format!("node_hwmon_{kind}"),
        _ => format!("node_hwmon_{kind}_{}", clean(property)),
    };
    let shown = if property.is_empty() { "input" } else { property };
    let (suffix, help, scale) = match (kind, property) {
        (_, "fault" | "alarm") => ("", format!("Hardware sensor {property} status ({kind})"), 1.0),
        (_, "beep") => ("_enabled", "Hardware monitor sensor has beeping enabled".to_owned(), 1.0),
        ("in" | "cpu", _) => ("_volts", format!("Hardware monitor for voltage ({shown})"), 0.001),
        ("temp", property) if property != "type" => {
            ("_celsius", format!("Hardware monitor for temperature ({shown})"), 0.001)
        }
        ("curr", _) => ("_amps", format!("Hardware monitor for current ({shown})"), 0.001),
        ("energy", _) => ("_joule_total", format!("Hardware monitor for joules used so far ({shown})"), 1e-6),
        ("power", "accuracy") => ("", "Hardware monitor power meter accuracy, as a ratio".to_owned(), 1e-6),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            ("_seconds", format!("Hardware monitor power usage update interval ({shown})"), 0.001)
        }
        ("power", _) => ("_watt", format!("Hardware monitor for power usage in watts ({shown})"), 1e-6),
        ("humidity", _) => {
            let help = "Hardware monitor for humidity, as a ratio (multiply with 100.0 to get the humidity as a percentage)";
            ("", format!("{help} ({shown})"), 1e-6)
        }
        ("fan", "input" | "min" | "max" | "target") => {
            ("_rpm", format!("Hardware monitor for fan revolutions per minute ({shown})"), 1.0)
        }
        ("freq", "input") => {
            let labels = [labels[0], ("sensor", &clean(label))];
            let help = "Hardware monitor for frequency in MHz";
            return page.gauge("node_hwmon_freq_freq_mhz", help, &labels, value * 1e-6);
        }
        _ => ("", format!("Hardware monitor {kind} element {property}"), 1.0),
    };
    let name = format!("{name}{suffix}");
    match kind {
        "energy" if suffix == "_joule_total" => page.counter(&name, &help, labels, value * scale),
        _ => page.gauge(&name, &help, labels, value * scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_taken_apart() {
        let check = |file: &str, expected: Option<(&str, u32, &str)>| {
            assert_eq!(sensor(file), expected, "{file}");
        };
        check("temp1_input", Some(("temp", 1, "input")));
        check("temp12_crit_alarm", Some(("temp", 12, "crit_alarm")));
        check("pwm1", Some(("pwm", 1, "")));
        check("update_interval", Some(("update_interval", 0, "")));
        check("power1_average_interval_max", Some(("power", 1, "average_interval_max")));
        check("temp1_", None);
        check("temp1input", None);
        check("temp99999999999_input", None);
        check("name", None);
        check("uevent", None);
        check("", None);
        check("ö1_input", None);
    }

    #[test]
    fn names_of_chips_are_cleaned() {
        let check = |name: &str, expected: &str| assert_eq!(clean(name), expected, "{name}");
        check("coretemp.0\n", "coretemp_0");
        check("0000:00:18.3", "0000:00:18_3");
        check("_Ä x_", "x");
    }
}
