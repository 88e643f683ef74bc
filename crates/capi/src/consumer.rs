//! The receiving side.

#![expect(unsafe_code, reason = "exports names of C")]

use crate::boundary::{
    Handle, Outcome, Place, Structure, Text, call, exclusive, give, handle, known, limit, result, value,
};
use crate::consumer_options::{ConsumerOptions, builder};
use crate::fork;
use crate::frame::Frame;
use crate::status::{Failure, Status, c_text};
use crate::stream::Stream;
use shm2::Consumer as Receiver;
use shm2::consumer::{Canceller, WaitingFor};
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// `shm2_consumer`.
pub struct Consumer {
    fork_depth: u32,
    name: String,
    canceller: Canceller,
    receiving: Mutex<Receiving>,
}

impl Handle for Consumer {
    const NAME: &'static str = "consumer";

    fn fork_depth(&self) -> u32 {
        self.fork_depth
    }
}

struct Receiving {
    receiver: Receiver,
    /// Of the last frame that had caps, so that they are read once.
    stream: Option<Arc<Stream>>,
}

impl Receiving {
    fn frame(&mut self, frame: shm2::Frame) -> Frame {
        let stream = Stream::of(&frame, self.stream.as_ref());
        if stream.is_some() {
            self.stream.clone_from(&stream);
        }
        Frame::new(frame, stream)
    }
}

/// Counters of a consumer, as the header has them.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ConsumerStats {
    received: u64,
    missed: u64,
    skipped: u64,
    skipped_old: u64,
    copied: u64,
    attaches: u64,
    lost_wakes: u64,
    looks_found: u64,
    looks_missed: u64,
    looked_ns: u64,
}

fn new(name: &str, receiver: Receiver) -> Consumer {
    let (canceller, receiving) = (receiver.canceller(), Mutex::new(Receiving { receiver, stream: None }));
    Consumer { fork_depth: fork::depth(), name: name.into(), canceller, receiving }
}

/// Runs `body` with a consumer that no other thread uses.
fn with<T>(consumer: Option<&Consumer>, body: impl FnOnce(&mut Receiving) -> Outcome<T>) -> Outcome<T> {
    body(&mut *exclusive(&known(consumer)?.receiving, "consumer")?)
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_open(
    name: Text,
    options: Option<&ConsumerOptions>,
    consumer: Place<'_, *mut Consumer>,
) -> Status {
    call(|| {
        let consumer = handle(consumer, "consumer")?;
        let name = name.str("name")?;
        give(consumer, new(name, builder(name, options)?.build()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_attach(
    name: Text,
    options: Option<&ConsumerOptions>,
    timeout_ns: i64,
    consumer: Place<'_, *mut Consumer>,
) -> Status {
    call(|| {
        let consumer = handle(consumer, "consumer")?;
        let name = name.str("name")?;
        give(consumer, new(name, builder(name, options)?.attach(limit(timeout_ns))?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_free(consumer: Option<Box<Consumer>>) {
    value((), || {
        drop(consumer);
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_next(
    consumer: Option<&Consumer>,
    timeout_ns: i64,
    frame: Place<'_, *mut Frame>,
) -> Status {
    call(|| {
        let frame = handle(frame, "frame")?;
        let next = with(consumer, |receiving| {
            let next = receiving.receiver.next(limit(timeout_ns))?;
            Ok(receiving.frame(next))
        })?;
        give(frame, next);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_try_next(consumer: Option<&Consumer>, frame: Place<'_, *mut Frame>) -> Status {
    call(|| {
        let frame = handle(frame, "frame")?;
        let next = with(consumer, |receiving| {
            let next = receiving.receiver.try_next()?;
            let next = next.ok_or_else(|| Failure::fixed(Status::TimedOut, c"no frame waits now"))?;
            Ok(receiving.frame(next))
        })?;
        give(frame, next);
        Ok(())
    })
}

#[cfg(unix)]
fn descriptor(receiver: &mut Receiver) -> Outcome<c_int> {
    use std::os::fd::AsRawFd;
    let failure = |error| Failure::new(Status::System, format!("cannot make a descriptor: {error}"));
    Ok(receiver.poll_fd().map_err(failure)?.as_raw_fd())
}

#[cfg(not(unix))]
fn descriptor(_receiver: &mut Receiver) -> Outcome<c_int> {
    Err(Failure::new(Status::Unsupported, "this system has no descriptors for poll: use shm2_consumer_next"))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_fd(consumer: Option<&Consumer>, fd: Place<'_, c_int>) -> Status {
    call(|| {
        let fd = result(fd, "fd")?;
        fd.write(with(consumer, |receiving| descriptor(&mut receiving.receiver))?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_cancel(consumer: Option<&Consumer>, cancelled: bool) -> Status {
    call(|| {
        known(consumer)?.canceller.set(cancelled);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_set_latest(consumer: Option<&Consumer>, latest_only: bool) -> Status {
    call(|| {
        with(consumer, |receiving| {
            receiving.receiver.set_latest_only(latest_only);
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_set_lag_limit(consumer: Option<&Consumer>, age_ns: u64) -> Status {
    call(|| {
        with(consumer, |receiving| {
            receiving.receiver.set_lag_limit(Duration::from_nanos(age_ns));
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_request_keyframe(consumer: Option<&Consumer>, told: Place<'_, bool>) -> Status {
    call(|| {
        let is_told = with(consumer, |receiving| Ok(receiving.receiver.request_keyframe()))?;
        if let Some(told) = told {
            told.write(is_told);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_generation(consumer: Option<&Consumer>, generation: Place<'_, u64>) -> Status {
    call(|| {
        let generation = result(generation, "generation")?;
        generation.write(with(consumer, |receiving| Ok(receiving.receiver.generation().unwrap_or(0)))?);
        Ok(())
    })
}

thread_local! {
    static WAITING: RefCell<CString> = RefCell::default();
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_waiting_for(consumer: Option<&Consumer>) -> *const c_char {
    value(std::ptr::null(), || {
        let text = c_text(WaitingFor::at(&known(consumer)?.name)?.to_string());
        // A thread that ends has no text any more.
        let stored = WAITING.try_with(|waiting| {
            waiting.replace(text);
            waiting.borrow().as_ptr()
        });
        Ok(stored.unwrap_or(c"".as_ptr()))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_to_local(
    consumer: Option<&Consumer>,
    time_ns: u64,
    local_ns: Place<'_, u64>,
) -> Status {
    call(|| {
        let local_ns = result(local_ns, "local_ns")?;
        local_ns.write(with(consumer, |receiving| Ok(receiving.receiver.to_local(time_ns)))?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_get_stats(
    consumer: Option<&Consumer>,
    mut stats: Structure<ConsumerStats>,
    size: usize,
) -> Status {
    call(|| {
        let now = with(consumer, |receiving| Ok(receiving.receiver.stats()))?;
        let content = ConsumerStats {
            received: now.received,
            missed: now.missed,
            skipped: now.skipped,
            skipped_old: now.skipped_old,
            copied: now.copied,
            attaches: now.attaches,
            lost_wakes: now.lost_wakes,
            looks_found: now.looks_found,
            looks_missed: now.looks_missed,
            looked_ns: now.looked_ns,
        };
        stats.fill(size, &content, "stats")
    })
}
