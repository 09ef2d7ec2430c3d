//! Signals: the first SIGTERM or SIGINT asks to stop, the second does not wait; SIGHUP asks to reload.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGTERM and SIGINT, caught from now on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Begins to catch SIGHUP, which would end the process otherwise.
pub(crate) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Begins to catch both signals.
pub(crate) fn listen() -> io::Result<Signals> {
    Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
}

impl Signals {
    /// Cancels `stop` at the first signal and returns at the second.
    pub(crate) async fn handle(mut self, stop: &CancellationToken) {
        let name = self.next().await;
        tracing::info!(signal = name, "stopping: sending what is left, a second signal ends at once");
        stop.cancel();
        self.next().await;
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
