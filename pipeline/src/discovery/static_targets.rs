//! Targets that stand in the configuration: published once, never changed.

use tokio::sync::watch;

use crate::model::target::TargetGroup;

/// Publishes `groups` for good.
pub(super) fn publish(groups: Vec<TargetGroup>) -> watch::Receiver<Vec<TargetGroup>> {
    let (_, receiver) = watch::channel(groups);
    receiver
}
