//! Text into tokens.

use std::iter::Peekable;
use std::str::Chars;

use crate::{Error, ErrorKind};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name, or a word of the language.
    Name(String),
    /// A whole number, which has its sign in front.
    Int(u64),
    /// A whole number with `u`.
    Uint(u64),
    /// A number.
    Double(f64),
    /// A text.
    Text(String),
    /// An operator or a bracket.
    Mark(&'static str),
    /// The end.
    End,
}

/// A token and the characters before it.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The token.
    pub token: Token,
    /// Characters before it.
    pub at: usize,
}

/// Operators and brackets; the longer come first.
const MARKS: [&str; 24] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")", "[", "]",
    ".", ",", "{", "}",
];

/// Reads all tokens; the last one is the end.
pub fn lex(text: &str) -> Result<Vec<Placed>, Error> {
    let mut lexer = Lexer { rest: text.chars().peekable(), at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push(Placed { token, at });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    at: usize,
}

impl Lexer<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.rest.next()?;
        self.at += 1;
        Some(letter)
    }

    /// Whether this comes next.
    fn sees(&self, text: &str) -> bool {
        let mut rest = self.rest.clone();
        text.chars().all(|letter| rest.next() == Some(letter))
    }

    fn skip(&mut self, letters: usize) {
        for _ in 0..letters {
            self.take();
        }
    }

    fn error(&self, at: usize, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Syntax, at, message)
    }

    /// White space and comments.
    fn skip_blank(&mut self) {
        loop {
            while self.peek().is_some_and(char::is_whitespace) {
                self.take();
            }
            if !self.sees("//") {
                return;
            }
            while self.peek().is_some_and(|letter| letter != '\n') {
                self.take();
            }
        }
    }

    fn token(&mut self) -> Result<Token, Error> {
        let Some(first) = self.peek() else { return Ok(Token::End) };
        let quote = if matches!(first, 'r' | 'R') { self.rest.clone().nth(1) } else { Some(first) };
        if let Some(quote @ ('"' | '\'')) = quote {
            let is_raw = first != quote;
            self.skip(usize::from(is_raw));
            return self.text(quote, is_raw);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(Token::Name(self.word()));
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        match MARKS.into_iter().find(|mark| self.sees(mark)) {
            Some(mark) => {
                self.skip(mark.len());
                Ok(Token::Mark(mark))
            }
            None => Err(self.error(self.at, format!("{first:?} is not a part of the language"))),
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(letter) = self.peek().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
        {
            word.push(letter);
            self.take();
        }
        word
    }

    fn number(&mut self) -> Result<Token, Error> {
        let at = self.at;
        if self.sees("0x") || self.sees("0X") {
            self.skip(2);
            let word = self.word();
            let (digits, is_unsigned) = unsigned(&word);
            let value = u64::from_str_radix(digits, 16);
            let value = value.map_err(|_| self.error(at, format!("0x{word} is not a number")))?;
            return Ok(if is_unsigned { Token::Uint(value) } else { Token::Int(value) });
        }
        let mut text = self.word_of_number();
        let has_point =
            self.peek() == Some('.') && self.rest.clone().nth(1).is_some_and(|c| c.is_ascii_digit());
        if has_point {
            self.take();
            text.push('.');
            text.push_str(&self.word_of_number());
        }
        let is_double = has_point || text.contains(['e', 'E']);
        let (digits, is_unsigned) = unsigned(&text);
        let token = if is_double {
            text.parse().ok().filter(|value: &f64| value.is_finite()).map(Token::Double)
        } else if is_unsigned {
            digits.parse().ok().map(Token::Uint)
        } else {
            digits.parse().ok().map(Token::Int)
        };
        token.ok_or_else(|| self.error(at, format!("{text} is not a number")))
    }

    /// Digits, letters, and the sign of an exponent.
    fn word_of_number(&mut self) -> String {
        let mut word = self.word();
        if word.ends_with(['e', 'E'])
            && let Some(sign @ ('+' | '-')) = self.peek()
        {
            self.take();
            word.push(sign);
            word.push_str(&self.word());
        }
        word
    }

    fn text(&mut self, quote: char, is_raw: bool) -> Result<Token, Error> {
        let at = self.at;
        let triple = String::from_iter([quote; 3]);
        let single = quote.to_string();
        let end = if self.sees(&triple) { triple } else { single };
        self.skip(end.len());
        let mut text = String::new();
        loop {
            if self.sees(&end) {
                self.skip(end.len());
                return Ok(Token::Text(text));
            }
            match self.take() {
                None => return Err(self.error(at, "a string is not closed")),
                Some('\n') if end.len() == 1 => {
                    return Err(self.error(at, "a string is not closed in its line"));
                }
                Some('\\') if !is_raw => text.push(self.escape()?),
                Some(letter) => text.push(letter),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let at = self.at - 1;
        let letter = self.take();
        let code = |lexer: &mut Self, first: Option<char>, digits: usize, radix: u32| {
            let mut code: u32 = first.map_or(Some(0), |first| first.to_digit(radix))?;
            for _ in 0..digits {
                let digit = lexer.take()?.to_digit(radix)?;
                code = code.checked_mul(radix)?.checked_add(digit)?;
            }
            char::from_u32(code)
        };
        let escaped = match letter {
            Some('a') => Some('\x07'),
            Some('b') => Some('\x08'),
            Some('f') => Some('\x0c'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\x0b'),
            Some(literal @ ('\\' | '\'' | '"' | '`' | '?')) => Some(literal),
            Some('x' | 'X') => code(self, None, 2, 16),
            Some('u') => code(self, None, 4, 16),
            Some('U') => code(self, None, 8, 16),
            Some(first @ '0'..='3') => code(self, Some(first), 2, 8),
            _ => None,
        };
        escaped.ok_or_else(|| self.error(at, "not an escape sequence of the language"))
    }
}

/// Digits without the mark of an unsigned number, and whether it was there.
fn unsigned(word: &str) -> (&str, bool) {
    match word.strip_suffix(['u', 'U']) {
        Some(digits) => (digits, true),
        None => (word, false),
    }
}
