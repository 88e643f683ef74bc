//! What a request asks for.

#![expect(unsafe_code, reason = "the library's own accessor takes for granted that an address is UTF-8")]

use gst_rtsp_server::RTSPContext;
use std::ffi::CStr;

/// The path that a client asks for. It may have any bytes: those that are no UTF-8 are replaced, and match no mount.
pub fn path(context: &RTSPContext) -> Option<String> {
    let url = context.uri()?.as_ptr();
    // SAFETY: the address lives as long as the request that is borrowed here, and nothing changes it meanwhile.
    let path = unsafe { (*url).abspath };
    if path.is_null() {
        return None;
    }
    // SAFETY: GStreamer ends the path with a zero.
    let path = unsafe { CStr::from_ptr(path) };
    Some(path.to_string_lossy().into_owned())
}
