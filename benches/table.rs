//! The table that every bench prints: what was found, what was asked, and what something else takes for the same.

use std::fmt::Write;

/// A row of the table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// In what: "ns", "B", "MiB".
    pub unit: &'static str,
    /// What came out.
    pub found: f64,
    /// What it should be at most; `None` where nothing was asked.
    pub asked: Option<f64>,
    /// Instructions, where they were counted.
    pub instructions: Option<f64>,
    /// What something else takes for the same in the same run, and what that is.
    pub baseline: Option<(&'static str, f64)>,
}

/// The rows below a line of headings. Lines with a verdict hold the word "met" or "missed".
#[must_use]
pub fn print(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<50}{:>6}{:>10}{:>8}{:>8}{:>9}  {:<18}{:>9}{:>7}\n",
        "", "in", "found", "asked", "", "instr.", "baseline", "", "times"
    );
    for Row { name, unit, found, asked, instructions, baseline } in rows {
        let _ = write!(text, "{name:<50}{unit:>6}{:>10}", figure(*found));
        let verdict = match asked {
            Some(asked) if found <= asked => "met",
            Some(_) => "missed",
            None => "",
        };
        let asked = asked.map(figure).unwrap_or_default();
        let instructions = instructions.map(figure).unwrap_or_default();
        let _ = write!(text, "{asked:>8}{verdict:>8}{instructions:>9}");
        if let Some((name, theirs)) = baseline {
            let _ = write!(text, "  {name:<18}{:>9}{:>7}", figure(*theirs), figure(theirs / found));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Three digits that count.
fn figure(number: f64) -> String {
    match number {
        number if number < 9.995 => format!("{number:.2}"),
        number if number < 99.95 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_stands_where_something_was_asked() {
        let row = |found, asked| Row { name: "a".to_owned(), unit: "ns", found, asked, ..Row::default() };
        let text = print(&[row(15.0, Some(15.0)), row(15.1, Some(15.0)), row(1234.5, None)]);
        let words = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let expected = [
            vec!["a", "ns", "15.0", "15.0", "met"],
            vec!["a", "ns", "15.1", "15.0", "missed"],
            vec!["a", "ns", "1234"],
        ];
        assert_eq!(words.collect::<Vec<_>>(), expected);
    }
}
