//! The real agent against fakes that check what the real servers check. Every run closes the ledger: samples exposed
//! are samples delivered or samples counted as dropped.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "these are tests"
)]

mod bad_exporters;
mod command_line;
mod credentials;
mod delivery;
mod events;
mod leader_election;
mod lifecycle;
mod page;
mod reading;
mod reload;
mod spool;
mod upload;
mod vector_json;
mod world;
