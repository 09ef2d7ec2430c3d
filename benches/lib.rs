//! What the benches share: a worker with its targets, the table that all of them print, and a count of instructions.

pub mod callgrind;
pub mod fleet;
pub mod table;
