//! HTTP as a client: what a section says about authentication and encryption, and the connections that obey it.
//!
//! Takes Prometheus' HTTP client keys, gives headers, TLS and single connections. Shared by everything that asks a server
//! by such keys: scrapes, discovery, the road to the API server.

mod check;
mod config;
mod connection;
mod secrets;
mod tls;

pub use self::config::{
    Authorization, BasicAuth, ClientConfig, ClientKeys, HeaderConfig, Headers, TlsConfig, TlsVersion,
};
pub(crate) use self::config::{join, join_client_paths};
pub(crate) use self::connection::{Connection, Origin, READ_BUFFER_BYTES_MAX, chain};
pub(crate) use self::secrets::{Headers as RequestHeaders, USER_AGENT_VALUE};
pub(crate) use self::tls::Tls;
