//! Raw video as YUV4MPEG2: a line that describes the stream, then each picture after a line of its own. The letters of
//! the line are those of mjpegtools' yuv4mpeg(5), and of FFmpeg for what has more than 8 bits.

use crate::Failure;
use shm2_media::{ColorModel, ColorRange, InterlaceMode, Video};
use std::io::Write;

/// The chroma of y4m: subsampling and bits.
fn chroma(video: &Video) -> Result<String, Failure> {
    let components = video.format.components();
    let cannot =
        || format!("{} cannot be written as y4m: convert it with videoconvert, or use --raw", video.format.name());
    let [luma, rest @ ..] = components else { return Err(cannot().into()) };
    let depth = if luma.bits > 8 { format!("p{}", luma.bits) } else { String::new() };
    let name = match (video.format.model(), rest.first().map(|c| (c.width_shift, c.height_shift))) {
        (ColorModel::Gray, _) if luma.bits == 8 => "mono",
        (ColorModel::Gray, _) => return Ok(format!("mono{}", luma.bits)),
        (ColorModel::Yuv, Some((1, 1))) if luma.bits == 8 => "420jpeg",
        (ColorModel::Yuv, Some((1, 1))) => "420",
        (ColorModel::Yuv, Some((1, 0))) => "422",
        (ColorModel::Yuv, Some((0, 0))) => "444",
        (ColorModel::Yuv, Some((2, 0))) => "411",
        // Converted.
        (ColorModel::Rgb, _) => return Ok("444".into()),
        _ => return Err(cannot().into()),
    };
    Ok(format!("{name}{depth}"))
}

pub fn header(video: &Video) -> Result<Vec<u8>, Failure> {
    let area = video.visible();
    let rate = if video.has_variable_rate() { "0:0".into() } else { video.frame_rate.to_string().replace('/', ":") };
    let interlacing = match video.interlace_mode {
        InterlaceMode::Progressive => 'p',
        InterlaceMode::Interleaved => 't',
        _ => 'm',
    };
    let aspect = video.pixel_aspect_ratio.to_string().replace('/', ":");
    let is_full = video.colorimetry.range == ColorRange::Full && video.format.model() != ColorModel::Rgb;
    let range = if is_full { "FULL" } else { "LIMITED" };
    let (width, height, chroma) = (area.width, area.height, chroma(video)?);
    let header =
        format!("YUV4MPEG2 W{width} H{height} F{rate} I{interlacing} A{aspect} C{chroma} XCOLORRANGE={range}\n");
    Ok(header.into_bytes())
}

pub fn write(out: &mut impl Write, video: &Video, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(b"FRAME\n")?;
    if video.format.model() == ColorModel::Rgb {
        return Ok(out.write_all(&video.to_rgb(bytes)?.to_yuv444()?.concat())?);
    }
    for component in 0..video.format.components().len().min(3) {
        let samples = video.samples(bytes, component)?;
        let plane: Vec<u8> = match samples.bits {
            0..=8 => samples.values.iter().map(|value| *value as u8).collect(),
            _ => samples.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        out.write_all(&plane)?;
    }
    Ok(())
}
