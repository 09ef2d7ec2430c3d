//! The road to a Kubernetes API server: where it is, who we are there, what its refusals mean.
//!
//! Takes a [`Server`], gives a [`Client`] for discovery, the lease and the questions of `agent doctor`. The crate `kube` is
//! used here and by what watches; it never shows in a `pub` signature. Never prints a secret: tokens are read from their
//! files at each request and live in headers that are marked sensitive.

mod bounded;
mod client;
mod error;
mod lease;
mod permission;
mod server;
#[cfg(test)]
mod tests;

pub use self::client::Client;
pub use self::error::Error;
pub use self::lease::{Ask, Lease, Leases, Origin, WriteError};
pub use self::permission::Permission;
pub use self::server::Server;
