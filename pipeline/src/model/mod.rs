//! The nouns that pass between stages, in the order data passes. No stage, no I/O, no clock in here.

pub(crate) mod alike;
pub mod batch;
pub mod labels;
pub mod object;
pub mod sample;
pub mod scrape;
pub mod secret;
pub mod series;
pub mod target;
pub(crate) mod texts;
pub mod units;
