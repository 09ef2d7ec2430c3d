//! Objects that lie somewhere, for the commands that read them: files, directories, and buckets of an S3.
//!
//! Takes a place and a range of time; gives its objects one after another, and the bytes of each. Lists no more of a bucket than the
//! range asks for, by the Unix second that stands in keys. Never writes, and never looks into an object.

mod local;
mod moment;
mod remote;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use sinks::s3::S3;

pub use moment::{Moment, Window};
pub use remote::{Options, connect};

/// Larger objects are not read: no shipper writes such.
const OBJECT_BYTES_MAX: u64 = 512 << 20;

/// How the names of objects end. Whatever else lies beside them is passed over.
const ENDINGS: [&str; 3] = [".parquet", ".log", ".log.gz"];

fn is_object(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Where objects lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file, or a directory with all below it.
    Local(PathBuf),
    /// One object of a bucket, or all below a prefix.
    Bucket {
        /// The bucket.
        bucket: String,
        /// A key, or what keys start with; no slash at its ends.
        key: String,
    },
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return match (text, text.split_once("://")) {
                ("", _) => Err("is empty: name a file, a directory or s3://BUCKET/PREFIX".to_owned()),
                (_, Some((scheme, _))) => Err(format!("{scheme}:// is not known: write s3://BUCKET/PREFIX")),
                (path, None) => Ok(Self::Local(path.into())),
            };
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err("names no bucket: write s3://BUCKET/PREFIX".to_owned());
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), key: key.trim_matches('/').to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, key } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

impl Place {
    /// Whether it takes an S3 to read it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Bucket { .. })
    }

    /// Whether the other one lies below it.
    #[must_use]
    pub fn is_above(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(path), Self::Local(other)) => is_below(&absolute(other), path),
            (Self::Bucket { bucket, key }, Self::Bucket { bucket: of, key: other }) => {
                bucket == of && is_key_below(other, key)
            }
            _ => false,
        }
    }

    /// Whether an object lies below it.
    #[must_use]
    pub fn holds(&self, found: &Found) -> bool {
        match (self, &found.at) {
            (Self::Local(path), At::File(file)) => is_below(&absolute(file), path),
            (Self::Bucket { bucket, key }, At::Key { bucket: of, key: at }) => {
                bucket == of && is_key_below(at, key)
            }
            _ => false,
        }
    }
}

/// However the two are written.
fn is_below(path: &Path, above: &Path) -> bool {
    let above = absolute(above);
    path != above && path.starts_with(above)
}

fn is_key_below(key: &str, above: &str) -> bool {
    let rest = key.strip_prefix(above).filter(|rest| !rest.is_empty());
    rest.is_some_and(|rest| above.is_empty() || rest.starts_with('/'))
}

/// A path that has none, such as an empty one, is left as it is.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// For people, and to be given again.
    pub name: String,
    /// Bytes.
    pub size: u64,
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    File(PathBuf),
    Key { bucket: String, key: String },
}

impl Found {
    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read; the text says why, and does not name it.
    pub async fn get(&self, s3: Option<&S3>) -> Result<Bytes, String> {
        if self.size > OBJECT_BYTES_MAX {
            return Err(format!("{} bytes: at most {OBJECT_BYTES_MAX} are read", self.size));
        }
        match (&self.at, s3) {
            (At::File(path), _) => match tokio::fs::read(path).await {
                Ok(bytes) => Ok(bytes.into()),
                Err(error) => Err(error.to_string()),
            },
            (At::Key { bucket, key }, Some(s3)) => {
                // In a box, like the listing: the SDK's futures nest deeper than a compiler likes to look.
                Box::pin(s3.get(bucket, key, OBJECT_BYTES_MAX)).await.map_err(|error| error.text)
            }
            (At::Key { .. }, None) => Err("no S3 is configured".to_owned()),
        }
    }
}

/// The objects of one place, in the order of their names.
#[derive(Debug)]
pub struct Objects<'a> {
    s3: Option<&'a S3>,
    found: VecDeque<Found>,
    rest: Option<remote::Rest>,
    /// Files that are no objects by their names.
    pub passed_over: u64,
}

impl<'a> Objects<'a> {
    /// Begins to look. `window`: by the second in their keys; objects whose key has none are always among them.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn look(place: &Place, window: Window, s3: Option<&'a S3>) -> Result<Self, String> {
        let mut objects = Self { s3, found: VecDeque::new(), rest: None, passed_over: 0 };
        match place {
            Place::Local(path) => {
                let listed = local::list(path, window)?;
                objects.found = listed.found.into();
                objects.passed_over = listed.passed_over;
            }
            Place::Bucket { bucket, key } if is_object(key) => {
                let at = At::Key { bucket: bucket.clone(), key: key.clone() };
                objects.found.push_back(Found { name: place.to_string(), size: 0, at });
            }
            Place::Bucket { bucket, key } => objects.rest = Some(remote::Rest::new(bucket, key, window)),
        }
        Ok(objects)
    }

    /// The next one.
    ///
    /// # Errors
    /// When a bucket cannot be listed.
    pub async fn next(&mut self) -> Result<Option<Found>, String> {
        while self.found.is_empty() {
            let (Some(rest), Some(s3)) = (&mut self.rest, self.s3) else { return Ok(None) };
            let more = rest.page(s3, &mut self.found, &mut self.passed_over).await?;
            if !more {
                self.rest = None;
            }
        }
        Ok(self.found.pop_front())
    }
}
