//! The only retry policy.
