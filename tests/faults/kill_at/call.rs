//! A system call as the tracer sees it: its class and the file that it is about.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use nix::libc;
use nix::unistd::Pid;

/// Longest path, as in limits.h.
const PATH_MAX: usize = 4096;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Class {
    /// Opens a file that may not be there yet.
    Create,
    /// Opens a file that is there.
    Open,
    /// Writes to a file.
    Write,
    /// fsync or fdatasync, of a file or a directory.
    Sync,
    /// Gives a file another name.
    Rename,
    /// Removes a file.
    Unlink,
    /// Makes a file longer or shorter.
    Truncate,
    /// Connects a socket.
    Connect,
    /// Sends on a socket.
    Send,
    /// Receives from a socket.
    Receive,
}

/// A call that is of interest.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it does.
    pub class: Class,
    /// The file or directory; of a rename, where it goes to; of a socket, `socket:[inode]`.
    pub path: PathBuf,
    /// The open file, where the call has one.
    pub descriptor: Option<PathBuf>,
}

impl Call {
    /// Reads a call at its entry. `None` where its kind is of no interest or its file cannot be told.
    pub fn read(thread: Pid, registers: &libc::user_regs_struct) -> Option<Self> {
        let [first, second, third, fourth] = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let by_path = |class, directory: i64, address: u64| {
            Some(Self { class, path: path_argument(thread, directory, address)?, descriptor: None })
        };
        let here = i64::from(libc::AT_FDCWD);
        let created = |flags: u64| match flags & libc::O_CREAT as u64 {
            0 => Class::Open,
            _ => Class::Create,
        };
        match registers.orig_rax as i64 {
            libc::SYS_open => by_path(created(second), here, first),
            libc::SYS_openat => by_path(created(third), first as i32 as i64, second),
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev => {
                by_descriptor(thread, Class::Write, Class::Send, first)
            }
            libc::SYS_read | libc::SYS_readv => by_descriptor(thread, Class::Open, Class::Receive, first)
                .filter(|call| call.class == Class::Receive),
            libc::SYS_sendto | libc::SYS_sendmsg => by_descriptor(thread, Class::Send, Class::Send, first),
            libc::SYS_recvfrom | libc::SYS_recvmsg => {
                by_descriptor(thread, Class::Receive, Class::Receive, first)
            }
            libc::SYS_connect => by_descriptor(thread, Class::Connect, Class::Connect, first),
            libc::SYS_fsync | libc::SYS_fdatasync => by_descriptor(thread, Class::Sync, Class::Sync, first),
            libc::SYS_ftruncate | libc::SYS_fallocate => {
                by_descriptor(thread, Class::Truncate, Class::Truncate, first)
            }
            libc::SYS_rename => by_path(Class::Rename, here, second),
            libc::SYS_renameat | libc::SYS_renameat2 => by_path(Class::Rename, third as i32 as i64, fourth),
            libc::SYS_unlink => by_path(Class::Unlink, here, first),
            libc::SYS_unlinkat => by_path(Class::Unlink, first as i32 as i64, second),
            _ => None,
        }
    }
}

fn by_descriptor(thread: Pid, class: Class, of_socket: Class, descriptor: u64) -> Option<Call> {
    let link = PathBuf::from(format!("/proc/{thread}/fd/{descriptor}"));
    let path = fs::read_link(&link).ok()?;
    let class = if path.starts_with("/") { class } else { of_socket };
    // Pipes, eventfds and the like are how threads wake each other.
    let named = path.starts_with("/") || path.to_string_lossy().starts_with("socket:");
    named.then_some(Call { class, path, descriptor: Some(link) })
}

fn path_argument(thread: Pid, directory: i64, address: u64) -> Option<PathBuf> {
    let mut text = vec![0; PATH_MAX];
    // The end of the memory may come before the end of the buffer.
    let read = File::open(format!("/proc/{thread}/mem")).ok()?.read_at(&mut text, address).ok()?;
    text.truncate(read);
    let end = text.iter().position(|byte| *byte == 0)?;
    let path = Path::new(std::str::from_utf8(&text[..end]).ok()?);
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    let base = match directory == i64::from(libc::AT_FDCWD) {
        true => format!("/proc/{thread}/cwd"),
        false => format!("/proc/{thread}/fd/{directory}"),
    };
    Some(fs::read_link(base).ok()?.join(path))
}
