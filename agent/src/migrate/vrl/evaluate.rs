//! VRL as Vector evaluates it, for tests: what the rules are compared with.

use std::collections::BTreeMap;

use pipeline::model::labels::METRIC_NAME;
use regex::Regex;

use super::{Expr, Operator};

pub(in crate::migrate) type Labels = BTreeMap<String, String>;

/// A value; a failure is `Err`.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Bool(bool),
    Null,
}

/// A failure, or `abort`.
#[derive(Debug)]
pub(in crate::migrate) struct Ended {
    pub(in crate::migrate) aborted: bool,
}

const FAILED: Ended = Ended { aborted: false };

/// A filter lets a sample through only where its condition is true.
pub(in crate::migrate) fn passes(condition: &Expr, labels: &Labels) -> bool {
    matches!(value(condition, &mut labels.clone()), Ok(Value::Bool(true)))
}

/// What a remap leaves; a program that fails leaves what was there, one that is aborted drops it.
pub(in crate::migrate) fn remapped(program: &[Expr], labels: &Labels) -> Option<Labels> {
    let mut changed = labels.clone();
    for expr in program {
        match value(expr, &mut changed) {
            Ok(_) => {}
            Err(ended) if ended.aborted => return None,
            Err(_) => return Some(labels.clone()),
        }
    }
    changed.retain(|_, value| !value.is_empty());
    Some(changed)
}

fn value(expr: &Expr, labels: &mut Labels) -> Result<Value, Ended> {
    Ok(match expr {
        Expr::Text(text) => Value::Text(text.clone()),
        Expr::Bool(value) => Value::Bool(*value),
        Expr::Null | Expr::Regex(_) | Expr::List(_) => Value::Null,
        Expr::Name => label(METRIC_NAME, labels),
        Expr::Label(name) => label(name, labels),
        Expr::Abort => return Err(Ended { aborted: true }),
        Expr::Not(inner) => Value::Bool(!truth(inner, labels)?),
        Expr::Binary(operator, left, right) => binary(*operator, left, right, labels)?,
        Expr::Call { function, arguments } => call(function, arguments, labels)?,
        Expr::If(condition, then, otherwise) => {
            let block = if truth(condition, labels)? { then } else { otherwise };
            let mut last = Value::Null;
            for expr in block {
                last = value(expr, labels)?;
            }
            last
        }
        Expr::Assign(target, expr) => {
            let new = value(expr, labels)?;
            let name = if let Expr::Label(name) = &**target { name.as_str() } else { METRIC_NAME };
            let text = if let Value::Text(text) = &new { text.clone() } else { String::new() };
            labels.insert(name.to_owned(), text);
            labels.retain(|_, value| !value.is_empty());
            new
        }
    })
}

fn label(name: &str, labels: &Labels) -> Value {
    labels.get(name).map_or(Value::Null, |text| Value::Text(text.clone()))
}

fn truth(expr: &Expr, labels: &mut Labels) -> Result<bool, Ended> {
    match value(expr, labels)? {
        Value::Bool(value) => Ok(value),
        _ => Err(FAILED),
    }
}

fn text(expr: &Expr, labels: &mut Labels) -> Result<String, Ended> {
    match value(expr, labels)? {
        Value::Text(text) => Ok(text),
        _ => Err(FAILED),
    }
}

fn binary(operator: Operator, left: &Expr, right: &Expr, labels: &mut Labels) -> Result<Value, Ended> {
    Ok(match operator {
        Operator::Or => Value::Bool(truth(left, labels)? || truth(right, labels)?),
        Operator::And => Value::Bool(truth(left, labels)? && truth(right, labels)?),
        Operator::Equal => Value::Bool(value(left, labels)? == value(right, labels)?),
        Operator::NotEqual => Value::Bool(value(left, labels)? != value(right, labels)?),
        Operator::Else => match value(left, labels) {
            Err(ended) if !ended.aborted => value(right, labels)?,
            other => other?,
        },
        Operator::Plus => Value::Text(text(left, labels)? + &text(right, labels)?),
    })
}

fn call(function: &str, arguments: &[Expr], labels: &mut Labels) -> Result<Value, Ended> {
    let found = |regex: &Expr, text: &str| match regex {
        Expr::Regex(regex) => Regex::new(regex).unwrap().is_match(text),
        _ => panic!("no regular expression"),
    };
    Ok(match (function, arguments) {
        ("exists", [Expr::Label(name)]) => Value::Bool(labels.contains_key(name)),
        ("exists", _) => Value::Bool(true),
        ("is_null", [expr]) => Value::Bool(value(expr, labels)? == Value::Null),
        ("string", [expr]) => Value::Text(text(expr, labels)?),
        ("to_string", [expr]) => match value(expr, labels)? {
            Value::Null => Value::Text(String::new()),
            other => other,
        },
        ("del", [Expr::Label(name)]) => labels.remove(name).map_or(Value::Null, Value::Text),
        ("starts_with", [value, with]) => Value::Bool(text(value, labels)?.starts_with(&text(with, labels)?)),
        ("ends_with", [value, with]) => Value::Bool(text(value, labels)?.ends_with(&text(with, labels)?)),
        ("contains", [value, with]) => Value::Bool(text(value, labels)?.contains(&text(with, labels)?)),
        ("match", [value, regex]) => Value::Bool(found(regex, &text(value, labels)?)),
        ("match_any", [value, Expr::List(list)]) => {
            let text = text(value, labels)?;
            Value::Bool(list.iter().any(|regex| found(regex, &text)))
        }
        ("includes", [Expr::List(list), sought]) => {
            let sought = value(sought, labels)?;
            let mut hit = false;
            for expr in list {
                hit |= value(expr, labels)? == sought;
            }
            Value::Bool(hit)
        }
        _ => panic!("the function {function}"),
    })
}
