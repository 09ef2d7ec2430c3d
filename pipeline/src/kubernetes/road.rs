//! The way to one API server that all watches on it share, and whether it is open.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use super::{Client, Error, Server};

/// The way to one API server.
#[derive(Debug)]
pub(crate) struct Road {
    server: Server,
    client: AsyncMutex<Option<Client>>,
    /// What keeps everybody from the server, as it was said.
    closed: Mutex<Option<&'static str>>,
}

impl Road {
    pub(crate) fn new(server: Server) -> Self {
        Self { server, client: AsyncMutex::default(), closed: Mutex::default() }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The client; made at the first use, and again after [`Road::fail`] gave it up.
    pub(crate) async fn client(&self) -> Result<Client, Error> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        Ok(client.insert(Client::open(&self.server).await?).clone())
    }

    /// Notes a failure. What concerns all watches alike is said once for all of them.
    pub(crate) async fn fail(&self, error: &Error) {
        let (why, severe) = match error {
            Error::Unreachable { .. } => ("away", false),
            Error::Unauthorized { .. } => ("unknown", true),
            Error::Config(_) => ("config", true),
            Error::Forbidden { .. } | Error::Refused { .. } => return,
        };
        if severe {
            // Certificates and files may have been exchanged.
            *self.client.lock().await = None;
        }
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.replace(why) == Some(why) {
            return;
        }
        if severe {
            tracing::error!(%error, "cannot ask the API server: what it said last stays");
        } else {
            tracing::warn!(%error, "lost the API server: what it said last stays");
        }
    }

    /// Notes that the server answered.
    pub(crate) fn succeed(&self) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.take().is_some() {
            tracing::info!(server = %self.server, "the API server is back");
        }
    }
}
