//! `shm2 snapshot`.

use super::picture::{self, Picture};
use super::{Failure, output};
use shm2::{Access, Consumer, Frame};
use shm2_cli::seconds;
use shm2_media::RgbPicture;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    /// Region, for example shm:///dev/shm/camera
    #[arg(value_parser = shm2_cli::region())]
    region: String,
    /// File to write: NAME.png, NAME.jpg, - for a PNG to standard output, or another name for the frame's bytes
    #[arg(long, short)]
    output: PathBuf,
    /// Time to wait for a frame, in seconds or as 500ms
    #[arg(long, value_parser = seconds, default_value = "5")]
    timeout: Duration,
    /// Quality of a JPEG, 1 to 100
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
}

/// What the name of the file asks for.
enum Kind {
    Png,
    Jpeg,
    Bytes,
}

impl Kind {
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase).as_deref() {
            Some("png") => Self::Png,
            None if path == Path::new("-") => Self::Png,
            Some("jpg" | "jpeg") => Self::Jpeg,
            _ => Self::Bytes,
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let builder = Consumer::builder(&arguments.region)?.access(Access::Snapshot).latest_only(true);
    let mut consumer = builder.attach(Some(arguments.timeout))?;
    let frame = consumer.next(Some(arguments.timeout))?;
    let (bytes, kind) = (frame.to_vec(), Kind::of(&arguments.output));
    let picture = match kind {
        Kind::Bytes => None,
        Kind::Png | Kind::Jpeg => Some(picture(arguments, &frame, &bytes)?),
    };
    let path = if arguments.output == Path::new("-") { Path::new("/dev/stdout") } else { &arguments.output };
    let write = |file: File| write(file, kind, picture.as_ref(), &bytes, arguments.quality);
    let result = output::replace(path, write);
    if let Err(error) = result {
        let named = format!("cannot write {}: {error}", path.display());
        return Err(if output::is_closed_pipe(&error) { error } else { named.into() });
    }
    let size = picture.map_or(format!("{} bytes", bytes.len()), |p| format!("{}x{}", p.width, p.height));
    let report = format!("{}: frame {}, {size}", path.display(), frame.sequence());
    // Standard output may be what the picture went to.
    if path.is_file() {
        return output::print(&report);
    }
    output::warn(&report);
    Ok(())
}

fn picture(arguments: &Arguments, frame: &Frame, bytes: &[u8]) -> Result<RgbPicture, Failure> {
    match picture::of_frame(frame, bytes, ": write the bytes with -o NAME.raw")? {
        Picture::Rgb(picture) => Ok(picture),
        Picture::NeedsDecoder(why) => decoded(arguments, &why),
    }
}

/// The next picture that GStreamer makes of the stream.
#[cfg(feature = "gst")]
fn decoded(arguments: &Arguments, _why: &str) -> Result<RgbPicture, Failure> {
    super::decoder::next_picture(&arguments.region, arguments.timeout)
}

/// Needs GStreamer.
#[cfg(not(feature = "gst"))]
fn decoded(_arguments: &Arguments, why: &str) -> Result<RgbPicture, Failure> {
    Err(format!("{why}: build shm2 with --features gst, or write the bytes with -o NAME.bin").into())
}

fn write(file: File, kind: Kind, picture: Option<&RgbPicture>, bytes: &[u8], quality: u8) -> Result<(), Failure> {
    let mut file = BufWriter::new(file);
    match (kind, picture) {
        (Kind::Png, Some(picture)) => {
            let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.write_header()?.write_image_data(&picture.bytes)?;
        }
        (Kind::Jpeg, Some(picture)) => picture::write_jpeg(picture, quality, &mut file)?,
        _ => file.write_all(bytes)?,
    }
    Ok(file.flush()?)
}
