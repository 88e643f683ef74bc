//! Region names as URIs, so that players find the elements by them: `gst-play-1.0 shm:///dev/shm/camera`.

use gst::glib;
use gst::prelude::*;

/// Schemes of region names, regardless of the system on which they work.
pub(crate) const PROTOCOLS: &[&str] = &["shm", "winshm", "ivshmem"];

/// The canonical URI of a value of the property `shm-path`; `None` if it is no region name.
pub(crate) fn uri_of(path: &str) -> Option<String> {
    path.parse::<shm2::Spec>().ok().map(|spec| spec.to_string())
}

/// Checks a URI for an element that is not running; returns the value for its `shm-path`.
pub(crate) fn path_of(uri: &str, element: &impl IsA<gst::Element>) -> Result<String, glib::Error> {
    if element.current_state() > gst::State::Ready {
        return Err(glib::Error::new(gst::URIError::BadState, "the region can only be changed while stopped"));
    }
    match uri.parse::<shm2::Spec>() {
        Ok(_) => Ok(uri.to_owned()),
        Err(error) => Err(glib::Error::new(gst::URIError::BadUri, &error.to_string())),
    }
}

/// `URIHandlerImpl` of an element that keeps its `shm_path` in `settings`.
macro_rules! uri_handler {
    ($element:ty, $direction:expr) => {
        impl gst::subclass::prelude::URIHandlerImpl for $element {
            const URI_TYPE: gst::URIType = $direction;

            fn protocols() -> &'static [&'static str] {
                $crate::uri::PROTOCOLS
            }

            fn uri(&self) -> Option<String> {
                $crate::uri::uri_of(&$crate::lock(&self.settings).shm_path)
            }

            fn set_uri(&self, uri: &str) -> Result<(), gst::glib::Error> {
                let path = $crate::uri::path_of(uri, &*self.obj())?;
                $crate::lock(&self.settings).shm_path = path;
                Ok(())
            }
        }
    };
}
pub(crate) use uri_handler;
