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

/// Whether a text is a structure, or caps of one structure in system memory, with values of plain types.
pub(crate) fn is_plain(text: &str) -> bool {
    let (head, fields) = text.split_once(',').unwrap_or((text, ""));
    let head = head.trim().trim_end_matches(';').trim_end();
    let name = head.strip_suffix("(memory:SystemMemory)").unwrap_or(head);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.:+".contains(c));
    is_name && fields_are_plain(fields)
}

fn fields_are_plain(mut rest: &str) -> bool {
    while let Some(at) = rest.find(['"', '(', '[', ';', '\\']) {
        let (found, after) = rest[at..].split_at(1);
        rest = match found {
            "\"" => match after_quote(after) {
                Some(after) => after,
                None => return false,
            },
            "(" => match after.split_once(')') {
                Some((kind, after)) if PLAIN.contains(&kind.trim()) => after,
                Some((kind, after)) if BYTES.contains(&kind.trim()) && begins_with_bytes(after) => after,
                _ => return false,
            },
            // Another structure would follow.
            ";" if after.trim().is_empty() => after,
            _ => return false,
        };
    }
    true
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

fn begins_with_bytes(text: &str) -> bool {
    let digits = text.trim_start().trim_start_matches(|c: char| c.is_ascii_hexdigit());
    let count = text.trim_start().len() - digits.len();
    count > 0 && count.is_multiple_of(2) && !digits.starts_with(|c: char| c.is_ascii_alphanumeric())
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
            "x, a=(buffer)0",
            "x, a=(buffer)zz",
            "x(memory:GLMemory), a=1",
            "x, a=(int",
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
