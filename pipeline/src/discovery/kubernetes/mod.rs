//! Targets that a Kubernetes cluster knows.

mod config;
mod selectors;

pub use self::config::{AttachMetadata, KubernetesConfig, Namespaces, Role, Selector};
