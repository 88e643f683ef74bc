//! The grammar of caps text, its limits, and the sentences of its errors.

use shm2_media::{Caps, CapsError, Fraction, MAX_CAPS_BYTES, MAX_DEPTH, MAX_VALUES, Structure, Value};

fn structure(text: &str) -> Structure {
    let caps = Caps::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(caps.structures().len(), 1, "{text}");
    caps.structures()[0].clone()
}

fn value(text: &str) -> Value {
    structure(&format!("a/b, x={text}, y=1")).value("x").unwrap_or_else(|| panic!("{text}")).clone()
}

fn error(text: &str) -> String {
    Caps::parse(text).expect_err(text).to_string()
}

#[test]
fn types_and_untyped_values_are_read() {
    let text = |text: &str| Value::Text(text.into());
    let fraction = |n, d| Value::Fraction(Fraction::new(n, d).unwrap());
    for (given, expected) in [
        ("(int)5", Value::Int(5)),
        ("-7", Value::Int(-7)),
        ("(int)0x10", Value::Int(16)),
        ("(int)max", Value::Int(i32::MAX.into())),
        ("(guint64)18446744073709551615", Value::Unsigned(u64::MAX)),
        ("(gint64)-9223372036854775808", Value::Int(i64::MIN)),
        ("1.5", Value::Double(1.5)),
        ("(float)1", Value::Double(1.0)),
        ("(boolean)TRUE", Value::Bool(true)),
        ("no", Value::Bool(false)),
        ("30/1", fraction(30, 1)),
        ("(fraction)50/-2", fraction(-25, 1)),
        ("(fraction)5", fraction(5, 1)),
        ("(bitmask)0x3f", Value::Bitmask(0x3f)),
        ("I420", text("I420")),
        ("(string)5", text("5")),
        ("\"5\"", text("5")),
        ("\"a\\\"b\\\\c, d; \\303\\251\"", text("a\"b\\c, d; \u{e9}")),
        ("\"\\377\"", text("\u{fffd}")),
        ("( string ) \"\"", text("")),
        ("{ I420, (int)3 }", Value::List(vec![text("I420"), Value::Int(3)])),
        ("(string){ 1, 2 }", Value::List(vec![text("1"), text("2")])),
        ("{}", Value::List(vec![])),
        ("< 1, < 2, 3 > >", Value::Array(vec![Value::Int(1), Value::Array(vec![Value::Int(2), Value::Int(3)])])),
        ("(int)[ 1, 10, 2 ]", Value::Range(vec![Value::Int(1), Value::Int(10), Value::Int(2)])),
        ("[ 0/1, 30/1 ]", Value::Range(vec![fraction(0, 1), fraction(30, 1)])),
    ] {
        assert_eq!(value(given), expected, "{given}");
    }
}

#[test]
fn values_of_other_types_are_kept_as_text() {
    for (given, type_name, text) in [
        ("(buffer)00ff", "buffer", "00ff"),
        ("(structure)[x/y, q=(string)\"]\", r=[ 1, 2 ];]", "structure", "[x/y, q=(string)\"]\", r=[ 1, 2 ];]"),
        ("(GstCaps)\"video/x-raw; a/b\"", "GstCaps", "\"video/x-raw; a/b\""),
        ("(GstFlagset)0:ffff:/one/two", "GstFlagset", "0:ffff:/one/two"),
        ("(string)NULL", "string", "NULL"),
    ] {
        let expected = Value::Other { type_name: type_name.into(), text: text.into() };
        assert_eq!(value(given), expected, "{given}");
    }
    let headers = value("(buffer)< 01, 02 >");
    assert!(matches!(headers.items(), [Value::Other { .. }, Value::Other { .. }]), "{headers:?}");
}

#[test]
fn several_structures_and_features_are_read() {
    let caps = Caps::parse(" video/x-raw(memory:SystemMemory, meta:X), a=1, ; image/jpeg; ").unwrap();
    let [first, second] = caps.structures() else { panic!("{caps:?}") };
    assert_eq!(first.features(), ["memory:SystemMemory", "meta:X"]);
    assert_eq!((first.int("a"), first.fields().len(), second.name()), (Some(1), 1, "image/jpeg"));
    assert!(Caps::parse("ANY").unwrap().is_any());
    assert!(Caps::parse("EMPTY").unwrap().structures().is_empty());
    assert_eq!(structure("a/b, x=1, x=2").int("x"), Some(2), "the last one counts, as in GStreamer");
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        ("video/x-raw, width", "wrong at byte 18: expected an equals sign"),
        ("video/x-raw width=3", "wrong at byte 12: expected a comma"),
        ("a/b, x=", "expected a value behind the equals sign"),
        ("a/b, x=\"open", "expected a closing quotation mark"),
        ("a/b, x=(int", "expected a closing parenthesis"),
        ("a/b, x=(foo)[ [ ]", "expected a closing bracket"),
        ("a/b, x={ \"1\" 2 }", "expected a comma before the next item"),
        ("a/b, x={ 1", "expected a comma before the next item"),
        ("a/b, x=(int)[ 1 ]", "expected a range such as"),
        ("=", "expected a media type"),
        ("a/b, x=(int)wide", "the field \"x\" has the value \"wide\": expected a whole number"),
        ("a/b, x=(fraction)1/0", "denominator other than 0"),
        ("a/b, x=(fraction)-2147483648/-1", "32-bit"),
        ("a/b, x=(int)99999999999999999999", "expected a whole number"),
    ] {
        assert!(error(text).contains(expected), "{text}: {}", error(text));
    }
    let long = error(&format!("a/b, x=(int){}", "q".repeat(5000)));
    assert!(long.len() < 250, "errors do not repeat long texts: {long}");
}

#[test]
fn limits_hold() {
    let nested = |depth| format!("a/b, x={}1{}", "{".repeat(depth), "}".repeat(depth));
    assert!(Caps::parse(nested(MAX_DEPTH)).is_ok());
    for depth in [MAX_DEPTH + 1, 400_000] {
        assert!(matches!(Caps::parse(nested(depth)), Err(CapsError::TooDeep { .. })), "{depth}");
    }
    assert!(matches!(value(&"9".repeat(MAX_CAPS_BYTES - 100)), Value::Double(_)));
    let brackets = "[".repeat(500_000);
    assert!(error(&format!("a/b, x=(structure){brackets}")).contains("closing bracket"));
    let items = |count: usize| format!("a/b, x={{{}}}", "1,".repeat(count - 1) + "1");
    assert!(Caps::parse(items(MAX_VALUES - 2)).is_ok());
    assert_eq!(Caps::parse(items(MAX_VALUES - 1)), Err(CapsError::TooManyValues));
    assert_eq!(Caps::parse("a;".repeat(MAX_VALUES + 1)), Err(CapsError::TooManyValues));
    let bytes = MAX_CAPS_BYTES + 1;
    assert_eq!(Caps::parse("a".repeat(bytes)), Err(CapsError::TooLong { bytes }));
    assert_eq!(Caps::parse(b"a/b, x=\xff"), Err(CapsError::NotText { at: 7 }));
}
