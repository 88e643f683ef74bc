//! Debug category of `shm2src`.

use std::sync::LazyLock;

pub(super) static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("shm2src", gst::DebugColorFlags::empty(), Some("Shared-memory source")));
