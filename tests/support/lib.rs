//! Fakes that speak the real protocols, and what the end-to-end tests need around them.
//!
//! Every fake listens on loopback on a port of the kernel's choice, runs on a thread of its own, keeps what it saw,
//! takes faults as scripts and ends when it is dropped. None of them shares code with the crates under test, so that
//! a mistake there cannot excuse itself here.

pub mod agent;
pub mod cedana;
pub mod clock;
pub mod cluster;
pub mod exporter;
pub mod exposition;
mod families;
pub mod generate;
pub mod leases;
pub mod ledger;
pub mod objects;
pub mod s3;
pub mod server;
pub mod vector;
pub mod wait;
