//! How long a watch waits before it tries again.

use std::time::Duration;

/// The first wait: most disturbances are over by then.
const FIRST: Duration = Duration::from_millis(250);
/// The longest: a permission that someone adds is found within this.
const LONGEST: Duration = Duration::from_secs(30);

/// A wait that doubles from failure to failure, and forgets when something works.
#[derive(Debug)]
pub(crate) struct Delay(Duration);

impl Default for Delay {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Delay {
    /// The wait after one more failure; a third more or less, so that many agents do not come back at the same moment.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (self.0 * 2).min(LONGEST);
        wait.mul_f64(2.0 / 3.0 + fastrand::f64() * 2.0 / 3.0)
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.0 = FIRST;
    }
}
