//! Collectors on small trees of files, as several kernels and machines write them, with every line that they give.

mod machine;

use std::fs;
use std::path::Path;

use super::*;

/// A host made of files: paths below one directory that stands for procfs, sysfs and the root alike.
struct Made {
    directory: tempfile::TempDir,
    host: Host,
}

fn made(files: &[(&str, &str)], section: &str) -> Made {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(directory.path(), path, text);
    }
    let mut config: Config = serde_norway::from_str(section).unwrap();
    for place in [&mut config.procfs, &mut config.sysfs, &mut config.rootfs] {
        *place = directory.path().to_owned();
    }
    assert_eq!(config.check(), []);
    let host = Host::new(&config, Some("n1"), Duration::from_secs(30)).unwrap();
    Made { directory, host }
}

fn write(directory: &Path, path: &str, text: &str) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Made {
    /// The samples of a collector and their types, and the error if there is one.
    fn lines(&self, collector: &str) -> (Vec<String>, Option<String>) {
        let (_, collect) = COLLECTORS.iter().find(|(name, _)| *name == collector).unwrap();
        let (page, result, _) = self.host.collect(*collect);
        let mut text = String::new();
        page.write(&mut text);
        let lines = text.lines().filter(|line| !line.starts_with("# HELP"));
        let lines = lines.map(|line| line.trim_start_matches("# TYPE ").to_owned()).collect();
        (lines, result.err().map(|error| error.to_string()))
    }
}

/// What a collector gives: each line, with `node_` before it.
fn check(collector: &str, files: &[(&str, &str)], expected: &[&str]) {
    check_with("{}", collector, files, expected);
}

fn check_with(section: &str, collector: &str, files: &[(&str, &str)], expected: &[&str]) {
    let (lines, error) = made(files, section).lines(collector);
    let expected: Vec<_> = expected.iter().map(|line| format!("node_{line}")).collect();
    assert_eq!((lines, error), (expected, None), "{collector}");
}

/// What a collector says where it cannot do its work.
fn check_error(collector: &str, files: &[(&str, &str)], expected: &str) {
    let made = made(files, "{}");
    let error = made.lines(collector).1.unwrap_or_default();
    let error = error.replace(&made.directory.path().display().to_string(), "");
    assert_eq!(error, expected, "{collector}");
}

const STAT: &str = "cpu  30 0 0 0 0 0 0 0 0 0\n\
                    cpu0 100 200 300 400 50 6 7 8 90 10\n\
                    cpu2 1 2 3 4\n\
                    cpu3x 1 2\n\
                    intr 1000 5 6\nctxt 77\nbtime 1700000000\nprocesses 88\nprocs_running 2\nprocs_blocked 1\nsoftirq 9 1\n";

#[test]
fn processors() {
    let zero = |cpu: &str, kind: &str, mode: &str, value: &str| {
        format!("{kind}_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {value}")
    };
    let mut expected = vec!["cpu_core_throttles_total counter".to_owned()];
    expected.push("cpu_core_throttles_total{package=\"0\",core=\"1\"} 5".to_owned());
    expected.push("cpu_guest_seconds_total counter".to_owned());
    for (cpu, user, nice) in [("0", "0.9", "0.1"), ("2", "0", "0")] {
        expected.push(zero(cpu, "cpu_guest", "user", user));
        expected.push(zero(cpu, "cpu_guest", "nice", nice));
    }
    expected.push("cpu_isolated gauge".to_owned());
    for cpu in ["1", "4", "5"] {
        expected.push(format!("cpu_isolated{{cpu=\"{cpu}\"}} 1"));
    }
    expected.push("cpu_package_throttles_total counter".to_owned());
    expected.push("cpu_package_throttles_total{package=\"0\"} 6".to_owned());
    expected.push("cpu_seconds_total counter".to_owned());
    let modes = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
    for (cpu, values) in [
        ("0", ["1", "2", "3", "4", "0.5", "0.06", "0.07", "0.08"]),
        ("2", ["0.01", "0.02", "0.03", "0.04", "0", "0", "0", "0"]),
    ] {
        expected.extend(modes.iter().zip(values).map(|(mode, value)| zero(cpu, "cpu", mode, value)));
    }
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    let cpu = "devices/system/cpu";
    let of = |number: u32, path: &str| format!("{cpu}/cpu{number}/{path}");
    let paths: Vec<_> = [0, 2]
        .into_iter()
        .flat_map(|number| {
            [
                (of(number, "topology/physical_package_id"), "0\n"),
                // Two threads of one core.
                (of(number, "topology/core_id"), "1\n"),
                (of(number, "thermal_throttle/core_throttle_count"), "5\n"),
                (of(number, "thermal_throttle/package_throttle_count"), "6\n"),
            ]
        })
        .collect();
    let mut files: Vec<_> = paths.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    files.extend([("stat", STAT), ("devices/system/cpu/isolated", "1,4-5,x,9-7\n")]);
    check("cpu", &files, &expected);
    check_error("cpu", &[("stat", "ctxt 1\n")], "cannot understand \"/stat\": no processors");
    check_error("cpu", &[], "cannot read \"/stat\": No such file or directory (os error 2)");
}

#[test]
fn columns_that_go_back_for_a_moment_are_held() {
    let made = made(&[("stat", "cpu0 0 0 0 1000 500\n")], "{}");
    let check = |text: &str, idle: &str, iowait: &str| {
        write(made.directory.path(), "stat", text);
        let (lines, _) = made.lines("cpu");
        for (mode, value) in [("idle", idle), ("iowait", iowait)] {
            let line = format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"{mode}\"}} {value}");
            assert!(lines.contains(&line), "{text}: no {line} in {lines:?}");
        }
    };
    check("cpu0 0 0 0 1000 500\n", "10", "5");
    check("cpu0 0 0 0 1001 499\n", "10.01", "5");
    check("cpu0 0 0 0 1000 510\n", "10.01", "5.1");
    // It was away and has come back.
    check("cpu0 0 0 0 5 1\n", "0.05", "0.01");
}

#[test]
fn the_kernel_as_a_whole() {
    let expected = [
        "boot_time_seconds gauge",
        "boot_time_seconds 1700000000",
        "context_switches_total counter",
        "context_switches_total 77",
        "forks_total counter",
        "forks_total 88",
        "intr_total counter",
        "intr_total 1000",
        "procs_blocked gauge",
        "procs_blocked 1",
        "procs_running gauge",
        "procs_running 2",
    ];
    check("stat", &[("stat", STAT)], &expected);
    let load = ["load1 gauge", "load1 0.5", "load15 gauge", "load15 1", "load5 gauge", "load5 0.25"];
    check("loadavg", &[("loadavg", "0.50 0.25 1.00 1/100 4242\n")], &load);
    let files =
        ["filefd_allocated gauge", "filefd_allocated 620", "filefd_maximum gauge", "filefd_maximum 99"];
    check("filefd", &[("sys/fs/file-nr", "620\t0\t99\n")], &files);
    check_error(
        "filefd",
        &[("sys/fs/file-nr", "1 2")],
        "cannot understand \"/sys/fs/file-nr\": not three numbers",
    );
    let scheduler = [
        "schedstat_running_seconds_total counter",
        "schedstat_running_seconds_total{cpu=\"0\"} 2.5",
        "schedstat_timeslices_total counter",
        "schedstat_timeslices_total{cpu=\"0\"} 7",
        "schedstat_waiting_seconds_total counter",
        "schedstat_waiting_seconds_total{cpu=\"0\"} 0.5",
    ];
    let text =
        "version 15\ntimestamp 1\ncpu0 1 2 3 4 5 6 2500000000 500000000 7\ndomain0 3 1 2 3 4 5 6 7 8 9 10\n";
    check("schedstat", &[("schedstat", text)], &scheduler);
    let entropy = [
        "entropy_available_bits gauge",
        "entropy_available_bits 256",
        "entropy_pool_size_bits gauge",
        "entropy_pool_size_bits 512",
    ];
    let files = [("sys/kernel/random/entropy_avail", "256\n"), ("sys/kernel/random/poolsize", "512\n")];
    check("entropy", &files, &entropy);
}

#[test]
fn memory() {
    let text = "MemTotal:       16 kB\nActive(anon):          2 kB\nHugePages_Total:       3\nOdd line\nNew_Field: x kB\n";
    let expected = [
        "memory_Active_anon_bytes gauge",
        "memory_Active_anon_bytes 2048",
        "memory_HugePages_Total gauge",
        "memory_HugePages_Total 3",
        "memory_MemTotal_bytes gauge",
        "memory_MemTotal_bytes 16384",
    ];
    check("meminfo", &[("meminfo", text)], &expected);
    let text = "nr_free_pages 5\npgpgin 70\noom_kill 1\npgfault x\n";
    let expected =
        ["vmstat_oom_kill untyped", "vmstat_oom_kill 1", "vmstat_pgpgin untyped", "vmstat_pgpgin 70"];
    check("vmstat", &[("vmstat", text)], &expected);
    let expected = ["vmstat_nr_free_pages untyped", "vmstat_nr_free_pages 5"];
    check_with("vmstat: {fields: ^nr_}", "vmstat", &[("vmstat", text)], &expected);
    let both = "some avg10=1.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n";
    // Kernels before 5.13 have one line here.
    let one = "some avg10=1.00 avg60=0.00 avg300=0.00 total=3000000\n";
    let files = [("pressure/cpu", one), ("pressure/io", both), ("pressure/memory", both)];
    let expected = [
        "pressure_cpu_waiting_seconds_total counter",
        "pressure_cpu_waiting_seconds_total 3",
        "pressure_io_stalled_seconds_total counter",
        "pressure_io_stalled_seconds_total 0.25",
        "pressure_io_waiting_seconds_total counter",
        "pressure_io_waiting_seconds_total 1.5",
        "pressure_memory_stalled_seconds_total counter",
        "pressure_memory_stalled_seconds_total 0.25",
        "pressure_memory_waiting_seconds_total counter",
        "pressure_memory_waiting_seconds_total 1.5",
    ];
    check("pressure", &files, &expected);
    let error = "cannot read \"/pressure/cpu\": No such file or directory (os error 2)";
    check_error("pressure", &[], error);
}

#[test]
fn disks() {
    let table = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n   8       1 sda1 1 2 3 4\n   7       0 loop0 1\n 254 0 vda\n";
    let udev = "S:disk\nE:ID_MODEL=A \"B\"\nE:ID_SERIAL=long\nE:ID_SERIAL_SHORT=S1\nE:ID_FS_TYPE=ext4\nE:ID_FS_UUID=u\n";
    let files = [("diskstats", table), ("run/udev/data/b8:0", udev), ("block/sda/queue/rotational", "1\n")];
    let of = |name: &str, kind: &str, value: &str| {
        [format!("disk_{name} {kind}"), format!("disk_{name}{{device=\"sda\"}} {value}")]
    };
    let info = "disk_info{device=\"sda\",major=\"8\",minor=\"0\",model=\"A \\\"B\\\"\",rotational=\"1\",serial=\"S1\"} 1";
    let filesystem = "disk_filesystem_info{device=\"sda\",type=\"ext4\",uuid=\"u\"} 1";
    let expected: Vec<String> = [
        vec!["disk_filesystem_info gauge".to_owned(), filesystem.to_owned()],
        vec!["disk_info gauge".to_owned(), info.to_owned()],
        vec!["disk_info{device=\"vda\",major=\"254\",minor=\"0\"} 1".to_owned()],
        of("io_now", "gauge", "9").into(),
        of("io_time_seconds_total", "counter", "0.01").into(),
        of("io_time_weighted_seconds_total", "counter", "0.011").into(),
        of("read_bytes_total", "counter", "1536").into(),
        of("read_time_seconds_total", "counter", "0.004").into(),
        of("reads_completed_total", "counter", "1").into(),
        of("reads_merged_total", "counter", "2").into(),
        of("write_time_seconds_total", "counter", "0.008").into(),
        of("writes_completed_total", "counter", "5").into(),
        of("writes_merged_total", "counter", "6").into(),
        of("written_bytes_total", "counter", "3584").into(),
    ]
    .concat();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check("diskstats", &files, &expected);
    check_with("diskstats: {device_exclude: '.'}", "diskstats", &files, &[]);
}

#[test]
fn networks() {
    let head = "Inter-| Receive\n face |bytes\n";
    let text = format!("{head}    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n eth0:7 8\n");
    let other = format!("{head}    pod: 1\n");
    let files = [
        ("1/net/dev", text.as_str()),
        ("net/dev", &other),
        ("class/net/eth0/statistics/rx_nohandler", "3\n"),
    ];
    let expected = [
        "network_receive_bytes_total counter",
        "network_receive_bytes_total{device=\"eth0\"} 7",
        "network_receive_nohandler_total counter",
        "network_receive_nohandler_total{device=\"eth0\"} 3",
        "network_receive_packets_total counter",
        "network_receive_packets_total{device=\"eth0\"} 8",
    ];
    check_with("netdev: {device_exclude: ^lo$}", "netdev", &files, &expected);
    // Where the first process may not be looked at.
    let expected = ["network_receive_bytes_total counter", "network_receive_bytes_total{device=\"pod\"} 1"];
    check("netdev", &[("net/dev", &other)], &expected);
    let files = [
        ("net/netstat", "IpExt: InOctets Other\nIpExt: 5 6\n"),
        ("net/snmp", "Ip: Forwarding TTL\nIp: 2 64\nTcp: CurrEstab\nTcp: -1\n"),
        ("net/snmp6", "Ip6InOctets   7\nIp6Other 1\nOdd\n"),
    ];
    let expected = [
        "netstat_Ip6_InOctets untyped",
        "netstat_Ip6_InOctets 7",
        "netstat_IpExt_InOctets untyped",
        "netstat_IpExt_InOctets 5",
        "netstat_Ip_Forwarding untyped",
        "netstat_Ip_Forwarding 2",
        "netstat_Tcp_CurrEstab untyped",
        "netstat_Tcp_CurrEstab -1",
    ];
    check("netstat", &files, &expected);
    let error = "cannot understand \"/net/netstat\": values of \"B\" below the names of \"A\"";
    check_error("netstat", &[("net/netstat", "A: x\nB: 1\n")], error);
    let page = rustix::param::page_size();
    let bytes = format!("sockstat_TCP_mem_bytes {}", 3 * page);
    let expected = [
        "sockstat_TCP6_inuse gauge",
        "sockstat_TCP6_inuse 4",
        "sockstat_TCP_inuse gauge",
        "sockstat_TCP_inuse 1",
        "sockstat_TCP_mem gauge",
        "sockstat_TCP_mem 3",
        "sockstat_TCP_mem_bytes gauge",
        &bytes,
        "sockstat_sockets_used gauge",
        "sockstat_sockets_used 9",
    ];
    let files =
        [("net/sockstat", "sockets: used 9\nTCP: inuse 1 mem 3 odd\n"), ("net/sockstat6", "TCP6: inuse 4\n")];
    check("sockstat", &files, &expected);
}

#[test]
fn queues_and_neighbours() {
    let expected = [
        "softnet_dropped_total counter",
        "softnet_dropped_total{cpu=\"0\"} 2",
        "softnet_processed_total counter",
        "softnet_processed_total{cpu=\"0\"} 31",
        "softnet_times_squeezed_total counter",
        "softnet_times_squeezed_total{cpu=\"0\"} 3",
    ];
    check("softnet", &[("net/softnet_stat", "0000001f 00000002 00000003\n")], &expected);
    let line = "00000001 0 0 0 0 0 0 0 00000004 00000005 00000006 00000007 00000003\n";
    let (lines, _) = made(&[("net/softnet_stat", line)], "{}").lines("softnet");
    for (name, value) in [("backlog_len", 7), ("cpu_collision_total", 4), ("received_rps_total", 5)] {
        let line = format!("node_softnet_{name}{{cpu=\"3\"}} {value}");
        assert!(lines.contains(&line), "no {line} in {lines:?}");
    }
    let arp = "IP address HW type Flags HW address Mask Device\n\
               10.0.0.1 0x1 0x2 02:00:00:00:00:01 * eth0\n10.0.0.2 0x1 0x2 02:00:00:00:00:02 * eth0\n10.1.0.1 0x1\n";
    check("arp", &[("net/arp", arp)], &["arp_entries gauge", "arp_entries{device=\"eth0\"} 2"]);
    let udp = "sl local rem st tx_queue:rx_queue\n0: 0:0 0:0 07 00000001:0000000A 0\n1: 0:0 0:0 07 00000002:00000000 0\nodd\n";
    let expected =
        ["udp_queues gauge", "udp_queues{ip=\"v4\",queue=\"tx\"} 3", "udp_queues{ip=\"v4\",queue=\"rx\"} 10"];
    check("udp_queues", &[("net/udp", udp)], &expected);
    check_error("udp_queues", &[], "there is nothing of the kind here");
}

#[test]
fn tracked_connections() {
    let table = "entries  found new drop search_restart\n0000000a 00000001 00000000 00000002 0000000f\n\
                 0000000a 00000003 00000000 00000000 00000001\n";
    let files = [
        ("sys/net/netfilter/nf_conntrack_max", "262144\n"),
        ("sys/net/netfilter/nf_conntrack_count", "1\n"),
        ("net/stat/nf_conntrack", table),
    ];
    let (lines, error) = made(&files, "{}").lines("conntrack");
    assert_eq!(error, None);
    let samples: Vec<_> = lines.iter().filter(|line| !line.ends_with(" gauge")).map(String::as_str).collect();
    let expected = [
        "node_nf_conntrack_entries 10",
        "node_nf_conntrack_entries_limit 262144",
        "node_nf_conntrack_stat_drop 2",
        "node_nf_conntrack_stat_early_drop 0",
        "node_nf_conntrack_stat_found 4",
        "node_nf_conntrack_stat_ignore 0",
        "node_nf_conntrack_stat_insert 0",
        "node_nf_conntrack_stat_insert_failed 0",
        "node_nf_conntrack_stat_invalid 0",
        "node_nf_conntrack_stat_search_restart 16",
    ];
    assert_eq!(samples, expected);
}

#[test]
fn network_devices() {
    let files = [
        ("class/net/bonding_masters", "bond0\n"),
        ("class/net/eth0/flags", "0x1003\n"),
        ("class/net/eth0/mtu", "1500\n"),
        ("class/net/eth0/carrier_changes", "2\n"),
        ("class/net/eth0/speed", "1000\n"),
        ("class/net/eth0/operstate", "up\n"),
        ("class/net/eth0/address", "02:00:00:00:00:01\n"),
        ("class/net/eth0/duplex", "full\n"),
        ("class/net/lo/mtu", "65536\n"),
    ];
    let info = "network_info{address=\"02:00:00:00:00:01\",adminstate=\"up\",device=\"eth0\",duplex=\"full\",operstate=\"up\"} 1";
    let expected = [
        "network_carrier_changes_total counter",
        "network_carrier_changes_total{device=\"eth0\"} 2",
        "network_flags gauge",
        "network_flags{device=\"eth0\"} 4099",
        "network_info gauge",
        info,
        "network_mtu_bytes gauge",
        "network_mtu_bytes{device=\"eth0\"} 1500",
        "network_speed_bytes gauge",
        "network_speed_bytes{device=\"eth0\"} 125000000",
        "network_up gauge",
        "network_up{device=\"eth0\"} 1",
    ];
    check_with("netclass: {ignored_devices: ^lo$}", "netclass", &files, &expected);
}
