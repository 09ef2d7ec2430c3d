//! `Store` on a local directory: for trying things out, and for those who ship files by other means.
//!
//! Objects are written below the directory under their keys, whole or not at all. The local clock is the server's.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use pipeline::model::object::Format;
use serde::{Deserialize, Serialize};

use crate::blocking::blocking;
use crate::clock;
use crate::key::Key;
use crate::status::Place;
use crate::store::{Body, Condition, Error, Location, Next, Receipt, Store, Stored};

/// Section `sink.file`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The directory below which objects are written under their keys. It is made when it is missing.
    pub dir: PathBuf,
}

impl Config {
    /// Problems in the relations between fields.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        if self.dir.as_os_str().is_empty() {
            return vec![("dir".into(), "is empty: name the directory that objects are written to".into())];
        }
        Vec::new()
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Directory {
    dir: PathBuf,
}

impl Directory {
    /// A store below `dir`, which is made with the first object.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where objects go, for people.
    pub(crate) fn place(&self) -> Place {
        Place { bucket: self.dir.display().to_string(), ..Place::default() }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let dir = self.dir.clone();
        let done = blocking(move || work(&dir)).await;
        done.map_err(|error| failed(action, &self.dir, &error))
    }
}

impl Store for Directory {
    async fn ready(&self) {}

    fn location(&self) -> Option<Location> {
        Some(Location { bucket: self.dir.display().to_string(), prefix: String::new() })
    }

    fn is_hopeless(&self) -> bool {
        false
    }

    async fn server_time(&self) -> Result<i64, Error> {
        Ok(clock::wall_seconds())
    }

    async fn put(&self, key: &str, body: &Body, condition: Condition) -> Result<Receipt, Error> {
        let (key, bytes) = (key.to_owned(), body.bytes.clone());
        self.on_disk("write", move |dir| write(&dir.join(key), &bytes, condition)).await?;
        Ok(Receipt::default())
    }

    async fn head(&self, key: &str) -> Result<Option<Stored>, Error> {
        let key = key.to_owned();
        self.on_disk("read", move |dir| match fs::read(dir.join(key)) {
            Ok(bytes) => {
                let crc32 = Some(crc32fast::hash(&bytes));
                Ok(Some(Stored { size: bytes.len() as u64, crc32, modified: None }))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        })
        .await
    }

    async fn largest_key_in(&self, folder: &str, after: &str) -> Result<Option<String>, Error> {
        let (folder, after) = (folder.to_owned(), after.to_owned());
        self.on_disk("list", move |dir| largest_key(&dir.join(folder), &after)).await
    }

    async fn refresh(&self) -> bool {
        false
    }
}

/// Writes aside, syncs, and gives the final name: by a link, which fails where the name exists, or by renaming.
fn write(path: &Path, bytes: &[u8], condition: Condition) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    match condition {
        Condition::None => fs::rename(&unfinished, path)?,
        Condition::Absent => {
            let linked = fs::hard_link(&unfinished, path);
            fs::remove_file(&unfinished)?;
            linked?;
        }
    }
    File::open(folder)?.sync_all()
}

/// The largest key above `after`: the last file of the last folder that has one.
fn largest_key(dir: &Path, after: &str) -> io::Result<Option<String>> {
    let names = |path: &Path| -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let mut largest = None;
    for folder in names(dir)? {
        // Whatever is in a folder below `after` is below it too, unless `after` is in that folder.
        if folder.as_str() < after.get(..folder.len()).unwrap_or(after) || !dir.join(&folder).is_dir() {
            continue;
        }
        let keys = names(&dir.join(&folder))?.into_iter().map(|name| format!("{folder}/{name}"));
        let keys = keys.filter(|key| {
            key.as_str() > after && Format::of_name(key).is_some() && key.parse::<Key>().is_ok()
        });
        largest = largest.max(keys.max());
    }
    Ok(largest)
}

fn failed(action: &str, dir: &Path, error: &io::Error) -> Error {
    let (next, class) = match error.kind() {
        io::ErrorKind::AlreadyExists => (Next::Exists, "exists"),
        // The name may stand there already: a link or a rename can come before the step that failed.
        _ => (Next::Unknown, "disk"),
    };
    Error { next, class, text: format!("cannot {action} below {}: {error}", dir.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        let dir = tempfile::tempdir().unwrap();
        conformance::check(&Directory::new(dir.path().join("made/on/demand"))).await;
    }

    #[tokio::test]
    async fn nothing_unfinished_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::new(dir.path().to_owned());
        let body = Body { bytes: "x".into(), crc32: crc32fast::hash(b"x") };
        let key = "1795303367/w0-1795303000.parquet";
        for condition in [Condition::Absent, Condition::Absent, Condition::None] {
            let _ = store.put(key, &body, condition).await;
        }
        let names: Vec<_> =
            fs::read_dir(dir.path().join("1795303367")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["w0-1795303000.parquet"]);
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_an_error_with_an_unknown_outcome() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = Directory::new(file.path().to_owned());
        let error = store
            .put("1795303367/w0-1.parquet", &Body { bytes: "x".into(), crc32: 0 }, Condition::Absent)
            .await;
        let error = error.unwrap_err();
        assert_eq!((error.next, error.class), (Next::Unknown, "disk"));
        assert!(error.text.contains(&*file.path().to_string_lossy()), "{error}");
    }
}
