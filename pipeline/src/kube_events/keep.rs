//! What the two watches bring, on its way to the account: a bounded queue that holds them back while rows cannot be kept.

use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{mpsc, watch};

use super::object::KubeEvent;
use super::pod::Pod;
use crate::kubernetes::object::Name;
use crate::kubernetes::watch::Keep;

/// How long Kubernetes events wait for the first list of pods, which says whose they are. Without the permission to list pods
/// they go without owners.
const PODS_PATIENCE: Duration = Duration::from_secs(10);

/// What a watch brings.
#[derive(Debug)]
pub(super) enum Brought {
    Happened(Box<KubeEvent>),
    /// A Kubernetes event is gone.
    Expired(Box<str>),
    Pod {
        pod: Box<Pod>,
        scope: usize,
        list: u64,
    },
    PodGone(Name, Option<Box<Pod>>),
    /// A list of pods is whole.
    Pods {
        scope: usize,
        list: u64,
    },
}

/// What the watch of Kubernetes events fills.
#[derive(Debug)]
pub(super) struct KeepEvents {
    pub(super) queue: mpsc::Sender<Brought>,
    /// How many watches of pods have not had their first list.
    pub(super) waiting: watch::Receiver<usize>,
    pub(super) problem: IntGauge,
}

impl KeepEvents {
    async fn send(&self, brought: Brought) {
        // Nobody takes it any more: then this task is about to end.
        let _ = self.queue.send(brought).await;
    }
}

impl Keep<KubeEvent> for KeepEvents {
    async fn begin(&mut self) {
        let _ = tokio::time::timeout(PODS_PATIENCE, self.waiting.wait_for(|waiting| *waiting == 0)).await;
    }

    async fn list(&mut self, object: KubeEvent) {
        self.send(Brought::Happened(Box::new(object))).await;
    }

    async fn end(&mut self) -> u64 {
        0
    }

    async fn apply(&mut self, object: KubeEvent) -> bool {
        self.send(Brought::Happened(Box::new(object))).await;
        true
    }

    async fn delete(&mut self, _: &Name, last: Option<KubeEvent>) -> bool {
        if let Some(last) = last {
            self.send(Brought::Expired(last.meta.uid)).await;
        }
        true
    }

    fn set_problem(&mut self, problem: Option<String>) {
        self.problem.set(i64::from(problem.is_some()));
    }

    fn len(&self) -> usize {
        0
    }
}

/// What the watch of pods fills.
#[derive(Debug)]
pub(super) struct KeepPods {
    pub(super) queue: mpsc::Sender<Brought>,
    pub(super) scope: usize,
    pub(super) list: u64,
    /// Whether no list has been whole yet.
    pub(super) is_first: bool,
    pub(super) waiting: watch::Sender<usize>,
}

impl KeepPods {
    /// Kubernetes events need not wait any more.
    fn release(&mut self) {
        if std::mem::take(&mut self.is_first) {
            self.waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
        }
    }
}

impl Keep<Pod> for KeepPods {
    async fn begin(&mut self) {
        self.list += 1;
    }

    async fn list(&mut self, pod: Pod) {
        let (scope, list) = (self.scope, self.list);
        let _ = self.queue.send(Brought::Pod { pod: Box::new(pod), scope, list }).await;
    }

    async fn end(&mut self) -> u64 {
        let (scope, list) = (self.scope, self.list);
        let _ = self.queue.send(Brought::Pods { scope, list }).await;
        self.release();
        0
    }

    async fn apply(&mut self, pod: Pod) -> bool {
        let (scope, list) = (self.scope, self.list);
        let _ = self.queue.send(Brought::Pod { pod: Box::new(pod), scope, list }).await;
        true
    }

    async fn delete(&mut self, key: &Name, last: Option<Pod>) -> bool {
        let _ = self.queue.send(Brought::PodGone(key.clone(), last.map(Box::new))).await;
        true
    }

    fn set_problem(&mut self, problem: Option<String>) {
        if problem.is_some() {
            self.release();
        }
    }

    fn len(&self) -> usize {
        0
    }
}
