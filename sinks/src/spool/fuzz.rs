//! The fuzz target of the spool's directory; see `crate::fuzz`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pipeline::model::object::{Format, Writer};
use pipeline::model::units::Size;
use prometheus::Registry;

use super::{Config, Error, InFlight, Spool, files, slots};
use crate::metrics::Metrics;

/// A second of which a new spool's sequence starts.
const NOW: i64 = 1_795_348_800;
/// Between two files of the input.
const BETWEEN: &[u8] = b"\n%%\n";
/// Objects that the first agent delivers.
const OBJECTS_MAX: usize = 2;

/// A directory as a crash, a bad disk or a person may leave it: files, the name of each in its first line. An agent starts on
/// it and delivers some of what it finds whole; another one after it delivers the rest, nothing twice, and gives no number
/// again.
///
/// Three names stand for what a fuzzer cannot guess: `state` is the state with its checksum, `slots` the file of that name as
/// it is, and `object {number} {samples}` an object with its own checksum.
pub fn spool(data: &[u8]) {
    let (Ok(dir), Ok(runtime)) = (Dir::new(), tokio::runtime::Builder::new_current_thread().build()) else {
        return;
    };
    let mut rest = data;
    while !rest.is_empty() {
        let end = rest.windows(BETWEEN.len()).position(|part| part == BETWEEN).unwrap_or(rest.len());
        let (file, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = after.get(BETWEEN.len()..).unwrap_or_default();
        put(&dir.0, file);
    }
    runtime.block_on(async {
        let Ok(first) = start(&dir.0, OBJECTS_MAX).await else { return };
        let second = start(&dir.0, usize::MAX).await;
        assert!(second.is_ok(), "the second start fails: {second:?}");
        let Ok(second) = second else { return };
        assert_eq!(second.writer.id, first.writer.id, "another writer");
        assert!(second.writer.next_sequence >= first.writer.next_sequence, "numbers went back");
        if !first.delivered.is_empty() {
            assert_eq!(second.in_flight, first.delivered.last().copied(), "what had a key is forgotten");
        }
        let mut all: Vec<u64> = first.delivered.iter().chain(&second.delivered).copied().collect();
        if first.in_flight.is_some() && all.first().copied() == first.in_flight {
            // What has its key goes first, before older ones; but not twice.
            drop(all.drain(..1));
            assert!(!all.iter().any(|sequence| Some(*sequence) == first.in_flight), "twice: {all:?}");
        }
        assert!(all.is_sorted_by(|a, b| a < b), "twice or not in order: {all:?}");
        // Nobody gets to the last number: the first is the second in which the spool was made.
        let given = |sequence: u64| sequence < first.writer.next_sequence || sequence == u64::MAX;
        assert!(all.iter().all(|sequence| given(*sequence)), "{all:?}");
    });
}

/// What came of a start.
#[derive(Debug)]
struct Started {
    writer: Writer,
    /// The object that the state said had the last key.
    in_flight: Option<u64>,
    delivered: Vec<u64>,
}

/// Starts on a directory and delivers at most so many of its objects.
async fn start(dir: &Path, objects_max: usize) -> Result<Started, Error> {
    let config = Config { dir: dir.to_owned(), max_bytes: Size(1 << 20) };
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap_or_else(|_| unreachable!()));
    let (spool, _lock) = Spool::open(&config, None, NOW, metrics)?;
    let (writer, in_flight) = (spool.writer(), spool.in_flight().map(|object| object.sequence));
    let mut delivered = Vec::new();
    while delivered.len() < objects_max {
        if spool.is_empty() {
            break;
        }
        let Ok(object) = spool.oldest().await else { break };
        // It was set aside.
        let Some(object) = object else { continue };
        assert_eq!(crc32fast::hash(&object.bytes), object.crc32, "not what was written");
        let sequence = object.sequence;
        let key = format!("k{sequence:020}");
        let recorded = InFlight { sequence, key, conflict: false, tenure: None, location: None };
        if spool.record(recorded).await.is_err() {
            break;
        }
        spool.delivered(sequence).await;
        delivered.push(sequence);
    }
    spool.record_receipts().await;
    Ok(Started { writer, in_flight, delivered })
}

fn put(dir: &Path, file: &[u8]) {
    let end = file.iter().position(|byte| *byte == b'\n').unwrap_or(file.len());
    let (name, content) = file.split_at_checked(end).unwrap_or((file, &[]));
    let content = content.get(1..).unwrap_or_default();
    let Ok(name) = std::str::from_utf8(name) else { return };
    let mut words = name.split(' ');
    match (words.next(), words.next().map(str::parse), words.next().map(str::parse)) {
        (Some("state"), ..) => {
            if let (Ok(state), Ok(mut opened)) = (serde_json::from_slice(content), slots::open(dir, NOW)) {
                drop(opened.slots.write(&state));
            }
        }
        (Some("object"), Some(Ok(sequence)), Some(Ok(samples))) => {
            let name = files::Name {
                sequence,
                samples,
                crc32: crc32fast::hash(content),
                format: Format::Parquet,
                undecided: None,
            };
            drop(fs::write(dir.join(name.text()), content));
        }
        (Some("slots"), ..) => drop(fs::write(dir.join(slots::FILE), content)),
        _ if name.is_empty()
            || name.len() > 200
            || name.contains(['/', '\0'])
            || name == ".."
            || name == "." => {}
        _ => drop(fs::write(dir.join(name), content)),
    }
}

/// A directory that goes away.
struct Dir(PathBuf);

impl Dir {
    fn new() -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // In memory, where there is such a thing: each input syncs a few files.
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("agent-fuzz-{}-{number}", std::process::id()));
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
