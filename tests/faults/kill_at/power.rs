//! What a loss of power leaves: the files as they were last synced, under the names that were last synced.
//!
//! Stricter than any real disk, which also keeps some of what was not synced: whoever gets by with this gets by with that,
//! since a kill alone leaves everything.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

use crate::call::{Call, Class};

/// Names in a directory: the numbers of their files, and whether they are directories.
type Names = BTreeMap<OsString, (u64, bool)>;

/// What is durable below one directory.
pub struct Power {
    root: PathBuf,
    files: HashMap<u64, Durable>,
    directories: HashMap<u64, Names>,
    /// Syncs under way, by thread.
    syncing: HashMap<Pid, Synced>,
    top: u64,
}

/// The bytes of one file. The open file keeps its number from being given to another one.
struct Durable {
    bytes: Arc<[u8]>,
    #[expect(dead_code, reason = "held for its number")]
    file: File,
}

enum Synced {
    File(u64, Durable),
    Directory(u64, Names),
}

impl Power {
    /// Everything below `root` is durable.
    pub fn new(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let top = fs::metadata(&root)?.ino();
        let (files, directories, syncing) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut power = Self { root: root.clone(), files, directories, syncing, top };
        power.note_all(&root)?;
        Ok(power)
    }

    fn note_all(&mut self, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match path.is_dir() {
                true => self.note_all(&path)?,
                false => self.note(read_file(&path)?),
            }
        }
        self.note(read_directory(directory)?);
        Ok(())
    }

    fn note(&mut self, synced: Synced) {
        match synced {
            Synced::File(number, durable) => drop(self.files.insert(number, durable)),
            Synced::Directory(number, names) => drop(self.directories.insert(number, names)),
        }
    }

    /// Before a call. A sync makes durable what is there now.
    pub fn entered(&mut self, thread: Pid, call: &Call) {
        if call.class != Class::Sync || !call.path.starts_with(&self.root) {
            return;
        }
        let Some(descriptor) = &call.descriptor else { return };
        let synced = match call.path.is_dir() {
            true => read_directory(&call.path),
            // By the descriptor: the name may be another file's by now.
            false => read_file(descriptor),
        };
        if let Ok(synced) = synced {
            self.syncing.insert(thread, synced);
        }
    }

    /// After a call.
    pub fn left(&mut self, thread: Pid, done: bool) {
        if let Some(synced) = self.syncing.remove(&thread)
            && done
        {
            self.note(synced);
        }
    }

    /// Leaves what is durable, after the end of the program.
    pub fn cut(self) -> Result<()> {
        let beside = self.root.with_extension("durable");
        // An earlier call may have been broken off.
        let _ = fs::remove_dir_all(&beside);
        self.write(self.top, &beside)?;
        fs::remove_dir_all(&self.root)?;
        fs::rename(&beside, &self.root).context("cannot put the durable files in place")
    }

    fn write(&self, number: u64, to: &Path) -> Result<()> {
        fs::create_dir(to)?;
        for (name, (number, is_directory)) in self.directories.get(&number).into_iter().flatten() {
            let path = to.join(name);
            if *is_directory {
                self.write(*number, &path)?;
                continue;
            }
            // A name may be durable before anything in the file or directory is.
            let bytes = self.files.get(number).map_or(&[][..], |durable| &durable.bytes);
            fs::write(path, bytes)?;
        }
        Ok(())
    }
}

fn read_file(path: &Path) -> Result<Synced> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let number = file.metadata()?.ino();
    Ok(Synced::File(number, Durable { bytes: bytes.into(), file }))
}

fn read_directory(path: &Path) -> Result<Synced> {
    let mut names = Names::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        names.insert(entry.file_name(), (metadata.ino(), metadata.is_dir()));
    }
    Ok(Synced::Directory(fs::metadata(path)?.ino(), names))
}
