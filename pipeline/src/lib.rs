//! From scrape targets to Parquet objects.

pub mod discovery;
pub mod model;
pub mod relabel;
pub mod scrape;
