//! Filter for a peer's text before GStreamer parses it. The parser reads any type by its name, and for many of them a
//! malformed value causes a critical warning or worse. So only plain types pass, and no ranges, which no event or meta
//! has.

/// Types whose parsers accept any text, by the names that GStreamer writes and their short forms.
const PLAIN: &[&str] = &[
    "int",
    "i",
    "uint",
    "u",
    "gint",
    "guint",
    "gint64",
    "guint64",
    "int64",
    "uint64",
    "float",
    "f",
    "gfloat",
    "double",
    "d",
    "gdouble",
    "boolean",
    "bool",
    "b",
    "gboolean",
    "string",
    "str",
    "s",
    "gchararray",
    "fraction",
    "GstFraction",
    "guchar",
    "glong",
    "gulong",
    "bitmask",
    "GstBitmask",
    "date",
    "GDate",
    "datetime",
    "GstDateTime",
    "array",
    "GstValueArray",
    "list",
    "GstValueList",
    "GstFlagSet",
    "GstVideoMultiviewFlagsSet",
];

/// Types of bytes in hexadecimal, such as codec headers in caps.
const BYTES: &[&str] = &["buffer", "GstBuffer"];

/// Features of caps whose bytes are plain memory.
pub(crate) const FEATURES: &[&str] = &["memory:SystemMemory", "format:Interlaced"];

/// Most lists in each other. The parser calls itself for each one.
const MAX_DEPTH: usize = 32;

/// Whether a text is a structure, or caps of one structure in plain memory, with values of plain types.
pub(crate) fn is_plain(text: &str) -> bool {
    let name_end = text.find(['(', ',', ';']).unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    let Some(rest) = after_features(rest) else { return false };
    let is_name = name.trim().starts_with(|c: char| c.is_ascii_alphabetic())
        && name.trim().chars().all(|c| c.is_ascii_alphanumeric() || "/-_.:+".contains(c));
    is_name && after_fields(rest).is_some()
}

/// The rest after the features, if the text begins with any.
fn after_features(text: &str) -> Option<&str> {
    let Some(features) = text.strip_prefix('(') else { return Some(text) };
    let (features, rest) = features.split_once(')')?;
    let are_plain = features.split(',').all(|feature| FEATURES.contains(&feature.trim()));
    (are_plain && is_end_of_value(rest)).then_some(rest)
}

/// Reads fields to the end of the text; `None` unless all are plain.
fn after_fields(mut rest: &str) -> Option<()> {
    let mut open = Vec::new();
    while let Some(at) = rest.find(['"', '(', '[', ';', '\\', '<', '>', '{', '}']) {
        let (found, after) = rest[at..].split_at(1);
        rest = match found {
            "\"" => after_quote(after)?,
            "(" => match after.split_once(')')? {
                (kind, after) if PLAIN.contains(&kind.trim()) => after,
                (kind, after) if BYTES.contains(&kind.trim()) => after_bytes(after, MAX_DEPTH - open.len())?,
                _ => return None,
            },
            "<" | "{" if open.len() < MAX_DEPTH => {
                open.push(if found == "<" { ">" } else { "}" });
                after
            }
            ">" | "}" if open.pop() == Some(found) => after,
            // Another structure would follow.
            ";" if after.trim().is_empty() => after,
            _ => return None,
        };
    }
    open.is_empty().then_some(())
}

/// The rest after a quoted text.
fn after_quote(text: &str) -> Option<&str> {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })?;
    Some(&text[end + 1..])
}

/// The rest after bytes, or after lists of nothing but bytes that are at most `depth` lists in each other.
fn after_bytes(text: &str, depth: usize) -> Option<&str> {
    let text = trim_start(text);
    let end = match text.chars().next()? {
        '<' if depth > 0 => '>',
        '{' if depth > 0 => '}',
        _ => {
            let rest = text.trim_start_matches(|c: char| c.is_ascii_hexdigit());
            let count = text.len() - rest.len();
            return (count > 0 && count.is_multiple_of(2) && is_end_of_value(rest)).then_some(rest);
        }
    };
    let mut rest = &text[1..];
    loop {
        rest = trim_start(rest);
        if let Some(kind) = rest.strip_prefix('(') {
            let (kind, after) = kind.split_once(')')?;
            rest = BYTES.contains(&kind.trim()).then_some(after)?;
        }
        rest = trim_start(after_bytes(rest, depth - 1)?);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return rest.strip_prefix(end).filter(|rest| is_end_of_value(rest)),
        }
    }
}

fn is_end_of_value(rest: &str) -> bool {
    trim_start(rest).chars().next().is_none_or(|c| ",;>}".contains(c))
}

/// Without the spaces that the parser passes over.
fn trim_start(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_pass_and_everything_else_does_not() {
        for text in [
            "video/x-raw",
            "video/x-raw(memory:SystemMemory), format=(string)NV12, width=(int)5;",
            "video/x-h264, codec_data=(buffer)0142c01e, framerate=(fraction)30/1",
            "note, text=\"a (thing) [b] \\\"q\\\" (GstCaps)\", n=5, list={ 1, 2 }, a=< (int)1 >",
            "x, a=(guchar)5, b=(glong)-5, c=(gulong)5",
        ] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "",
            " ",
            "5, a=1",
            "x, a=(taglist)x",
            "tags, title=<(taglist)x>",
            "x, a=(GstStructure)0",
            "x, a=[1, 2]",
            "x, a=\"open",
            "x, a=(sample)AAAA",
            "x, a=(void)1",
            "x(memory:GLMemory), a=1",
            "x, a=(int",
            "x, a=< 1, 2",
            "x, a=< 1, 2 }",
            "x, a=1 >",
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }

    #[test]
    fn bytes_pass_alone_and_in_lists_of_bytes_only() {
        for text in [
            "audio/x-opus, streamheader=(buffer)< 4f70, 4f75 >",
            "audio/x-opus, streamheader=(buffer)< 4f70 >, rate=(int)48000",
            "audio/x-opus, streamheader=(buffer)<4f70,4f75>;",
            "x, a=(buffer){ 01, 02 }",
            "x, a=(GstBuffer) < 01 , 02 > , b=(int)1",
            "x, a=(buffer)< < (buffer)01, (GstBuffer)02 >, { 03 }, 04 >",
            "x, a=< (buffer)01, (int)2 >, b={ (buffer)01 }",
            "x, a=( buffer ) 01",
        ] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "x, a=(buffer)",
            "x, a=(buffer)0",
            "x, a=(buffer)zz",
            "x, a=(buffer)01-2",
            "x, a=(buffer)01 02",
            "x, a=(buffer)\"01\"",
            "x, a=(buffer)< zz >",
            "x, a=(buffer)< 0 >",
            "x, a=(buffer)< 01, (taglist)x >",
            "x, a=(buffer)< 01, (int)2 >",
            "x, a=(buffer)< 01",
            "x, a=(buffer)< 01 }",
            "x, a=(buffer)< 01 02 >",
            "x, a=(buffer)< 01_ >",
            "x, a=(buffer)< 01, >",
            "x, a=(buffer)< , 01 >",
            "x, a=(buffer)< \"01\" >",
            "x, a=(buffer)< 01 > 02",
            "x, a=(buffer)< < (buffer)01 >",
            "x, a=(buffer)[ 01, 02 ]",
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }

    /// GStreamer's parser calls itself for each list in a list, until the stack is full.
    #[test]
    fn lists_are_limited_in_depth() {
        let nested = |kind: &str, value: &str, depth| {
            is_plain(&format!("x, a={kind}{}{value}{}", "< ".repeat(depth), " >".repeat(depth)))
        };
        for (kind, value) in [("", "1"), ("(buffer)", "01"), ("", "(buffer)01")] {
            assert!(nested(kind, value, MAX_DEPTH), "{kind}");
            assert!(!nested(kind, value, MAX_DEPTH + 1) && !nested(kind, value, 30_000), "{kind}");
        }
        assert!(!is_plain(&format!("x, a={}", "<".repeat(1 << 20))));
        let many = format!("x, a=(buffer)< {} >", vec!["< (buffer)01 >"; 1000].join(", "));
        assert!(is_plain(&many));
    }

    #[test]
    fn features_pass_unless_they_name_other_memory() {
        for features in ["memory:SystemMemory", "format:Interlaced", "memory:SystemMemory, format:Interlaced"] {
            assert!(is_plain(&format!("video/x-raw({features}), width=(int)5")), "{features}");
            assert!(is_plain(&format!("video/x-raw({features})")), "{features}");
        }
        for features in ["", "ANY", "memory:GLMemory, format:Interlaced", "meta:GstVideoOverlayComposition", "(int)1"] {
            assert!(!is_plain(&format!("video/x-raw({features}), width=(int)5")), "{features}");
        }
        assert!(
            !is_plain("video/x-raw(format:Interlaced) x, width=(int)5") && !is_plain("video/x-raw(format:Interlaced")
        );
    }

    /// GLib ends the process at a critical warning of the parser.
    #[test]
    fn what_passes_causes_no_critical_warning() {
        gst::init().unwrap();
        gst::glib::log_set_always_fatal(gst::glib::LogLevels::LEVEL_CRITICAL | gst::glib::LogLevels::LEVEL_ERROR);
        const PARTS: &[&str] = &[
            "01",
            "0",
            "a",
            "zz",
            "-",
            "_",
            ".",
            " ",
            ",",
            ", ",
            ";",
            "=",
            "b=",
            "(buffer)",
            "(int)",
            "(string)",
            "(glong)",
            "(guchar)",
            "(GstValueArray)",
            "(list)",
            "(GstFlagSet)",
            "(bitmask)",
            "(taglist)",
            "(structure)",
            "(GstCaps)",
            "<",
            ">",
            "{",
            "}",
            "[",
            "]",
            "(string)\"<\"",
            "\\",
            "1",
            "/",
            "NULL",
            ":",
            "+",
            "\u{a0}",
            "\n",
            "(date)",
            "(fraction)",
        ];
        let mut rng = shm2_testing::Rng::with_seed(shm2_testing::seed());
        let mut passed = 0;
        for _ in 0..100_000 {
            let mut text = String::from("x/y, a=");
            (0..rng.usize(1..9)).for_each(|_| text.push_str(PARTS[rng.usize(..PARTS.len())]));
            if is_plain(&text) {
                passed += 1;
                drop(text.parse::<gst::Caps>());
            }
        }
        assert!(passed > 1000, "{passed}");
    }
}
