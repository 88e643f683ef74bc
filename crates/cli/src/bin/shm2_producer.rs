//! Sends numbered frames with a payload that `shm2_consumer` can check byte by byte.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser, ValueEnum};
use serde::Serialize;
use shm2::producer::{Handle, LostName};
use shm2::{FrameInfo, FullPolicy, Producer, SendError};
use shm2_cli::{bytes, complain, octal, pattern, print_man_page, print_result, say, say_if_slow, seconds, stop::Stop};
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Send numbered frames through a shared-memory region.
///
/// Waits for a first consumer, sends, and waits until its consumers have read everything.
#[derive(Parser)]
#[command(version, allow_negative_numbers = true)]
struct Arguments {
    /// Region, for example shm:///dev/shm/gst-shm2-demo; on Windows winshm://Local/gst-shm2-demo; in a virtual machine
    /// ivshmem://
    #[arg(default_value = shm2_cli::DEFAULT_REGION, value_parser = shm2_cli::region())]
    region: String,
    /// Frames to send
    #[arg(default_value_t = 5000)]
    count: u64,
    /// Bytes of each frame, with K, M or G
    #[arg(long, value_parser = bytes, default_value = "64")]
    frame_size: u64,
    /// Bytes of the whole region, with K, M or G
    #[arg(long, value_parser = bytes, default_value = "64M")]
    size: u64,
    /// Permissions of the region's file, octal
    #[arg(long, value_parser = octal, default_value = "660")]
    perms: u32,
    /// Frames per second; as fast as possible if not given
    #[arg(long, value_parser = interval, value_name = "RATE")]
    rate: Option<Duration>,
    /// What to do when the region has no free space
    #[arg(long, value_enum, default_value_t = Policy::Block)]
    full_policy: Policy,
    /// Time that one frame may wait for free space under `block`, in seconds or as 250ms
    #[arg(long, value_parser = seconds, default_value = "5")]
    block_timeout: Duration,
    /// Frames kept for consumers that attach later
    #[arg(long, default_value_t = u32::MAX)]
    history: u32,
    /// Frames that one consumer may hold in place, 1 to 64
    #[arg(long, default_value_t = 16)]
    max_leases: u32,
    /// Reuse the existing file, with its size and permissions, and never remove it: for the backing file of a virtual
    /// machine
    #[arg(long)]
    keep_region: bool,
    /// With --keep-region: also reuse a file of another user in a directory where every user may make files. That user
    /// can read and change all frames
    #[arg(long)]
    foreign_owner: bool,
    /// Time without a heartbeat after which a peer counts as dead where no lock is seen (virtual machines), in seconds,
    /// 0.1 to 3600
    #[arg(long, value_parser = shm2_cli::lease_time, default_value = "2")]
    lease_time: Duration,
    /// Time to wait for a first consumer, and for consumers to finish at the end, in seconds or as 250ms
    #[arg(long, value_parser = seconds, default_value = "10")]
    wait: Duration,
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
enum Policy {
    DropOldest,
    DropNewest,
    Block,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.man {
        return print_man_page("shm2_producer", Arguments::command());
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("shm2_producer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let interval = arguments.rate.unwrap_or_default();
    if !is_kept(arguments) {
        fits(arguments.frame_size, shm2::layout::arena_bytes(arguments.size).unwrap_or(u64::MAX))?;
    }
    let create = || create(arguments);
    let mut producer = if arguments.quiet { create() } else { say_if_slow(|| awaited(arguments), create) }?;
    let (handle, region) = (producer.handle(), arguments.region.clone());
    fits(arguments.frame_size, handle.stats().arena_bytes)?;
    let watched = handle.clone();
    // Without a thread the line is not printed. It ends with the process.
    let _ = std::thread::Builder::new().name("name".into()).spawn(move || report_lost_name(&watched, &region));
    let stop = Stop::on_signal(move || {
        handle.set_cancelled(true);
        handle.signal();
    })?;
    wait_for_consumer(&producer, arguments, &stop);
    let begun = Instant::now();
    let sent = send_all(&mut producer, arguments, interval, &stop)?;
    let elapsed = begun.elapsed();
    if !stop.is_set() {
        producer.end_of_stream()?;
        producer.drain(arguments.wait);
    }
    let stats = producer.handle().stats();
    let rounded = |value: f64, scale: f64| (value * scale).round() / scale;
    let summary = Summary {
        sent,
        count: arguments.count,
        bytes: sent * arguments.frame_size,
        dropped_oldest: stats.dropped_oldest,
        dropped_newest: stats.dropped_newest,
        dropped_too_large: stats.dropped_too_large,
        seconds: rounded(elapsed.as_secs_f64(), 1e6),
        rate: rounded(sent as f64 / elapsed.as_secs_f64().max(1e-9), 1e3),
    };
    let text = if arguments.json { serde_json::to_string(&summary)? } else { summary.to_string() };
    Ok(print_result(&text)?)
}

/// The fields of `--json`, in their order.
#[derive(Serialize)]
struct Summary {
    sent: u64,
    count: u64,
    bytes: u64,
    dropped_oldest: u64,
    dropped_newest: u64,
    dropped_too_large: u64,
    seconds: f64,
    rate: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, count, seconds, rate) = (self.sent, self.count, self.seconds, self.rate);
        writeln!(f, "sent {sent} of {count} frames in {seconds:.3} s, {rate:.1} frames/s")?;
        let (oldest, newest, large) = (self.dropped_oldest, self.dropped_newest, self.dropped_too_large);
        write!(f, "dropped: oldest {oldest}  newest {newest}  too large {large}")
    }
}

/// Prints a line whenever the region has lost its name, until the producer is closed.
fn report_lost_name(handle: &Handle, region: &str) {
    let mut last = None;
    while !handle.is_closed() {
        let seen = handle.changes();
        let lost = handle.lost_name();
        if let Some(lost) = lost.filter(|lost| last != Some(*lost)) {
            let remedy = if lost == LostName::Removed { "; start this producer again" } else { "" };
            complain!("warning: new consumers cannot find {region}: {lost}{remedy}");
        }
        last = lost;
        handle.wait_change(seen, Some(Duration::from_secs(1)));
    }
}

/// Whether the region may exist already, with another size than the requested one.
fn is_kept(arguments: &Arguments) -> bool {
    arguments.keep_region || arguments.region.starts_with("ivshmem")
}

fn fits(bytes: u64, arena: u64) -> Result<(), SendError> {
    if bytes > arena { Err(SendError::TooLarge { bytes, arena }) } else { Ok(()) }
}

/// What the creation of the region may wait for.
fn awaited(arguments: &Arguments) -> String {
    let region = &arguments.region;
    match is_kept(arguments) {
        true => format!("the last producer's lease time at {region} to end"),
        false => format!("the memory of {region}"),
    }
}

/// Parses frames per second; returns the time from one to the next.
fn interval(text: &str) -> Result<Duration, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0);
    let interval = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
    interval
        .filter(|interval| *interval <= Duration::from_secs(86_400))
        .ok_or_else(|| format!("{text:?} is not a rate: give frames per second above 0"))
}

fn create(arguments: &Arguments) -> Result<Producer, Box<dyn std::error::Error>> {
    let policy = match arguments.full_policy {
        Policy::DropOldest => FullPolicy::DropOldest,
        Policy::DropNewest => FullPolicy::DropNewest,
        Policy::Block => FullPolicy::Block { timeout: Some(arguments.block_timeout) },
    };
    let builder = Producer::builder(&arguments.region)?
        .size(arguments.size)
        .perms(arguments.perms)
        .full_policy(policy)
        .history(arguments.history)
        .max_leases(arguments.max_leases)
        .keep_region(arguments.keep_region)
        .foreign_owner(arguments.foreign_owner)
        .lease_time(arguments.lease_time);
    Ok(builder.create()?)
}

fn wait_for_consumer(producer: &Producer, arguments: &Arguments, stop: &Stop) {
    let handle = producer.handle();
    let deadline = Instant::now() + arguments.wait;
    let is_attached = || handle.consumers() > 0 || handle.has_snapshot_consumers();
    if !arguments.quiet && !arguments.wait.is_zero() && !is_attached() {
        let unseen = if is_kept(arguments) { " (a snapshot consumer on another machine is not seen)" } else { "" };
        complain!("waiting up to {:.1} s for a consumer of {}{unseen}", arguments.wait.as_secs_f64(), arguments.region);
    }
    loop {
        let seen = handle.changes();
        let left = deadline.saturating_duration_since(Instant::now());
        if is_attached() || left.is_zero() || stop.is_set() {
            return;
        }
        handle.wait_change(seen, Some(left.min(Duration::from_millis(250))));
    }
}

fn send_all(
    producer: &mut Producer,
    arguments: &Arguments,
    interval: Duration,
    stop: &Stop,
) -> Result<u64, Box<dyn std::error::Error>> {
    let (begun, mut sent) = (Instant::now(), 0);
    for number in 0..arguments.count {
        if !interval.is_zero() {
            let due = begun + interval.mul_f64(number as f64);
            stop.pause(due.saturating_duration_since(Instant::now()));
        }
        if stop.is_set() {
            break;
        }
        match send(producer, arguments.frame_size as usize, number) {
            Ok(()) => sent += 1,
            Err(SendError::Cancelled) => break,
            // A timeout under `block` is an error; other drops are counted.
            Err(error) if error.is_drop() && !matches!(error, SendError::TimedOut { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if !arguments.quiet && !arguments.json && (number + 1) % 500 == 0 {
            say!("sent {}", number + 1);
        }
    }
    Ok(sent)
}

fn send(producer: &mut Producer, size: usize, number: u64) -> Result<(), SendError> {
    let mut slot = producer.reserve(size)?;
    pattern::fill(&mut slot, number)?;
    let mut info = FrameInfo::new().with_pts(number * 1_000_000);
    info.time = Some(shm2::monotonic_ns());
    producer.publish(slot, &info).map(drop)
}
