//! VRL's text into words: <https://vector.dev/docs/reference/vrl/expressions/>.
//!
//! Takes a program, gives its tokens with their lines. It never fails: what is no VRL becomes a token that no expression takes.

/// What is read of a program; a longer one is no filter.
const TOKENS_MAX: usize = 20_000;

/// A word of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `.tags.x`, by its parts; none for `.` alone.
    Path(Vec<String>),
    /// A name, of a function or a variable, or a keyword.
    Name(String),
    /// `"..."` or `s'...'`.
    Text(String),
    /// `"... {{ x }} ..."`.
    Template,
    /// `r'...'`.
    Regex(String),
    Number(String),
    /// An operator or a bracket.
    Sign(&'static str),
    /// The end of a line, or `;`.
    Newline,
    /// Something else.
    Other(String),
}

/// A token, the lines it begins and ends on, and its bytes.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) line: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Longer ones first.
const SIGNS: [&str; 24] = [
    "||", "&&", "??", "==", "!=", ">=", "<=", "|=", "->", "(", ")", "[", "]", "{", "}", "!", "=", ",", ":",
    "+", "|", ">", "<", "-",
];

/// All tokens of a program; lines count from 0.
pub(super) fn tokens(program: &str) -> Vec<Placed> {
    let mut lexer = Lexer { program, at: 0, line: 0 };
    let mut found = Vec::new();
    while let Some(placed) = lexer.next() {
        found.push(placed);
        if found.len() > TOKENS_MAX {
            let (line, start) = (lexer.line, lexer.at);
            let token = Token::Other("a program of this length".to_owned());
            found.push(Placed { token, line, start, end: program.len() });
            break;
        }
    }
    found
}

struct Lexer<'a> {
    program: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.program.get(self.at..).unwrap_or_default()
    }

    /// Goes over `bytes`, and counts the lines in them.
    fn skip(&mut self, bytes: usize) {
        let passed = self.rest().get(..bytes).unwrap_or_default();
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
        self.at += bytes;
    }

    fn next(&mut self) -> Option<Placed> {
        self.blanks();
        let (line, start) = (self.line, self.at);
        let first = self.rest().chars().next()?;
        let token = match first {
            '\n' | ';' => {
                self.skip(1);
                Token::Newline
            }
            '"' => {
                self.skip(1);
                self.text()
            }
            '.' => self.path(),
            'r' | 's' | 't' if self.rest().get(1..2) == Some("'") => {
                self.skip(2);
                let body = self.quoted();
                match first {
                    'r' => Token::Regex(body),
                    's' => Token::Text(body),
                    _ => Token::Other("a timestamp".to_owned()),
                }
            }
            _ if first.is_ascii_alphabetic() || first == '_' => Token::Name(self.word().to_owned()),
            _ if first.is_ascii_digit() => Token::Number(self.word().to_owned()),
            _ => self.sign(first),
        };
        Some(Placed { token, line, start, end: self.at })
    }

    /// Blanks, comments, and ends of lines that a backslash hides.
    fn blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
            self.skip(blanks);
            let rest = self.rest();
            match rest.strip_prefix('#') {
                Some(comment) => self.skip(1 + comment.find('\n').unwrap_or(comment.len())),
                None if blanks == 0 => return,
                None => {}
            }
        }
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.skip(end);
        rest.get(..end).unwrap_or_default()
    }

    fn sign(&mut self, first: char) -> Token {
        match SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            Some(sign) => {
                self.skip(sign.len());
                Token::Sign(sign)
            }
            None => {
                self.skip(first.len_utf8());
                Token::Other(first.to_string())
            }
        }
    }

    /// `.a.b."c d"`; the dot is still to be read.
    fn path(&mut self) -> Token {
        let mut parts = Vec::new();
        while self.rest().starts_with('.') {
            self.skip(1);
            if self.rest().starts_with('"') {
                self.skip(1);
                match self.text() {
                    Token::Text(part) => parts.push(part),
                    other => return other,
                }
                continue;
            }
            let rest = self.rest();
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '@'))).unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            parts.push(rest.get(..end).unwrap_or_default().to_owned());
            self.skip(end);
        }
        Token::Path(parts)
    }

    /// What follows an opening double quote.
    fn text(&mut self) -> Token {
        let mut text = String::new();
        let mut chars = self.rest().char_indices();
        let mut is_template = false;
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.skip(i + 1);
                    return if is_template { Token::Template } else { Token::Text(text) };
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('0') => text.push('\0'),
                    Some(escaped @ ('\\' | '"' | '\'' | '{' | '}')) => text.push(escaped),
                    // Others, as \u{..}, occur in no name.
                    _ => is_template = true,
                },
                '{' => {
                    is_template |= text.ends_with('{');
                    text.push('{');
                }
                _ => text.push(c),
            }
        }
        self.skip(self.rest().len());
        Token::Other("a text without its closing quote".to_owned())
    }

    /// What follows the opening quote of a raw text, in which only the quote is escaped.
    fn quoted(&mut self) -> String {
        let mut body = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '\'' => {
                    self.skip(i + 1);
                    return body;
                }
                '\\' => match chars.next() {
                    Some((_, '\'')) => body.push('\''),
                    Some((_, other)) => body.extend(['\\', other]),
                    None => {}
                },
                _ => body.push(c),
            }
        }
        self.skip(self.rest().len());
        body
    }
}
