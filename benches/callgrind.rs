//! Counts instructions, which a machine that others use does not change as it changes times.
//!
//! A bench runs itself again under `valgrind --tool=callgrind`, which counts while [`measured`] runs and at no other time: no
//! bodies that are made up, no first scrapes.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// Runs what is measured; a function of its own, whose name callgrind knows.
#[inline(never)]
pub fn measured<R>(run: impl FnOnce() -> R) -> R {
    std::hint::black_box(run())
}

/// The fastest of some rounds, in nanoseconds for each unit: `prepare` is not measured, and `run` says how many units it has
/// worked off.
pub fn fastest<S, T>(
    rounds: u32,
    state: &mut S,
    mut prepare: impl FnMut(&mut S) -> T,
    mut run: impl FnMut(&mut S, T) -> u64,
) -> Fastest {
    let mut fastest = Fastest { nanoseconds: f64::INFINITY, units: 0 };
    for _ in 0..rounds {
        let prepared = prepare(state);
        let start = Instant::now();
        fastest.units = measured(|| run(state, prepared));
        #[expect(clippy::cast_precision_loss, reason = "a bench")]
        let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / fastest.units as f64;
        fastest.nanoseconds = fastest.nanoseconds.min(nanoseconds);
    }
    fastest
}

/// What [`fastest`] found.
#[derive(Clone, Copy, Debug)]
pub struct Fastest {
    /// For each unit.
    pub nanoseconds: f64,
    /// Units of one round.
    pub units: u64,
}

/// Instructions of this program when it is run with these arguments. It measures one thing in one round, and its output ends
/// with a line that says how many units that round had; the figure is for one unit.
///
/// # Errors
/// Where there is no valgrind, or the program fails.
pub fn instructions(arguments: &[&str]) -> Result<f64> {
    let program = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*callgrind*measured*")
        .arg(program)
        .args(arguments)
        .output()
        .context("valgrind cannot be started")?;
    let (counted, said) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "the run under valgrind failed: {counted}");
    let collected = counted.lines().find_map(|line| line.split_once("Collected :"));
    let collected: f64 = collected.context("valgrind has counted nothing")?.1.trim().parse()?;
    let units: f64 = said.lines().last().context("the run says nothing")?.trim().parse()?;
    Ok(collected / units)
}
