//! Caps that a region can carry.

use crate::plain;

/// Whether all structures are of plain memory: a region cannot carry the memory of a device.
pub(crate) fn is_system_memory(caps: &gst::CapsRef) -> bool {
    caps.is_any() || caps.iter_with_features().all(|(_, features)| is_plain(features))
}

/// The structures that are of plain memory, or can be.
pub(crate) fn in_system_memory(caps: &gst::CapsRef) -> gst::Caps {
    if caps.is_any() {
        return gst::Caps::new_any();
    }
    let plain = caps.iter_with_features().filter(|(_, features)| is_plain(features)).map(|(structure, features)| {
        // Caps of any memory would include that of devices.
        let features = if features.is_any() { gst::CapsFeatures::new_empty() } else { features.to_owned() };
        (structure.to_owned(), features)
    });
    plain.collect()
}

fn is_plain(features: &gst::CapsFeaturesRef) -> bool {
    let system = gst::CapsFeatures::new([gst::CAPS_FEATURE_MEMORY_SYSTEM_MEMORY]);
    features.is_any() || features.size() == 0 || features.is_equal(&system)
}

/// Caps from a region's text; `None` unless a pad can have them.
pub(crate) fn from_text(text: &[u8]) -> Option<gst::Caps> {
    let caps = plain_text(text).filter(|text| plain::is_plain(text))?.parse::<gst::Caps>().ok()?;
    (caps.is_fixed() && is_system_memory(&caps)).then_some(caps)
}

/// Layout of raw media according to its caps.
#[derive(Debug, Default)]
pub(crate) struct Media {
    pub(crate) video: Option<gst_video::VideoInfo>,
    pub(crate) audio: Option<gst_audio::AudioInfo>,
}

impl Media {
    pub(crate) fn of(caps: &gst::CapsRef) -> Self {
        // The name is checked first: GStreamer logs an error for caps of another name.
        let name = caps.structure(0).map_or("", |structure| structure.name().as_str());
        Self {
            video: (name == "video/x-raw").then(|| gst_video::VideoInfo::from_caps(caps).ok()).flatten(),
            audio: (name == "audio/x-raw").then(|| gst_audio::AudioInfo::from_caps(caps).ok()).flatten(),
        }
    }

    /// Bytes of a frame of raw video; `None` for other media and for formats without a fixed size.
    pub(crate) fn frame_bytes(&self) -> Option<u64> {
        self.video.as_ref().map(|video| video.size() as u64).filter(|bytes| *bytes > 0)
    }
}

/// Text of a peer: UTF-8 without a zero byte, which GLib's strings cannot hold.
pub(crate) fn plain_text(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fixed_caps_of_plain_memory_come_from_a_region() {
        gst::init().unwrap();
        assert!(from_text(b"video/x-raw, format=(string)NV12, width=(int)5").is_some());
        assert!(from_text(b"video/x-raw(memory:SystemMemory), format=(string)NV12").is_some());
        for text in
            ["ANY", "EMPTY", " ", "", "video/x-raw, width=[1,320]", "video/x-raw, format={I420,NV12}", "a/b; c/d"]
        {
            assert!(from_text(text.as_bytes()).is_none(), "{text}");
        }
        assert!(from_text(b"video/x-raw(memory:GLMemory), format=(string)RGBA").is_none());
        assert!(from_text(b"\xff").is_none());
        assert!(from_text(b"video/x-raw\0, format=(string)NV12").is_none());
    }
}
