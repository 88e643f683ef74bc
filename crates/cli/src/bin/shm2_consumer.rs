//! Receives frames and checks the content of those that `shm2_producer` sent.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser, ValueEnum};
use shm2::consumer::{WaitReason, WaitingFor};
use shm2::{Access, Consumer, Frame, OnProducerExit, ReceiveError, Start};
use shm2_cli::{
    Check, complain, pattern, print_man_page, print_result, say, say_if_slow, seconds, stop::Stop, summary::Summary,
};
use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

/// Receive and check frames from a shared-memory region.
///
/// Waits for the producer, takes COUNT frames (missed ones count), prints a summary. The exit code is 1 when a frame
/// differs from what was sent, when no frame arrives in time, or when the producer disappears before COUNT without an
/// end of stream.
#[derive(Parser)]
#[command(version, allow_negative_numbers = true)]
struct Arguments {
    /// Region, for example shm:///dev/shm/gst-shm2-demo; on Windows winshm://Local/gst-shm2-demo; in a virtual machine
    /// ivshmem://
    #[arg(default_value = shm2_cli::DEFAULT_REGION, value_parser = shm2_cli::region())]
    region: String,
    /// Frames to take
    #[arg(default_value_t = 5000)]
    count: u64,
    /// How to read payloads
    #[arg(long, value_enum, default_value_t = AccessMode::Auto)]
    access: AccessMode,
    /// Skip waiting frames, for the lowest delay
    #[arg(long)]
    latest_only: bool,
    /// Start with the producer's newest frame instead of the oldest one still in the region
    #[arg(long)]
    newest: bool,
    /// How closely to check payloads
    #[arg(long, value_enum, default_value_t = Check::Full)]
    check: Check,
    /// Hold this many frames before releasing the oldest
    #[arg(long, default_value_t = 0)]
    hold: usize,
    /// Time to work on each frame, in seconds or as 250ms
    #[arg(long, value_parser = seconds, default_value = "0")]
    delay: Duration,
    /// Give up after this time without a frame, in seconds or as 250ms; never if not given
    #[arg(long, value_parser = seconds)]
    timeout: Option<Duration>,
    /// Wake shortly before the next frame of a steady rate is due and look for it, for a lower delay
    #[arg(long)]
    wake_ahead: bool,
    /// Continue with the next producer when this one ends
    #[arg(long)]
    reconnect: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Print only the closing summary
    #[arg(long, short)]
    quiet: bool,
    /// Print the manual page and exit
    #[arg(long, hide = true)]
    man: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum AccessMode {
    Auto,
    Lease,
    Snapshot,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.man {
        return print_man_page("shm2_consumer", Arguments::command());
    }
    match run(&arguments) {
        Ok((summary, end)) => {
            let taken = summary.frames + summary.missed + summary.skipped;
            if taken < arguments.count {
                complain!("shm2_consumer: {end} after {taken} of {} frames", arguments.count);
            }
            let text = if arguments.json { summary.json().map_err(|e| e.to_string()) } else { Ok(summary.to_string()) };
            let printed =
                text.and_then(|text| print_result(&text)).inspect_err(|error| complain!("shm2_consumer: {error}"));
            let is_good = summary.mismatches == 0 && matches!(end, End::Stream | End::Stopped) && printed.is_ok();
            if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            complain!("shm2_consumer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the consumer stopped.
enum End {
    Stream,
    Gone,
    TimedOut,
    Stopped,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stream => "the stream ended",
            Self::Gone => "the producer went without an end of stream,",
            Self::TimedOut => "no frame came in time,",
            Self::Stopped => "stopped",
        })
    }
}

fn run(arguments: &Arguments) -> Result<(Summary, End), Box<dyn std::error::Error>> {
    let mut consumer = build(arguments)?;
    let canceller = consumer.canceller();
    let stop = Stop::on_signal(move || canceller.set(true))?;
    let mut summary = Summary::default();
    let end = receive(&mut consumer, arguments, &stop, &mut summary)?;
    // Frames may have been missed after the last one that came.
    count(&mut summary, &consumer);
    Ok((summary, end))
}

fn receive(
    consumer: &mut Consumer,
    arguments: &Arguments,
    stop: &Stop,
    summary: &mut Summary,
) -> Result<End, Box<dyn std::error::Error>> {
    let mut checker = Checker { check: arguments.check, last: None, hint: arguments.quiet };
    let mut held = VecDeque::new();
    while summary.frames + summary.missed + summary.skipped < arguments.count {
        if stop.is_set() {
            return Ok(End::Stopped);
        }
        let frame = match next(consumer, arguments) {
            Ok(frame) => frame,
            Err(ReceiveError::EndOfStream) if arguments.reconnect => continue,
            Err(ReceiveError::EndOfStream) => return Ok(End::Stream),
            Err(ReceiveError::ProducerGone { .. }) => return Ok(End::Gone),
            Err(ReceiveError::Cancelled) => return Ok(End::Stopped),
            Err(ReceiveError::TimedOut) if consumer.stats().attaches == 0 => {
                let (region, time) = (&arguments.region, arguments.timeout.unwrap_or_default());
                return Err(format!(
                    "no frame came: no producer at {region} within {time:?}; start it, or wait longer (--timeout)"
                )
                .into());
            }
            Err(ReceiveError::TimedOut) => return Ok(End::TimedOut),
            Err(error) => return Err(error.into()),
        };
        count_frame(summary, &frame, consumer);
        summary.mismatches += u64::from(!checker.accept(&frame, consumer.generation()));
        stop.pause(arguments.delay);
        if !arguments.quiet && !arguments.json && summary.frames.is_multiple_of(500) {
            say!("received {}", summary.frames);
        }
        held.push_back(frame);
        if held.len() > arguments.hold {
            // A held frame must not have changed.
            summary.mismatches +=
                u64::from(held.pop_front().is_some_and(|f| arguments.hold > 0 && !checker.is_intact(&f)));
        }
    }
    Ok(End::Stopped)
}

/// The next frame. A wait for the first one is printed: the region may not be the intended one.
fn next(consumer: &mut Consumer, arguments: &Arguments) -> Result<Frame, ReceiveError> {
    if arguments.quiet || consumer.stats().attaches > 0 {
        return consumer.next(arguments.timeout);
    }
    say_if_slow(|| awaited(&arguments.region), || consumer.next(arguments.timeout))
}

/// What the consumer waits for now.
fn awaited(region: &str) -> String {
    match WaitingFor::at(region) {
        Ok(waiting) if waiting.reason != WaitReason::NoFrame => waiting.to_string(),
        _ => format!("the first frame of {region}"),
    }
}

fn count_frame(summary: &mut Summary, frame: &Frame, consumer: &Consumer) {
    let now = shm2::monotonic_ns();
    let latency = frame.published_ns().map(|time| now.saturating_sub(consumer.to_local(time)));
    summary.frame(frame.len(), latency);
    summary.discontinuities += u64::from(frame.is_discontinuity());
    *(if frame.is_leased() { &mut summary.leased } else { &mut summary.copied }) += 1;
    count(summary, consumer);
}

fn count(summary: &mut Summary, consumer: &Consumer) {
    let stats = consumer.stats();
    summary.missed = stats.missed;
    summary.skipped = stats.skipped;
    summary.attaches = stats.attaches;
    let looks = (stats.looks_found, stats.looks_missed);
    summary.looks = (looks != (0, 0)).then_some(looks);
}

fn build(arguments: &Arguments) -> Result<Consumer, shm2::SpecError> {
    let access = match arguments.access {
        AccessMode::Auto => Access::Auto,
        AccessMode::Lease => Access::Lease,
        AccessMode::Snapshot => Access::Snapshot,
    };
    let on_exit = if arguments.reconnect { OnProducerExit::Reconnect } else { OnProducerExit::Error };
    let start = if arguments.newest { Start::History } else { Start::Oldest };
    let builder = Consumer::builder(&arguments.region)?;
    Ok(builder
        .access(access)
        .start(start)
        .latest_only(arguments.latest_only)
        .wake_ahead(arguments.wake_ahead)
        .on_producer_exit(on_exit)
        .build())
}

/// Compares the content and the order of the frames with what `shm2_producer` sends.
struct Checker {
    check: Check,
    /// Generation, sequence and number of the previous frame.
    last: Option<(Option<u64>, u64, u64)>,
    hint: bool,
}

impl Checker {
    fn accept(&mut self, frame: &Frame, generation: Option<u64>) -> bool {
        if self.check == Check::None {
            return true;
        }
        let Some(number) = pattern::number(frame) else {
            if self.last.is_some() && frame.len() >= pattern::HEAD {
                complain!("frame {} lost its mark", frame.sequence());
                return false;
            }
            if frame.len() >= pattern::HEAD && !self.hint {
                complain!("frame {} is not from shm2_producer: its content cannot be checked", frame.sequence());
                self.hint = true;
            }
            return true;
        };
        let in_order = self.last.is_none_or(|(before, sequence, last)| {
            before != generation || (frame.sequence() > sequence + frame.missed() && number > last)
        });
        self.last = Some((generation, frame.sequence(), number));
        if !in_order {
            complain!("frame {} (number {number}) is out of order", frame.sequence());
        }
        in_order && self.is_intact(frame)
    }

    fn is_intact(&self, frame: &Frame) -> bool {
        let Some(number) = pattern::number(frame) else { return true };
        let wrong = pattern::mismatch(frame, number, self.check);
        if let Some(offset) = wrong {
            complain!("frame {} (number {number}) differs at byte {offset}", frame.sequence());
        }
        wrong.is_none()
    }
}
