//! Labels of every role against what Prometheus documents and tests.
