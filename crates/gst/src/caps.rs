//! Caps that a region can carry.

use crate::plain;
use std::fmt;

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
    features.is_any() || features.iter().all(|feature| plain::FEATURES.contains(&feature.as_str()))
}

/// Caps from a region's text; `None` unless a pad can have them.
pub(crate) fn from_text(text: &[u8]) -> Option<gst::Caps> {
    let caps = plain_text(text).filter(|text| plain::is_plain(text))?.parse::<gst::Caps>().ok()?;
    (caps.is_fixed() && is_system_memory(&caps)).then_some(caps)
}

/// Checks that consumers can read the caps from a region.
pub(crate) fn check(caps: &gst::CapsRef) -> Result<(), Unreadable> {
    let bytes = caps.to_string().len();
    if bytes as u64 > shm2::layout::MAX_CAPS {
        return Err(Unreadable::TooLarge { bytes });
    }
    if is_readable(caps) {
        return Ok(());
    }
    let fields = caps.structure(0).into_iter().flat_map(|structure| structure.iter());
    let mut alone =
        fields.map(|(name, value)| (name, value, gst::Structure::from_iter("x", [(name.as_str(), value.clone())])));
    let found = alone.find(|(_, _, field)| !is_readable(&gst::Caps::from(field.clone())));
    Err(match found {
        Some((name, value, _)) => Unreadable::Field { name: name.to_string(), kind: value.type_().name() },
        None => Unreadable::Caps(caps.to_string()),
    })
}

fn is_readable(caps: &gst::CapsRef) -> bool {
    from_text(caps.to_string().as_bytes()).is_some_and(|read| *read == *caps)
}

/// Why consumers cannot read caps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A field's text cannot be read, or is read as another value.
    Field {
        name: String,
        kind: &'static str,
    },
    /// The text of all of the caps is longer than a region's may be.
    TooLarge {
        bytes: usize,
    },
    Caps(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { name, kind } => {
                write!(f, "consumers cannot read the caps: the value of {name}, a {kind}, cannot be carried as text")
            }
            Self::TooLarge { bytes } => {
                let limit = shm2::layout::MAX_CAPS;
                write!(f, "the caps are a text of {bytes} bytes, more than the {limit} bytes of a region's caps")
            }
            Self::Caps(caps) => write!(f, "consumers cannot read the caps {caps}"),
        }
    }
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

    /// Whether frames do not depend on each other.
    pub(crate) fn is_raw(&self) -> bool {
        self.video.is_some() || self.audio.is_some()
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
    use gst::prelude::*;

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
        assert!(from_text(b"video/x-raw(format:Interlaced), format=(string)NV12").is_some());
        assert!(from_text(b"video/x-raw(memory:SystemMemory, format:Interlaced), format=(string)NV12").is_some());
        assert!(from_text(b"audio/x-opus, streamheader=(buffer)< 4f70, 4f75 >").is_some());
        assert!(from_text(b"video/x-raw(memory:GLMemory), format=(string)RGBA").is_none());
        assert!(from_text(b"\xff").is_none());
        assert!(from_text(b"video/x-raw\0, format=(string)NV12").is_none());
    }
    #[test]
    fn caps_that_cannot_be_read_back_are_refused_by_the_name_of_the_field() {
        gst::init().unwrap();
        let caps = |value: gst::glib::SendValue| {
            let mut structure = gst::Structure::new_empty("application/x-test");
            structure.set("width", 5);
            structure.set_value("odd", value);
            gst::Caps::from(structure)
        };
        let bytes = gst::Buffer::from_slice([1u8, 2]);
        let readable: [gst::glib::SendValue; 9] = [
            "a \"b\" ; < { ( [".to_send_value(),
            "".to_send_value(),
            5u8.to_send_value(),
            gst::glib::ILong(-5).to_send_value(),
            gst::glib::ULong(5).to_send_value(),
            bytes.to_send_value(),
            gst::Array::new([bytes.clone(), bytes.clone()]).to_send_value(),
            gst::Array::new([gst::Array::new([bytes.clone(), bytes.clone()]), gst::Array::new([bytes])])
                .to_send_value(),
            gst::Fraction::new(30, 1).to_send_value(),
        ];
        for value in readable {
            let caps = caps(value);
            assert_eq!(check(&caps), Ok(()), "{caps}");
        }
        let unreadable: [gst::glib::SendValue; 5] = [
            5i8.to_send_value(),
            gst::Structure::builder("inner").field("a", 1).build().to_send_value(),
            gst::Caps::new_any().to_send_value(),
            gst::TagList::new().to_send_value(),
            gst::Array::new([gst::Buffer::new()]).to_send_value(),
        ];
        for value in unreadable {
            let caps = caps(value);
            let Err(Unreadable::Field { name, .. }) = check(&caps) else { panic!("{caps}") };
            assert_eq!(name, "odd");
        }
        let large = caps(gst::Buffer::from_slice(vec![7u8; 40_000]).to_send_value());
        assert!(matches!(check(&large), Err(Unreadable::TooLarge { bytes: 80_000.. })));
    }
}
