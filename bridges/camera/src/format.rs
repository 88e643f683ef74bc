//! Which formats a camera offers for a stream, and how their pictures lie in memory.

use pipewire::spa::param::video::VideoFormat as SpaFormat;
use shm2_media::{ColorMatrix, ColorRange, Colorimetry, Media, Video, VideoFormat};
use std::fmt;

/// What the bytes of a picture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Raw(VideoFormat),
    Jpeg,
}

/// A format that a stream of PipeWire carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub encoding: Encoding,
    pub width: u32,
    pub height: u32,
    /// Pictures per second as a fraction; 0/1 for a variable or unknown rate.
    pub rate: (u32, u32),
    /// What the numbers mean as colours; all unknown for JPEG.
    pub colors: Colorimetry,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.encoding {
            Encoding::Raw(format) => write!(f, "{format}")?,
            Encoding::Jpeg => write!(f, "JPEG")?,
        }
        write!(f, " {}x{}", self.width, self.height)
    }
}

/// The raw formats that both sides have, with the name that shm2 and GStreamer use. The first ones are those that each
/// browser takes.
const RAW: &[(&str, SpaFormat)] = &[
    ("I420", SpaFormat::I420),
    ("NV12", SpaFormat::NV12),
    ("YUY2", SpaFormat::YUY2),
    ("UYVY", SpaFormat::UYVY),
    ("RGB", SpaFormat::RGB),
    ("BGR", SpaFormat::BGR),
    ("RGBA", SpaFormat::RGBA),
    ("BGRA", SpaFormat::BGRA),
    ("BGRx", SpaFormat::BGRx),
    ("RGBx", SpaFormat::RGBx),
    ("xRGB", SpaFormat::xRGB),
    ("xBGR", SpaFormat::xBGR),
    ("ARGB", SpaFormat::ARGB),
    ("ABGR", SpaFormat::ABGR),
    ("YV12", SpaFormat::YV12),
    ("NV21", SpaFormat::NV21),
    ("NV16", SpaFormat::NV16),
    ("YVYU", SpaFormat::YVYU),
    ("VYUY", SpaFormat::VYUY),
    ("Y42B", SpaFormat::Y42B),
    ("Y444", SpaFormat::Y444),
    ("GRAY8", SpaFormat::GRAY8),
    ("GRAY16_LE", SpaFormat::GRAY16_LE),
    ("GRAY16_BE", SpaFormat::GRAY16_BE),
    ("P010_10LE", SpaFormat::P010_10LE),
    ("I420_10LE", SpaFormat::I420_10LE),
    ("I422_10LE", SpaFormat::I422_10LE),
];

/// How many of the first of [`RAW`] each browser takes.
const COMMON: usize = 4;

/// Most pixels on a side, and bytes of a picture: a size is another process's word, and memory is taken by it.
const MOST_PIXELS: u32 = 16_384;
const MOST_BYTES: u32 = 256 << 20;

impl Format {
    /// What is offered before a region's format is known.
    pub fn unknown() -> Self {
        Self {
            encoding: Encoding::Raw(i420()),
            width: 1280,
            height: 720,
            rate: (30, 1),
            colors: Colorimetry::default(),
        }
    }

    /// Whether the pictures are the same, at any rate.
    pub fn is_like(&self, other: &Self) -> bool {
        *self == Self { rate: self.rate, ..*other }
    }

    /// Whether memory can be taken for its pictures.
    pub fn is_possible(&self) -> bool {
        let sides = 1..=MOST_PIXELS;
        sides.contains(&self.width) && sides.contains(&self.height) && self.buffer().0 <= MOST_BYTES
    }

    /// The picture in memory as PipeWire's readers expect it: the planes one after another, rows of GStreamer's
    /// default length.
    pub fn layout(&self) -> Option<Video> {
        let Encoding::Raw(format) = self.encoding else { return None };
        let caps = format!("video/x-raw, format={format}, width={}, height={}", self.width, self.height);
        match Media::from_caps(caps) {
            Ok(Media::Video(video)) => Some(video),
            _ => None,
        }
    }

    /// Bytes of a buffer, and of a row of the first plane.
    pub fn buffer(&self) -> (u32, u32) {
        match self.layout() {
            Some(video) => {
                let stride = video.planes().first().map_or(0, |plane| plane.stride);
                (u32::try_from(video.size()).unwrap_or(u32::MAX), u32::try_from(stride).unwrap_or(u32::MAX))
            }
            // A JPEG is rarely larger than half of the raw picture.
            None => (self.width.saturating_mul(self.height).saturating_mul(3).max(65_536), 0),
        }
    }
}

/// The formats that a camera offers for a stream, the best one first.
///
/// # Errors
/// A sentence for a stream that a camera cannot show.
pub fn offers(caps: &[u8], region: &str) -> Result<Vec<Format>, String> {
    let media = Media::from_caps(caps).map_err(|error| format!("its caps cannot be read: {error}"))?;
    let offers = match &media {
        Media::Video(video) => raw(video, region)?,
        Media::Encoded(encoded) if encoded.media_type == "image/jpeg" => {
            let size = encoded.width.zip(encoded.height);
            let (width, height) =
                size.ok_or("its caps (image/jpeg) have no width and height: add them at the producer")?;
            let rate = encoded.frame_rate.map_or((0, 1), |rate| pair(rate.numerator(), rate.denominator()));
            vec![Format { encoding: Encoding::Jpeg, width, height, rate, colors: Colorimetry::default() }]
        }
        other => return Err(cannot_show(other.media_type(), region)),
    };
    match offers.iter().find(|offer| !offer.is_possible()) {
        Some(Format { width, height, .. }) => Err(format!(
            "a camera cannot show pictures of {width}x{height} pixels: it takes 1 to {MOST_PIXELS} a side, and {} MiB \
             a picture: scale them at the producer",
            MOST_BYTES >> 20
        )),
        None => Ok(offers),
    }
}

fn cannot_show(what: &str, region: &str) -> String {
    format!(
        "a camera cannot show {what}: decode it into another region, such as gst-launch-1.0 shm2src \
         shm-path={region} ! decodebin ! videoconvert ! video/x-raw,format=I420 ! shm2sink shm-path={region}-raw"
    )
}

fn raw(video: &Video, region: &str) -> Result<Vec<Format>, String> {
    let rate = pair(video.frame_rate.numerator(), video.frame_rate.denominator());
    let (width, height) = (video.width, video.height);
    let with = |format, colors| Format { encoding: Encoding::Raw(format), width, height, rate, colors };
    let place = RAW.iter().position(|(name, _)| *name == video.format.name());
    let mut offers: Vec<_> = place.map(|_| with(video.format, video.colorimetry)).into_iter().collect();
    if place.is_none_or(|place| place >= COMMON) && is_rgb_known(video) {
        offers.push(with(i420(), converted(video.colorimetry)));
    }
    if offers.is_empty() {
        Err(cannot_show(&format!("raw video of format {}", video.format), region))
    } else {
        Ok(offers)
    }
}

/// The colours of pictures that are converted to I420: readers that are not told, or do not ask, take them for these.
fn converted(colors: Colorimetry) -> Colorimetry {
    Colorimetry { range: ColorRange::Limited, matrix: ColorMatrix::Bt601, ..colors }
}

/// Whether shm2-media makes RGB of the format: tried with the smallest picture.
fn is_rgb_known(video: &Video) -> bool {
    let smallest = Format { encoding: Encoding::Raw(video.format), width: 2, height: 2, ..Format::unknown() };
    let tried = smallest.layout().map(|video| video.to_rgb(&vec![0; video.size() as usize]).is_ok());
    tried.unwrap_or(false)
}

/// Whether pictures of the stream can be made ones of the format, by way of RGB.
pub fn is_convertible(media: &Media, format: &Format) -> bool {
    matches!(media, Media::Video(video) if is_rgb_known(video)) && format.encoding != Encoding::Jpeg
}

fn pair(numerator: i32, denominator: i32) -> (u32, u32) {
    (numerator.max(0).unsigned_abs(), denominator.max(1).unsigned_abs())
}

/// The format that every reader takes.
pub fn i420() -> VideoFormat {
    named("I420")
}

fn named(name: &'static str) -> VideoFormat {
    // Both tables are of this project, and a test compares them.
    VideoFormat::from_name(name).unwrap_or_else(|| unreachable!("{name} is in the table of shm2-media"))
}

/// PipeWire's number of a raw format.
pub fn to_spa(format: VideoFormat) -> Option<SpaFormat> {
    RAW.iter().find(|(name, _)| *name == format.name()).map(|(_, spa)| *spa)
}

/// The raw format of PipeWire's number.
pub fn from_spa(number: SpaFormat) -> Option<VideoFormat> {
    RAW.iter().find(|(_, spa)| *spa == number).and_then(|(name, _)| VideoFormat::from_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(caps: &str) -> Vec<String> {
        let name = |offer: &Format| match offer.encoding {
            Encoding::Raw(format) => format.to_string(),
            Encoding::Jpeg => "JPEG".into(),
        };
        offers(caps.as_bytes(), "x").unwrap().iter().map(name).collect()
    }

    #[test]
    fn each_format_of_the_table_is_known_to_both_sides() {
        for (name, spa) in RAW {
            let format = VideoFormat::from_name(name).unwrap();
            assert_eq!((to_spa(format), from_spa(*spa)), (Some(*spa), Some(format)), "{name}");
        }
    }

    #[test]
    fn what_browsers_do_not_take_is_offered_as_i420_too() {
        let caps = |format: &str| format!("video/x-raw, format={format}, width=640, height=480, framerate=30/1");
        assert_eq!(names(&caps("NV12")), ["NV12"]);
        assert_eq!(names(&caps("GRAY8")), ["GRAY8", "I420"]);
        assert_eq!(names(&caps("Y444_12LE")), ["I420"]);
        assert_eq!(names("image/jpeg, width=640, height=480"), ["JPEG"]);
    }

    #[test]
    fn what_a_camera_cannot_show_is_an_error_with_a_remedy() {
        for caps in ["audio/x-raw, format=S16LE, rate=48000, channels=2, layout=interleaved", "video/x-h264"] {
            let error = offers(caps.as_bytes(), "x").unwrap_err();
            assert!(error.starts_with("a camera cannot show ") && error.contains("decodebin"), "{error}");
        }
        assert!(offers(b"image/jpeg", "x").unwrap_err().contains("no width and height"));
        let tiled = offers(b"video/x-raw, format=NV12_64Z32, width=64, height=64", "x").unwrap_err();
        assert!(tiled.contains("NV12_64Z32"), "{tiled}");
        let large = offers(b"video/x-raw, format=GRAY8, width=20000, height=1", "x").unwrap_err();
        assert!(large.contains("20000x1"), "{large}");
    }
}
