//! The warnings and errors of the log that were said last, for the page and `/api/v1/status/problems`.
//!
//! Takes what is logged, keeps a bounded number of lines of bounded length; what is repeated is counted. The log holds no
//! secret, and neither does this.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock;

/// Lines kept: more than anybody reads, and some hundred KiB at most.
const LINES_MAX: usize = 128;

/// Bytes of the fields of one line, and of its text.
const TEXT_BYTES_MAX: usize = 2048;

/// A line of the log at level `warn` or `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecentProblem {
    /// `warn` or `error`.
    pub level: &'static str,
    /// What was said.
    pub text: String,
    /// With what, as `name=value`, one after the other.
    pub fields: String,
    /// When it was said first, milliseconds since the Unix epoch.
    pub first: i64,
    /// When it was said last.
    pub last: i64,
    /// How often.
    pub count: u64,
}

/// The last lines; a handle that can be cloned.
#[derive(Clone, Debug, Default)]
pub struct RecentProblems(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The one said last stands last.
    lines: VecDeque<RecentProblem>,
    /// All that were ever said.
    total: u64,
}

impl RecentProblems {
    /// The lines, the one said last first.
    #[must_use]
    pub fn lines(&self) -> Vec<RecentProblem> {
        self.lock().lines.iter().rev().cloned().collect()
    }

    /// How many were said since the start, repetitions included, and when the last one was.
    #[must_use]
    pub fn total(&self) -> (u64, Option<i64>) {
        let inner = self.lock();
        (inner.total, inner.lines.back().map(|line| line.last))
    }

    fn add(&self, level: &'static str, text: String, fields: String, now: i64) {
        let mut inner = self.lock();
        inner.total += 1;
        let same = |line: &RecentProblem| line.level == level && line.text == text && line.fields == fields;
        let known = inner.lines.iter().position(same).and_then(|position| inner.lines.remove(position));
        let line = match known {
            Some(line) => RecentProblem { last: now, count: line.count + 1, ..line },
            None => RecentProblem { level, text, fields, first: now, last: now, count: 1 },
        };
        if inner.lines.len() >= LINES_MAX {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for RecentProblems {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => return,
        };
        let mut line = Line::default();
        event.record(&mut line);
        self.add(level, line.text, line.fields, clock::now_millis());
    }
}

/// A line being put together.
#[derive(Default)]
struct Line {
    text: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // What other crates say through `log` brings where it was said, which is no news.
        if field.name().starts_with("log.") {
            return;
        }
        // Writing ends where the room does, so that a long value is never put together.
        let _ = if field.name() == "message" {
            write!(Bounded(&mut self.text), "{value:?}")
        } else {
            let space = if self.fields.is_empty() { "" } else { " " };
            write!(Bounded(&mut self.fields), "{space}{}={value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Takes text up to [`TEXT_BYTES_MAX`], then an ellipsis and nothing more.
struct Bounded<'a>(&'a mut String);

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(room) = TEXT_BYTES_MAX.checked_sub(self.0.len()) else { return Err(fmt::Error) };
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let (start, _) = text.split_at(text.floor_char_boundary(room));
        self.0.push_str(start);
        self.0.push('\u{2026}');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// What is kept of what `log` says.
    fn kept(log: impl FnOnce()) -> RecentProblems {
        let problems = RecentProblems::default();
        let subscriber = tracing_subscriber::registry().with(problems.clone());
        tracing::subscriber::with_default(subscriber, log);
        problems
    }

    #[test]
    fn warnings_and_errors_are_kept_with_their_fields() {
        let problems = kept(|| {
            tracing::info!("all is well");
            tracing::warn!(job = "a", error = %"no road", "a target is down");
            tracing::error!(count = 3, quoted = ?"x y", "lost");
        });
        let lines: Vec<_> =
            problems.lines().into_iter().map(|line| (line.level, line.text, line.fields)).collect();
        let line = |level, text: &str, fields: &str| (level, text.to_owned(), fields.to_owned());
        let expected = [
            line("error", "lost", "count=3 quoted=\"x y\""),
            line("warn", "a target is down", "job=a error=no road"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_is_repeated_is_counted() {
        let problems = RecentProblems::default();
        let add = |text: &str, now| problems.add("warn", text.to_owned(), String::new(), now);
        add("a", 1);
        add("b", 2);
        add("a", 3);
        let lines = problems.lines();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].text.as_str(), lines[0].first, lines[0].last, lines[0].count), ("a", 1, 3, 2));
        assert_eq!(problems.total(), (3, Some(3)));
    }

    #[test]
    fn lines_are_bounded_in_number_and_in_length() {
        let problems = kept(|| {
            for n in 0..LINES_MAX + 10 {
                tracing::warn!(n, "many");
            }
            tracing::warn!(long = "\u{e4}".repeat(TEXT_BYTES_MAX), more = "x", "long");
        });
        let lines = problems.lines();
        assert_eq!((lines.len(), problems.total().0), (LINES_MAX, LINES_MAX as u64 + 11));
        assert!(
            lines[0].fields.len() <= TEXT_BYTES_MAX + 2 * '\u{2026}'.len_utf8(),
            "{}",
            lines[0].fields.len()
        );
        assert!(lines[0].fields.contains('\u{2026}'));
    }
}
