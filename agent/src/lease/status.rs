//! How taking turns goes, for `/readyz` and for the log, which says each change once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What this agent does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The Lease has not been seen yet: nothing is scraped.
    Unknown,
    /// Another one works, or nobody.
    Standby {
        /// Who works, as far as it is known.
        holder: Option<String>,
    },
    /// Scrapes and uploads.
    Holder,
    /// Scrapes into the spool: the Lease cannot be renewed, and may be somebody else's by now.
    Uncertain,
    /// Has stopped to scrape, to give the Lease to one whose objects wait.
    HandingOver,
}

/// Gives the status for as long as anyone wants it.
#[derive(Clone, Debug)]
pub struct StatusHandle(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    me: String,
    lease: String,
    status: Status,
    problem: Option<String>,
}

impl StatusHandle {
    pub(super) fn new(me: &str, lease: &str) -> Self {
        let (me, lease) = (me.to_owned(), lease.to_owned());
        Self(Arc::new(Mutex::new(Inner { me, lease, status: Status::Unknown, problem: None })))
    }

    /// Takes note of a status; whether this agent became the holder or ceased to be.
    pub(super) fn set(&self, status: Status) -> bool {
        let mut inner = self.lock();
        if inner.status == status {
            return false;
        }
        let before = std::mem::replace(&mut inner.status, status);
        let (me, lease) = (inner.me.as_str(), inner.lease.as_str());
        match &inner.status {
            Status::Unknown => {}
            Status::Standby { holder } => {
                let holder = holder.as_deref().unwrap_or("nobody");
                tracing::info!(lease, me, holder, "standing by");
            }
            Status::Holder => tracing::info!(lease, me, "holding the lease: scraping and uploading"),
            Status::Uncertain => {
                tracing::warn!(lease, me, "the lease may be lost: uploading paused, scraping into the spool");
            }
            Status::HandingOver => tracing::info!(lease, me, "handing the lease over"),
        }
        before.holds() != inner.status.holds()
    }

    /// Takes note of why the Lease cannot be read or written, and what follows.
    pub(super) fn set_problem(&self, problem: Option<(String, &str)>) {
        let mut inner = self.lock();
        match (&inner.problem, &problem) {
            (None, Some((error, what))) => tracing::warn!(lease = inner.lease, error, "{what}"),
            (Some(before), Some((error, what))) if before != error => {
                tracing::warn!(lease = inner.lease, error, "{what}");
            }
            (Some(_), None) => tracing::info!(lease = inner.lease, "the lease can be asked for again"),
            _ => {}
        }
        inner.problem = problem.map(|(error, _)| error);
    }

    /// Why the agent is not ready. One that stands by is.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let inner = self.lock();
        match (&inner.status, &inner.problem) {
            (Status::Unknown, None) => Some("leader election: the lease has not been seen yet".to_owned()),
            (Status::Unknown | Status::Standby { .. } | Status::Uncertain, Some(problem)) => {
                Some(format!("leader election: {problem}"))
            }
            _ => None,
        }
    }

    /// What this agent does, in one line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let inner = self.lock();
        let (me, lease) = (&inner.me, &inner.lease);
        match &inner.status {
            Status::Unknown => format!("the lease {lease} has not been seen yet"),
            Status::Standby { holder: Some(holder) } => {
                format!("standing by: the lease {lease} is held by {holder}")
            }
            Status::Standby { holder: None } => format!("standing by: nobody holds the lease {lease}"),
            Status::Holder => format!("holding the lease {lease} as {me}"),
            Status::Uncertain => format!("the lease {lease} may be lost"),
            Status::HandingOver => format!("handing the lease {lease} over"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn holds(&self) -> bool {
        matches!(self, Self::Holder | Self::Uncertain | Self::HandingOver)
    }
}
