//! The spool's directory: plain functions that block on the disk.
//!
//! Everything that appears under its final name is whole and durable: written aside, synced, renamed, and the
//! directory synced.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pipeline::model::object::{Format, Tenure};
use rustix::fs::{FlockOperation, flock};

use super::Error;

/// The file that is locked.
const LOCK: &str = "lock";
/// The ending of files that are being written.
const UNFINISHED: &str = ".tmp";
/// Endings of objects that were set aside, for people to look at.
const ASIDE: [&str; 2] = [CORRUPT, REJECTED];
/// The ending of objects whose checksum does not match.
pub(super) const CORRUPT: &str = ".corrupt";
/// The ending of objects that the store refused.
pub(super) const REJECTED: &str = ".rejected";
/// How many files set aside are kept; older ones are removed, so that the disk stays bounded.
const ASIDE_MAX: usize = 16;

/// What the name of an object's file says: all that is needed without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The object's sequence number.
    pub sequence: u64,
    /// Samples in it.
    pub samples: u64,
    /// CRC-32 of its bytes.
    pub crc32: u32,
    /// What the object is.
    pub format: Format,
    /// Set while it is not known whose the object is.
    pub undecided: Option<Undecided>,
}

/// What decides later whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided {
    /// The turn that it was scraped in.
    pub tenure: Tenure,
    /// Its latest scrape, milliseconds since the Unix epoch.
    pub last_scrape: i64,
}

impl Name {
    /// `{sequence:010}.{samples}.{crc32:08x}.{extension}`; while undecided,
    /// `{sequence:010}.{samples}.{crc32:08x}.{transitions}_{acquired}_{last scrape}.{extension}`.
    pub(super) fn text(self) -> String {
        let Self { sequence, samples, crc32, format, undecided } = self;
        let undecided = undecided.map_or(String::new(), |Undecided { tenure, last_scrape }| {
            format!("{}_{}_{last_scrape}.", tenure.transitions, tenure.acquired)
        });
        format!("{sequence:010}.{samples}.{crc32:08x}.{undecided}{}", format.extension())
    }

    /// Reads a name as written by `text`; anything else is `None`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let name = Self {
            sequence: parts.next()?.parse().ok()?,
            samples: parts.next()?.parse().ok()?,
            crc32: u32::from_str_radix(parts.next()?, 16).ok()?,
            format: Format::of_name(text)?,
            undecided: parts.next().and_then(Undecided::parse),
        };
        (name.text() == text).then_some(name)
    }
}

impl Undecided {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('_').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let tenure = Tenure { transitions: next()?, acquired: next()? };
        Some(Self { tenure, last_scrape: next()? })
    }
}

/// An object found at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub name: Name,
    pub bytes: u64,
    pub written: SystemTime,
}

/// Takes the lock that keeps a second process out; held until the file is dropped.
pub(super) fn lock(dir: &Path) -> Result<File, Error> {
    fs::create_dir_all(dir).map_err(|e| Error::unusable(dir, "make the directory", &e))?;
    let path = dir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| Error::unusable(&path, "open the lock", &e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { dir: dir.to_owned() }),
        Err(e) => Err(Error::unusable(&path, "take the lock", &e.into())),
    }
}

/// All objects in the directory, and the largest sequence number of any file, set aside or not. Removes what was
/// never finished.
pub(super) fn scan(dir: &Path) -> io::Result<(Vec<Found>, Option<u64>)> {
    let mut found = Vec::new();
    let mut largest = None;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let file = entry.file_name();
        let Some(text) = file.to_str() else { continue };
        if text.ends_with(UNFINISHED) {
            fs::remove_file(entry.path())?;
            continue;
        }
        let kept = ASIDE.iter().find_map(|ending| text.strip_suffix(ending)).unwrap_or(text);
        let Some(name) = Name::parse(kept) else { continue };
        largest = largest.max(Some(name.sequence));
        if kept == text {
            let metadata = entry.metadata()?;
            found.push(Found { name, bytes: metadata.len(), written: metadata.modified()? });
        }
    }
    Ok((found, largest))
}

/// Writes a file so that it is there completely or not at all, also after a loss of power.
pub(super) fn write(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&unfinished, dir.join(name)));
    if renamed.is_err() {
        // Gives the space back at once.
        let _ = fs::remove_file(&unfinished);
    }
    renamed.and_then(|()| sync(dir))
}

/// Makes what was renamed or removed durable.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Reads a file; its checksum and its content. `None` if it is not there any more.
///
/// A directory that was taken away, or is not mounted, has not lost its files: without our lock in it nothing is known.
pub(super) fn read(dir: &Path, name: &str) -> io::Result<Option<(u32, Vec<u8>)>> {
    match fs::read(dir.join(name)) {
        Ok(bytes) => Ok(Some((crc32fast::hash(&bytes), bytes))),
        Err(e) if e.kind() == io::ErrorKind::NotFound && fs::exists(dir.join(LOCK))? => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sets a file aside under a name that says why, and keeps the number of such files bounded.
pub(super) fn set_aside(dir: &Path, name: &str, ending: &str) -> io::Result<()> {
    fs::rename(dir.join(name), dir.join(format!("{name}{ending}")))?;
    remove_aside(dir, ASIDE_MAX).map(|_| ())
}

/// Removes the oldest files that were set aside until so many are left; how many went.
pub(super) fn remove_aside(dir: &Path, kept: usize) -> io::Result<usize> {
    let mut aside: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_aside =
            entry.file_name().to_str().is_some_and(|text| ASIDE.iter().any(|end| text.ends_with(end)));
        if is_aside {
            aside.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    aside.sort();
    let removed = aside.len().saturating_sub(kept);
    for (_, path) in aside.iter().take(removed) {
        fs::remove_file(path)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_names_are_nobodys_business() {
        for text in [
            "lock",
            "state.json",
            "1.2.3.parquet",
            "0000000001.x.00000000.parquet",
            "0000000001.2.00000000.json",
            "0000000001.2.00000000.gz",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_newest_files_set_aside_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for sequence in 0..40 {
            let name =
                Name { sequence, samples: 1, crc32: 0, format: Format::Parquet, undecided: None }.text();
            write(dir.path(), &name, b"x").unwrap();
            set_aside(dir.path(), &name, REJECTED).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), ASIDE_MAX);
    }

    proptest! {
        #[test]
        fn a_name_says_what_was_written(
            sequence: u64,
            samples: u64,
            crc32: u32,
            format in proptest::sample::select(&Format::ALL[..]),
            undecided: Option<(i64, i64, i64)>,
        ) {
            let undecided = undecided.map(|(transitions, acquired, last_scrape)| {
                Undecided { tenure: Tenure { transitions, acquired }, last_scrape }
            });
            let name = Name { sequence, samples, crc32, format, undecided };
            prop_assert_eq!(Name::parse(&name.text()), Some(name));
        }

        #[test]
        fn any_other_text_is_read_without_harm(text in ".{0,60}") {
            if let Some(name) = Name::parse(&text) {
                prop_assert_eq!(name.text(), text);
            }
        }
    }
}
