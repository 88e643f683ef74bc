//! The process that sends, and that starts the other.

#![expect(unsafe_code, reason = "payloads are written through the pointers that the libraries give")]

use crate::case::{Case, Pace};
use crate::way::Outbound;
use crate::{Options, Result, iceoryx2_way, raw};
use figures::{Record, Usage, now_ns, sleep_until, spin_until};
use shm2_testing::ChildGuard;
use std::io::Read;
use std::process::{Command, Stdio};

/// Bytes of the last frame, which no other frame has.
pub(crate) const LAST: usize = 16;
/// In a stream every so many frames one has a stamp.
pub(crate) const STAMPED: u64 = 16;

/// One run.
pub(crate) fn run(way: &str, case: &Case, options: &Options) -> Result<Record> {
    let name = format!("shm2-bench-{}", std::process::id());
    match way {
        "shm2" => send::<shm2::Producer>(way, case, options, &name),
        "iceoryx2" => send::<iceoryx2_way::Out>(way, case, options, &name),
        "raw" => send::<raw::Out>(way, case, options, &name),
        _ => ping(way, case, options, &name),
    }
}

fn start(way: &str, case: &Case, name: &str) -> Result<ChildGuard> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["receive", way, case.name, name]).stdout(Stdio::piped());
    Ok(ChildGuard::spawn(&mut command)?)
}

/// What the receiver printed.
fn finish(mut receiver: ChildGuard) -> Result<String> {
    let mut text = String::new();
    receiver.take_stdout().ok_or("no output")?.read_to_string(&mut text)?;
    Ok(text)
}

fn send<O: Outbound>(way: &str, case: &Case, options: &Options, name: &str) -> Result<Record> {
    let mut outbound = O::create(name, case.bytes.max(LAST), case.depth(), options.arena)?;
    let receiver = start(way, case, name)?;
    outbound.wait_for_receiver();
    let seconds = options.seconds.unwrap_or(if matches!(case.pace, Pace::Woken(_)) { 1.0 } else { 0.5 });
    let mut usage = Usage::now();
    let mut begun = now_ns();
    let mut number = 0u64;
    loop {
        if number == case.warm_up() {
            (usage, begun) = (Usage::now(), now_ns());
        }
        match case.pace {
            Pace::Polled(rate) => spin_until(due(case, begun, number, rate)),
            Pace::Woken(rate) => sleep_until(due(case, begun, number, rate)),
            Pace::Stream => {}
        }
        let wakes = matches!(case.pace, Pace::Woken(_));
        outbound.send(case.bytes, wakes, |to| fill(to, case, number))?;
        number += 1;
        let is_check = case.pace != Pace::Stream || number.is_multiple_of(64);
        if is_check && number > case.warm_up() && now_ns() - begun > (seconds * 1e9) as u64 {
            break;
        }
    }
    let (used, frames) = (Usage::now(), number - case.warm_up());
    outbound.send(LAST, true, |_| {})?;
    let mut record: Record = serde_json::from_str(&finish(receiver)?)?;
    used.per_frame(usage, frames, "sender", &mut record.figures);
    Ok(record)
}

/// When a frame is to be sent. The measured ones start anew.
fn due(case: &Case, begun: u64, number: u64, rate: u32) -> u64 {
    let number = if number < case.warm_up() { number } else { number - case.warm_up() };
    begun + (number + 1) * 1_000_000_000 / u64::from(rate)
}

/// Writes the stamp, and before it all bytes if they are to be touched.
#[inline(always)]
fn fill(to: *mut u8, case: &Case, number: u64) {
    if case.touched {
        // SAFETY: the frame has so many bytes, which are this process's alone.
        unsafe { to.write_bytes(number as u8, case.bytes) };
    }
    if case.pace != Pace::Stream || number.is_multiple_of(STAMPED) {
        // SAFETY: each frame has at least 8 bytes.
        unsafe { to.cast::<u64>().write_unaligned(now_ns()) };
    }
}

fn ping(way: &str, case: &Case, options: &Options, name: &str) -> Result<Record> {
    let memory = raw::Memory::new(name, true)?;
    let receiver = start(way, case, name)?;
    let times = raw::ping(&memory, way == "raw futex", options.seconds.unwrap_or(0.3));
    finish(receiver)?;
    Ok(Record::new("frames", case.name, way).with_latency(&times))
}
