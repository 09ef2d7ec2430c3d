//! The worker's rest between two looks at its queue, since to be woken for every scrape costs more than to read it.
//!
//! Takes the word of those who fill the queue, or the memory of bodies, that the worker is needed now; gives the worker's
//! thread a rest that ends by then.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Shared by the worker's thread, which rests, and those who may need it before its time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_hurried: Mutex<bool>,
    hurried: Condvar,
}

impl Rest {
    /// Ends the rest, or the next one at once.
    pub(crate) fn hurry(&self) {
        let mut is_hurried = self.0.is_hurried.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_hurried {
            *is_hurried = true;
            self.0.hurried.notify_one();
        }
    }

    /// Rests for so long, or until somebody is in a hurry.
    pub(crate) fn rest(&self, time: Duration) {
        let is_hurried = self.0.is_hurried.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.hurried.wait_timeout_while(is_hurried, time, |is_hurried| !*is_hurried);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_rest_ends_by_itself_or_with_a_hurry() {
        let (rest, start) = (Rest::default(), Instant::now());
        rest.rest(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        // Before it begins, and while it lasts.
        rest.hurry();
        rest.rest(LONG);
        std::thread::scope(|scope| {
            scope.spawn(|| rest.hurry());
            rest.rest(LONG);
        });
        assert!(start.elapsed() < LONG);
        // One hurry ends one rest.
        let start = Instant::now();
        rest.rest(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
