//! Objects of a mixed cluster, for whatever reads objects: written to a directory, one after another.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use benches::fleet::MixedCluster;
use clap::Parser;

/// Writes objects of a mixed cluster, as the agent would upload them.
#[derive(Debug, Parser)]
#[command(max_term_width = 120, after_help = "Example:\n  target/release/objects target/objects --each 4")]
struct Arguments {
    /// Where they go, as 1.parquet, 2.parquet and so on; made if it is not there
    directory: PathBuf,
    /// How many
    #[arg(long, default_value_t = 1)]
    objects: u32,
    /// Samples of each series in an object
    #[arg(long, default_value_t = 4)]
    each: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.directory).context("cannot make the directory")?;
    let mut cluster = MixedCluster::new();
    for number in 1..=arguments.objects {
        cluster.take(arguments.each);
        let object = cluster.fleet.seal();
        let path = arguments.directory.join(format!("{number}.parquet"));
        fs::write(&path, &object.bytes).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: {} samples, {} bytes", path.display(), object.samples, object.bytes.len());
    }
    Ok(())
}
