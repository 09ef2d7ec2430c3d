//! Credentials for S3: where they come from and how they stay fresh.

mod config;

pub use config::{Aws, Cedana, Config};
