//! The nouns that pass between stages, in the order data passes. No stage, no I/O, no clock in here.

pub mod labels;
pub mod object;
pub mod sample;
pub mod scrape;
pub mod secret;
pub mod target;
pub mod units;
