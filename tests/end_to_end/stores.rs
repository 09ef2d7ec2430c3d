//! The conformance suite of stores, run on the S3 store against an S3 that checks everything.
