//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks at `condition` until it gives a value, and returns that; `None` once `deadline` has passed.
pub fn for_some<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        pause();
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `deadline`; the text says what was waited for.
pub fn until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let met = for_some(deadline, || condition().then_some(()));
    assert!(met.is_some(), "not within {deadline:?}: {what}");
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition, on a thread of a test")]
fn pause() {
    std::thread::sleep(PAUSE);
}
