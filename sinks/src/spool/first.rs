//! The first state of a process, which makes its file where there is none.
//!
//! Making it takes room, and without it nothing can be uploaded, which is what gives room. So where the disk is full, what is
//! worth least goes for it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use super::contents::Contents;
use super::files::{self, Found};
use super::state::State;
use crate::metrics::{DropReason, Metrics};

/// Writes it. On a full disk the files that were set aside go for it, then the oldest of `found`, which is counted.
pub(super) fn write(
    dir: &Path,
    contents: &Mutex<Contents>,
    found: &mut Vec<Found>,
    metrics: &Metrics,
    mut write: impl FnMut(&State) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let state = super::lock(contents).to_remember(None);
        match write(&state) {
            Ok(()) => {
                super::lock(contents).state = state;
                return Ok(());
            }
            Err(error) if !is_full(&error) || !make_room(dir, contents, found, metrics)? => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether anything could be removed. The object in flight may have arrived, and stays.
fn make_room(
    dir: &Path,
    contents: &Mutex<Contents>,
    found: &mut Vec<Found>,
    metrics: &Metrics,
) -> io::Result<bool> {
    let removed = files::remove_aside(dir, 0)?;
    if removed > 0 {
        tracing::warn!(removed, "the disk is full, removed what was set aside");
        return Ok(true);
    }
    let mut contents = super::lock(contents);
    let in_flight = contents.state.in_flight.as_ref().map(|object| object.sequence);
    let droppable = found.iter().map(|found| found.name).filter(|name| Some(name.sequence) != in_flight);
    let Some(oldest) = droppable.min_by_key(|name| name.sequence) else { return Ok(false) };
    fs::remove_file(dir.join(oldest.text()))?;
    found.retain(|found| found.name != oldest);
    contents.done.drop(oldest);
    contents.done.remove(oldest.sequence);
    let (sequence, samples) = (oldest.sequence, oldest.samples);
    tracing::error!(sequence, samples, "the disk is full, dropped the oldest object");
    metrics.drop_objects(DropReason::SpoolFull, 1, samples);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use pipeline::model::object::Format;

    use super::super::files::Name;
    use super::super::tests::{NOW, metrics};
    use super::super::{InFlight, lock};
    use super::*;

    #[test]
    fn a_full_disk_gives_way_to_it() {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), metrics());
        let in_flight =
            InFlight { sequence: 1, key: "k".into(), conflict: false, tenure: None, location: None };
        let contents = Mutex::new(Contents::new(State { in_flight: Some(in_flight), ..State::new(NOW) }));
        for sequence in [0, 3, 1, 2, 4] {
            let name =
                Name { sequence, samples: 10, crc32: 0, format: Format::Parquet, undecided: None }.text();
            files::write(dir.path(), &name, b"x").unwrap();
        }
        let aside =
            Name { sequence: 0, samples: 10, crc32: 0, format: Format::Parquet, undecided: None }.text();
        files::set_aside(dir.path(), &aside, files::CORRUPT).unwrap();
        let (mut found, _) = files::scan(dir.path()).unwrap();
        let left = || fs::read_dir(dir.path()).unwrap().count();
        let write_in = |room: usize, found: &mut Vec<Found>| {
            write(dir.path(), &contents, found, &metrics, |_| {
                if left() > room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            })
        };
        let dropped = || metrics.dropped_objects.with_label_values(&["spool_full"]).get();
        write_in(5, &mut found).unwrap();
        assert_eq!((left(), dropped()), (5, 0));
        write_in(4, &mut found).unwrap();
        assert_eq!((left(), dropped()), (4, 0), "what was set aside goes first");
        write_in(2, &mut found).unwrap();
        let mut kept: Vec<_> = found.iter().map(|found| found.name.sequence).collect();
        kept.sort_unstable();
        assert_eq!((left(), dropped(), kept), (2, 2, vec![1, 4]));
        assert_eq!(lock(&contents).state.done, [(2, 3)]);
        assert_eq!(write_in(0, &mut found).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(left(), 1, "never the one in flight");
        let problem = |_: &State| Err(io::ErrorKind::PermissionDenied.into());
        assert!(write(dir.path(), &contents, &mut found, &metrics, problem).is_err());
        assert_eq!(left(), 1);
    }
}
