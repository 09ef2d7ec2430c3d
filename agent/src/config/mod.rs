//! Configuration.
mod decode;
mod environment;
mod expand;
mod keys;
mod message;
mod problem;
mod reveal;
mod yaml;

pub use environment::Environment;
pub use problem::Problem;
