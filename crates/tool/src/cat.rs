//! `shm2 cat`.

use super::Failure;
use shm2::{Consumer, Frame, OnProducerExit, ReceiveError};
use shm2_cli::seconds;
use shm2_cli::stop::Stop;
use shm2_media::{Audio, AudioLayout, ColorModel, ColorRange, InterlaceMode, Media, SampleKind, Video};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    /// Region, for example shm:///dev/shm/camera
    #[arg(value_parser = shm2_cli::region())]
    region: String,
    /// Frames to write; without it until the stream ends
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Time to wait for a producer and for each frame, in seconds or as 500ms; without it for ever
    #[arg(long, value_parser = seconds)]
    timeout: Option<Duration>,
    /// Write the bytes of the frames as they are, whatever they mean
    #[arg(long)]
    raw: bool,
}

/// Writes the stream to standard output: raw video as y4m, raw audio as wav, the rest as it is.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(
            "standard output is a terminal: write `shm2 cat REGION | ffplay -`, or redirect it to a file".into()
        );
    }
    let builder = Consumer::builder(&arguments.region)?.on_producer_exit(OnProducerExit::EndOfStream);
    let mut consumer = builder.build();
    let canceller = consumer.canceller();
    let _stop = Stop::on_signal(move || canceller.set(true))?;
    let mut out = Output { out: BufWriter::new(io::stdout().lock()), stream: None, is_raw: arguments.raw };
    let mut written = 0;
    while arguments.count.is_none_or(|count| written < count) {
        let frame = match consumer.next(arguments.timeout) {
            Ok(frame) => frame,
            Err(ReceiveError::EndOfStream | ReceiveError::Cancelled) => break,
            Err(error) => return Err(error.into()),
        };
        out.write(&frame)?;
        written += 1;
    }
    Ok(out.out.flush()?)
}

/// The stream that was begun.
struct Stream {
    caps: Vec<u8>,
    media: Media,
}

struct Output<W: Write> {
    out: BufWriter<W>,
    stream: Option<Stream>,
    is_raw: bool,
}

impl<W: Write> Output<W> {
    fn write(&mut self, frame: &Frame) -> Result<(), Failure> {
        let bytes = frame.to_vec();
        if self.is_raw {
            return Ok(self.out.write_all(&bytes)?);
        }
        let caps = frame.caps().map(|(_, text)| text).ok_or("the region has no caps: write its bytes with --raw")?;
        if self.stream.as_ref().is_none_or(|stream| stream.caps != caps) {
            self.begin(caps)?;
        }
        let Some(stream) = &self.stream else { return Ok(()) };
        match stream.media.for_frame(frame.meta(), bytes.len() as u64)? {
            Media::Video(video) => write_picture(&mut self.out, &video, &bytes)?,
            Media::Audio(audio) => write_samples(&mut self.out, &audio, &bytes)?,
            _ => self.out.write_all(&bytes)?,
        }
        Ok(self.out.flush()?)
    }

    fn begin(&mut self, caps: &[u8]) -> Result<(), Failure> {
        let media = Media::from_caps(caps)?;
        let header = match &media {
            Media::Video(video) => y4m_header(video)?,
            Media::Audio(audio) => wav_header(audio)?,
            _ => Vec::new(),
        };
        let has_begun = self.stream.replace(Stream { caps: caps.into(), media }).is_some();
        if has_begun && !header.is_empty() {
            return Err("the stream has other caps now, which its format cannot express: start again".into());
        }
        Ok(self.out.write_all(&header)?)
    }
}

/// The chroma of y4m: subsampling and bits.
fn y4m_chroma(video: &Video) -> Result<String, Failure> {
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

fn y4m_header(video: &Video) -> Result<Vec<u8>, Failure> {
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
    let (width, height, chroma) = (area.width, area.height, y4m_chroma(video)?);
    let header =
        format!("YUV4MPEG2 W{width} H{height} F{rate} I{interlacing} A{aspect} C{chroma} XCOLORRANGE={range}\n");
    Ok(header.into_bytes())
}

fn write_picture(out: &mut impl Write, video: &Video, bytes: &[u8]) -> Result<(), Failure> {
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

/// Bytes of a sample in a wav file, and the number of its kind there: 1 for integers, 3 for floating point.
fn wav_sample(audio: &Audio) -> Result<(u16, u16), Failure> {
    let name = audio.format.name();
    let bytes = audio.format.bytes() as u16;
    match audio.format.kind() {
        SampleKind::Float if name.ends_with("LE") => Ok((bytes, 3)),
        SampleKind::Signed if name.ends_with("LE") => Ok((bytes, 1)),
        SampleKind::Unsigned if name == "U8" => Ok((bytes, 1)),
        _ => Err(format!("{name} cannot be written as wav: convert it with audioconvert, or use --raw").into()),
    }
}

/// RIFF with the sizes that stand for a stream without an end.
fn wav_header(audio: &Audio) -> Result<Vec<u8>, Failure> {
    let (bytes, kind) = wav_sample(audio)?;
    let channels = u16::try_from(audio.channels).map_err(|_| format!("{} channels do not fit wav", audio.channels))?;
    let block = bytes * channels;
    let mut header = Vec::from(*b"RIFF");
    header.extend(u32::MAX.to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    header.extend([kind, channels].map(u16::to_le_bytes).concat());
    header.extend([audio.rate, audio.rate.saturating_mul(block.into())].map(u32::to_le_bytes).concat());
    header.extend([block, 8 * bytes].map(u16::to_le_bytes).concat());
    header.extend(b"data");
    header.extend(u32::MAX.to_le_bytes());
    Ok(header)
}

fn write_samples(out: &mut impl Write, audio: &Audio, bytes: &[u8]) -> Result<(), Failure> {
    let length = bytes.len() as u64;
    let channel = |number| audio.channel(number, length).and_then(|range| bytes.get(range)).unwrap_or_default();
    if audio.layout == AudioLayout::Interleaved {
        return Ok(out.write_all(channel(0))?);
    }
    let size = audio.format.bytes() as usize;
    let channels: Vec<_> = (0..audio.channels).map(channel).collect();
    for sample in 0..audio.samples(length) as usize {
        for channel in &channels {
            out.write_all(channel.get(sample * size..(sample + 1) * size).unwrap_or_default())?;
        }
    }
    Ok(())
}
