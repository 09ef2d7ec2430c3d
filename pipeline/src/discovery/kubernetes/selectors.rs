//! Selectors of labels and fields: whether the API server will understand one.
//!
//! Takes the text, gives the problem with its remedy. The server has the last word; what is found here is found before
//! the agent starts.

/// Whether `text` is a selector of labels: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, `a>1`, `a<1`,
/// joined by commas.
pub(super) fn check_labels(text: &str) -> Result<(), String> {
    let refused =
        |what: &str| Err(format!("{what:?} is not a selector of labels: write it like app=web,tier!=test"));
    for part in parts(text)? {
        let part = part.trim();
        let key = if let Some((key, values)) = part.split_once('(') {
            let Some(values) = values.strip_suffix(')') else { return refused(part) };
            let operator = key.split_whitespace().nth(1);
            if !matches!(operator, Some("in" | "notin")) || key.split_whitespace().count() != 2 {
                return refused(part);
            }
            if !values.split(',').all(|value| is_value(value.trim())) {
                return refused(part);
            }
            key.split_whitespace().next().unwrap_or_default()
        } else if let Some((key, value)) = part.split_once(['=', '<', '>']) {
            if !is_value(value.trim_start_matches('=').trim()) {
                return refused(part);
            }
            key.strip_suffix('!').unwrap_or(key).trim()
        } else {
            part.strip_prefix('!').unwrap_or(part).trim()
        };
        if !is_key(key) {
            return refused(part);
        }
    }
    Ok(())
}

/// Whether `text` is a selector of fields: `a.b=c`, `a==c`, `a!=c`, joined by commas.
pub(super) fn check_fields(text: &str) -> Result<(), String> {
    for part in parts(text)? {
        let key = part.split_once('=').map(|(key, _)| key.strip_suffix('!').unwrap_or(key).trim());
        if key.is_none_or(str::is_empty) {
            return Err(format!("{part:?} is not a selector of fields: write it like spec.nodeName=a"));
        }
    }
    Ok(())
}

/// The conditions of a selector: commas inside parentheses do not divide.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_u32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' if depth == 0 => return Err(format!("{text:?} closes a parenthesis that is not open")),
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(format!("{text:?} leaves a parenthesis open"));
    }
    let last = text.get(start..).unwrap_or_default();
    // An empty selector selects everything.
    if !(parts.is_empty() && last.trim().is_empty()) {
        parts.push(last);
    }
    Ok(parts)
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

fn is_value(value: &str) -> bool {
    value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in [
            "",
            "a",
            "!a",
            "a=b",
            "a==b",
            "a!=b",
            "a =b",
            "a in (b, c)",
            "a notin (b),c=d",
            "x.y/z=1",
            "a>1",
            "a=",
        ] {
            assert_eq!(check_labels(good), Ok(()), "{good}");
        }
        for bad in ["=b", "a b", "a in b", "a in (b", "a)", "a=b=c", "a,,b", "a=b,", "a within (b)", "(b)"] {
            assert!(check_labels(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields() {
        for good in ["", "a.b=c", "a==c", "a!=c", "status.phase=Running,spec.nodeName!=x", "a="] {
            assert_eq!(check_fields(good), Ok(()), "{good}");
        }
        for bad in ["a", "=c", "!=c", "a=b,c"] {
            assert!(check_fields(bad).is_err(), "{bad}");
        }
    }
}
