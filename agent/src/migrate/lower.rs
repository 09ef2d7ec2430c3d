//! What VRL asks of a sample, as a truth about its labels.
//!
//! Takes an expression, gives when it is true and when it fails at run time; or says what of it labels cannot express. An
//! absent tag is null in VRL and the empty text in a rule: `string!(null)` ends a filter's program, and then the sample is
//! dropped, whatever stands beside it.

use pipeline::model::labels::METRIC_NAME;

use super::formula::{Formula, escape, matches};
use super::vrl::{Expr, Operator};

/// Beyond, a formula is no filter that a person has written.
const SIZE_MAX: usize = 3_000;

/// What is said of a part that is beyond labels.
type Lowered<T> = Result<T, String>;

/// When an expression is true, and when it fails. Otherwise it is false.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) yes: Formula,
    pub(super) fails: Formula,
}

impl Truth {
    fn sure(yes: Formula) -> Self {
        Self { yes, fails: Formula::Constant(false) }
    }

    fn no(&self) -> Formula {
        self.yes.clone().not().and(self.fails.clone().not())
    }

    fn bounded(self) -> Lowered<Self> {
        if self.yes.size() + self.fails.size() > SIZE_MAX {
            return Err("a condition of this size".to_owned());
        }
        Ok(self)
    }
}

/// A text that a condition looks at.
struct Subject {
    label: String,
    absent: Absent,
}

/// What the text is where the label is absent.
enum Absent {
    /// It never is: the name.
    Never,
    /// The program fails.
    Fails,
    /// This.
    Is(String),
}

/// What is asked of a text.
struct Question(Vec<String>);

/// The truth of a condition.
pub(super) fn condition(expr: &Expr) -> Lowered<Truth> {
    match expr {
        Expr::Bool(value) => Ok(Truth::sure(Formula::Constant(*value))),
        Expr::Not(inner) => {
            let inner = condition(inner)?;
            Truth { yes: inner.no(), fails: inner.fails }.bounded()
        }
        Expr::Binary(operator, left, right) => binary(*operator, left, right)?.bounded(),
        Expr::Call { function, arguments } => call(function, arguments),
        Expr::Text(_) | Expr::Regex(_) | Expr::Null | Expr::List(_) => {
            Err("a value where a truth is asked".to_owned())
        }
        Expr::Name | Expr::Label(_) => Err("a text where a truth is asked".to_owned()),
        Expr::If(..) => Err("an `if` within a condition".to_owned()),
        Expr::Assign(..) | Expr::Abort => Err("an assignment or `abort` within a condition".to_owned()),
    }
}

fn binary(operator: Operator, left: &Expr, right: &Expr) -> Lowered<Truth> {
    match operator {
        // The right side is looked at only where the left one has not decided, and only there it can fail.
        Operator::Or => {
            let (left, right) = (condition(left)?, condition(right)?);
            let open = left.no();
            let sure = left.fails == Formula::Constant(false);
            let then = if sure { right.yes } else { left.fails.clone().not().and(right.yes) };
            Ok(Truth { yes: left.yes.or(then), fails: left.fails.or(open.and(right.fails)) })
        }
        Operator::And => {
            let (left, right) = (condition(left)?, condition(right)?);
            let fails = left.fails.or(left.yes.clone().and(right.fails));
            Ok(Truth { yes: left.yes.and(right.yes), fails })
        }
        Operator::Equal => equal(left, right),
        Operator::NotEqual => {
            let equal = equal(left, right)?;
            Ok(Truth { yes: equal.no(), fails: equal.fails })
        }
        Operator::Else => {
            let left = condition(left)?;
            let Expr::Bool(instead) = right else {
                return Err("?? with something else than true or false".to_owned());
            };
            let yes = if *instead { left.yes.or(left.fails) } else { left.yes };
            Ok(Truth::sure(yes))
        }
        Operator::Plus => Err("a sum where a truth is asked".to_owned()),
    }
}

fn equal(left: &Expr, right: &Expr) -> Lowered<Truth> {
    let (expr, value) = match (left, right) {
        (Expr::Text(_) | Expr::Null, _) => (right, left),
        _ => (left, right),
    };
    match (expr, value) {
        (Expr::Label(label), Expr::Null) => Ok(Truth::sure(Formula::present(label).not())),
        (Expr::Name, Expr::Null) => Ok(Truth::sure(Formula::Constant(false))),
        (_, Expr::Text(text)) if text.is_empty() => {
            Err("a comparison with \"\": a label that is empty and one that is absent are the same here"
                .to_owned())
        }
        // Null is no text, and the comparison does not fail.
        (Expr::Label(label), Expr::Text(text)) => {
            Ok(Truth::sure(Formula::Is(label.clone(), vec![escape(plain(text)?)])))
        }
        (expr, Expr::Text(text)) => asked(&subject(expr)?, &Question(vec![escape(plain(text)?)])),
        _ => Err("a comparison of something else than a tag or .name with a text".to_owned()),
    }
}

fn call(function: &str, arguments: &[Expr]) -> Lowered<Truth> {
    match (function, arguments) {
        ("exists", [Expr::Label(label)]) => Ok(Truth::sure(Formula::present(label))),
        ("exists", [Expr::Name]) => Ok(Truth::sure(Formula::Constant(true))),
        ("is_null", [Expr::Label(label)]) => Ok(Truth::sure(Formula::present(label).not())),
        ("starts_with", [value, Expr::Text(text)]) => {
            asked(&subject(value)?, &Question(vec![format!("{}.*", escape(plain(text)?))]))
        }
        ("ends_with", [value, Expr::Text(text)]) => {
            asked(&subject(value)?, &Question(vec![format!(".*{}", escape(plain(text)?))]))
        }
        ("contains", [value, Expr::Text(text)]) => {
            asked(&subject(value)?, &Question(vec![format!(".*{}.*", escape(plain(text)?))]))
        }
        ("match", [value, Expr::Regex(regex)]) => asked(&subject(value)?, &Question(vec![anywhere(regex)?])),
        ("match_any", [value, Expr::List(list)]) => {
            let regexes = list.iter().map(|expr| match expr {
                Expr::Regex(regex) => anywhere(regex),
                _ => Err("match_any with something else than regular expressions".to_owned()),
            });
            asked(&subject(value)?, &Question(regexes.collect::<Lowered<_>>()?))
        }
        ("includes", [Expr::List(list), value]) => {
            let texts = list.iter().map(|expr| match expr {
                Expr::Text(text) if !text.is_empty() => Ok(escape(plain(text)?)),
                _ => Err("includes with something else than texts".to_owned()),
            });
            let regexes = texts.collect::<Lowered<Vec<_>>>()?;
            match value {
                Expr::Label(label) => Ok(Truth::sure(match regexes.is_empty() {
                    true => Formula::Constant(false),
                    false => Formula::Is(label.clone(), regexes),
                })),
                value => asked(&subject(value)?, &Question(regexes)),
            }
        }
        _ => Err(format!("the function {function} with these arguments")),
    }
}

/// The text that an expression stands for.
fn subject(expr: &Expr) -> Lowered<Subject> {
    let of_label = |label: &str, absent: Absent| Subject { label: label.to_owned(), absent };
    match expr {
        Expr::Name => Ok(of_label(METRIC_NAME, Absent::Never)),
        // VRL takes it only in a function that may fail.
        Expr::Label(label) => Ok(of_label(label, Absent::Fails)),
        Expr::Call { function, arguments } => match (function.as_str(), arguments.as_slice()) {
            ("string" | "to_string", [Expr::Name]) => Ok(of_label(METRIC_NAME, Absent::Never)),
            ("string", [Expr::Label(label)]) => Ok(of_label(label, Absent::Fails)),
            ("to_string", [Expr::Label(label)]) => Ok(of_label(label, Absent::Is(String::new()))),
            _ => Err(format!("the function {function} within a comparison")),
        },
        Expr::Binary(Operator::Else, value, instead) => match (subject(value)?, &**instead) {
            (subject, Expr::Text(text)) => {
                let absent = match subject.absent {
                    Absent::Fails => Absent::Is(plain(text)?.to_owned()),
                    other => other,
                };
                Ok(Subject { absent, ..subject })
            }
            _ => Err("?? with something else than a text".to_owned()),
        },
        _ => Err("a comparison of something else than a tag or .name".to_owned()),
    }
}

/// The truth of a question about a text.
fn asked(subject: &Subject, Question(regexes): &Question) -> Lowered<Truth> {
    let mut of_empty = false;
    for regex in regexes {
        of_empty |= matches(regex, "").ok_or_else(|| format!("the regular expression {regex:?}"))?;
    }
    let matched = match regexes.is_empty() {
        true => Formula::Constant(false),
        false => Formula::Is(subject.label.clone(), regexes.clone()),
    };
    let present = Formula::present(&subject.label);
    // An absent label is the empty text to a rule.
    let there = if of_empty && !matches!(subject.absent, Absent::Never) {
        present.clone().and(matched)
    } else {
        matched
    };
    Ok(match &subject.absent {
        Absent::Never => Truth::sure(there),
        Absent::Fails => Truth { yes: there, fails: present.not() },
        Absent::Is(text) => {
            let instead = regexes.iter().any(|regex| matches(regex, text) == Some(true));
            Truth::sure(if instead { there.or(present.not()) } else { there })
        }
    })
}

/// A regular expression that VRL finds anywhere in a text, as one that matches the whole.
fn anywhere(regex: &str) -> Lowered<String> {
    // What the two dialects read differently: sets within sets, and Rust's own boundaries.
    let differs =
        ["[[", "&&", "~~", "\\<", "\\>", "\\b{", "\\Q", "(?x", "(?P<", "(?<", "(?R", "(?m", "(?u", "(?-u"];
    if differs.iter().any(|part| regex.contains(part)) || matches(regex, "").is_none() || regex.contains("${")
    {
        return Err(format!("the regular expression {regex:?}"));
    }
    // The simple ones stay readable; a dot is never the end of a line in VRL, and no name has one.
    let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    let (from_start, body) = regex.strip_prefix('^').map_or((false, regex), |body| (true, body));
    let (to_end, body) = match body.strip_suffix('$') {
        Some(inner) if !inner.ends_with('\\') => (true, inner),
        _ => (false, body),
    };
    let before = if from_start { "" } else { ".*" };
    let after = if to_end { "" } else { ".*" };
    if body.chars().all(simple) {
        return Ok(format!("{before}{body}{after}"));
    }
    Ok(format!(".*(?-s:{regex}).*"))
}

/// The text, unless a variable of the environment is still to be put into it: rules are not expanded.
pub(super) fn plain(text: &str) -> Lowered<&str> {
    if text.contains("${") {
        return Err(format!("{text:?}: the agent puts no environment variable into its rules"));
    }
    Ok(text)
}
