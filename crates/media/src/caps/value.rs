//! Values of fields, and how the text of a single value becomes one.

use std::fmt::{self, Display, Formatter};

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Types `int`, `uint` and `int64`.
    Int(i64),
    /// Type `guint64`.
    Unsigned(u64),
    /// Types `double` and `float`.
    Double(f64),
    /// Type `boolean`.
    Bool(bool),
    /// Type `fraction`.
    Fraction(Fraction),
    /// Type `string`, without its escapes.
    Text(String),
    /// Type `bitmask`.
    Bitmask(u64),
    /// `{ a, b }`: one of these values.
    List(Vec<Value>),
    /// `< a, b >`: all of these values, in order.
    Array(Vec<Value>),
    /// `[ low, high ]` or `[ low, high, step ]`: any value from the lowest to the highest.
    Range(Vec<Value>),
    /// A value of any other type, such as `buffer`, `structure` or `taglist`. The text is as it stands in the caps.
    Other {
        /// The type's name in the caps.
        type_name: String,
        /// The value's text, with its escapes.
        text: String,
    },
}

impl Value {
    /// The integer of [`Value::Int`], and of [`Value::Unsigned`] if it fits.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Unsigned(value) => i64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The text of [`Value::Text`].
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The fraction of [`Value::Fraction`].
    pub fn as_fraction(&self) -> Option<Fraction> {
        if let Self::Fraction(fraction) = self { Some(*fraction) } else { None }
    }

    /// The value of [`Value::Bool`].
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The bits of [`Value::Bitmask`].
    pub fn as_bitmask(&self) -> Option<u64> {
        if let Self::Bitmask(bits) = self { Some(*bits) } else { None }
    }

    /// The values of [`Value::List`], [`Value::Array`] and [`Value::Range`]; none for any other value.
    pub fn items(&self) -> &[Value] {
        match self {
            Self::List(items) | Self::Array(items) | Self::Range(items) => items,
            _ => &[],
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Fraction(value) => value.fmt(f),
            Self::Text(text) | Self::Other { text, .. } => text.fmt(f),
            Self::Bitmask(bits) => write!(f, "{bits:#018x}"),
            Self::List(items) => joined(f, ["{ ", " }"], items),
            Self::Array(items) => joined(f, ["< ", " >"], items),
            Self::Range(items) => joined(f, ["[ ", " ]"], items),
        }
    }
}

fn joined(f: &mut Formatter, [open, close]: [&str; 2], items: &[Value]) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        item.fmt(f)?;
    }
    f.write_str(close)
}

/// A fraction in lowest terms, with a denominator above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fraction {
    numerator: i32,
    denominator: i32,
}

impl Fraction {
    /// The fraction in lowest terms; `None` for a denominator of zero, or a term that needs more than 32 bits.
    pub fn new(numerator: i32, denominator: i32) -> Option<Self> {
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs()).max(1);
        let sign = if denominator < 0 { -1 } else { 1 };
        let reduced = |term: i32| i32::try_from(i64::from(term) * sign / i64::from(divisor)).ok();
        let (numerator, denominator) = (reduced(numerator)?, reduced(denominator)?);
        (denominator > 0).then_some(Self { numerator, denominator })
    }

    /// The number above the line.
    pub fn numerator(self) -> i32 {
        self.numerator
    }

    /// The number below the line: at least 1.
    pub fn denominator(self) -> i32 {
        self.denominator
    }

    /// The quotient.
    pub fn to_f64(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    pub(crate) const fn whole(numerator: i32) -> Self {
        Self { numerator, denominator: 1 }
    }
}

impl Display for Fraction {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The types whose values this crate understands, each with the names that GStreamer accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Int,
    Unsigned,
    Double,
    Bool,
    Fraction,
    Text,
    Bitmask,
}

impl Type {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "int" | "i" | "gint" | "uint" | "u" | "guint" | "int64" | "gint64" => Self::Int,
            "uint64" | "guint64" => Self::Unsigned,
            "double" | "d" | "gdouble" | "float" | "f" | "gfloat" => Self::Double,
            "boolean" | "bool" | "b" | "gboolean" => Self::Bool,
            "fraction" | "GstFraction" => Self::Fraction,
            "string" | "str" | "s" | "gchararray" => Self::Text,
            "bitmask" | "GstBitmask" => Self::Bitmask,
            _ => return None,
        })
    }

    /// Whether `[ a, b ]` of this type is a range.
    pub(super) fn has_ranges(self) -> bool {
        matches!(self, Self::Int | Self::Unsigned | Self::Double | Self::Fraction)
    }

    /// What a value of this type looks like, for an error.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Int => "a whole number such as 640 or 0x10",
            Self::Unsigned => "a whole number from 0",
            Self::Double => "a number such as 1.5",
            Self::Bool => "true or false",
            Self::Fraction => "a fraction of 32-bit numbers with a denominator other than 0, such as 30/1",
            Self::Text => "text",
            Self::Bitmask => "a hexadecimal number of up to 16 digits such as 0x3f",
        }
    }

    /// The value of a text without quotes and escapes; `None` if it is none of this type.
    pub(super) fn value(self, text: &str) -> Option<Value> {
        match self {
            Self::Int => int(text).map(Value::Int),
            Self::Unsigned => unsigned(text).map(Value::Unsigned),
            Self::Double => double(text).map(Value::Double),
            Self::Bool => boolean(text).map(Value::Bool),
            Self::Fraction => fraction(text).map(Value::Fraction),
            Self::Text => Some(Value::Text(text.into())),
            Self::Bitmask => {
                let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
                digits_of(digits, 16).map(Value::Bitmask)
            }
        }
    }
}

/// The value of a text that has no type in the caps.
pub(super) fn guessed(text: &str) -> Value {
    let types = [Type::Int, Type::Double, Type::Fraction, Type::Bool];
    types.into_iter().find_map(|guess| guess.value(text)).unwrap_or_else(|| Value::Text(text.into()))
}

fn int(text: &str) -> Option<i64> {
    match text {
        "max" => return Some(i32::MAX.into()),
        "min" => return Some(i32::MIN.into()),
        "little_endian" => return Some(1234),
        "big_endian" => return Some(4321),
        _ => {}
    }
    match text.strip_prefix('-') {
        Some(rest) => 0_i64.checked_sub_unsigned(unsigned(rest)?),
        None => unsigned(text.strip_prefix('+').unwrap_or(text))?.try_into().ok(),
    }
}

fn unsigned(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => digits_of(hexadecimal, 16),
        None if text == "max" => Some(u64::MAX),
        None => digits_of(text, 10),
    }
}

/// As `from_str_radix`, without signs.
fn digits_of(text: &str, radix: u32) -> Option<u64> {
    text.starts_with(|c: char| c.is_digit(radix)).then(|| u64::from_str_radix(text, radix).ok()).flatten()
}

fn double(text: &str) -> Option<f64> {
    let starts_as_number = text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if starts_as_number { text.parse().ok() } else { None }
}

fn boolean(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text {
        _ if is_one_of(["true", "t", "yes", "1"]) => Some(true),
        _ if is_one_of(["false", "f", "no", "0"]) => Some(false),
        _ => None,
    }
}

fn fraction(text: &str) -> Option<Fraction> {
    let term = |text: &str| int(text.trim_matches(|c: char| c.is_ascii_whitespace()))?.try_into().ok();
    match text.split_once('/') {
        Some((numerator, denominator)) => Fraction::new(term(numerator)?, term(denominator)?),
        None => Fraction::new(term(text)?, 1),
    }
}
