//! `Store` on S3.

mod config;
pub mod credentials;

pub use config::Config;
