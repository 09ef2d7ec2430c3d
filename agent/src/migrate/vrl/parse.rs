//! Tokens into expressions, with the precedence of VRL's grammar.
//!
//! Takes the tokens, gives statements. A statement that is beyond the part known here is skipped to its end, and the next one is
//! read; depth and length are bounded.

use super::lex::{self, Placed, Token};
use super::{Expr, Operator, Statement};

/// How deep expressions may nest.
const DEPTH_MAX: usize = 24;

/// How many of one operator may stand in a row.
const LENGTH_MAX: usize = 200;

type Read<T> = Result<T, String>;

pub(super) struct Parser<'a> {
    program: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(program: &'a str) -> Self {
        Self { program, tokens: lex::tokens(program), at: 0, depth: 0 }
    }

    pub(super) fn program(mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        loop {
            self.skip_newlines();
            let Some(first) = self.tokens.get(self.at) else { return statements };
            let (line, start, from) = (first.line, first.start, self.at);
            self.depth = 0;
            let expr = self.statement().and_then(|expr| match self.peek() {
                None | Some(Token::Newline) => Ok(expr),
                Some(token) => Err(unexpected(token)),
            });
            if expr.is_err() {
                self.skip_statement(from);
            }
            let end =
                self.at.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(start, |last| last.end);
            let text = self.program.get(start..end).unwrap_or_default().trim_end().to_owned();
            statements.push(Statement { expr, line, text });
        }
    }

    /// Goes to the end of the line on which everything is closed again.
    fn skip_statement(&mut self, from: usize) {
        self.at = from;
        let mut open = 0_usize;
        while let Some(token) = self.peek() {
            match token {
                Token::Newline if open == 0 => return,
                Token::Sign("(" | "[" | "{") => open += 1,
                Token::Sign(")" | "]" | "}") => open = open.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|placed| &placed.token)
    }

    fn skip_newlines(&mut self) {
        while self.peek() == Some(&Token::Newline) {
            self.at += 1;
        }
    }

    /// Takes the sign if it comes next.
    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(found);
        found
    }

    /// Takes the sign, after ends of lines too.
    fn sign_below(&mut self, sign: &str) -> bool {
        let before = self.at;
        self.skip_newlines();
        let found = self.sign(sign);
        if !found {
            self.at = before;
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Read<()> {
        if self.sign_below(sign) {
            return Ok(());
        }
        self.skip_newlines();
        Err(self.peek().map_or_else(|| format!("no {sign:?} before the end"), unexpected))
    }

    fn statement(&mut self) -> Read<Expr> {
        let left = self.expression()?;
        if !self.sign("=") {
            return Ok(left);
        }
        if !matches!(left, Expr::Name | Expr::Label(_)) {
            return Err("an assignment to something else than .name or a tag".to_owned());
        }
        self.skip_newlines();
        let value = self.statement()?;
        Ok(Expr::Assign(Box::new(left), Box::new(value)))
    }

    fn expression(&mut self) -> Read<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("an expression of this depth".to_owned());
        }
        let read = self.binary(0);
        self.depth -= 1;
        read
    }

    /// Operators by how tightly they bind, loosest first.
    fn binary(&mut self, level: usize) -> Read<Expr> {
        const LEVELS: [&[(&str, Operator)]; 5] = [
            &[("||", Operator::Or)],
            &[("&&", Operator::And)],
            &[("==", Operator::Equal), ("!=", Operator::NotEqual)],
            &[("+", Operator::Plus)],
            &[("??", Operator::Else)],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let mut length = 0;
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.sign_below(sign)) {
            length += 1;
            // The tree leans to the left, and everything that walks it goes as deep.
            if length > LENGTH_MAX {
                return Err("an expression of this length".to_owned());
            }
            self.skip_newlines();
            let right = self.binary(level + 1)?;
            left = Expr::Binary(*operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Read<Expr> {
        if self.sign("!") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err("an expression of this depth".to_owned());
            }
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Expr::Not(Box::new(inner)));
        }
        self.term()
    }

    fn term(&mut self) -> Read<Expr> {
        let Some(token) = self.peek().cloned() else {
            return Err("an expression that does not end".to_owned());
        };
        self.at += 1;
        match token {
            Token::Path(parts) => path(&parts),
            Token::Text(text) => Ok(Expr::Text(text)),
            Token::Regex(regex) => Ok(Expr::Regex(regex)),
            Token::Name(name) => self.name(name),
            Token::Sign("(") => {
                self.skip_newlines();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => Ok(Expr::List(self.list("]")?)),
            token => {
                self.at -= 1;
                Err(unexpected(&token))
            }
        }
    }

    fn name(&mut self, name: String) -> Read<Expr> {
        match name.as_str() {
            "true" => return Ok(Expr::Bool(true)),
            "false" => return Ok(Expr::Bool(false)),
            "null" => return Ok(Expr::Null),
            "abort" => return Ok(Expr::Abort),
            "if" => return self.condition(),
            _ => {}
        }
        let before = self.at;
        self.sign("!");
        if !self.sign("(") {
            self.at = before;
            return Err(format!("the variable {name}"));
        }
        let arguments = self.list(")")?;
        Ok(Expr::Call { function: name, arguments })
    }

    /// Expressions between commas, up to the closing sign. An argument that is named is taken if nothing but its place is.
    fn list(&mut self, close: &str) -> Read<Vec<Expr>> {
        let mut exprs = Vec::new();
        while !self.sign_below(close) {
            self.skip_newlines();
            let named = matches!(self.peek(), Some(Token::Name(_)))
                && matches!(self.tokens.get(self.at + 1).map(|next| &next.token), Some(Token::Sign(":")));
            if named {
                return Err("an argument by its name".to_owned());
            }
            exprs.push(self.expression()?);
            if !self.sign_below(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(exprs)
    }

    /// What follows `if`.
    fn condition(&mut self) -> Read<Expr> {
        let condition = self.expression()?;
        let then = self.block()?;
        let before = self.at;
        self.skip_newlines();
        if self.peek() != Some(&Token::Name("else".to_owned())) {
            self.at = before;
            return Ok(Expr::If(Box::new(condition), then, Vec::new()));
        }
        self.at += 1;
        let otherwise = if self.peek() == Some(&Token::Name("if".to_owned())) {
            self.at += 1;
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err("an expression of this depth".to_owned());
            }
            let next = self.condition()?;
            self.depth -= 1;
            vec![next]
        } else {
            self.block()?
        };
        Ok(Expr::If(Box::new(condition), then, otherwise))
    }

    fn block(&mut self) -> Read<Vec<Expr>> {
        self.expect("{")?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("an expression of this depth".to_owned());
        }
        let mut exprs = Vec::new();
        while !self.sign_below("}") {
            self.skip_newlines();
            exprs.push(self.statement()?);
            if !matches!(self.peek(), Some(Token::Newline | Token::Sign("}"))) {
                return Err(self.peek().map_or_else(|| "no \"}\" before the end".to_owned(), unexpected));
            }
        }
        self.depth -= 1;
        Ok(exprs)
    }
}

fn path(parts: &[String]) -> Read<Expr> {
    match parts {
        [name] if name == "name" => Ok(Expr::Name),
        [tags, label] if tags == "tags" && !label.is_empty() => Ok(Expr::Label(label.clone())),
        _ => Err(format!("the field .{}", parts.join("."))),
    }
}

fn unexpected(token: &Token) -> String {
    match token {
        Token::Path(parts) => format!("the field .{}", parts.join(".")),
        Token::Name(name) => format!("the name {name}"),
        Token::Text(_) => "a text in this place".to_owned(),
        Token::Template => "a text with a template or an escape in it".to_owned(),
        Token::Regex(_) => "a regular expression in this place".to_owned(),
        Token::Number(number) => format!("the number {number}"),
        Token::Sign(sign) => format!("{sign:?} in this place"),
        Token::Newline => "the end of the line".to_owned(),
        Token::Other(text) => text.clone(),
    }
}
