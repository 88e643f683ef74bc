//! Percent escapes of region names, as in RFC 3986. An invalid escape is an error.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, percent_encode};
use std::ffi::{OsStr, OsString};

/// Every character except those that RFC 3986 allows in a path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The text with an escape for each byte that a path in a URI must not contain.
pub(super) fn encode<T: AsRef<OsStr> + ?Sized>(text: &T) -> PercentEncode<'_> {
    percent_encode(text.as_ref().as_encoded_bytes(), ESCAPED)
}

/// `text` with its escapes decoded; `None` when one is invalid or the result is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    has_valid_escapes(text).then(|| percent_decode_str(text).decode_utf8().ok().map(Into::into))?
}

/// As [`decode`], for a path: its bytes may be any on Unix.
pub(super) fn decode_path(text: &str) -> Option<OsString> {
    #[cfg(unix)]
    return has_valid_escapes(text)
        .then(|| std::os::unix::ffi::OsStringExt::from_vec(percent_decode_str(text).collect()));
    #[cfg(not(unix))]
    decode(text).map(Into::into)
}

fn has_valid_escapes(text: &str) -> bool {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    text.split('%').skip(1).all(is_escape)
}
