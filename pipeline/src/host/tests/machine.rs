//! The rest of the collectors, and what holds for all of them.

use std::os::unix::fs::symlink;
use std::sync::mpsc::sync_channel;

use proptest::prelude::*;

use super::*;

#[test]
fn sensors() {
    let made = made(
        &[
            ("class/hwmon/hwmon0/name", "coretemp\n"),
            ("class/hwmon/hwmon0/temp1_input", "41500\n"),
            ("class/hwmon/hwmon0/temp1_crit", "100000\n"),
            ("class/hwmon/hwmon0/temp1_crit_alarm", "0\n"),
            ("class/hwmon/hwmon0/temp1_label", "Core 0\n"),
            ("class/hwmon/hwmon0/fan1_input", "1200\n"),
            ("class/hwmon/hwmon0/pwm1", "128\n"),
            ("class/hwmon/hwmon0/in0_input", "3300\n"),
            ("class/hwmon/hwmon0/power1_average", "25000000\n"),
            ("class/hwmon/hwmon0/energy1_input", "5000000\n"),
            ("class/hwmon/hwmon0/temp2_input", "broken\n"),
            ("class/hwmon/hwmon1/curr1_input", "1500\n"),
            ("devices/platform/coretemp.0/uevent", ""),
        ],
        "{}",
    );
    let device = made.directory.path().join("class/hwmon/hwmon0/device");
    symlink(made.directory.path().join("devices/platform/coretemp.0"), device).unwrap();
    let (lines, error) = made.lines("hwmon");
    let chip = "chip=\"platform_coretemp_0\"";
    let expected = [
        "node_hwmon_chip_names gauge".to_owned(),
        format!("node_hwmon_chip_names{{{chip},chip_name=\"coretemp\"}} 1"),
        "node_hwmon_curr_amps gauge".to_owned(),
        "node_hwmon_curr_amps{chip=\"hwmon1\",sensor=\"curr1\"} 1.5".to_owned(),
        "node_hwmon_energy_joule_total counter".to_owned(),
        format!("node_hwmon_energy_joule_total{{{chip},sensor=\"energy1\"}} 5"),
        "node_hwmon_fan_rpm gauge".to_owned(),
        format!("node_hwmon_fan_rpm{{{chip},sensor=\"fan1\"}} 1200"),
        "node_hwmon_in_volts gauge".to_owned(),
        format!("node_hwmon_in_volts{{{chip},sensor=\"in0\"}} 3.3000000000000003"),
        "node_hwmon_power_average_watt gauge".to_owned(),
        format!("node_hwmon_power_average_watt{{{chip},sensor=\"power1\"}} 25"),
        "node_hwmon_pwm gauge".to_owned(),
        format!("node_hwmon_pwm{{{chip},sensor=\"pwm1\"}} 128"),
        "node_hwmon_sensor_label gauge".to_owned(),
        format!("node_hwmon_sensor_label{{{chip},label=\"Core 0\",sensor=\"temp1\"}} 1"),
        "node_hwmon_temp_celsius gauge".to_owned(),
        format!("node_hwmon_temp_celsius{{{chip},sensor=\"temp1\"}} 41.5"),
        "node_hwmon_temp_crit_alarm_celsius gauge".to_owned(),
        format!("node_hwmon_temp_crit_alarm_celsius{{{chip},sensor=\"temp1\"}} 0"),
        "node_hwmon_temp_crit_celsius gauge".to_owned(),
        format!("node_hwmon_temp_crit_celsius{{{chip},sensor=\"temp1\"}} 100"),
    ];
    assert_eq!((lines, error), (expected.to_vec(), None));
}

#[test]
fn heat_and_broken_memory() {
    let files = [
        ("class/thermal/thermal_zone0/temp", "47500\n"),
        ("class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
        ("class/thermal/thermal_zone1/type", "switched-off\n"),
        ("class/thermal/cooling_device3/cur_state", "1\n"),
        ("class/thermal/cooling_device3/max_state", "10\n"),
        ("class/thermal/cooling_device3/type", "Processor\n"),
    ];
    let expected = [
        "cooling_device_cur_state gauge",
        "cooling_device_cur_state{name=\"3\",type=\"Processor\"} 1",
        "cooling_device_max_state gauge",
        "cooling_device_max_state{name=\"3\",type=\"Processor\"} 10",
        "thermal_zone_temp gauge",
        "thermal_zone_temp{type=\"x86_pkg_temp\",zone=\"0\"} 47.5",
    ];
    check("thermal_zone", &files, &expected);
    let files = [
        ("devices/system/edac/mc/mc0/ce_count", "1\n"),
        ("devices/system/edac/mc/mc0/ue_count", "2\n"),
        ("devices/system/edac/mc/mc0/ce_noinfo_count", "3\n"),
        ("devices/system/edac/mc/mc0/csrow0/ue_count", "4\n"),
    ];
    let expected = [
        "edac_correctable_errors_total counter",
        "edac_correctable_errors_total{controller=\"0\"} 1",
        "edac_csrow_correctable_errors_total counter",
        "edac_csrow_correctable_errors_total{controller=\"0\",csrow=\"unknown\"} 3",
        "edac_csrow_uncorrectable_errors_total counter",
        "edac_csrow_uncorrectable_errors_total{controller=\"0\",csrow=\"0\"} 4",
        "edac_uncorrectable_errors_total counter",
        "edac_uncorrectable_errors_total{controller=\"0\"} 2",
    ];
    check("edac", &files, &expected);
    check("edac", &[], &[]);
    let files = [
        ("devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n"),
        ("devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
        ("devices/system/cpu/cpu0/cpufreq/scaling_available_governors", "performance powersave \n"),
    ];
    let expected = [
        "cpu_scaling_frequency_hertz gauge",
        "cpu_scaling_frequency_hertz{cpu=\"0\"} 2400000000",
        "cpu_scaling_governor gauge",
        "cpu_scaling_governor{cpu=\"0\",governor=\"performance\"} 0",
        "cpu_scaling_governor{cpu=\"0\",governor=\"powersave\"} 1",
    ];
    check("cpufreq", &files, &expected);
}

#[test]
fn names_and_releases() {
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    let files = [
        ("sys/kernel/hostname", "pod-1\n"),
        ("sys/kernel/osrelease", "6.1\n"),
        ("sys/kernel/ostype", "Linux\n"),
        ("sys/kernel/version", "#1 SMP\n"),
    ];
    // A pod's own name is not the node's, which is given.
    let info = format!(
        "uname_info{{machine=\"{machine}\",nodename=\"n1\",release=\"6.1\",sysname=\"Linux\",version=\"#1 SMP\"}} 1"
    );
    check("uname", &files, &["uname_info gauge", &info]);
    assert_eq!(made(&files, "{}").host.name().as_deref(), Some("pod-1"));
    let text = "NAME=\"X Linux\"\nID=x\nVERSION_ID=\"24.04.1\"\nSUPPORT_END=2026-05-13\n";
    let expected = [
        "os_info gauge",
        "os_info{id=\"x\",name=\"X Linux\",version_id=\"24.04.1\"} 1",
        "os_support_end_timestamp_seconds gauge",
        "os_support_end_timestamp_seconds 1778630400",
        "os_version gauge",
        "os_version{id=\"x\",name=\"X Linux\"} 24.04",
    ];
    check("os", &[("usr/lib/os-release", text)], &expected);
    let files = [
        ("devices/system/clocksource/clocksource0/available_clocksource", "tsc acpi_pm \n"),
        ("devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ];
    let (lines, _) = made(&files, "{}").lines("time");
    let available = "node_time_clocksource_available_info{clocksource=\"acpi_pm\",device=\"0\"} 1";
    assert!(lines.iter().any(|line| line == available), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("node_time_seconds 1")), "{lines:?}");
}

/// The root of the tree is a mount point that exists; the other does not.
#[test]
fn file_systems() {
    let table = "/dev/vda / ext4 ro,relatime 0 0\n\
                 server:/gone /gone nfs4 rw 0 0\n\
                 /dev/vda / ext4 ro 0 0\n\
                 proc /proc proc rw 0 0\n\
                 tmpfs /run/credentials/a tmpfs rw 0 0\n";
    let made = made(&[("1/mounts", table), ("self/mounts", "a /b c rw 0 0\n")], "{}");
    let (lines, error) = made.lines("filesystem");
    let root = "{device=\"/dev/vda\",fstype=\"ext4\",mountpoint=\"/\"}";
    let gone = "{device=\"server:/gone\",fstype=\"nfs4\",mountpoint=\"/gone\"}";
    assert_eq!(error, None);
    assert_eq!(lines.iter().filter(|line| line.contains(gone)).count(), 1, "{lines:?}");
    assert!(lines.contains(&format!("node_filesystem_device_error{gone} 1")), "{lines:?}");
    assert!(lines.contains(&format!("node_filesystem_device_error{root} 0")), "{lines:?}");
    assert!(lines.contains(&format!("node_filesystem_readonly{root} 1")), "{lines:?}");
    let stat = rustix::fs::statvfs(made.directory.path()).unwrap();
    let size = stat.f_blocks as f64 * stat.f_bsize as f64;
    assert!(lines.contains(&format!("node_filesystem_size_bytes{root} {size}")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("node_filesystem_")).count(), 7 + 7 + 1);
}

/// A collector that hangs costs only itself, this time and the next.
#[test]
fn a_collector_that_hangs_says_so() {
    let made = made(&[("stat", STAT), ("loadavg", "1 2 3\n")], "collectors: [loadavg, stat]");
    // Opening a pipe waits for whoever writes to it, as reading a dead device does.
    let pipe = made.directory.path().join("loadavg");
    fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let Made { directory, mut host } = made;
    host.patience = Duration::from_millis(300);
    let host = Arc::new(host);
    let success = |collector: &str, value: u32| {
        let text = String::from_utf8(host.render()).unwrap();
        let line = format!("node_scrape_collector_success{{collector=\"{collector}\"}} {value}\n");
        assert!(text.contains(&line), "no {line} in {text}");
        text
    };
    let text = success("loadavg", 0);
    assert!(text.contains("node_forks_total 88\n") && !text.contains("node_load1 "), "{text}");
    success("stat", 1);
    // It answers once somebody writes, and is asked again after that.
    let (done, is_done) = sync_channel(1);
    std::thread::spawn(move || {
        fs::write(&pipe, "1 2 3\n").unwrap();
        fs::remove_file(&pipe).unwrap();
        fs::write(&pipe, "4 5 6\n").unwrap();
        done.send(directory).unwrap();
    });
    let _directory = is_done.recv().unwrap();
    while !String::from_utf8(host.render()).unwrap().contains("node_load1 4\n") {}
}

#[test]
fn collectors_are_chosen() {
    let made = made(&[("stat", STAT)], "collectors: [stat]");
    let text = String::from_utf8(Arc::new(made.host).render()).unwrap();
    assert!(text.contains("node_scrape_collector_success{collector=\"stat\"} 1\n"), "{text}");
    assert_eq!(text.matches("node_scrape_collector_success{").count(), 1, "{text}");
    assert!(text.contains("# TYPE node_forks_total counter\nnode_forks_total 88\n"), "{text}");
}

/// The document lists the collectors that there are, in their order.
#[test]
fn the_document_names_every_collector() {
    let document = include_str!("../../../../deploy/HOST_METRICS.md");
    let table = document.split("## Read").nth(1).unwrap().split("## Not read").next().unwrap();
    let documented: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(documented, COLLECTORS.map(|(name, _)| name));
    assert!(COLLECTORS.is_sorted_by_key(|(name, _)| *name));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_breaks_a_line(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz::host(&bytes);
    }

    #[test]
    fn no_text_breaks_a_line(text in "(cpu0|MemTotal:|TCP:|[0-9a-f]{1,8}| |\n|\\\\0|\"|=|/|x|-|[.]){0,120}") {
        fuzz::host(text.as_bytes());
    }
}
