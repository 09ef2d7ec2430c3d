//! Block devices: `/proc/diskstats` (Documentation/admin-guide/iostats.rst), and what udev knows of each.

use std::collections::BTreeMap;

use super::Host;
use super::page::Page;
use super::read::{Error, attribute, number, text};

/// Bytes of a sector, whatever the device's own sectors are.
const SECTOR: f64 = 512.0;
const MILLISECOND: f64 = 0.001;

/// What a column is, in the order of the columns: the rest of the metric's name, its help, and what the kernel's number is
/// multiplied by. Old kernels have fewer.
const COLUMNS: [(&str, &str, f64); 17] = [
    ("reads_completed_total", "The total number of reads completed successfully.", 1.0),
    ("reads_merged_total", "The total number of reads merged.", 1.0),
    ("read_bytes_total", "The total number of bytes read successfully.", SECTOR),
    ("read_time_seconds_total", "The total number of seconds spent by all reads.", MILLISECOND),
    ("writes_completed_total", "The total number of writes completed successfully.", 1.0),
    ("writes_merged_total", "The number of writes merged.", 1.0),
    ("written_bytes_total", "The total number of bytes written successfully.", SECTOR),
    ("write_time_seconds_total", "This is the total number of seconds spent by all writes.", MILLISECOND),
    ("io_now", "The number of I/Os currently in progress.", 1.0),
    ("io_time_seconds_total", "Total seconds spent doing I/Os.", MILLISECOND),
    ("io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os.", MILLISECOND),
    ("discards_completed_total", "The total number of discards completed successfully.", 1.0),
    ("discards_merged_total", "The total number of discards merged.", 1.0),
    ("discarded_sectors_total", "The total number of sectors discarded successfully.", 1.0),
    ("discard_time_seconds_total", "This is the total number of seconds spent by all discards.", MILLISECOND),
    ("flush_requests_total", "The total number of flush requests completed successfully", 1.0),
    (
        "flush_requests_time_seconds_total",
        "This is the total number of seconds spent by all flush requests.",
        MILLISECOND,
    ),
];

/// Collector `diskstats`.
pub(super) fn diskstats(host: &Host, page: &mut Page) -> Result<(), Error> {
    let table = host.tree.proc("diskstats")?;
    for line in table.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(device)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if host.patterns.disks_exclude.is_match(device) {
            continue;
        }
        for ((name, help, scale), word) in COLUMNS.iter().zip(words) {
            let Some(value) = number(word) else { break };
            let (name, labels) = (format!("node_disk_{name}"), [("device", device)]);
            match name.ends_with("_total") {
                true => page.counter(&name, help, &labels, value * scale),
                false => page.gauge(&name, help, &labels, value * scale),
            }
        }
        info(host, page, (device, major, minor));
    }
    Ok(())
}

/// What kind of device it is. Udev's data (udevadm(8)) are there only where udev runs.
fn info(host: &Host, page: &mut Page, (device, major, minor): (&str, &str, &str)) {
    let data = text(&host.tree.root(&format!("run/udev/data/b{major}:{minor}"))).unwrap_or_default();
    let properties: BTreeMap<_, _> =
        data.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('=')).collect();
    let of = |key: &str| properties.get(key).copied().unwrap_or_default();
    let serials = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"];
    let serial = serials.into_iter().map(of).find(|serial| !serial.is_empty()).unwrap_or_default();
    // The directory of a device has no slash in its name, which `cciss/c0d0` has.
    let directory = device.replace('/', "!");
    let rotational = attribute(&host.tree.sys(&format!("block/{directory}/queue/rotational")));
    let labels = [
        ("device", device),
        ("major", major),
        ("minor", minor),
        ("model", of("ID_MODEL")),
        ("path", of("ID_PATH")),
        ("revision", of("ID_REVISION")),
        ("rotational", rotational.as_deref().unwrap_or_default()),
        ("serial", serial),
        ("wwn", of("ID_WWN")),
    ];
    page.gauge("node_disk_info", "Info of /sys/block/<block_device>.", &labels, 1.0);
    if !of("ID_FS_TYPE").is_empty() {
        let labels = [
            ("device", device),
            ("type", of("ID_FS_TYPE")),
            ("usage", of("ID_FS_USAGE")),
            ("uuid", of("ID_FS_UUID")),
            ("version", of("ID_FS_VERSION")),
        ];
        page.gauge("node_disk_filesystem_info", "Info about disk filesystem.", &labels, 1.0);
    }
    if !of("DM_NAME").is_empty() {
        let labels = [
            ("device", device),
            ("lv_layer", of("DM_LV_LAYER")),
            ("lv_name", of("DM_LV_NAME")),
            ("name", of("DM_NAME")),
            ("uuid", of("DM_UUID")),
            ("vg_name", of("DM_VG_NAME")),
        ];
        page.gauge("node_disk_device_mapper_info", "Info about disk device mapper.", &labels, 1.0);
    }
    if !of("ID_ATA").is_empty() {
        for (key, name, help) in ATA {
            if let Some(value) = number(of(key)) {
                page.gauge(name, help, &[("device", device)], value);
            }
        }
    }
}

/// What udev knows of ATA disks.
const ATA: [(&str, &str, &str); 3] = [
    ("ID_ATA_WRITE_CACHE", "node_disk_ata_write_cache", "ATA disk has a write cache."),
    (
        "ID_ATA_WRITE_CACHE_ENABLED",
        "node_disk_ata_write_cache_enabled",
        "ATA disk has its write cache enabled.",
    ),
    (
        "ID_ATA_ROTATION_RATE_RPM",
        "node_disk_ata_rotation_rate_rpm",
        "ATA disk rotation rate in RPMs (0 for SSDs).",
    ),
];
