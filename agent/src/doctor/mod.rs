//! `agent doctor`: everything that has to be right before the agent can work, looked at once, one line each.
//!
//! Takes the configuration, gives findings with remedies. Looks at real servers and leaves nothing behind.

mod cluster;
mod delivery;

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::config::{Loaded, Source};
use crate::progress::Progress;

/// How a finding is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// To be known, or to be looked at by a person.
    Note,
    /// To be mended.
    Bad,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Bad => "FAIL",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it is meant.
    pub state: State,
    /// What was looked at.
    pub subject: String,
    /// What was found, and the remedy.
    pub text: String,
}

impl Finding {
    fn new(state: State, subject: impl Into<String>, text: impl Into<String>) -> Self {
        // One line each, whatever the world outside says.
        let text = text.into().replace(['\n', '\r'], " ");
        Self { state, subject: subject.into(), text }
    }

    fn good(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Good, subject, text)
    }

    fn note(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Note, subject, text)
    }

    fn bad(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Bad, subject, text)
    }
}

/// Prints findings as they come.
pub(crate) struct Report<'a, W: Write> {
    out: &'a mut W,
    bad: usize,
}

impl<'a, W: Write> Report<'a, W> {
    pub(crate) fn new(out: &'a mut W) -> Self {
        Self { out, bad: 0 }
    }

    fn say(&mut self, findings: impl IntoIterator<Item = Finding>) -> io::Result<()> {
        for Finding { state, subject, text } in findings {
            self.bad += usize::from(state == State::Bad);
            writeln!(self.out, "{:4}  {subject:16}  {text}", state.text())?;
        }
        self.out.flush()
    }

    /// The last line; whether all is well.
    fn close(self) -> io::Result<bool> {
        match self.bad {
            0 => writeln!(self.out, "all is well")?,
            1 => writeln!(self.out, "1 thing to mend: see the line that says FAIL")?,
            n => writeln!(self.out, "{n} things to mend: see the lines that say FAIL")?,
        }
        Ok(self.bad == 0)
    }
}

/// Looks at everything and prints what it finds. Whether all is well.
///
/// # Errors
/// When nothing can be printed.
pub(crate) async fn examine(
    loaded: &Loaded,
    out: &mut impl Write,
    progress: &mut Progress<'_>,
) -> io::Result<bool> {
    let mut report = Report::new(out);
    report.say(configuration(loaded))?;
    let looking = |what: &str| {
        let text = format!("looking at {what}");
        move || text.clone()
    };
    let found = progress.during(cluster::examine(&loaded.config), looking("targets and the cluster")).await;
    report.say(found)?;
    let probed =
        progress.during(delivery::examine(&loaded.config), looking("credentials and the store")).await;
    let hosts = delivery::hosts(&loaded.config, &probed);
    report.say(progress.during(names(&hosts), looking("names")).await)?;
    report.say(delivery::findings(&loaded.config, probed))?;
    report.close()
}

fn configuration(loaded: &Loaded) -> Vec<Finding> {
    let jobs = loaded.config.pipeline.scrape_configs.len();
    let text = format!("{}, {jobs} {}", loaded.source, if jobs == 1 { "job" } else { "jobs" });
    let mut findings = vec![Finding::good("configuration", text)];
    if loaded.source == Source::Local {
        let text =
            "outside Kubernetes without a configuration: name one by --config to examine a deployment's";
        findings.push(Finding::note("configuration", text));
    }
    findings
        .extend(loaded.warnings.iter().map(|warning| Finding::note("configuration", warning.to_string())));
    findings
}

/// Whether names can be resolved here.
async fn names(hosts: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for host in hosts {
        findings.push(match tokio::net::lookup_host((host.as_str(), 443)).await {
            Ok(found) => {
                let addresses: BTreeSet<String> = found.map(|address| address.ip().to_string()).collect();
                Finding::good(
                    "dns",
                    format!("{host} is {}", addresses.into_iter().collect::<Vec<_>>().join(", ")),
                )
            }
            Err(error) => Finding::bad(
                "dns",
                format!(
                    "{host}: {error}: check the name, the pod's dnsPolicy, and whether port 53 is allowed out"
                ),
            ),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_one_line_each() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        report.say([Finding::good("dns", "a is 1.2.3.4"), Finding::bad("write", "two\nlines")]).unwrap();
        assert!(!report.close().unwrap());
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            "ok    dns               a is 1.2.3.4\nFAIL  write             two lines\n1 thing to mend: see the line that says FAIL\n"
        );
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let hosts = BTreeSet::from(["localhost".to_owned(), "no such host".to_owned()]);
        let states: Vec<State> = names(&hosts).await.into_iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Good, State::Bad]);
    }
}
