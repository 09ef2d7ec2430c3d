//! Runs a program and does something to it at a moment named by a system call: kills it before or after, delays the call, or
//! lets it fail. For the suite of faults.
//!
//! Takes an unmodified program; follows all its threads by ptrace and counts the calls that match. Never touches the program
//! otherwise. With `--lose-power` a kill also takes away what was not synced yet.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod call;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod options;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod power;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tracer;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> anyhow::Result<std::process::ExitCode> {
    tracer::run(<options::Options as clap::Parser>::parse())
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("kill_at needs Linux on x86-64")
}
