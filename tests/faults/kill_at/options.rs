//! What the command line says: which calls, which of them, and what happens then.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use nix::errno::Errno;
use regex::Regex;

use crate::call::Class;

/// Runs a program and kills it, delays it or fails it at a moment named by a system call.
///
/// The exit code is the program's; 137 if it was killed at the moment.
#[derive(Debug, Parser)]
pub struct Options {
    /// Which calls count: create, open, write, sync, rename, unlink, truncate, connect, send, receive.
    #[arg(long, value_delimiter = ',', required_unless_present = "list")]
    pub calls: Vec<Class>,
    /// Which files count: a regular expression on the whole path (of a rename, where it goes to; of a socket, `socket:`).
    #[arg(long, default_value = "")]
    pub path: Regex,
    /// Which of the calls that count it is, from 1; what is not a kill goes on with those after it.
    #[arg(long, default_value_t = 1)]
    pub nth: u64,
    /// Calls count only while this file exists.
    #[arg(long = "while")]
    pub only_while: Option<PathBuf>,
    /// kill-before, kill-after, delay=MILLISECONDS, fail=ERRNO, or cut=ERRNO: half of a first write, then ERRNO.
    #[arg(long = "then", default_value = "kill-before")]
    pub action: Action,
    /// A kill also takes away whatever below this directory no sync has made durable.
    #[arg(long)]
    pub lose_power: Option<PathBuf>,
    /// Counts the calls by class and path, digits in paths left out, and prints them at the end.
    #[arg(long)]
    pub list: bool,
    /// Where to write the program's process id at its start, and the moment at which something happened first.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// What happens at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL; the call is not made.
    KillBefore,
    /// SIGKILL; the call is made, its outcome never known to the program.
    KillAfter,
    /// The call comes later.
    Delay(Duration),
    /// The call is not made and returns this.
    Fail(Errno),
    /// The first write stores half, and all calls after it fail.
    Cut(Errno),
}

impl FromStr for Action {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            None if text == "kill-before" => Self::KillBefore,
            None if text == "kill-after" => Self::KillAfter,
            Some(("delay", millis)) => {
                Self::Delay(Duration::from_millis(millis.parse().context("milliseconds")?))
            }
            Some(("fail", errno)) => Self::Fail(by_name(errno)?),
            Some(("cut", errno)) => Self::Cut(by_name(errno)?),
            _ => bail!("not one of kill-before, kill-after, delay=, fail=, cut="),
        })
    }
}

fn by_name(name: &str) -> anyhow::Result<Errno> {
    let known = [Errno::ENOSPC, Errno::EROFS, Errno::EIO, Errno::EMFILE, Errno::EDQUOT, Errno::EACCES];
    known.into_iter().find(|errno| format!("{errno:?}") == name).with_context(|| format!("one of {known:?}"))
}
