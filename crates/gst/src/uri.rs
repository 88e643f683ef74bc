//! Region names as URIs, so that players find the elements by them: `gst-play-1.0 shm:///dev/shm/camera`.

use gst::glib;
use gst::prelude::*;

/// Schemes of region names, on whatever system they work.
pub(crate) const PROTOCOLS: &[&str] = &["shm", "winshm", "ivshmem"];

/// The canonical URI of what the property `shm-path` says; `None` if that is no name.
pub(crate) fn uri_of(path: &str) -> Option<String> {
    path.parse::<shm2::Spec>().ok().map(|spec| spec.to_string())
}

/// Checks a URI for an element that is not running; returns what goes into its `shm-path`.
pub(crate) fn path_of(uri: &str, element: &impl IsA<gst::Element>) -> Result<String, glib::Error> {
    if element.current_state() > gst::State::Ready {
        return Err(glib::Error::new(gst::URIError::BadState, "the region can only be changed while stopped"));
    }
    match uri.parse::<shm2::Spec>() {
        Ok(_) => Ok(uri.to_owned()),
        Err(error) => Err(glib::Error::new(gst::URIError::BadUri, &error.to_string())),
    }
}
