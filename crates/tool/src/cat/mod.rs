//! `shm2 cat`: a region's stream in a form that players and tools read from a pipe.

mod encoded;
mod wav;
mod y4m;

use super::Failure;
use encoded::Form;
use shm2::{Consumer, Frame, OnProducerExit, ReceiveError};
use shm2_cli::seconds;
use shm2_cli::stop::Stop;
use shm2_media::{Media, is_delta};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// Region, for example shm:///dev/shm/camera
    #[arg(value_parser = shm2_cli::region())]
    region: String,
    /// Frames to write; without it until the stream ends
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Time after which the stream is ended, in seconds or as 500ms
    #[arg(long, value_parser = seconds)]
    duration: Option<Duration>,
    /// Time to wait for a producer and for each frame, in seconds or as 500ms; without it for ever
    #[arg(long, value_parser = seconds)]
    timeout: Option<Duration>,
    /// Continue with the next producer when this one ends without an end of stream
    #[arg(long)]
    reconnect: bool,
    /// Write the bytes of the frames as they are, whatever they mean
    #[arg(long)]
    raw: bool,
}

/// Writes the stream to standard output: raw video as y4m, raw audio as wav, the rest as players read it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        let remedy = "write `shm2 cat REGION | ffplay -`, or redirect it to a file";
        return Err(format!("standard output is a terminal: {remedy}").into());
    }
    let on_exit = if arguments.reconnect { OnProducerExit::Reconnect } else { OnProducerExit::EndOfStream };
    let mut consumer = Consumer::builder(&arguments.region)?.on_producer_exit(on_exit).build();
    let canceller = consumer.canceller();
    let to_cancel = canceller.clone();
    let _stop = Stop::on_signal(move || to_cancel.set(true))?;
    let begun = Instant::now();
    let mut output = Output { out: BufWriter::new(io::stdout().lock()), stream: None, is_raw: arguments.raw };
    let mut written = 0;
    // A consumer that lags behind finds frames also when it is cancelled.
    while arguments.count.is_none_or(|count| written < count) && !canceller.is_set() {
        let left = arguments.duration.map(|duration| duration.saturating_sub(begun.elapsed()));
        let patience = [left, arguments.timeout].into_iter().flatten().min();
        if left.is_some_and(|left| left.is_zero()) {
            break;
        }
        let frame = match consumer.next(patience) {
            Ok(frame) => frame,
            Err(ReceiveError::EndOfStream | ReceiveError::Cancelled) => break,
            Err(ReceiveError::TimedOut) if patience != arguments.timeout => break,
            Err(ReceiveError::TimedOut) => {
                let waited = arguments.timeout.unwrap_or_default();
                return Err(format!("no frame of {} came within {waited:?}", arguments.region).into());
            }
            Err(error) => return Err(error.into()),
        };
        match output.write(&frame)? {
            Written::Frame => written += 1,
            Written::NotDecodable => drop(consumer.request_keyframe()),
        }
    }
    Ok(output.out.flush()?)
}

/// What became of a frame.
enum Written {
    Frame,
    /// It depends on frames that were not written: nothing is written before a keyframe.
    NotDecodable,
}

/// The stream that was begun.
struct Stream {
    caps: Vec<u8>,
    media: Media,
    form: Form,
    has_frames: bool,
}

struct Output<W: Write> {
    out: BufWriter<W>,
    stream: Option<Stream>,
    is_raw: bool,
}

impl<W: Write> Output<W> {
    fn write(&mut self, frame: &Frame) -> Result<Written, Failure> {
        let bytes = frame.to_vec();
        if self.is_raw {
            self.out.write_all(&bytes)?;
            self.out.flush()?;
            return Ok(Written::Frame);
        }
        let caps = frame.caps().map(|(_, text)| text).ok_or("the region has no caps: write its bytes with --raw")?;
        if self.stream.as_ref().is_none_or(|stream| stream.caps != caps) {
            self.begin(caps)?;
        }
        let Some(stream) = &mut self.stream else { return Ok(Written::NotDecodable) };
        match stream.media.for_frame(frame.meta(), bytes.len() as u64)? {
            Media::Video(video) => y4m::write(&mut self.out, &video, &bytes)?,
            Media::Audio(audio) => wav::write(&mut self.out, &audio, &bytes)?,
            Media::Encoded(_) if !stream.has_frames && is_delta(frame.info().flags) => {
                return Ok(Written::NotDecodable);
            }
            _ => encoded::write(&mut self.out, &mut stream.form, &bytes)?,
        }
        stream.has_frames = true;
        self.out.flush()?;
        Ok(Written::Frame)
    }

    fn begin(&mut self, caps: &[u8]) -> Result<(), Failure> {
        let media = Media::from_caps(caps)?;
        let (form, header) = match &media {
            Media::Video(video) => (Form::AsItIs, y4m::header(video)?),
            Media::Audio(audio) => (Form::AsItIs, wav::header(audio)?),
            Media::Encoded(encoded) => encoded::begin(encoded)?,
            _ => (Form::AsItIs, Vec::new()),
        };
        // Parameter sets may come again.
        let may_repeat = header.is_empty() || matches!(form, Form::StartCodes { .. });
        let has_begun = self.stream.replace(Stream { caps: caps.into(), media, form, has_frames: false }).is_some();
        if has_begun && !may_repeat {
            return Err("the stream has other caps now, which its format cannot express: start again".into());
        }
        Ok(self.out.write_all(&header)?)
    }
}
