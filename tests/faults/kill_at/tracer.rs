//! The loop that stops every thread before and after each system call, counts, and acts.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollTimeout, poll};
use nix::sys::ptrace::{self, Options as Trace};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::call::{Call, Class};
use crate::options::{Action, Options};
use crate::power::Power;

/// Exit code of a program that was killed at the moment: what a shell says of SIGKILL.
const KILLED: u8 = 137;
/// How long the loop rests while a call is held back, milliseconds.
const REST_MILLIS: u8 = 5;

/// What is known of one thread between the two stops of a call.
#[derive(Debug, Default)]
struct Thread {
    /// The call that it is in, if that is of interest.
    call: Option<Call>,
    /// What is to be done when the call returns.
    at_exit: Option<AtExit>,
}

#[derive(Clone, Copy, Debug)]
enum AtExit {
    Kill,
    Return(Errno),
}

/// See the module.
struct Tracer {
    options: Options,
    program: Pid,
    threads: HashMap<Pid, Thread>,
    /// Threads that are held back, and until when.
    held: Vec<(Pid, Instant)>,
    matched: u64,
    acted: bool,
    killed: bool,
    seen: BTreeMap<(Class, String), u64>,
    power: Option<Power>,
}

/// Runs the program to its end.
pub fn run(options: Options) -> Result<ExitCode> {
    let program = start(&options)?;
    let power = options.lose_power.as_deref().map(Power::new).transpose()?;
    let mut tracer = Tracer {
        options,
        program,
        threads: HashMap::new(),
        held: Vec::new(),
        matched: 0,
        acted: false,
        killed: false,
        seen: BTreeMap::new(),
        power,
    };
    tracer.report(&format!("pid {program}"))?;
    let code = tracer.follow()?;
    if tracer.killed
        && let Some(power) = tracer.power.take()
    {
        power.cut()?;
    }
    tracer.print();
    Ok(ExitCode::from(if tracer.killed { KILLED } else { code }))
}

/// Starts a shell that stops itself, seizes it, and lets it become the program.
fn start(options: &Options) -> Result<Pid> {
    let child = Command::new("/bin/sh")
        .args(["-c", "kill -STOP $$; exec \"$@\"", "kill_at"])
        .args(&options.command)
        .spawn()
        .context("cannot start the program")?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    match waitpid(pid, Some(WaitPidFlag::WUNTRACED))? {
        WaitStatus::Stopped(..) => {}
        other => bail!("the program did not stop before its start: {other:?}"),
    }
    let all = Trace::PTRACE_O_TRACESYSGOOD | Trace::PTRACE_O_TRACECLONE | Trace::PTRACE_O_EXITKILL;
    ptrace::seize(pid, all).context("cannot trace the program")?;
    kill(pid, Signal::SIGCONT)?;
    Ok(pid)
}

impl Tracer {
    /// Follows all threads until the program has ended; its exit code.
    fn follow(&mut self) -> Result<u8> {
        loop {
            let flags = match self.held.is_empty() {
                true => WaitPidFlag::__WALL,
                false => WaitPidFlag::__WALL | WaitPidFlag::WNOHANG,
            };
            let status = match waitpid(None, Some(flags)) {
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => return Ok(KILLED),
                Err(error) => return Err(error.into()),
            };
            match status {
                WaitStatus::StillAlive => self.rest(),
                WaitStatus::Exited(pid, code) if pid == self.program => return Ok(u8::try_from(code)?),
                WaitStatus::Signaled(pid, signal, _) if pid == self.program => {
                    return Ok(128 + u8::try_from(signal as i32)?);
                }
                WaitStatus::PtraceSyscall(pid) => self.stopped(pid)?,
                // A signal on its way to the program.
                WaitStatus::Stopped(pid, signal) => resume(pid, Some(signal))?,
                WaitStatus::PtraceEvent(pid, ..) => resume(pid, None)?,
                _ => {}
            }
        }
    }

    /// One thread stands before or after a call.
    fn stopped(&mut self, pid: Pid) -> Result<()> {
        let goes_on = match ptrace::syscall_info(pid).map(|info| info.op) {
            Ok(libc::PTRACE_SYSCALL_INFO_ENTRY) => self.entered(pid),
            Ok(libc::PTRACE_SYSCALL_INFO_EXIT) => self.left(pid),
            Ok(_) => Ok(true),
            Err(error) => Err(error.into()),
        };
        match goes_on {
            Ok(true) => resume(pid, None),
            Ok(false) => Ok(()),
            // Killed meanwhile; its end is still to come.
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Before a call. False if the thread must stay where it is.
    fn entered(&mut self, pid: Pid) -> Result<bool> {
        let mut registers = ptrace::getregs(pid)?;
        let call = Call::read(pid, &registers);
        let thread = self.threads.entry(pid).or_default();
        *thread = Thread { call: call.clone(), at_exit: None };
        let Some(call) = call else { return Ok(true) };
        if let Some(power) = &mut self.power {
            power.entered(pid, &call);
        }
        if self.options.list {
            *self.seen.entry((call.class, without_digits(&call.path.to_string_lossy()))).or_default() += 1;
        }
        if !self.is_moment(&call) {
            return Ok(true);
        }
        let first = !std::mem::replace(&mut self.acted, true);
        if first && self.options.action != Action::KillAfter {
            self.say("before", &call)?;
        }
        let at_exit = match self.options.action {
            Action::KillBefore => {
                self.kill()?;
                return Ok(false);
            }
            Action::KillAfter => AtExit::Kill,
            Action::Delay(time) => {
                self.held.push((pid, Instant::now() + time));
                return Ok(false);
            }
            Action::Cut(_) if first && call.class == Class::Write && registers.rdx > 1 => {
                registers.rdx /= 2;
                ptrace::setregs(pid, registers)?;
                return Ok(true);
            }
            Action::Fail(errno) | Action::Cut(errno) => {
                // There is no call of this number, so that nothing is done.
                registers.orig_rax = u64::MAX;
                ptrace::setregs(pid, registers)?;
                AtExit::Return(errno)
            }
        };
        self.threads.entry(pid).or_default().at_exit = Some(at_exit);
        Ok(true)
    }

    /// After a call. False if the thread must stay where it is.
    fn left(&mut self, pid: Pid) -> Result<bool> {
        let Thread { call, at_exit } = self.threads.remove(&pid).unwrap_or_default();
        let Some(call) = call else { return Ok(true) };
        if let Some(power) = &mut self.power {
            let failed = (ptrace::getregs(pid)?.rax as i64) < 0 || matches!(at_exit, Some(AtExit::Return(_)));
            power.left(pid, !failed);
        }
        match at_exit {
            None => Ok(true),
            Some(AtExit::Kill) => {
                self.say("after", &call)?;
                self.kill()?;
                Ok(false)
            }
            Some(AtExit::Return(errno)) => {
                let mut registers = ptrace::getregs(pid)?;
                registers.rax = (-i64::from(errno as i32)) as u64;
                ptrace::setregs(pid, registers)?;
                Ok(true)
            }
        }
    }

    fn is_moment(&mut self, call: &Call) -> bool {
        let options = &self.options;
        let matches = !self.killed
            && options.calls.contains(&call.class)
            && options.path.is_match(&call.path.to_string_lossy())
            && options.only_while.as_ref().is_none_or(|file| file.exists());
        self.matched += u64::from(matches);
        let kills = matches!(options.action, Action::KillBefore | Action::KillAfter);
        matches && if kills { self.matched == options.nth } else { self.matched >= options.nth }
    }

    fn kill(&mut self) -> Result<()> {
        self.killed = true;
        Ok(kill(self.program, Signal::SIGKILL)?)
    }

    /// Lets threads go on whose time has come, after a moment in which nothing is done.
    fn rest(&mut self) {
        // An empty set of descriptors: only time passes.
        let _ = poll(&mut [], PollTimeout::from(REST_MILLIS));
        let now = Instant::now();
        self.held.retain(|(pid, until)| {
            let goes_on = *until <= now;
            if goes_on {
                let _ = resume(*pid, None);
            }
            !goes_on
        });
    }

    fn say(&self, side: &str, call: &Call) -> Result<()> {
        let class = format!("{:?}", call.class).to_lowercase();
        self.report(&format!(
            "moment {} {side} {class} {}",
            jiff::Timestamp::now().as_millisecond(),
            call.path.display()
        ))
    }

    fn report(&self, line: &str) -> Result<()> {
        let Some(path) = &self.options.report else { return Ok(()) };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(writeln!(file, "{line}")?)
    }

    fn print(&self) {
        let mut text = String::new();
        for ((class, path), count) in &self.seen {
            let class = format!("{class:?}").to_lowercase();
            let _ = writeln!(text, "{count:>8} {class} {path}");
        }
        print!("{text}");
        if !self.acted && !self.options.list {
            eprintln!("kill_at: the moment never came; {} calls matched", self.matched);
        }
    }
}

fn resume(pid: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(pid, signal) {
        // Killed meanwhile; its end is still to come.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Errno>() == Some(&Errno::ESRCH)
}

/// A path in which every run of digits is one `N`.
fn without_digits(path: &str) -> String {
    let mut text = String::new();
    for character in path.chars() {
        match character.is_ascii_digit() {
            true if text.ends_with('N') => {}
            true => text.push('N'),
            false => text.push(character),
        }
    }
    text
}
