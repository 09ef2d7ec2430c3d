//! The report: every line of the input, and what became of it.
//!
//! Takes findings in any order, gives them sorted by line, one per line in the form that editors and compilers share, and a
//! summary. Nothing that is a secret may be put into a finding.

use std::fmt;

/// What became of a part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The output says the same.
    Translated,
    /// The output says what was meant, where the input did something else.
    Fixed,
    /// The output needs nothing for it, or there was nothing.
    NotNeeded,
    /// Only the operator knows.
    Decide,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Translated => "translated",
            Self::Fixed => "fixed",
            Self::NotNeeded => "not needed",
            Self::Decide => "DECIDE",
        }
    }
}

/// Where something stands in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: usize,
    /// Such as `transforms.dcgm_filter.condition`.
    pub(super) path: String,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line of the input, from 1.
    pub line: usize,
    /// The path there, such as `transforms.dcgm_filter.condition`.
    pub path: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, and what is to be done.
    pub text: String,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The file that was read, as it is named in front of each line.
    pub file: String,
    /// Every line of the report.
    pub findings: Vec<Finding>,
    /// What holds for the whole: how many jobs, and what to do next.
    pub closing: Vec<String>,
}

impl Report {
    pub(super) fn say(&mut self, verdict: Verdict, place: &Place, text: impl Into<String>) {
        let finding = Finding { line: place.line, path: place.path.clone(), verdict, text: text.into() };
        // Something that is reached on two ways is said once.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    pub(super) fn translated(&mut self, place: &Place, text: impl Into<String>) {
        self.say(Verdict::Translated, place, text);
    }

    pub(super) fn fixed(&mut self, place: &Place, text: impl Into<String>) {
        self.say(Verdict::Fixed, place, text);
    }

    pub(super) fn not_needed(&mut self, place: &Place, text: impl Into<String>) {
        self.say(Verdict::NotNeeded, place, text);
    }

    pub(super) fn decide(&mut self, place: &Place, text: impl Into<String>) {
        self.say(Verdict::Decide, place, text);
    }

    /// Whether the operator is asked for something.
    #[must_use]
    pub fn needs_decision(&self) -> bool {
        self.count(Verdict::Decide) > 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.line);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let (line, verdict) = (finding.line, finding.verdict.as_str());
            writeln!(f, "{}:{line}: {verdict}: {}: {}", self.file, finding.path, one_line(&finding.text))?;
        }
        let of = |verdict| self.count(verdict);
        writeln!(
            f,
            "\n{} translated, {} fixed, {} not needed, {} to decide",
            of(Verdict::Translated),
            of(Verdict::Fixed),
            of(Verdict::NotNeeded),
            of(Verdict::Decide)
        )?;
        self.closing.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A text without what would begin another line.
pub(super) fn one_line(text: &str) -> String {
    let text = text.trim();
    let lines: Vec<_> = text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_break = |c: char| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    lines.join(" / ").chars().map(|c| if is_break(c) { ' ' } else { c }).collect()
}
