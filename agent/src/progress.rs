//! A line on a terminal while something takes long.
//!
//! Takes what is waited for and what there is to say of it; gives its result. Nothing is said where nobody sits before a
//! terminal, and nothing of what is over in a moment.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

/// What takes less needs no words.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the line is written anew.
const INTERVAL: Duration = Duration::from_millis(200);
/// Back to the beginning of the line, and clear it (ECMA-48, EL).
const CLEAR: &str = "\r\x1b[K";

/// Says how far something is.
pub(crate) struct Progress<'a> {
    to: Option<&'a mut (dyn Write + Send)>,
}

impl<'a> Progress<'a> {
    /// Progress on stderr, which `err` writes to, if that is a terminal.
    pub(crate) fn to_people(err: &'a mut (dyn Write + Send)) -> Self {
        Self { to: io::stderr().is_terminal().then_some(err) }
    }

    /// Waits for `waiting`, and says `text` meanwhile, on a line that is gone afterwards.
    pub(crate) async fn during<T>(
        &mut self,
        waiting: impl Future<Output = T>,
        text: impl Fn() -> String,
    ) -> T {
        let Some(to) = &mut self.to else { return waiting.await };
        let mut is_said = false;
        let done = tokio::select! {
            done = waiting => done,
            never = repeat(to, text, &mut is_said) => match never {},
        };
        if is_said {
            say(to, "");
        }
        done
    }
}

async fn repeat(to: &mut (dyn Write + Send), text: impl Fn() -> String, is_said: &mut bool) -> Infallible {
    tokio::time::sleep(PATIENCE).await;
    *is_said = true;
    loop {
        say(to, &text());
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Whoever does not see it misses nothing.
fn say(to: &mut (dyn Write + Send), text: &str) {
    let _ = write!(to, "{CLEAR}{text}").and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(takes: Duration) -> String {
        let mut to = Vec::new();
        let mut progress = Progress { to: Some(&mut to) };
        let waiting = async {
            tokio::time::sleep(takes).await;
            7
        };
        assert_eq!(progress.during(waiting, || "3 of 4".to_owned()).await, 7);
        String::from_utf8(to).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_takes_long_is_said_and_the_line_is_gone_afterwards() {
        assert_eq!(said(PATIENCE - INTERVAL).await, "");
        let text = said(PATIENCE + INTERVAL * 2).await;
        assert!(text.starts_with("\r\x1b[K3 of 4") && text.ends_with(CLEAR), "{text:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_said_to_nobody() {
        assert_eq!(Progress { to: None }.during(async { 7 }, || "x".to_owned()).await, 7);
    }
}
