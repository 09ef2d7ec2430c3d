//! What is counted about the Lease.

use prometheus::{IntCounter, IntGauge, Registry};

/// Metrics of taking turns.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whether this agent holds the Lease for certain: 0 or 1.
    pub leader: IntGauge,
    /// How often this agent became the holder or ceased to be.
    pub transitions: IntCounter,
    /// Attempts to renew the Lease that failed.
    pub renew_failures: IntCounter,
}

impl Metrics {
    /// Makes and registers the metrics.
    ///
    /// # Errors
    /// When one of the names is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            leader: IntGauge::new("agent_leader", "1 while this agent holds the lease for certain.")?,
            transitions: IntCounter::new(
                "agent_leader_transitions_total",
                "Times that this agent became the holder of the lease or ceased to be.",
            )?,
            renew_failures: IntCounter::new(
                "agent_lease_renew_failures_total",
                "Failed attempts to renew the lease.",
            )?,
        };
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.transitions.clone()))?;
        registry.register(Box::new(metrics.renew_failures.clone()))?;
        Ok(metrics)
    }
}
