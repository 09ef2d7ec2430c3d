//! How many lines are remembered, of all targets together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many lines all caches together hold, and may hold. Lines beyond are decoded each time, so that whoever spells one
/// series in a million ways, or exposes what metric relabelling drops, takes time of its own and no memory.
#[derive(Debug)]
pub struct Lines {
    held: AtomicU64,
    max: u64,
}

impl Lines {
    /// Room for two lines of each series.
    #[must_use]
    pub fn new(series_max: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), max: series_max.saturating_mul(2) })
    }

    pub(super) fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.max
    }

    /// One cache went from so many lines to so many.
    pub(super) fn changed(&self, from: usize, to: usize) {
        if to > from {
            self.held.fetch_add((to - from) as u64, Ordering::Relaxed);
        } else {
            self.held.fetch_sub((from - to) as u64, Ordering::Relaxed);
        }
    }
}
