//! File systems: how large, how full, and whether they answer at all.
//!
//! Takes the mount table as the first process sees it (fstab(5)), gives what statvfs(3) says. A server that is away makes statvfs
//! hang: that mount point then has `node_filesystem_device_error 1` until it answers again, and costs only itself.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::StatVfs;

use super::Host;
use super::page::Page;
use super::read::Error;

/// Mount points that are asked at a time, as node-exporter does.
const THREADS: usize = 4;
/// Mount points that are asked at all. A node with a thousand pods has that many volumes, most of them of types left out.
const MOUNTS_MAX: usize = 4_096;

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mount {
    device: String,
    mountpoint: String,
    fstype: String,
    is_read_only: bool,
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next().map(unescape);
        let (device, mountpoint, fstype, options) = (word()?, word()?, word()?, word()?);
        let is_read_only = options.split(',').any(|option| option == "ro");
        (!mountpoint.is_empty()).then_some(Self { device, mountpoint, fstype, is_read_only })
    }
}

/// Blanks and backslashes are written by three octal digits, as getmntent(3) reads them.
fn unescape(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                out.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Collector `filesystem`.
pub(super) fn filesystem(host: &Host, page: &mut Page) -> Result<(), Error> {
    let table = host.tree.proc("1/mounts").or_else(|_| host.tree.proc("self/mounts"))?;
    let mounts = mounts(host, &table);
    let question = |mount: &Mount| {
        let path: PathBuf = host.tree.root(&mount.mountpoint);
        (mount.mountpoint.clone(), move || rustix::fs::statvfs(&path).ok())
    };
    let questions = mounts.iter().map(question).collect();
    let answers = host.mounts.ask(questions, THREADS, host.mount_timeout.min(patience_share(host.patience)));
    for mount in &mounts {
        let answer = answers.get(&mount.mountpoint).and_then(Option::as_ref);
        write(page, mount, answer);
    }
    Ok(())
}

/// Of the time that the whole reading has: the rest is for what comes after.
fn patience_share(patience: Duration) -> Duration {
    patience * 2 / 3
}

/// What of the mount table is asked: each mount point once, those on this machine first, since a server may be away.
fn mounts(host: &Host, table: &str) -> Vec<Mount> {
    let mut seen = BTreeSet::new();
    let is_wanted = |mount: &Mount| {
        !host.patterns.mount_points_exclude.is_match(&mount.mountpoint)
            && !host.patterns.fs_types_exclude.is_match(&mount.fstype)
            && seen.insert((mount.device.clone(), mount.mountpoint.clone(), mount.fstype.clone()))
    };
    let mut mounts: Vec<_> = table.lines().filter_map(Mount::read).filter(is_wanted).collect();
    mounts.sort_by_key(|mount| !mount.device.starts_with('/'));
    mounts.truncate(MOUNTS_MAX);
    mounts
}

#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
fn write(page: &mut Page, mount: &Mount, answer: Option<&StatVfs>) {
    let labels = [
        ("device", mount.device.as_str()),
        ("fstype", mount.fstype.as_str()),
        ("mountpoint", mount.mountpoint.as_str()),
    ];
    let help = "Whether an error occurred while getting statistics for the given device.";
    let is_error = if answer.is_none() { 1.0 } else { 0.0 };
    page.gauge("node_filesystem_device_error", help, &labels, is_error);
    let is_read_only = if mount.is_read_only { 1.0 } else { 0.0 };
    let Some(answer) = answer else { return };
    page.gauge("node_filesystem_readonly", "Filesystem read-only status.", &labels, is_read_only);
    let block = answer.f_bsize as f64;
    let bytes = |blocks: u64| blocks as f64 * block;
    page.gauge("node_filesystem_size_bytes", "Filesystem size in bytes.", &labels, bytes(answer.f_blocks));
    let help = "Filesystem free space in bytes.";
    page.gauge("node_filesystem_free_bytes", help, &labels, bytes(answer.f_bfree));
    let help = "Filesystem space available to non-root users in bytes.";
    page.gauge("node_filesystem_avail_bytes", help, &labels, bytes(answer.f_bavail));
    page.gauge("node_filesystem_files", "Filesystem total file nodes.", &labels, answer.f_files as f64);
    let help = "Filesystem total free file nodes.";
    page.gauge("node_filesystem_files_free", help, &labels, answer.f_ffree as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table_are_read() {
        let check = |line: &str, expected: Option<(&str, &str, &str, bool)>| {
            let mount = Mount::read(line);
            let found = mount
                .as_ref()
                .map(|m| (m.device.as_str(), m.mountpoint.as_str(), m.fstype.as_str(), m.is_read_only));
            assert_eq!(found, expected, "{line:?}");
        };
        check("/dev/sda1 / ext4 rw,relatime 0 0", Some(("/dev/sda1", "/", "ext4", false)));
        check(
            "a:/b\\040c /mnt/d\\011e\\134 nfs4 ro,vers=4 0 0",
            Some(("a:/b c", "/mnt/d\te\\", "nfs4", true)),
        );
        // A device may have no name; a backslash may mean nothing.
        check(" /run tmpfs rw 0 0", Some(("", "/run", "tmpfs", false)));
        check("a /b\\9\\04 c errors=ro", Some(("a", "/b\\9\\04", "c", false)));
        check("a /ö\\ö x rw", Some(("a", "/ö\\ö", "x", false)));
        check("a  x rw", None);
        check("a /b", None);
        check("", None);
    }
}
