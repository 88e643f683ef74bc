//! Debug category of `shm2sink`.

use std::sync::LazyLock;

pub(super) static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("shm2sink", gst::DebugColorFlags::empty(), Some("Shared-memory sink")));
