//! `match[]` of a Prometheus server's federation: which series it gives.
//!
//! Takes a series selector (<https://prometheus.io/docs/prometheus/latest/querying/basics/>), gives the truth about labels that it
//! stands for; or says why it cannot be read.

use pipeline::model::labels::METRIC_NAME;

use super::formula::{Formula, escape, matches};

/// Labels that the Prometheus server itself gave to what it scraped: an exporter does not have them.
const SERVERS_OWN: [&str; 2] = ["job", "instance"];

/// A selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) formula: Formula,
    /// What the name has to match, if it says.
    pub(super) name: Option<String>,
    /// Matchers of labels that only the server has, left out of the formula.
    pub(super) left_out: Vec<String>,
}

/// Reads `name{label="value", ..}`.
pub(super) fn read(text: &str) -> Result<Selector, String> {
    let text = text.trim();
    let (name, matchers) = match text.split_once('{') {
        Some((name, rest)) => {
            let inside = rest.trim_end().strip_suffix('}').ok_or("has no closing brace")?;
            (name.trim(), inside)
        }
        None => (text, ""),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if !name.chars().all(letter) || (name.is_empty() && matchers.trim().is_empty()) {
        return Err("is no series selector".to_owned());
    }
    let mut selector = Selector { formula: Formula::Constant(true), name: None, left_out: Vec::new() };
    if !name.is_empty() {
        selector.take(METRIC_NAME, "=", name)?;
    }
    let mut rest = matchers.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !letter(c)).unwrap_or(rest.len());
        let (label, after) = rest.split_at(end);
        let after = after.trim_start();
        let operators = ["=~", "!~", "!=", "="];
        let operator = operators
            .iter()
            .find(|operator| after.starts_with(**operator))
            .ok_or("has a matcher without =")?;
        let (value, after) = quoted(after.get(operator.len()..).unwrap_or_default().trim_start())?;
        if label.is_empty() {
            return Err("has a matcher without a label".to_owned());
        }
        selector.take(label, operator, &value)?;
        rest = after.trim_start();
        rest = rest.strip_prefix(',').map_or(rest, str::trim_start);
    }
    Ok(selector)
}

impl Selector {
    fn take(&mut self, label: &str, operator: &str, value: &str) -> Result<(), String> {
        if SERVERS_OWN.contains(&label) {
            self.left_out.push(format!("{label}{operator}{value:?}"));
            return Ok(());
        }
        let regex = if operator.ends_with('~') { value.to_owned() } else { escape(value) };
        if matches(&regex, "").is_none() {
            return Err(format!("has the regular expression {value:?}"));
        }
        let is = Formula::Is(label.to_owned(), vec![regex.clone()]);
        let negated = operator.starts_with('!');
        if label == METRIC_NAME && !negated {
            self.name = Some(regex);
        }
        let formula = if negated { is.not() } else { is };
        self.formula = std::mem::replace(&mut self.formula, Formula::Constant(true)).and(formula);
        Ok(())
    }

    /// Whether everything it selects comes from cAdvisor.
    pub(super) fn is_cadvisor(&self) -> bool {
        let Some(name) = &self.name else { return false };
        let mut depth = 0_usize;
        let alternatives = name.split(|c: char| {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == '|' && depth == 0
        });
        alternatives.into_iter().all(|part| part.trim_start_matches(['^', '(']).starts_with("container_"))
    }
}

/// A text in double or single quotes, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let quote =
        text.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or("has a value without quotes")?;
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            c if c == quote => return Ok((value, text.get(i + 1..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    Err("has a value without its closing quote".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let is = |label: &str, regex: &str| Formula::Is(label.to_owned(), vec![regex.to_owned()]);
        let check = |text: &str, expected: Formula, cadvisor: bool| {
            let selector = read(text).unwrap();
            assert_eq!(selector.formula, expected, "{text}");
            assert_eq!(selector.is_cadvisor(), cadvisor, "{text}");
        };
        check("container_a", is("__name__", "container_a"), true);
        check("{__name__=~\"container_(cpu|memory)_.*\"}", is("__name__", "container_(cpu|memory)_.*"), true);
        check("{__name__=~\"container_a|up\"}", is("__name__", "container_a|up"), false);
        check(
            "{__name__=~\"container_a|container_b.+\",}",
            is("__name__", "container_a|container_b.+"),
            true,
        );
        check(
            "container_a{job='k', image!=\"\"}",
            is("__name__", "container_a").and(is("image", "").not()),
            true,
        );
        check("{namespace=\"a.b\"}", is("namespace", "a\\.b"), false);
        check("up", is("__name__", "up"), false);
        for text in ["", "{}", "a{b}", "a{b=1}", "a{b=\"1}", "a{", "a b", "{__name__=~\"(\"}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
