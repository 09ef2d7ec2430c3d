//! The part of VRL that filters and remaps of metrics use: <https://vector.dev/docs/reference/vrl/expressions/>.
//!
//! Takes a program, gives a tree for each statement, or the statement's text where it is beyond that part. It knows syntax
//! only; `lower` knows what of it labels can express.

#[cfg(test)]
pub(super) mod evaluate;
mod lex;
mod parse;
#[cfg(test)]
mod tests;

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    /// A text.
    Text(String),
    /// A regular expression.
    Regex(String),
    Bool(bool),
    Null,
    /// `.name`
    Name,
    /// `.tags.x`
    Label(String),
    /// `f(..)`, or `f!(..)`, which ends the program where it fails.
    Call {
        function: String,
        arguments: Vec<Self>,
    },
    List(Vec<Self>),
    Not(Box<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
    /// `if a { .. } else if b { .. } else { .. }`; an absent `else` is an empty block.
    If(Box<Self>, Vec<Self>, Vec<Self>),
    /// `.tags.x = ..`
    Assign(Box<Self>, Box<Self>),
    Abort,
}

/// What stands between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    /// `??`: the right one where the left one fails.
    Else,
    Plus,
}

/// One statement of a program: read, or the reason why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) expr: Result<Expr, String>,
    /// The line it begins on, from 0.
    pub(super) line: usize,
    /// As it is written.
    pub(super) text: String,
}

/// The statements of a program.
pub(super) fn program(text: &str) -> Vec<Statement> {
    parse::Parser::new(text).program()
}

/// The one expression of a condition, or the reason why it cannot be read.
pub(super) fn condition(text: &str) -> Result<Expr, String> {
    let mut statements = program(text);
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => statement.expr,
        (Some(_), false) => Err("a condition of several statements".to_owned()),
        (None, _) => Err("an empty condition".to_owned()),
    }
}

impl Expr {
    /// Whether it reads the label, assignments to it not counted.
    pub(super) fn reads(&self, label: &str) -> bool {
        let any = |exprs: &[Self]| exprs.iter().any(|expr| expr.reads(label));
        match self {
            Self::Label(name) => name == label,
            Self::Call { arguments, .. } => any(arguments),
            Self::List(exprs) => any(exprs),
            Self::Not(expr) => expr.reads(label),
            Self::Binary(_, left, right) => left.reads(label) || right.reads(label),
            Self::If(condition, then, otherwise) => condition.reads(label) || any(then) || any(otherwise),
            Self::Assign(target, value) => {
                !matches!(**target, Self::Label(_) | Self::Name) || value.reads(label)
            }
            Self::Text(_) | Self::Regex(_) | Self::Bool(_) | Self::Null | Self::Name | Self::Abort => false,
        }
    }

    /// Whether a function of this name is called in it.
    pub(super) fn calls(&self, name: &str) -> bool {
        let any = |exprs: &[Self]| exprs.iter().any(|expr| expr.calls(name));
        match self {
            Self::Call { function, arguments } => function == name || any(arguments),
            Self::List(exprs) => any(exprs),
            Self::Not(expr) => expr.calls(name),
            Self::Binary(_, left, right) => left.calls(name) || right.calls(name),
            Self::If(condition, then, otherwise) => condition.calls(name) || any(then) || any(otherwise),
            Self::Assign(_, value) => value.calls(name),
            _ => false,
        }
    }
}
