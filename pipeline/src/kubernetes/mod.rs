//! The road to a Kubernetes API server: where it is, who we are there, what its refusals mean.
//!
//! Takes a [`Server`], gives a [`Client`] for discovery, the lease and the questions of `agent doctor`, and the watch that
//! discovery and the Kubernetes events have in common. The crate `kube` is used here; it never shows in a `pub` signature. Never prints a secret: tokens are read from their
//! files at each request and live in headers that are marked sensitive.

mod bounded;
mod client;
pub(crate) mod delay;
mod error;
mod lease;
pub(crate) mod object;
mod permission;
pub(crate) mod road;
mod server;
#[cfg(test)]
mod tests;
pub(crate) mod watch;

pub use self::client::Client;
pub use self::error::Error;
pub use self::lease::{Ask, Lease, Leases, Origin, WriteError};
pub use self::permission::Permission;
pub use self::server::Server;
