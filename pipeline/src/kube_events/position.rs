//! The position: what was shipped, on disk, so that nothing is shipped or counted twice after a restart.
//!
//! A file of lines, `{crc32:08x} {JSON}`, to which a block is added and synced before the object that it belongs to is given to
//! the spool. The block has the object's number, and the spool says durably which numbers have come to it: a block whose object
//! never came is void. So the rename by which the object becomes durable says at the same time that it was shipped. Only one
//! object is on its way at a time, and therefore only the last block can be void. A file that has grown is replaced
//! by one whose first block holds everything.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::counters::Series;

/// The file's name.
const FILE: &str = "position";
/// The layout that this code writes and reads.
const VERSION: u32 = 1;
/// A file grows by this much, and to twice its first block, before it is replaced.
const GROWTH: u64 = 1 << 20;

/// What one object ships, or all of them until then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    version: u32,
    /// The object's number. Of a first block: below which everything is in it.
    pub(super) sequence: u64,
    /// Things by their hash, and the largest count of each.
    pub(super) seen: Vec<(u128, u64)>,
    /// By how much counters grow; of a first block, their values.
    pub(super) counted: Vec<(Series, u64)>,
}

impl Block {
    pub(super) fn new(sequence: u64, seen: Vec<(u128, u64)>, counted: Vec<(Series, u64)>) -> Self {
        Self { version: VERSION, sequence, seen, counted }
    }

    pub(super) fn line(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
    }

    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let (crc32, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        if crc32 != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
            return None;
        }
        serde_json::from_str(json).ok().filter(|block: &Self| block.version == VERSION)
    }
}

/// Where blocks are added. Blocks on the disk.
#[derive(Debug)]
pub(super) struct Position {
    dir: PathBuf,
    /// Bytes that are sound.
    length: u64,
    /// Bytes of the first block.
    first: u64,
}

impl Position {
    /// Reads what an earlier process left. `taken`: the number below which every object has come to the spool.
    pub(super) fn open(dir: &Path, taken: u64) -> io::Result<(Self, Vec<Block>)> {
        let content = match fs::read(dir.join(FILE)) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let (mut blocks, mut lines) = (Vec::new(), content.split_inclusive(|byte| *byte == b'\n').peekable());
        while let Some(line) = lines.next() {
            match line.strip_suffix(b"\n").and_then(Block::parse) {
                Some(block) => blocks.push(block),
                // Its object was never given to the spool.
                None if lines.peek().is_none() => {}
                None => {
                    tracing::error!(
                        "the position of Kubernetes events is damaged: what is shipped again is dropped by the table"
                    );
                    break;
                }
            }
        }
        // A first block is void never: it was written when all of it had come.
        if blocks.len() > 1 && blocks.last().is_some_and(|block| block.sequence >= taken) {
            blocks.pop();
        }
        Ok((Self { dir: dir.to_owned(), length: 0, first: 0 }, blocks))
    }

    /// Replaces the file by one whose first block holds everything.
    pub(super) fn replace(&mut self, whole: &Block) -> io::Result<()> {
        let line = whole.line()?;
        let unfinished = self.dir.join(format!("{FILE}.tmp"));
        let mut file = File::create(&unfinished)?;
        file.write_all(&line)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()?;
        (self.length, self.first) = (line.len() as u64, line.len() as u64);
        Ok(())
    }

    /// Adds a block; durable when this returns. What an attempt that failed left behind is overwritten by the next.
    ///
    /// # Errors
    /// When the disk refuses, or the file has been taken away: then it has to be replaced first.
    pub(super) fn append(&mut self, block: &Block) -> io::Result<()> {
        let line = block.line()?;
        // By its name every time: a file without a name outlives nothing.
        let file = File::options().write(true).open(self.dir.join(FILE))?;
        if file.metadata()?.len() < self.length {
            return Err(io::ErrorKind::NotFound.into());
        }
        file.set_len(self.length)?;
        file.write_all_at(&line, self.length)?;
        file.sync_data()?;
        self.length += line.len() as u64;
        Ok(())
    }

    /// Whether the file is worth being replaced.
    pub(super) fn is_long(&self) -> bool {
        self.length > self.first.saturating_mul(2).saturating_add(GROWTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(sequence: u64) -> Block {
        let series = ["a", "b", "c", "d", "e"].map(Into::into);
        Block::new(sequence, vec![(u128::MAX - 5, 3)], vec![(series, 2)])
    }

    fn sequences(dir: &Path, taken: u64) -> Vec<u64> {
        Position::open(dir, taken).unwrap().1.iter().map(|block| block.sequence).collect()
    }

    #[test]
    fn a_block_counts_when_its_object_has_come() {
        let dir = tempfile::tempdir().unwrap();
        let (mut position, blocks) = Position::open(dir.path(), 5).unwrap();
        assert!(blocks.is_empty());
        assert!(position.append(&block(5)).is_err(), "there is no file yet");
        position.replace(&block(5)).unwrap();
        for sequence in 5..8 {
            position.append(&block(sequence)).unwrap();
        }
        let (_, blocks) = Position::open(dir.path(), 8).unwrap();
        assert_eq!(blocks.last(), Some(&block(7)));
        assert_eq!((sequences(dir.path(), 8), sequences(dir.path(), 7)), (vec![5, 5, 6, 7], vec![5, 5, 6]));
        // A spool that has lost its memory: only the last one is in doubt.
        assert_eq!(sequences(dir.path(), 0), [5, 5, 6]);
        position.replace(&block(8)).unwrap();
        assert_eq!(sequences(dir.path(), 8), [8], "the first block holds what has come");
    }

    #[test]
    fn what_was_cut_short_was_never_there() {
        let dir = tempfile::tempdir().unwrap();
        let (mut position, _) = Position::open(dir.path(), 5).unwrap();
        position.replace(&block(5)).unwrap();
        position.append(&block(5)).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        let (first, all) = (usize::try_from(position.first).unwrap(), whole.len());
        for length in first..all {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(sequences(dir.path(), 6), [5], "{length} of {all} bytes");
        }
        // Garbage of an attempt that failed is overwritten.
        fs::write(&path, [&whole, b"garbage".as_slice()].concat()).unwrap();
        position.append(&block(6)).unwrap();
        assert_eq!(sequences(dir.path(), 7), [5, 5, 6]);
        // A flipped bit in the middle ends the reading.
        let mut flipped = fs::read(&path).unwrap();
        flipped[first + 20] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert_eq!(sequences(dir.path(), 7), [5]);
        fs::remove_file(&path).unwrap();
        assert_eq!(position.append(&block(7)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
