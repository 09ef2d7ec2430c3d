//! Thermal zones (Documentation/driver-api/thermal/sysfs-api.rst) and errors of memory (Documentation/admin-guide/RAS).

use std::path::Path;

use super::Host;
use super::page::Page;
use super::read::{Error, attribute, numbered, value};

/// Collector `thermal_zone`: temperatures, and what is done about them.
pub(super) fn thermal_zone(host: &Host, page: &mut Page) -> Result<(), Error> {
    let class = host.tree.sys("class/thermal");
    for (zone, path) in numbered(&class, "thermal_zone")? {
        // A zone that is switched off cannot be read.
        let Some(millidegrees) = value(&path.join("temp")) else { continue };
        let kind = attribute(&path.join("type")).unwrap_or_default();
        let labels = [("type", kind.as_str()), ("zone", &zone)];
        page.gauge("node_thermal_zone_temp", "Zone temperature in Celsius", &labels, millidegrees / 1_000.0);
    }
    for (device, path) in numbered(&class, "cooling_device")? {
        let kind = attribute(&path.join("type")).unwrap_or_default();
        let labels = [("name", device.as_str()), ("type", &kind)];
        if let Some(state) = value(&path.join("cur_state")) {
            let help = "Current throttle state of the cooling device";
            page.gauge("node_cooling_device_cur_state", help, &labels, state);
        }
        if let Some(state) = value(&path.join("max_state")) {
            let help = "Maximum throttle state of the cooling device";
            page.gauge("node_cooling_device_max_state", help, &labels, state);
        }
    }
    Ok(())
}

/// Collector `edac`: errors by memory controller and row of chips.
pub(super) fn edac(host: &Host, page: &mut Page) -> Result<(), Error> {
    let controllers = match numbered(&host.tree.sys("devices/system/edac/mc"), "mc") {
        // Most virtual machines have none.
        Err(error) if error.is_absence() => return Ok(()),
        found => found?,
    };
    for (controller, path) in controllers {
        let labels = [("controller", controller.as_str())];
        if let Some(count) = value(&path.join("ce_count")) {
            let help = "Total correctable memory errors.";
            page.counter("node_edac_correctable_errors_total", help, &labels, count);
        }
        if let Some(count) = value(&path.join("ue_count")) {
            let help = "Total uncorrectable memory errors.";
            page.counter("node_edac_uncorrectable_errors_total", help, &labels, count);
        }
        row(page, &controller, "unknown", (&path, "ce_noinfo_count", "ue_noinfo_count"));
        for (row_number, path) in numbered(&path, "csrow")? {
            row(page, &controller, &row_number, (&path, "ce_count", "ue_count"));
        }
    }
    Ok(())
}

fn row(
    page: &mut Page,
    controller: &str,
    row: &str,
    (path, correctable, uncorrectable): (&Path, &str, &str),
) {
    let labels = [("controller", controller), ("csrow", row)];
    if let Some(count) = value(&path.join(correctable)) {
        let help = "Total correctable memory errors for this csrow.";
        page.counter("node_edac_csrow_correctable_errors_total", help, &labels, count);
    }
    if let Some(count) = value(&path.join(uncorrectable)) {
        let help = "Total uncorrectable memory errors for this csrow.";
        page.counter("node_edac_csrow_uncorrectable_errors_total", help, &labels, count);
    }
}
