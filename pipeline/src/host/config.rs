//! `host_metrics`: whether the agent reads its own host, where, and what it leaves out.
//!
//! Keys are node-exporter's flags: `--collector.filesystem.mount-points-exclude` is `filesystem.mount_points_exclude`,
//! `--path.procfs` is `procfs`. Defaults are those of its release 1.9.

use std::collections::HashSet;
use std::path::PathBuf;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::COLLECTORS;
use crate::model::units::Duration;
use crate::relabel::RelabelConfig;

/// Section `host_metrics`: the host as a target that needs no exporter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the host is read.
    pub enabled: bool,
    /// The label `job`. A scrape job of this name is left out, since its targets would say the same again.
    pub job_name: String,
    /// How often; `global.scrape_interval` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_interval: Option<Duration>,
    /// How long at most; as for any job if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_timeout: Option<Duration>,
    /// Where the host's `/proc` is.
    pub procfs: PathBuf,
    /// Where the host's `/sys` is.
    pub sysfs: PathBuf,
    /// Where the host's `/` is.
    pub rootfs: PathBuf,
    /// Which collectors are asked; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collectors: Option<Vec<String>>,
    /// Collector `filesystem`.
    pub filesystem: Filesystem,
    /// Collector `diskstats`.
    pub diskstats: Diskstats,
    /// Collector `netdev`.
    pub netdev: Netdev,
    /// Collector `netclass`.
    pub netclass: Netclass,
    /// Collector `netstat`.
    pub netstat: Netstat,
    /// Collector `vmstat`.
    pub vmstat: Vmstat,
    /// Rules for the labels of samples, applied after the reading.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metric_relabel_configs: Vec<RelabelConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            job_name: "node-exporter".to_owned(),
            scrape_interval: None,
            scrape_timeout: None,
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            collectors: None,
            filesystem: Filesystem::default(),
            diskstats: Diskstats::default(),
            netdev: Netdev::default(),
            netclass: Netclass::default(),
            netstat: Netstat::default(),
            vmstat: Vmstat::default(),
            metric_relabel_configs: Vec::new(),
        }
    }
}

/// Collector `filesystem`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filesystem {
    /// Mount points that are left out.
    pub mount_points_exclude: String,
    /// Types that are left out.
    pub fs_types_exclude: String,
    /// How long file systems may take to answer, all together.
    pub mount_timeout: Duration,
}

impl Default for Filesystem {
    fn default() -> Self {
        let mounts =
            "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";
        let types = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|\
                     iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|\
                     erofs|sysfs|tracefs)$";
        Self {
            mount_points_exclude: mounts.to_owned(),
            fs_types_exclude: types.to_owned(),
            mount_timeout: Duration::from_secs(5),
        }
    }
}

/// Collector `diskstats`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Diskstats {
    /// Devices that are left out.
    pub device_exclude: String,
}

impl Default for Diskstats {
    fn default() -> Self {
        Self { device_exclude: r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$".to_owned() }
    }
}

/// Collector `netdev`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Netdev {
    /// Devices that are left out; none if empty.
    pub device_exclude: String,
}

/// Collector `netclass`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Netclass {
    /// Devices that are left out.
    pub ignored_devices: String,
}

impl Default for Netclass {
    fn default() -> Self {
        Self { ignored_devices: "^$".to_owned() }
    }
}

/// Collector `netstat`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Netstat {
    /// Fields that are taken.
    pub fields: String,
}

impl Default for Netstat {
    fn default() -> Self {
        let fields = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|\
                      TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|\
                      Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
                      Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";
        Self { fields: fields.to_owned() }
    }
}

/// Collector `vmstat`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vmstat {
    /// Fields that are taken.
    pub fields: String,
}

impl Default for Vmstat {
    fn default() -> Self {
        Self { fields: "^(oom_kill|pgpg|pswp|pg.*fault).*".to_owned() }
    }
}

impl Config {
    /// Problems of the section: path below it, what is wrong and the remedy. Intervals and rules are those of a job, which
    /// checks them.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut add = |path: &str, text: String| problems.push((path.to_owned(), text));
        for (path, pattern) in self.patterns() {
            if let Err(error) = Regex::new(pattern) {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                add(path, format!("{pattern:?} is not a regular expression: {reason}"));
            }
        }
        for (path, directory) in [("procfs", &self.procfs), ("sysfs", &self.sysfs), ("rootfs", &self.rootfs)]
        {
            if !directory.is_absolute() {
                add(path, format!("{directory:?} is not a whole path: begin it with a slash"));
            }
        }
        if self.filesystem.mount_timeout.0.is_zero() {
            add("filesystem.mount_timeout", "is 0: write it like 5s".to_owned());
        }
        let mut seen = HashSet::new();
        for (i, name) in self.collectors.iter().flatten().enumerate() {
            let path = format!("collectors[{i}]");
            if !COLLECTORS.iter().any(|(known, _)| known == name) {
                let known: Vec<_> = COLLECTORS.iter().map(|(known, _)| *known).collect();
                add(&path, format!("{name:?} is no collector: there are {}", known.join(", ")));
            } else if !seen.insert(name) {
                add(&path, format!("{name:?} is named twice: once is enough"));
            }
        }
        if self.collectors.as_ref().is_some_and(Vec::is_empty) {
            add("collectors", "is empty: name some, or leave the key out for all".to_owned());
        }
        problems
    }

    fn patterns(&self) -> [(&'static str, &str); 7] {
        [
            ("filesystem.mount_points_exclude", &self.filesystem.mount_points_exclude),
            ("filesystem.fs_types_exclude", &self.filesystem.fs_types_exclude),
            ("diskstats.device_exclude", &self.diskstats.device_exclude),
            ("netdev.device_exclude", &self.netdev.device_exclude),
            ("netclass.ignored_devices", &self.netclass.ignored_devices),
            ("netstat.fields", &self.netstat.fields),
            ("vmstat.fields", &self.vmstat.fields),
        ]
    }
}

/// The section's regular expressions, compiled. Like node-exporter's they match anywhere in a text.
#[derive(Clone, Debug)]
pub(super) struct Patterns {
    pub(super) mount_points_exclude: Regex,
    pub(super) fs_types_exclude: Regex,
    pub(super) disks_exclude: Regex,
    /// `None` excludes nothing, where an empty expression would match everything.
    pub(super) netdev_exclude: Option<Regex>,
    pub(super) netclass_ignored: Regex,
    pub(super) netstat_fields: Regex,
    pub(super) vmstat_fields: Regex,
}

impl Patterns {
    pub(super) fn new(config: &Config) -> Result<Self, regex::Error> {
        let netdev = &config.netdev.device_exclude;
        Ok(Self {
            mount_points_exclude: Regex::new(&config.filesystem.mount_points_exclude)?,
            fs_types_exclude: Regex::new(&config.filesystem.fs_types_exclude)?,
            disks_exclude: Regex::new(&config.diskstats.device_exclude)?,
            netdev_exclude: if netdev.is_empty() { None } else { Some(Regex::new(netdev)?) },
            netclass_ignored: Regex::new(&config.netclass.ignored_devices)?,
            netstat_fields: Regex::new(&config.netstat.fields)?,
            vmstat_fields: Regex::new(&config.vmstat.fields)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_named() {
        let check = |text: &str, expected: &[&str]| {
            let config: Config = serde_norway::from_str(text).unwrap();
            let problems: Vec<_> = config.check().into_iter().map(|(p, t)| format!("{p}: {t}")).collect();
            assert_eq!(problems.len(), expected.len(), "{text}: {problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.starts_with(expected), "{text}: {problem}");
            }
            assert_eq!(Patterns::new(&config).is_err(), problems.iter().any(|p| p.contains("regular")));
        };
        check("{}", &[]);
        check("{collectors: [cpu, filesystem]}", &[]);
        check(
            "{vmstat: {fields: '('}}",
            &["vmstat.fields: \"(\" is not a regular expression: unclosed group"],
        );
        check("{procfs: proc}", &["procfs: \"proc\" is not a whole path: begin it with a slash"]);
        check("{filesystem: {mount_timeout: 0s}}", &["filesystem.mount_timeout: is 0"]);
        check("{collectors: []}", &["collectors: is empty"]);
        check(
            "{collectors: [cpu, wifi, cpu]}",
            &[
                "collectors[1]: \"wifi\" is no collector: there are arp, ",
                "collectors[2]: \"cpu\" is named twice",
            ],
        );
    }
}
