//! Looks at lists of targets again and again, and publishes what is different.
//!
//! Files, web servers and DNS are looked at alike; what differs is how one look goes.

use std::sync::Arc;

use super::config::{DnsConfig, FileConfig, HttpConfig};
use super::dns::Names;
use super::file::Files;
use super::http::Server;
use super::list::Found;
use super::metrics::Metrics;
use super::outlet::Outlet;

/// Follows the files of a section, for ever.
pub(super) async fn files(config: FileConfig, outlet: Outlet, metrics: Arc<Metrics>) {
    let mut files = Files::new(&config);
    let mut published = Published::new("file", outlet, metrics);
    loop {
        let interval = files.interval();
        // The disk may be slow.
        let looked = tokio::task::spawn_blocking(move || (files.look(), files)).await;
        // Only the end of the process cuts it short.
        let Ok((found, back)) = looked else { return };
        files = back;
        published.replace(found);
        tokio::time::sleep(interval).await;
    }
}

/// Follows the list that a server gives, for ever.
pub(super) async fn server(config: HttpConfig, outlet: Outlet, metrics: Arc<Metrics>) {
    let mut server = Server::new(&config);
    let mut published = Published::new("http", outlet, metrics);
    loop {
        published.replace(server.look().await);
        tokio::time::sleep(server.interval()).await;
    }
}

/// Follows the entries of names in DNS, for ever.
pub(super) async fn names(config: DnsConfig, outlet: Outlet, metrics: Arc<Metrics>) {
    let mut names = Names::new(&config);
    let mut published = Published::new("dns", outlet, metrics);
    loop {
        published.replace(names.look().await);
        tokio::time::sleep(names.interval()).await;
    }
}

/// What was published last.
struct Published {
    kind: &'static str,
    outlet: Outlet,
    metrics: Arc<Metrics>,
    last: Option<Found>,
}

impl Published {
    fn new(kind: &'static str, outlet: Outlet, metrics: Arc<Metrics>) -> Self {
        Self { kind, outlet, metrics, last: None }
    }

    /// Publishes what one look has found, counts and says what kept it from looking.
    fn replace(&mut self, found: Found) {
        self.metrics.failures.with_label_values(&[self.kind]).inc_by(found.problems.len() as u64);
        let before = self.last.as_ref();
        say(self.kind, before.map_or(&[], |last| &last.problems), &found.problems);
        let same = before.is_some_and(|last| {
            let pairs = found.groups.iter().zip(&last.groups);
            found.groups.len() == last.groups.len()
                && pairs.into_iter().all(|(new, old)| Arc::ptr_eq(new, old))
        });
        self.outlet.publish(!same, || found.groups.clone(), true, found.problems.clone());
        self.last = Some(found);
    }
}

/// Says what has changed.
fn say(kind: &'static str, before: &[String], now: &[String]) {
    for problem in now.iter().filter(|problem| !before.contains(problem)) {
        tracing::warn!(kind, error = problem, "discovery failed, the last targets stay");
    }
    if now.is_empty() && !before.is_empty() {
        tracing::info!(kind, "discovery works again");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::Registry;

    use super::super::{Discovery, Look, Source};
    use super::*;
    use crate::model::target::TargetSet;

    #[tokio::test]
    async fn a_file_reaches_the_set_and_a_broken_one_keeps_its_targets() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("targets.yaml");
        std::fs::write(&file, "- targets: [a:1]\n").unwrap();
        let registry = Registry::new();
        let discovery = Discovery::new(Metrics::new(&registry).unwrap());
        let refresh_interval = crate::model::units::Duration(Duration::from_millis(20));
        let config = FileConfig { files: vec![file.display().to_string()], refresh_interval };
        let mut look = discovery.start("j", vec![Source::File(config)]);
        let limit = Duration::from_secs(20);
        let wait = async |look: &mut Look, targets, problems| {
            let is_there = |set: &TargetSet| {
                let found: usize = set.groups.iter().map(|group| group.targets.len()).sum();
                set.waiting == 0 && (found, set.problems.len()) == (targets, problems)
            };
            let reached = async {
                while !is_there(&look.set()) {
                    look.changed().await.unwrap();
                }
            };
            let reached = tokio::time::timeout(limit, reached).await;
            assert!(reached.is_ok(), "never {targets} targets and {problems} problems");
        };
        wait(&mut look, 1, 0).await;
        std::fs::write(&file, "- targets: [").unwrap();
        wait(&mut look, 1, 1).await;
        std::fs::write(&file, "- targets: [a:1, b:2]").unwrap();
        wait(&mut look, 2, 0).await;
    }
}
