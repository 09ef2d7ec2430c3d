//! The least that any client does to receive what the targets answer: one thread with blocking sockets that asks one after the
//! other, reads each answer into the same buffer and looks for its length only.
//!
//! Its CPU is what the kernel takes for requests, answers and wake-ups; nothing is read, kept, or sent on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::table::Row;
use clap::ValueEnum;

use crate::Load;

/// Bytes taken from a socket at a time at most.
const BUFFER: usize = 256 << 10;
/// The headers of an answer take less.
const HEAD_MAX: usize = 1024;
const LENGTH: &str = "content-length: ";

/// The row of all targets, asked in rounds of `samples`, back to back for so many seconds.
pub(crate) fn row(
    load: Load,
    targets: usize,
    samples: f64,
    address: SocketAddr,
    seconds: u64,
) -> Result<Row> {
    let connect = |_| TcpStream::connect(address).context("the exporters do not listen");
    let mut connections: Vec<_> = (0..targets).map(connect).collect::<Result<_>>()?;
    let mut buffer = vec![0; BUFFER];
    let mut round = || -> Result<()> {
        for (target, connection) in connections.iter_mut().enumerate() {
            ask(connection, target, address, &mut buffer)?;
        }
        Ok(())
    };
    round()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut rounds, before) = (0.0, cpu()?);
    while Instant::now() < end {
        round()?;
        rounds += 1.0;
    }
    let found = (cpu()? - before) / (rounds * samples);
    let name = load.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    Ok(Row { name: format!("floor, received: {name}"), unit: "ns", found, ..Row::default() })
}

/// Asks a target and reads all of its answer.
fn ask(connection: &mut TcpStream, target: usize, address: SocketAddr, buffer: &mut [u8]) -> Result<()> {
    write!(connection, "GET /{target} HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
    let mut held = 0;
    let length = loop {
        let read = connection.read(buffer.get_mut(held..).unwrap_or_default())?;
        ensure!(read > 0, "an answer without its headers");
        held += read;
        let near = String::from_utf8_lossy(buffer.get(..held.min(HEAD_MAX)).unwrap_or_default());
        if let Some((head, _)) = near.split_once("\r\n\r\n") {
            let lines = head.to_ascii_lowercase();
            let body = lines.lines().find_map(|line| line.strip_prefix(LENGTH)).context("no length")?;
            break head.len() + 4 + body.parse::<usize>()?;
        }
    };
    let mut left = length.saturating_sub(held);
    while left > 0 {
        let read = connection.read(buffer)?;
        left = left.checked_sub(read).filter(|_| read > 0).context("an answer was cut off")?;
    }
    Ok(())
}

/// Nanoseconds of CPU that this thread has taken.
fn cpu() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    text.split_whitespace().next().and_then(|first| first.parse().ok()).context("schedstat")
}
