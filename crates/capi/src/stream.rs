//! The caps of a stream: the text for C, and what it means, read once for all frames that have it.

use crate::boundary::Outcome;
use crate::status::{Failure, Status, c_text};
use shm2::Frame;
use shm2_media::Media;
use std::ffi::{CStr, CString};
use std::sync::{Arc, OnceLock};

/// Caps of a stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) number: u32,
    /// The text and a zero byte. It comes from a peer, and may have zero bytes itself.
    text: Vec<u8>,
    described: OnceLock<Outcome<Described>>,
}

/// What the caps mean, with texts for C.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) media: Media,
    pub(crate) media_type: CString,
    pub(crate) texts: Texts,
}

/// Texts of a description.
#[derive(Debug)]
pub(crate) enum Texts {
    Video { format: CString, colorimetry: CString, interlace_mode: CString },
    Audio { format: CString },
    Encoded(EncodedTexts),
    None,
}

#[derive(Debug)]
pub(crate) struct EncodedTexts {
    pub(crate) codec: CString,
    pub(crate) profile: Option<CString>,
    pub(crate) level: Option<CString>,
    pub(crate) stream_format: Option<CString>,
    pub(crate) alignment: Option<CString>,
}

impl Stream {
    pub(crate) fn new(number: u32, caps: &[u8]) -> Self {
        Self { number, text: [caps, b"\0"].concat(), described: OnceLock::new() }
    }

    /// The stream of a frame: the last one if it is the same.
    pub(crate) fn of(frame: &Frame, last: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let (number, caps) = frame.caps()?;
        let is_same = |stream: &&Arc<Self>| stream.number == number && stream.caps() == caps;
        Some(last.filter(is_same).cloned().unwrap_or_else(|| Arc::new(Self::new(number, caps))))
    }

    /// The text without the zero byte behind it.
    pub(crate) fn caps(&self) -> &[u8] {
        self.text.split_last().map_or(&[], |(_, caps)| caps)
    }

    pub(crate) fn text_pointer(&self) -> *const u8 {
        self.text.as_ptr()
    }

    pub(crate) fn described(&self) -> Outcome<&Described> {
        let described = self.described.get_or_init(|| Ok(Described::of(Media::from_caps(self.caps())?)));
        described.as_ref().map_err(Clone::clone)
    }
}

/// The description of a stream that may have no caps.
pub(crate) fn described(stream: Option<&Arc<Stream>>) -> Outcome<&Described> {
    let none = || Failure::new(Status::Media, "the stream has no caps, so its bytes cannot be described");
    stream.ok_or_else(none)?.described()
}

impl Described {
    fn of(media: Media) -> Self {
        let optional = |text: &Option<String>| text.as_deref().map(c_text);
        let texts = match &media {
            Media::Video(video) => {
                let numbers = || video.colorimetry.numbers().map(|number| number.to_string()).join(":");
                Texts::Video {
                    format: c_text(video.format.name()),
                    colorimetry: video.colorimetry.name().map_or_else(|| c_text(numbers()), c_text),
                    interlace_mode: c_text(video.interlace_mode.name()),
                }
            }
            Media::Audio(audio) => Texts::Audio { format: c_text(audio.format.name()) },
            Media::Encoded(encoded) => Texts::Encoded(EncodedTexts {
                codec: c_text(encoded.codec.as_str()),
                profile: optional(&encoded.profile),
                level: optional(&encoded.level),
                stream_format: optional(&encoded.stream_format),
                alignment: optional(&encoded.alignment),
            }),
            _ => Texts::None,
        };
        Self { media_type: c_text(media.media_type()), texts, media }
    }

    /// The error of a frame that is not of the kind that was asked for.
    pub(crate) fn other_than(&self, wanted: &str) -> Failure {
        Failure::new(Status::Media, format!("the frame is {}, not {wanted}", shown(&self.media_type)))
    }
}

fn shown(text: &CStr) -> std::borrow::Cow<'_, str> {
    text.to_string_lossy()
}
