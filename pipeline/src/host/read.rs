//! Files of procfs and sysfs, read whole and bounded.
//!
//! Takes the three places where the host is mounted, gives texts and numbers, or an error that names the file. Never writes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any file that is read here has. `/proc/net/udp` has 128 bytes for each socket.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Names that are taken of one directory. A node with a thousand pods has as many devices.
const NAMES_MAX: usize = 8_192;

/// Why a collector gives nothing, or not everything.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kernel, or the machine, has nothing of the kind.
    #[error("there is nothing of the kind here")]
    NoData,
    /// A file or directory cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not look as the kernel writes it.
    #[error("cannot understand {path:?}: {what}")]
    Odd {
        /// Which.
        path: PathBuf,
        /// What is odd about it.
        what: String,
    },
    /// More than is taken.
    #[error("more than {0} bytes of lines: exclude devices, mount points or fields")]
    Size(usize),
    /// Something below has not answered.
    #[error("no answer in time: something that it reads hangs")]
    Hangs,
}

impl Error {
    /// Whether it only says that there is nothing to be read.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::NoData => true,
            Self::Read { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// Where the host's files are, which in a container is not where its own are.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) procfs: PathBuf,
    pub(super) sysfs: PathBuf,
    pub(super) rootfs: PathBuf,
}

impl Tree {
    /// A file below procfs.
    pub(super) fn proc(&self, path: &str) -> Result<String, Error> {
        text(&self.procfs.join(path))
    }

    /// A file of `/proc/net`: that of the first process, because `net` itself would be the network of the one who reads.
    /// Where the first process may not be looked at, the reader's has to do.
    pub(super) fn net(&self, path: &str) -> Result<String, Error> {
        let of_first = self.procfs.join("1/net").join(path);
        text(&of_first).or_else(|_| text(&self.procfs.join("net").join(path)))
    }

    /// A directory or file below sysfs.
    pub(super) fn sys(&self, path: &str) -> PathBuf {
        self.sysfs.join(path)
    }

    /// A file of the host's root.
    pub(super) fn root(&self, path: &str) -> PathBuf {
        self.rootfs.join(path.trim_start_matches('/'))
    }
}

/// A whole file. What is no UTF-8 is replaced.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::Odd {
            path: path.to_owned(),
            what: format!("larger than {FILE_BYTES_MAX} bytes"),
        });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file of one short text, such as an attribute in sysfs; `None` where it cannot be read, as many cannot.
pub(super) fn attribute(path: &Path) -> Option<String> {
    text(path).ok().map(|text| text.trim().to_owned())
}

/// A file of one number.
pub(super) fn value(path: &Path) -> Option<f64> {
    number(&attribute(path)?)
}

/// A decimal number, or a hexadecimal one behind `0x`.
pub(super) fn number(text: &str) -> Option<f64> {
    match text.strip_prefix("0x") {
        Some(digits) => hex(digits),
        // Rust reads words such as `inf`, which the kernel does not write.
        None if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => text.parse().ok(),
        None => None,
    }
}

/// A hexadecimal number without prefix.
pub(super) fn hex(digits: &str) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
    u64::from_str_radix(digits, 16).ok().map(|number| number as f64)
}

/// The names in a directory, those with numbers at their ends in the order of these.
pub(super) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let entries = fs::read_dir(path).map_err(failed)?.take(NAMES_MAX);
    let names: BTreeSet<_> = entries
        .filter_map(|entry| Some(ordered(entry.ok()?.file_name().to_string_lossy().into_owned())))
        .collect();
    Ok(names.into_iter().map(|(_, _, name)| name).collect())
}

fn ordered(name: String) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let end = name.get(stem.len()..).and_then(|digits| digits.parse().ok()).unwrap_or_default();
    (stem.to_owned(), end, name)
}

/// The entries of a directory whose names are `prefix` and a number: number and path.
pub(super) fn numbered(path: &Path, prefix: &str) -> Result<Vec<(String, PathBuf)>, Error> {
    let numbered = |name: String| {
        let digits = name.strip_prefix(prefix)?;
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| (digits.to_owned(), path.join(&name)))
    };
    Ok(names(path)?.into_iter().filter_map(numbered).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(number(text), expected, "{text:?}");
        check("12", Some(12.0));
        check("-1", Some(-1.0));
        check("0.07", Some(0.07));
        check("0x1003", Some(4099.0));
        check("", None);
        check("0x", None);
        check("inf", None);
        check("nan", None);
        check("unknown", None);
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["cpu10", "cpu2", "cpufreq", "cpu", "cpu2x"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(names(directory.path()).unwrap(), ["cpu", "cpu2", "cpu10", "cpu2x", "cpufreq"]);
        let numbers = numbered(directory.path(), "cpu").unwrap();
        assert_eq!(numbers.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["2", "10"]);
        assert!(names(&directory.path().join("none")).unwrap_err().is_absence());
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let error = text(&path).unwrap_err();
        assert!(error.to_string().contains("larger than 8388608 bytes") && !error.is_absence(), "{error}");
        fs::write(&path, [b'a', 0xff, b'\n']).unwrap();
        assert_eq!(attribute(&path).unwrap(), "a\u{fffd}");
    }
}
