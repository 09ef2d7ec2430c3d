//! Question: what does each stage between a body and an object cost for each sample, and how large is the object?
//!
//! Calls the stages in this process, one after another, on bodies in the shape of the usual exporters', on a recorded one, and
//! on those of a whole mixed cluster. Prints a table with what is asked of each; asserts nothing about time.
#![expect(clippy::cast_precision_loss, reason = "a bench")]

mod encoding;
mod floor;
mod reading;

use anyhow::Result;
use benches::callgrind::{self, Fastest};
use benches::table::{self, Row};
use clap::Parser;

/// What does each stage cost for each sample?
#[derive(Parser)]
struct Arguments {
    /// Only the rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Times that everything is measured; the fastest counts, since a machine that others use only ever adds.
    #[arg(long, default_value_t = 15)]
    rounds: u32,
    /// Count instructions too, under valgrind; takes minutes.
    #[arg(long)]
    instructions: bool,
    /// Measure the row with just the name given by --only, once, and say how many samples that were. For --instructions.
    #[arg(long, hide = true)]
    counted: bool,
}

/// The rows so far, and which are wanted.
struct Stages {
    arguments: Arguments,
    rows: Vec<Row>,
}

impl Stages {
    fn wants(&self, name: &str) -> bool {
        let Arguments { only, counted, .. } = &self.arguments;
        if *counted { name == only } else { name.contains(only) }
    }

    /// Adds a row of nanoseconds, if it is wanted. `measure` is told how many rounds there are.
    fn time(
        &mut self,
        name: &str,
        asked: Option<f64>,
        measure: impl FnOnce(u32) -> Result<Fastest>,
    ) -> Result<Option<&mut Row>> {
        let Arguments { rounds, instructions, counted, .. } = self.arguments;
        if !self.wants(name) {
            return Ok(None);
        }
        if counted {
            println!("{}", measure(1)?.units);
            return Ok(None);
        }
        eprintln!("{name}");
        let found = measure(rounds)?.nanoseconds;
        let instructions = match instructions {
            true => Some(callgrind::instructions(&["--counted", "--only", name])?),
            false => None,
        };
        self.rows.push(Row { name: name.to_owned(), unit: "ns", found, asked, instructions, baseline: None });
        Ok(self.rows.last_mut())
    }
}

fn main() -> Result<()> {
    let mut stages = Stages { arguments: Arguments::parse(), rows: Vec::new() };
    reading::rows(&mut stages)?;
    floor::reading(&mut stages)?;
    encoding::rows(&mut stages)?;
    floor::encoding(&mut stages)?;
    if !stages.arguments.counted {
        print!("{}", table::print(&stages.rows));
    }
    Ok(())
}
