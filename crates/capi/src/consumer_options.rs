//! Settings of a consumer.

#![expect(unsafe_code, reason = "exports names of C")]

use crate::boundary::{Handle, Outcome, call, chosen, exclusive, known, value};
use crate::fork;
use crate::status::{Failure, Status};
use shm2::consumer::{Builder, Liveness};
use shm2::{Access, Consumer, OnProducerExit, Start};
use std::sync::Mutex;
use std::time::Duration;

/// `shm2_consumer_options`.
pub struct ConsumerOptions {
    fork_depth: u32,
    settings: Mutex<Settings>,
}

impl Handle for ConsumerOptions {
    const NAME: &'static str = "options";

    fn fork_depth(&self) -> u32 {
        self.fork_depth
    }
}

/// What the builder of a consumer takes, which needs a name first.
#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    access: Access,
    start: Start,
    latest_only: bool,
    lag_limit: Duration,
    max_leases: Option<usize>,
    on_exit: OnProducerExit,
    spin: Duration,
    wake_ahead: bool,
    liveness: Liveness,
    events: bool,
}

/// The builder of a consumer with these options, or with default ones.
pub(crate) fn builder(name: &str, options: Option<&ConsumerOptions>) -> Outcome<Builder> {
    let settings = match options {
        Some(options) => *exclusive(&known(Some(options))?.settings, "options")?,
        None => Settings::default(),
    };
    let builder = Consumer::builder(name)?
        .access(settings.access)
        .start(settings.start)
        .latest_only(settings.latest_only)
        .lag_limit(settings.lag_limit)
        .on_producer_exit(settings.on_exit)
        .spin(settings.spin)
        .wake_ahead(settings.wake_ahead)
        .liveness(settings.liveness)
        .events(settings.events);
    Ok(match settings.max_leases {
        Some(frames) => builder.max_leases(frames),
        None => builder,
    })
}

fn set(options: Option<&ConsumerOptions>, change: impl FnOnce(&mut Settings) -> Outcome) -> Status {
    call(|| change(&mut *exclusive(&known(options)?.settings, "options")?))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_new() -> Option<Box<ConsumerOptions>> {
    value(None, || Ok(Some(Box::new(ConsumerOptions { fork_depth: fork::depth(), settings: Mutex::default() }))))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_free(options: Option<Box<ConsumerOptions>>) {
    value((), || {
        drop(options);
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_access(options: Option<&ConsumerOptions>, access: u32) -> Status {
    set(options, |settings| {
        settings.access = chosen(access, &[Access::Auto, Access::Lease, Access::Snapshot], "access")?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_start(options: Option<&ConsumerOptions>, start: u32) -> Status {
    set(options, |settings| {
        settings.start = chosen(start, &[Start::History, Start::Oldest, Start::Next], "start")?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_latest(options: Option<&ConsumerOptions>, latest_only: bool) -> Status {
    set(options, |settings| {
        settings.latest_only = latest_only;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_lag_limit(options: Option<&ConsumerOptions>, age_ns: u64) -> Status {
    set(options, |settings| {
        settings.lag_limit = Duration::from_nanos(age_ns);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_max_leases(options: Option<&ConsumerOptions>, frames: usize) -> Status {
    set(options, |settings| {
        if frames > shm2::layout::LEASES {
            return Err(Failure::invalid(format!(
                "max_leases is {frames}: 0 to {} are possible",
                shm2::layout::LEASES
            )));
        }
        settings.max_leases = Some(frames);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_on_exit(options: Option<&ConsumerOptions>, action: u32) -> Status {
    set(options, |settings| {
        let actions = [OnProducerExit::Reconnect, OnProducerExit::EndOfStream, OnProducerExit::Error];
        settings.on_exit = chosen(action, &actions, "action")?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_spin(options: Option<&ConsumerOptions>, time_ns: u64) -> Status {
    set(options, |settings| {
        settings.spin = Duration::from_nanos(time_ns);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_wake_ahead(options: Option<&ConsumerOptions>, wake_ahead: bool) -> Status {
    set(options, |settings| {
        settings.wake_ahead = wake_ahead;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_liveness(options: Option<&ConsumerOptions>, liveness: u32) -> Status {
    set(options, |settings| {
        settings.liveness = chosen(liveness, &[Liveness::Lock, Liveness::Heartbeat], "liveness")?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_consumer_options_set_events(options: Option<&ConsumerOptions>, events: bool) -> Status {
    set(options, |settings| {
        settings.events = events;
        Ok(())
    })
}
