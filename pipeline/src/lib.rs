//! From scrape targets to Parquet objects.

pub mod model;
pub mod relabel;
