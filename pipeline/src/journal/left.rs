//! What an earlier process left in the journal: batches that never became objects.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::read::{self, Condition, Definitions};
use crate::model::batch::Batch;
use crate::model::object::Tenure;
use crate::model::series::SeriesTable;

/// The ending of files of samples; their name is the sequence number of the object.
pub(super) const SAMPLES: &str = ".samples";
/// The ending of files of series; their name is the generation.
pub(super) const SERIES: &str = ".series";
/// What is appended to the name of a damaged file's copy, which people may look at.
const CORRUPT: &str = ".corrupt";
/// How many such copies are kept.
const CORRUPT_MAX: usize = 16;

/// Names a file.
pub(super) fn file(number: u64, ending: &str) -> String {
    format!("{number:010}{ending}")
}

fn parse(name: &str, ending: &str) -> Option<u64> {
    let number = name.strip_suffix(ending)?.parse().ok()?;
    (file(number, ending) == name).then_some(number)
}

/// What stands in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    dir: PathBuf,
    /// All objects below this number have come, or were dropped and counted.
    taken: u64,
    /// Sequence numbers of batches whose objects never came, oldest first.
    pub(crate) batches: Vec<u64>,
    /// All others, which are not needed any more.
    pub(super) done: Vec<u64>,
    /// Generations of series.
    pub(super) generations: Vec<u32>,
}

/// A batch that was read back.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) batch: Batch,
    /// The series of `batch`.
    pub(crate) table: SeriesTable,
    /// Samples that were there and cannot be read.
    pub(crate) lost: u64,
}

impl Left {
    /// Looks at the directory.
    pub(super) fn find(dir: &Path, taken: u64) -> io::Result<Self> {
        let mut left = Self { dir: dir.to_owned(), taken, ..Self::default() };
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(sequence) = parse(name, SAMPLES) {
                if sequence < taken { &mut left.done } else { &mut left.batches }.push(sequence);
            } else if let Some(generation) = parse(name, SERIES).and_then(|n| u32::try_from(n).ok()) {
                left.generations.push(generation);
            }
        }
        left.batches.sort_unstable();
        Ok(left)
    }

    /// Sees to it that each batch has numbers for so many objects, of which its own is the last. A process whose encoding made one
    /// object of a batch kept none free: such a batch gets another number, durably before any of its objects is made, and the
    /// batches after it may have to follow. Blocks on the disk.
    pub(super) fn make_room(&mut self, objects_max: u64) -> io::Result<()> {
        let (mut first, mut numbers) = (self.taken, Vec::with_capacity(self.batches.len()));
        for sequence in &self.batches {
            // Of a batch whose room was made some objects may have come; what is left of it is enough.
            let room = sequence.saturating_add(1).saturating_sub(first);
            let number = match room >= objects_max.div_ceil(2) {
                true => *sequence,
                false => first.saturating_add(objects_max - 1),
            };
            numbers.push(number);
            first = number.saturating_add(1);
        }
        if self.batches == numbers {
            return Ok(());
        }
        // The last one first, so that none is renamed to what another still is.
        for (batch, number) in self.batches.iter_mut().zip(numbers).rev() {
            if *batch != number {
                let (from, to) = (self.dir.join(file(*batch, SAMPLES)), self.dir.join(file(number, SAMPLES)));
                fs::rename(from, to)?;
                tracing::info!(from = *batch, to = number, "what an earlier process left needs more numbers");
                *batch = number;
            }
        }
        File::open(&self.dir)?.sync_all()
    }

    /// The number below which all objects have come.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// A generation that no file has.
    pub(crate) fn next_generation(&self) -> u32 {
        self.generations.iter().max().map_or(0, |last| last.saturating_add(1))
    }

    /// The turn in which the batches were scraped; there is one at most. Blocks on the disk.
    pub(crate) fn tenure(&self) -> Option<Tenure> {
        let mut newest_first = self.batches.iter().rev();
        newest_first
            .find_map(|sequence| read::tenure(&fs::read(self.dir.join(file(*sequence, SAMPLES))).ok()?))
    }

    /// Reads a batch back. What is damaged is copied aside and counted. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk does not let a file be read.
    pub(crate) fn read(&self, sequence: u64) -> io::Result<Found> {
        let name = file(sequence, SAMPLES);
        let bytes = fs::read(self.dir.join(&name))?;
        let definitions = match read::generation(&bytes) {
            Some(generation) => self.read_series(generation)?,
            None => Definitions::default(),
        };
        let (batch, condition) = read::read_batch(&bytes, &definitions);
        self.report(&name, &condition);
        Ok(Found { batch, table: definitions.table, lost: condition.lost })
    }

    /// Sets a batch aside that cannot be read; how many samples it holds is not known.
    pub(crate) fn give_up(&self, sequence: u64, error: &io::Error) -> Found {
        let name = file(sequence, SAMPLES);
        let aside = fs::rename(self.dir.join(&name), self.dir.join(format!("{name}{CORRUPT}")));
        tracing::error!(file = name, %error, ?aside, "a file of the journal cannot be read, set it aside");
        Found { batch: Batch::default(), table: SeriesTable::default(), lost: 0 }
    }

    fn read_series(&self, generation: u32) -> io::Result<Definitions> {
        let name = file(u64::from(generation), SERIES);
        match fs::read(self.dir.join(&name)) {
            Ok(bytes) => {
                let (definitions, condition) = Definitions::read(&bytes);
                self.report(&name, &condition);
                Ok(definitions)
            }
            // Then the samples have no series, and are counted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Definitions::default()),
            Err(error) => Err(error),
        }
    }

    /// Says how much of a file could be read; a damaged one is kept under another name beside it, since the file itself is
    /// needed until its object is durable.
    fn report(&self, name: &str, condition: &Condition) {
        let Condition { lost, damaged, torn_bytes } = *condition;
        if torn_bytes > 0 {
            tracing::info!(
                file = name,
                torn_bytes,
                "the last write to the journal was cut off, which a kill may do"
            );
        }
        if damaged {
            let kept = self.keep_aside(name);
            tracing::error!(file = name, lost, ?kept, "a file of the journal is damaged, kept a copy of it");
        }
    }

    /// Keeps a copy of a file that is damaged.
    fn keep_aside(&self, name: &str) -> io::Result<()> {
        let (from, to) = (self.dir.join(name), self.dir.join(format!("{name}{CORRUPT}")));
        if to.exists() {
            return Ok(());
        }
        // Not every file system has hard links.
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ()))?;
        let mut aside = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(CORRUPT) {
                aside.push(path);
            }
        }
        aside.sort_unstable();
        let surplus = aside.len().saturating_sub(CORRUPT_MAX);
        aside.iter().take(surplus).try_for_each(fs::remove_file)
    }
}
