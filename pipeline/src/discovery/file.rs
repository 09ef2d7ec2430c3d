//! `file_sd_configs`: target groups listed in files.
//!
//! Looks at the files' times and sizes every few seconds, which is cheap and works on every kind of volume, a mounted
//! ConfigMap's links included. A file that cannot be read any more keeps the groups that it had; one that is gone loses
//! them, as in Prometheus.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::config::FileConfig;
use super::list::{Format, Found, parse};
use crate::model::target::TargetGroup;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// The largest file, bytes: hundreds of thousands of targets.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// The label that names the file.
const FILEPATH: &str = "__meta_filepath";

/// The files of one section.
#[derive(Clone, Debug)]
pub(super) struct Files {
    patterns: Vec<String>,
    /// After this time a file is read again even if it looks the same.
    refresh: Duration,
    known: BTreeMap<PathBuf, Known>,
}

/// What is known of a file.
#[derive(Clone, Debug)]
struct Known {
    /// When it was changed last, and its size; `None` if it could not be read.
    stamp: Option<(SystemTime, u64)>,
    read: Instant,
    groups: Vec<Arc<TargetGroup>>,
    problem: Option<String>,
}

impl Files {
    pub(super) fn new(config: &FileConfig) -> Self {
        Self { patterns: config.files.clone(), refresh: config.refresh_interval.0, known: BTreeMap::new() }
    }

    /// Until the next look.
    pub(super) fn interval(&self) -> Duration {
        LOOK.min(self.refresh)
    }

    /// Looks at all files. Blocks on the disk.
    pub(super) fn look(&mut self) -> Found {
        let mut found = Found::default();
        let mut known = BTreeMap::new();
        for pattern in &self.patterns {
            let paths = expand(pattern).unwrap_or_else(|error| {
                found.problems.push(format!("{pattern}: {error}"));
                // What is below a folder that cannot be read now is as it was.
                self.known.keys().filter(|path| matches(pattern, path)).cloned().collect()
            });
            for path in paths {
                let before = self.known.remove(&path);
                let file =
                    known.entry(path.clone()).or_insert_with(|| self::look(&path, before, self.refresh));
                found.problems.extend(file.problem.as_ref().map(|p| format!("{}: {p}", path.display())));
            }
        }
        self.known = known;
        found.groups = self.known.values().flat_map(|file| file.groups.iter().cloned()).collect();
        found
    }
}

/// One file: as it was, or read again.
fn look(path: &Path, before: Option<Known>, refresh: Duration) -> Known {
    let stamp = fs::metadata(path).and_then(|m| Ok((m.modified()?, m.len()))).ok();
    if let Some(known) = before.as_ref()
        && known.stamp == stamp
        && stamp.is_some()
        && known.read.elapsed() < refresh
    {
        return known.clone();
    }
    let before = before.map(|known| known.groups).unwrap_or_default();
    let shown = path.display().to_string();
    let format = if shown.to_ascii_lowercase().ends_with(".json") { Format::Json } else { Format::Yaml };
    let groups = read(path).map_err(|e| e.to_string());
    let groups = groups.and_then(|bytes| parse(&bytes, format, &shown, (FILEPATH, &shown)));
    let (groups, problem) = match groups {
        // Groups that did not change stay the same, so that nobody looks at their targets again.
        Ok(groups) if groups == before => (before, None),
        Ok(groups) => (groups, None),
        Err(problem) => (before, Some(problem)),
    };
    Known { stamp, read: Instant::now(), groups, problem }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// The files that a pattern names, sorted. Only the last part of a path may hold a `*`.
fn expand(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    if !pattern.contains('*') {
        // One that is not there is no file, as in Prometheus.
        return Ok(if path.try_exists()? { vec![path.to_owned()] } else { Vec::new() });
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = match path.parent() {
            Some(parent) => parent.join(entry?.file_name()),
            None => entry?.path(),
        };
        if matches(pattern, &path) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn matches(pattern: &str, path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            let middle = text.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
            // As a shell does: a star begins no hidden name.
            middle.is_some_and(|middle| {
                !middle.contains('/')
                    && !((start.is_empty() || start.ends_with('/')) && middle.starts_with('.'))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::units;

    fn files(patterns: &[String]) -> Files {
        let refresh_interval = units::Duration(Duration::from_secs(3600));
        Files::new(&FileConfig { files: patterns.to_vec(), refresh_interval })
    }

    fn addresses(found: &Found) -> Vec<&str> {
        let targets = found.groups.iter().flat_map(|group| &group.targets);
        targets.map(|target| target.value("__address__")).collect()
    }

    #[test]
    fn files_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let pattern = at("*.json").display().to_string();
        let mut files = files(&[pattern.clone(), at("one.yml").display().to_string()]);
        assert_eq!(files.look(), Found::default());
        fs::write(at("a.json"), r#"[{"targets": ["a:1"]}]"#).unwrap();
        fs::write(at(".hidden.json"), r#"[{"targets": ["h:1"]}]"#).unwrap();
        fs::write(at("one.yml"), "- targets: [y:1]").unwrap();
        let found = files.look();
        assert_eq!((addresses(&found), found.problems.len()), (vec!["a:1", "y:1"], 0));
        let file = at("a.json").display().to_string();
        assert_eq!(found.groups[0].labels.value(FILEPATH), file);
        // Unchanged groups are the very same ones.
        assert!(Arc::ptr_eq(&files.look().groups[0], &found.groups[0]));
        // A file that is broken keeps what it had, and says so each time; the other one goes on.
        fs::write(at("a.json"), r#"[{"targets": ["a:1"]"#).unwrap();
        fs::write(at("one.yml"), "- targets: [y:1, y:2]").unwrap();
        for _ in 0..2 {
            let found = files.look();
            assert_eq!(addresses(&found), ["a:1", "y:1", "y:2"]);
            assert!(found.problems.len() == 1 && found.problems[0].starts_with(&file), "{found:?}");
        }
        fs::remove_file(at("a.json")).unwrap();
        let found = files.look();
        assert_eq!((addresses(&found), found.problems.len()), (vec!["y:1", "y:2"], 0));
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(&[dir.path().join("none/*.json").display().to_string()]);
        assert_eq!(files.look().problems.len(), 1);
    }

    #[test]
    fn a_star_stands_for_a_part_of_the_last_name() {
        let check = |pattern: &str, path: &str, expected| {
            assert_eq!(matches(pattern, Path::new(path)), expected, "{pattern} {path}");
        };
        check("/d/*.json", "/d/a.json", true);
        check("/d/*.json", "/d/.a.json", false);
        check("/d/x*.json", "/d/x.json", true);
        check("/d/*.json", "/d/e/a.json", false);
        check("/d/a.json", "/d/a.json", true);
        check("*.json", "a.json", true);
    }
}
