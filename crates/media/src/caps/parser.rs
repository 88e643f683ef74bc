//! The grammar of caps text. Nothing here recurses but [`Parser::value`], whose depth is limited.

use super::value::{Type, guessed};
use super::{Structure, Value};
use crate::error::{CapsError, clipped};
use crate::limits::{MAX_DEPTH, MAX_VALUES};

/// Parses `name(features), field=value, ...; name, ...`.
pub(super) fn structures(text: &str) -> Result<Vec<Structure>, CapsError> {
    let mut parser = Parser { text, at: 0, values: 0 };
    let mut structures = Vec::new();
    loop {
        parser.skip_blanks();
        if parser.is_at_end() {
            return Ok(structures);
        }
        structures.push(parser.structure()?);
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Byte position in the text, always between two characters.
    at: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn structure(&mut self) -> Result<Structure, CapsError> {
        self.count()?;
        let name = self.word("a media type such as video/x-raw")?.to_owned();
        let features = if self.skip('(') { self.features()? } else { Vec::new() };
        let mut fields = Vec::new();
        while !self.ends_structure()? {
            // A comma at the end of the structure is no field.
            if self.is_at_end() || self.skip(';') {
                break;
            }
            fields.push(self.field()?);
        }
        Ok(Structure { name, features, fields })
    }

    /// Whether the structure ends here; otherwise skips the comma before the next field.
    fn ends_structure(&mut self) -> Result<bool, CapsError> {
        self.skip_blanks();
        if self.is_at_end() || self.skip(';') {
            return Ok(true);
        }
        if !self.skip(',') {
            return Err(self.unexpected("a comma before the next field, or a semicolon"));
        }
        self.skip_blanks();
        Ok(false)
    }

    fn features(&mut self) -> Result<Vec<String>, CapsError> {
        let inside = self.until(')', "a closing parenthesis behind the features")?;
        let mut features = Vec::new();
        for feature in inside.split(',').map(str::trim).filter(|feature| !feature.is_empty()) {
            self.count()?;
            features.push(feature.to_owned());
        }
        Ok(features)
    }

    fn field(&mut self) -> Result<(String, Value), CapsError> {
        let name = self.word("the name of a field")?;
        self.skip_blanks();
        if !self.skip('=') {
            return Err(self.unexpected("an equals sign behind the name of the field"));
        }
        Ok((name.to_owned(), self.value(name, None, 0)?))
    }

    fn value(&mut self, field: &str, type_name: Option<&'a str>, depth: usize) -> Result<Value, CapsError> {
        self.count()?;
        if depth > MAX_DEPTH {
            return Err(CapsError::TooDeep { field: clipped(field) });
        }
        self.skip_blanks();
        let type_name = if self.skip('(') {
            Some(self.until(')', "a closing parenthesis behind the type")?.trim())
        } else {
            type_name
        };
        self.skip_blanks();
        let is_range = type_name.is_none_or(|name| Type::from_name(name).is_some_and(Type::has_ranges));
        match self.peek() {
            Some('{') => self.items(field, '}', type_name, depth).map(Value::List),
            Some('<') => self.items(field, '>', type_name, depth).map(Value::Array),
            Some('[') if is_range => self.range(field, type_name, depth),
            _ => self.single(field, type_name),
        }
    }

    /// Items up to the closing bracket.
    fn items(
        &mut self,
        field: &str,
        close: char,
        type_name: Option<&'a str>,
        depth: usize,
    ) -> Result<Vec<Value>, CapsError> {
        self.advance();
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            if self.skip(close) {
                return Ok(items);
            }
            if !items.is_empty() && !self.skip(',') {
                return Err(self.unexpected("a comma before the next item, or the closing bracket"));
            }
            items.push(self.value(field, type_name, depth + 1)?);
        }
    }

    fn range(&mut self, field: &str, type_name: Option<&'a str>, depth: usize) -> Result<Value, CapsError> {
        let start = self.at;
        let items = self.items(field, ']', type_name, depth)?;
        if !(2..=3).contains(&items.len()) {
            let (text, expected) = (clipped(&self.text[start..self.at]), "a range such as [ 1, 10 ] or [ 0, 10, 2 ]");
            return Err(CapsError::Value { field: clipped(field), text, expected });
        }
        Ok(Value::Range(items))
    }

    fn single(&mut self, field: &str, type_name: Option<&str>) -> Result<Value, CapsError> {
        let start = self.at;
        let is_quoted = self.peek() == Some('"');
        match self.peek() {
            Some('"') => self.skip_quoted()?,
            Some('[') => self.skip_brackets()?,
            _ => self.skip_bare(),
        }
        let raw = self.text[start..self.at].trim_end();
        if raw.is_empty() {
            return Err(self.unexpected("a value behind the equals sign"));
        }
        let known = type_name.map(|name| (name, Type::from_name(name)));
        let is_null = raw == "NULL";
        match known {
            Some((name, None)) => Ok(Value::Other { type_name: name.into(), text: raw.into() }),
            Some((name, Some(Type::Text))) if is_null => Ok(Value::Other { type_name: name.into(), text: raw.into() }),
            Some((_, Some(kind))) => {
                let text = if is_quoted { unescaped(raw) } else { raw.into() };
                let wrong = || CapsError::Value { field: clipped(field), text: clipped(raw), expected: kind.example() };
                kind.value(&text).ok_or_else(wrong)
            }
            None if is_quoted => Ok(Value::Text(unescaped(raw))),
            None => Ok(guessed(raw)),
        }
    }

    /// Skips a quoted text with its escapes.
    fn skip_quoted(&mut self) -> Result<(), CapsError> {
        self.advance();
        loop {
            match self.peek() {
                Some('"') => {
                    self.advance();
                    return Ok(());
                }
                Some('\\') => {
                    self.advance();
                    self.advance();
                }
                Some(_) => self.advance(),
                None => return Err(self.unexpected("a closing quotation mark")),
            }
        }
    }

    /// Skips `[...]` with brackets and quoted texts in it.
    fn skip_brackets(&mut self) -> Result<(), CapsError> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some('[') => depth += 1,
                Some(']') => depth -= 1,
                Some('"') => {
                    self.skip_quoted()?;
                    continue;
                }
                Some('\\') => self.advance(),
                Some(_) => {}
                None => return Err(self.unexpected("a closing bracket")),
            }
            self.advance();
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn skip_bare(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ',' | ';' | ']' | '}' | '>' => return,
                '\\' => self.advance(),
                _ => {}
            }
            self.advance();
        }
    }

    /// A name of a media type or a field.
    fn word(&mut self, expected: &'static str) -> Result<&'a str, CapsError> {
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || "/-_.:+".contains(c);
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.unexpected(expected));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// The text up to a character, which is skipped.
    fn until(&mut self, end: char, expected: &'static str) -> Result<&'a str, CapsError> {
        let rest = &self.text[self.at..];
        let Some(length) = rest.find(end) else {
            self.at = self.text.len();
            return Err(self.unexpected(expected));
        };
        self.at += length + end.len_utf8();
        Ok(&rest[..length])
    }

    fn count(&mut self) -> Result<(), CapsError> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(CapsError::TooManyValues) } else { Ok(()) }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn advance(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }

    fn skip(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.advance();
        }
        found
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.advance();
        }
    }

    fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn unexpected(&self, expected: &'static str) -> CapsError {
        CapsError::Syntax { at: self.at, found: clipped(&self.text[self.at..]), expected }
    }
}

/// A quoted text without quotation marks and escapes: `\` before three octal digits is a byte, before anything else
/// that character. Bytes that are no UTF-8 become U+FFFD.
fn unescaped(quoted: &str) -> String {
    let inside = quoted.strip_prefix('"').unwrap_or(quoted);
    let mut rest = inside.strip_suffix('"').unwrap_or(inside).as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let (byte, tail) = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                ((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), tail)
            }
            (b'\\', [next, tail @ ..]) => (*next, tail),
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
