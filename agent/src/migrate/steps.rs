//! What a remap does to labels, as relabelling rules.
//!
//! Takes a statement, gives rules that leave the same labels for every sample; or says what of it rules cannot do, and then
//! gives none of it. A tag that VRL sets to null or to "" is absent here, since an empty label and no label are the same.

use pipeline::model::labels::METRIC_NAME;
use pipeline::relabel::{Action, RelabelConfig};

use super::formula::{Formula, Writer, checked, rule};
use super::lower::{condition, plain};
use super::vrl::{Expr, Operator};

type Rules = Vec<RelabelConfig>;
type Made<T> = Result<T, String>;

/// Where a new value comes from.
enum Value {
    Text(String),
    Label(String),
    /// The name with texts around it.
    Around(String, String),
}

/// Rules for one statement.
pub(super) fn statement(expr: &Expr, writer: &mut Writer) -> Made<Rules> {
    checked(step(expr, None, writer)?)
}

/// Rules for one statement, where `when` is a label that is 1 if it is to be done at all.
fn step(expr: &Expr, when: Option<&str>, writer: &mut Writer) -> Made<Rules> {
    match expr {
        Expr::Assign(target, value) => assign(target_label(target)?, value, when, writer),
        Expr::Call { function, arguments } if function == "del" => match arguments.as_slice() {
            [Expr::Label(label)] => Ok(vec![set(label, &Value::Text(String::new()), when)]),
            _ => Err("del of something else than a tag".to_owned()),
        },
        Expr::If(condition, then, otherwise) => branch(condition, then, otherwise, when, writer),
        Expr::Abort => Ok(vec![match when {
            Some(when) => rule(&[when], "1", Action::Drop),
            None => rule(&[], ".*", Action::Drop),
        }]),
        Expr::Call { function, .. } => Err(format!("the function {function}")),
        _ => Err("a value that nothing is done with".to_owned()),
    }
}

fn target_label(target: &Expr) -> Made<&str> {
    match target {
        Expr::Name => Ok(METRIC_NAME),
        Expr::Label(label) => Ok(label),
        _ => Err("an assignment to something else than .name or a tag".to_owned()),
    }
}

fn assign(target: &str, value: &Expr, when: Option<&str>, writer: &mut Writer) -> Made<Rules> {
    let Expr::If(condition, then, otherwise) = value else {
        let value = simple(value)?;
        if target == METRIC_NAME && !is_never_empty(&value) {
            return Err("a name that may be empty".to_owned());
        }
        return Ok(vec![set(target, &value, when)]);
    };
    let (Some(then), Some(otherwise)) = (only(then), only(otherwise)) else {
        return Err("an `if` whose branches are not one value each".to_owned());
    };
    // Mostly: the tag if it is there, and something else if not.
    let truth = super::lower::condition(condition)?;
    let of_label = |label: &str| truth.yes.simple(false) == Formula::present(label);
    if let (Expr::Label(label), None) = (then, when)
        && of_label(label)
        && target != METRIC_NAME
        && let Ok(value) = simple(otherwise)
    {
        let there =
            RelabelConfig { target_label: escaped(target), ..rule(&[label], "(.+)", Action::Replace) };
        if label != target {
            return Ok(vec![set(target, &value, None), there]);
        }
        if let Value::Text(text) = value {
            let absent = rule(&[label], "", Action::Replace);
            return Ok(vec![RelabelConfig {
                target_label: escaped(target),
                replacement: escaped(&text),
                ..absent
            }]);
        }
    }
    let assigned = |value: &Expr| Expr::Assign(Box::new(name_of(target)), Box::new(value.clone()));
    branch(condition, &[assigned(then)], &[assigned(otherwise)], when, writer)
}

fn name_of(label: &str) -> Expr {
    if label == METRIC_NAME { Expr::Name } else { Expr::Label(label.to_owned()) }
}

fn only(block: &[Expr]) -> Option<&Expr> {
    match block {
        [expr] => Some(expr),
        _ => None,
    }
}

/// `if`: what is true is found first, and carried, since a branch may change what the condition looks at.
fn branch(
    asked: &Expr,
    then: &[Expr],
    otherwise: &[Expr],
    when: Option<&str>,
    writer: &mut Writer,
) -> Made<Rules> {
    let truth = condition(asked)?;
    if truth.fails.simple(false) != Formula::Constant(false) {
        return Err("a condition that fails where a tag is absent, which undoes the whole program".to_owned());
    }
    if let ([Expr::Abort], [], None) = (then, otherwise, when) {
        return writer.keep(&truth.yes.not());
    }
    // One assignment under one question needs no label to carry the answer.
    if let ([Expr::Assign(target, value)], [], None, Formula::Is(label, regexes)) =
        (then, otherwise, when, truth.yes.simple(false))
        && let Ok(Value::Text(text)) = simple(value)
        && !(text.is_empty() && **target == Expr::Name)
    {
        let (target_label, replacement) = (escaped(target_label(target)?), escaped(&text));
        return Ok(vec![RelabelConfig {
            target_label,
            replacement,
            ..rule(&[&label], &regexes.join("|"), Action::Replace)
        }]);
    }
    let outer = when.map_or(Formula::Constant(true), carried);
    let mut rules = Vec::new();
    let mut branches = Vec::new();
    for (block, formula) in [(then, truth.yes.clone()), (otherwise, truth.yes.not())] {
        if block.is_empty() {
            continue;
        }
        let carrier = writer.carrier();
        rules.extend(writer.truth(&outer.clone().and(formula), &carrier)?);
        branches.push((block, carrier));
    }
    for (block, carrier) in branches {
        for expr in block {
            rules.extend(step(expr, Some(&carrier), writer)?);
            if rules.len() > 1_000 {
                return Err("a program of this size".to_owned());
            }
        }
    }
    Ok(rules)
}

fn carried(carrier: &str) -> Formula {
    Formula::Is(carrier.to_owned(), vec!["1".to_owned()])
}

fn simple(value: &Expr) -> Made<Value> {
    match value {
        Expr::Text(text) => Ok(Value::Text(plain(text)?.to_owned())),
        Expr::Null => Ok(Value::Text(String::new())),
        Expr::Name => Ok(Value::Label(METRIC_NAME.to_owned())),
        Expr::Label(label) => Ok(Value::Label(label.clone())),
        Expr::Call { function, arguments } => match (function.as_str(), arguments.as_slice()) {
            ("string" | "to_string", [Expr::Name]) => Ok(Value::Label(METRIC_NAME.to_owned())),
            ("to_string", [Expr::Label(label)]) => Ok(Value::Label(label.clone())),
            ("get_env_var", _) => Err("a variable of the environment".to_owned()),
            _ => Err(format!("the function {function}")),
        },
        Expr::Binary(Operator::Plus, left, right) => plus(simple(left)?, simple(right)?),
        _ => Err("a value that is no text, tag or .name".to_owned()),
    }
}

fn plus(left: Value, right: Value) -> Made<Value> {
    let is_name = |label: &str| label == METRIC_NAME;
    Ok(match (left, right) {
        (Value::Text(left), Value::Text(right)) => Value::Text(left + &right),
        (Value::Text(before), Value::Label(label)) if is_name(&label) => Value::Around(before, String::new()),
        (Value::Label(label), Value::Text(after)) if is_name(&label) => Value::Around(String::new(), after),
        (Value::Text(text), Value::Around(before, after)) => Value::Around(text + &before, after),
        (Value::Around(before, after), Value::Text(text)) => Value::Around(before, after + &text),
        _ => return Err("a sum of something else than texts and .name".to_owned()),
    })
}

fn is_never_empty(value: &Value) -> bool {
    match value {
        Value::Text(text) => !text.is_empty(),
        Value::Label(label) => label == METRIC_NAME,
        Value::Around(..) => true,
    }
}

/// The rule that gives `target` its value.
fn set(target: &str, value: &Value, when: Option<&str>) -> RelabelConfig {
    let source = match value {
        Value::Text(_) => None,
        Value::Label(label) => Some(label.as_str()),
        Value::Around(..) => Some(METRIC_NAME),
    };
    let replacement = match value {
        Value::Text(text) => escaped(text),
        Value::Label(_) => "$1".to_owned(),
        Value::Around(before, after) => format!("{}${{1}}{}", escaped(before), escaped(after)),
    };
    let sources: Vec<&str> = when.into_iter().chain(source).collect();
    let regex = match (when, source) {
        (None, _) => "(.*)",
        (Some(_), None) => "1",
        (Some(_), Some(_)) => "1;(.*)",
    };
    RelabelConfig { target_label: escaped(target), replacement, ..rule(&sources, regex, Action::Replace) }
}

/// A text in which no group is named.
pub(super) fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}
