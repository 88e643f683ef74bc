//! The process that receives.

#![expect(unsafe_code, reason = "payloads are read through the pointers that the libraries give")]

use crate::case::{CASES, Case, Pace};
use crate::sender::{LAST, STAMPED};
use crate::way::Inbound;
use crate::{Result, iceoryx2_way, raw};
use figures::{Record, Times, Usage, now_ns, read_all};

/// Receives until the last frame, and prints a record.
pub(crate) fn run(way: &str, case: &str, name: &str) -> Result<()> {
    let case = CASES.iter().find(|known| known.name == case).ok_or("no such case")?;
    let record = match way {
        "shm2" => receive::<shm2::Consumer>(way, case, name)?,
        "iceoryx2" => receive::<iceoryx2_way::In>(way, case, name)?,
        "raw" => receive::<raw::In>(way, case, name)?,
        _ => return raw::pong(name, way == "raw futex"),
    };
    println!("{}", serde_json::to_string(&record)?);
    Ok(())
}

fn receive<I: Inbound>(way: &str, case: &Case, name: &str) -> Result<Record> {
    let sleeps = matches!(case.pace, Pace::Woken(_));
    let mut inbound = I::open(name, case.bytes, case.depth(), sleeps)?;
    let (mut times, mut number, mut usage, mut begun) = (Times::default(), 0u64, Usage::now(), 0);
    loop {
        let frame = if sleeps { inbound.wait_take()? } else { look(&mut inbound)? };
        // The frame is held from here on.
        let is_stamped = case.pace != Pace::Stream || number.is_multiple_of(STAMPED);
        let now = if is_stamped { now_ns() } else { 0 };
        let (at, bytes) = I::payload(&frame);
        if bytes == LAST {
            break;
        }
        if is_stamped && number >= case.warm_up() {
            // SAFETY: each frame has at least 8 bytes, and is held.
            times.record(now.saturating_sub(unsafe { at.cast::<u64>().read_unaligned() }));
        }
        if case.touched {
            // SAFETY: the frame is held, and its sender does not write to it any more.
            read_all(unsafe { std::slice::from_raw_parts(at, bytes) });
        }
        drop(frame);
        number += 1;
        if number == case.warm_up() {
            (usage, begun) = (Usage::now(), now_ns());
        }
    }
    let (seconds, frames) = ((now_ns() - begun) as f64 / 1e9, number - case.warm_up().min(number));
    let mut record = Record::new("frames", case.name, way).with_latency(&times);
    Usage::now().per_frame(usage, frames, "receiver", &mut record.figures);
    Ok(if case.pace == Pace::Stream { record.with("M/s", frames as f64 / seconds / 1e6) } else { record })
}

#[inline(always)]
fn look<I: Inbound>(inbound: &mut I) -> Result<I::Frame> {
    loop {
        match inbound.try_take() {
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) => std::hint::spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
}
