//! Objects in files.

use std::path::{Path, PathBuf};

use super::{At, Found, Window, is_object};

/// Directories within directories.
const DEPTH_MAX: usize = 16;
/// Files of one place; a name takes some hundred bytes.
const FILES_MAX: usize = 2_000_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) found: Vec<Found>,
    pub(super) passed_over: u64,
}

/// All objects below a directory; a file is taken for one whatever its name.
pub(super) fn list(path: &Path, window: Window) -> Result<Listed, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let mut listed = Listed::default();
    if metadata.is_dir() {
        walk(path, "", window, 0, &mut listed)?;
        listed.found.sort_by(|a, b| a.name.cmp(&b.name));
    } else {
        listed.found.push(found(path.to_owned(), metadata.len()));
    }
    Ok(listed)
}

fn found(path: PathBuf, size: u64) -> Found {
    Found { name: path.display().to_string(), size, at: At::File(path) }
}

fn walk(
    directory: &Path,
    below: &str,
    window: Window,
    depth: usize,
    listed: &mut Listed,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let relative = format!("{below}{name}");
        let metadata = std::fs::metadata(&path).map_err(failed)?;
        if metadata.is_dir() {
            if depth == DEPTH_MAX {
                return Err(format!("{}: more than {DEPTH_MAX} directories deep", path.display()));
            }
            if window.may_have(&format!("{relative}/")) {
                walk(&path, &format!("{relative}/"), window, depth + 1, listed)?;
            }
        } else if !is_object(&name) {
            listed.passed_over += 1;
        } else if window.may_have(&relative) {
            if listed.found.len() == FILES_MAX {
                return Err(format!("more than {FILES_MAX} files: name a directory with fewer"));
            }
            listed.found.push(found(path, metadata.len()));
        }
    }
    Ok(())
}
