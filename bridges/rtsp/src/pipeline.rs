//! The pipeline of a mount, written from the caps of its regions.

use crate::mounts::short;
use crate::settings::{Encoder, Mount};
use gst::prelude::*;
use std::str::FromStr;

/// Parser and payloader of what is encoded, by the name of its caps.
const PAYLOADS: &[(&str, &str)] = &[
    ("video/x-h264", "h264parse config-interval=-1 ! rtph264pay aggregate-mode=zero-latency"),
    ("video/x-h265", "h265parse config-interval=-1 ! rtph265pay aggregate-mode=zero-latency"),
    ("image/jpeg", "jpegparse ! rtpjpegpay"),
    ("video/x-vp8", "rtpvp8pay"),
    ("video/x-vp9", "rtpvp9pay"),
    ("audio/x-opus", "rtpopuspay"),
    ("audio/mpeg", "aacparse ! rtpmp4gpay"),
    ("audio/x-mulaw", "rtppcmupay"),
    ("audio/x-alaw", "rtppcmapay"),
];
/// The same, for people.
pub const KINDS: &str =
    "raw video of up to 35 megapixels, raw audio, H.264, H.265, JPEG, VP8, VP9, Opus, AAC and G.711";
/// Raw sound that is encoded. A producer writes what it likes into its caps, also later, and a resampler takes memory in
/// proportion to the rate; without so much the process ends.
const AUDIO: &str = "audio/x-raw,rate=[1000,768000],channels=[1,64]";
/// Width and height of raw pictures that are encoded, at most.
const LARGEST_SIDE: i32 = 16384;
/// Pixels of them, at most: the macroblocks of H.264, level 6.2.
const LARGEST_AREA: i32 = 139_264 * 256;
/// First payload type of those that have no fixed meaning.
const FIRST_TYPE: usize = 96;

/// The parser and the payloader for these caps.
pub fn payload(caps: &gst::Caps) -> Option<&'static str> {
    let structure = caps.structure(0)?;
    let (_, text) = PAYLOADS.iter().find(|(name, _)| *name == structure.name().as_str())?;
    // audio/mpeg is MP3, too.
    let is_known = structure.name() != "audio/mpeg" || structure.get::<i32>("mpegversion").is_ok_and(|v| v == 4);
    is_known.then_some(*text)
}

/// A caps text that cannot be shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{region} has {caps:?}, which RTSP cannot carry here: it carries {KINDS}")]
pub struct Unknown {
    /// The region.
    pub region: String,
    /// Its caps, or their beginning.
    pub caps: String,
}

/// The description of a mount's pipeline. `caps` are those of its regions.
///
/// # Errors
/// When the caps of a region cannot be shown.
pub fn describe(mount: &Mount, caps: &[String]) -> Result<String, Unknown> {
    let streams = mount.regions.iter().zip(caps).enumerate();
    let parts: Result<Vec<_>, _> =
        streams.map(|(number, (region, caps))| stream(mount, number, region, caps)).collect();
    Ok(format!("( {} )", parts?.join(" ")))
}

fn stream(mount: &Mount, number: usize, region: &str, text: &str) -> Result<String, Unknown> {
    let unknown = || Unknown { region: region.into(), caps: short(text) };
    let caps = gst::Caps::from_str(text).map_err(|_| unknown())?;
    let kind = caps.structure(0).ok_or_else(unknown)?;
    // A producer with an early end of stream does not end the mount: the next one continues.
    let deadline = mount.latency.as_nanos();
    let source = format!(
        "shm2src shm-path={} on-producer-exit=always-reconnect processing-deadline={deadline} {}",
        quoted(region),
        mount.source
    );
    let steps = match kind.name().as_str() {
        "video/x-raw" => raw_video(&mount.encoder, &caps).ok_or_else(unknown)?,
        "audio/x-raw" => raw_audio(&mount.audio_encoder, &caps).ok_or_else(unknown)?,
        _ => format!("queue max-size-buffers=0 ! {}", payload(&caps).ok_or_else(unknown)?),
    };
    // The properties belong to the payloader, which is last.
    Ok(format!("{source} ! {steps} name=pay{number} pt={}", FIRST_TYPE + number))
}

/// Pictures that wait longer than one other are dropped before the encoder. The size stays that of the first picture,
/// because a client was told it; others are scaled to it, with borders.
fn raw_video(encoder: &Encoder, caps: &gst::Caps) -> Option<String> {
    let sizes = sizes();
    let kind =
        caps.structure(0).filter(|_| gst::Caps::from_str(&sizes).is_ok_and(|sizes| caps.can_intersect(&sizes)))?;
    // Encoders take even sizes.
    let even = |name| kind.get::<i32>(name).ok().map(|pixels| (pixels & !1).max(2));
    let (width, height) = (even("width")?, even("height")?);
    let ratio = kind.get::<gst::Fraction>("pixel-aspect-ratio").unwrap_or_else(|_| (1, 1).into());
    // Shown without its denominator if that is 1, which would be an integer in caps.
    let ratio = format!("{}/{}", ratio.numer(), ratio.denom());
    Some(format!(
        "capsfilter caps=\"{sizes}\" ! \
         queue leaky=downstream max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! videoconvert ! videoscale \
         add-borders=true ! video/x-raw,width={width},height={height},pixel-aspect-ratio={ratio} ! {} ! {}",
        encoder.text, encoder.payload
    ))
}

/// Raw pictures that are encoded, also after a change of their size: for each width the heights with which the area is
/// not too large.
fn sizes() -> String {
    let size = |width| {
        let height = LARGEST_SIDE.min(LARGEST_AREA / width);
        format!("video/x-raw,width=[1,{width}],height=[1,{height}]")
    };
    (2048..=LARGEST_SIDE).step_by(512).map(size).collect::<Vec<_>>().join(";")
}

fn raw_audio(encoder: &Encoder, caps: &gst::Caps) -> Option<String> {
    let range = gst::Caps::from_str(AUDIO).ok()?;
    let text = format!("{AUDIO} ! queue ! audioconvert ! audioresample ! {} ! {}", encoder.text, encoder.payload);
    caps.can_intersect(&range).then_some(text)
}

/// A text as a property's value in a pipeline's description.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether these are properties of a source, beside the region that it reads.
pub fn is_source(properties: &str) -> bool {
    const REGION: &str = "/dev/shm/any";
    // "!" would begin another element.
    let text = format!("shm2src shm-path={REGION} {properties}");
    let source = gst::parse::launch(&text).ok().filter(|_| !properties.contains('!'));
    // A second word without "=" is another element, and the whole a pipeline without such a property.
    let source = source.filter(|source| source.has_property_with_type("shm-path", String::static_type()));
    source.is_some_and(|source| source.property::<Option<String>>("shm-path").as_deref() == Some(REGION))
}

/// What an encoder makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Makes {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Finds the payloader for what an encoder, a part of a pipeline, makes.
///
/// # Errors
/// The reason as text.
pub fn encoder(text: &str, makes: Makes) -> Result<Encoder, String> {
    // Caps at its ends need elements around them.
    let inner = format!("identity ! {text}");
    let bin = gst::parse::bin_from_description(&format!("{inner} ! identity"), true);
    let remedy = "install the plugin that has it, or set another encoder";
    let bin = bin.map_err(|e| format!("{text:?} is no part of a pipeline: {}; {remedy}", e.message()))?;
    let pad = bin.static_pad("src").ok_or_else(|| format!("{text:?} is no chain of elements"))?;
    let caps = pad.query_caps(None);
    let payload =
        payload(&caps).ok_or_else(|| format!("{text:?} does not encode: it makes {caps}, not one of {KINDS}"))?;
    let is_audio = caps.structure(0).is_some_and(|structure| structure.name().starts_with("audio/"));
    match (makes, is_audio) {
        (Makes::Video, true) => Err(format!("{text:?} encodes sound: set it as audio_encoder")),
        (Makes::Audio, false) => Err(format!("{text:?} encodes pictures: set it as encoder")),
        _ => Ok(Encoder { text: inner, payload: payload.into() }),
    }
}
