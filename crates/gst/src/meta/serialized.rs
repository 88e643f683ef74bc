//! Kind 12, any other meta, in the form that GStreamer itself gives it from 1.24 on: length of the whole u32, length of
//! the name u32, the name, a zero byte, version u8, content (the documentation of `gst_meta_serialize`).
//!
//! The two functions are looked up on first use, so that one build works with older versions, too.
//!
//! # Safety
//! The signatures are those of GStreamer's stable interface. The functions stay loaded until the
//! process ends, as GStreamer does.

#![expect(unsafe_code, reason = "the functions are looked up by name at run time")]

use crate::items::Reader;
use gst::ffi;
use gst::glib;
use std::sync::OnceLock;

type Serialize = unsafe extern "C" fn(*const ffi::GstMeta, *mut glib::ffi::GByteArray) -> glib::ffi::gboolean;
type Deserialize = unsafe extern "C" fn(*mut ffi::GstBuffer, *const u8, usize, *mut u32) -> *mut ffi::GstMeta;

/// Metas with bounds that elements do not check again: only our own form of them, which is checked, is accepted.
const OURS: &[&str] = &[
    "GstVideoMeta",
    "GstVideoCropMeta",
    "GstVideoRegionOfInterestMeta",
    "GstAudioMeta",
    "GstParentBufferMeta",
    "GstVideoTimeCodeMeta",
    "GstVideoCaptionMeta",
];

#[cfg(unix)]
fn loaded() -> Option<libloading::os::unix::Library> {
    Some(libloading::os::unix::Library::this())
}

#[cfg(windows)]
fn loaded() -> Option<libloading::os::windows::Library> {
    libloading::os::windows::Library::open_already_loaded("gstreamer-1.0-0.dll").ok()
}

fn functions() -> Option<(Serialize, Deserialize)> {
    static FUNCTIONS: OnceLock<Option<(Serialize, Deserialize)>> = OnceLock::new();
    *FUNCTIONS.get_or_init(|| {
        let this = loaded()?;
        // SAFETY: the names have these signatures in GStreamer's stable interface, and the library stays loaded.
        unsafe {
            let serialize = this.get::<Serialize>(c"gst_meta_serialize_simple").ok()?;
            let deserialize = this.get::<Deserialize>(c"gst_meta_deserialize").ok()?;
            Some((*serialize, *deserialize))
        }
    })
}

/// The meta's bytes; `None` if this version of GStreamer, or this meta, has no such form.
pub(super) fn bytes(meta: &gst::MetaRef<gst::Meta>) -> Option<Vec<u8>> {
    let (serialize, _) = functions()?;
    // SAFETY: the meta is borrowed; the array is made and freed here, and its bytes are copied before that.
    unsafe {
        let array = glib::ffi::g_byte_array_new();
        let written = serialize(meta.as_ptr().cast(), array) != glib::ffi::GFALSE;
        let (data, length) = ((*array).data, (*array).len as usize);
        let bytes = written && !data.is_null();
        let bytes = bytes.then(|| std::slice::from_raw_parts(data, length).to_vec());
        glib::ffi::g_byte_array_unref(array);
        bytes
    }
}

/// Adds the meta if this process knows it; `None` if the bytes are not such a form, or of a meta that has
/// another form.
pub(super) fn add(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let name = name(bytes)?;
    if OURS.contains(&name) {
        return None;
    }
    let Some((_, deserialize)) = functions() else { return Some(()) };
    let mut consumed = 0;
    // SAFETY: the buffer is writable; `name` checked the lengths in the header against the bytes.
    unsafe { deserialize(buffer.as_mut_ptr(), bytes.as_ptr(), bytes.len(), &mut consumed) };
    Some(())
}

fn name(bytes: &[u8]) -> Option<&str> {
    let mut reader = Reader(bytes);
    let whole = reader.u32()?;
    let name = crate::caps::plain_text(reader.sized()?)?;
    let [0, _version] = reader.take(2)? else { return None };
    (whole as usize == bytes.len() && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gstreamers_own_form_comes_back_where_there_is_one() {
        gst::init().unwrap();
        let caps = "timestamp/x-ntp".parse::<gst::Caps>().unwrap();
        let time = gst::ClockTime::from_seconds(5);
        let mut buffer = gst::Buffer::with_size(10).unwrap();
        gst::ReferenceTimestampMeta::add(buffer.get_mut().unwrap(), &caps, time, None);
        let form = buffer.iter_meta::<gst::Meta>().find_map(|meta| bytes(&meta));
        assert_eq!(form.is_some(), gst::version() >= (1, 24, 0, 0), "{}", gst::version_string());
        let Some(form) = form else { return };
        let mut other = gst::Buffer::with_size(10).unwrap();
        assert!(add(other.get_mut().unwrap(), &form).is_some());
        let meta = other.meta::<gst::ReferenceTimestampMeta>().unwrap();
        assert_eq!((meta.reference(), meta.timestamp()), (&*caps, time));
        for end in 0..form.len() {
            assert!(add(other.get_mut().unwrap(), &form[..end]).is_none());
        }
    }

    #[test]
    fn only_a_whole_form_of_a_meta_without_bounds_is_looked_at() {
        gst::init().unwrap();
        let form = |name: &str, whole: u32| {
            let length = (name.len() as u32).to_le_bytes();
            [&whole.to_le_bytes()[..], &length, name.as_bytes(), &[0, 0], b"content"].concat()
        };
        let whole = |name: &str| 8 + name.len() as u32 + 2 + 7;
        let mut buffer = gst::Buffer::with_size(10).unwrap();
        let buffer = buffer.get_mut().unwrap();
        let name = "Shm2UnknownMeta";
        assert!(add(buffer, &form(name, whole(name))).is_some());
        assert!(add(buffer, &form(name, whole(name) + 1)).is_none());
        assert!(add(buffer, &form(name, u32::MAX)).is_none());
        assert!(add(buffer, &form("GstVideoMeta", whole("GstVideoMeta"))).is_none());
        let mut long = form(name, whole(name));
        long[4..8].fill(0xff);
        assert!(add(buffer, &long).is_none());
    }
}
