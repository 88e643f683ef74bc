//! Settings of a producer.

#![expect(unsafe_code, reason = "exports names of C")]

use crate::boundary::{Handle, Outcome, call, chosen, exclusive, known, limit, value};
use crate::fork;
use crate::status::Status;
use shm2::producer::Builder;
use shm2::{FullPolicy, Producer};
use std::sync::Mutex;
use std::time::Duration;

/// `shm2_producer_options`.
pub struct ProducerOptions {
    fork_depth: u32,
    settings: Mutex<Settings>,
}

impl Handle for ProducerOptions {
    const NAME: &'static str = "options";

    fn fork_depth(&self) -> u32 {
        self.fork_depth
    }
}

/// What the builder of a producer takes, which needs a name first. What is not set has the builder's own default.
#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    size: Option<Size>,
    perms: Option<u32>,
    policy: Option<FullPolicy>,
    history: Option<u32>,
    max_leases: Option<u32>,
    beacon: Option<Duration>,
    lease_time: Option<Duration>,
    keep_region: bool,
    foreign_owner: bool,
}

#[derive(Debug, Clone, Copy)]
enum Size {
    Region(u64),
    Arena(u64),
}

fn apply<T>(builder: Builder, value: Option<T>, set: impl FnOnce(Builder, T) -> Builder) -> Builder {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}

/// The builder of a producer with these options, or with default ones.
pub(crate) fn builder(name: &str, options: Option<&ProducerOptions>) -> Outcome<Builder> {
    let settings = match options {
        Some(options) => *exclusive(&known(Some(options))?.settings, "options")?,
        None => Settings::default(),
    };
    let builder = Producer::builder(name)?.keep_region(settings.keep_region).foreign_owner(settings.foreign_owner);
    let builder = apply(builder, settings.size, |builder, size| match size {
        Size::Region(bytes) => builder.size(bytes),
        Size::Arena(bytes) => builder.arena(bytes),
    });
    let builder = apply(builder, settings.perms, Builder::perms);
    let builder = apply(builder, settings.policy, Builder::full_policy);
    let builder = apply(builder, settings.history, Builder::history);
    let builder = apply(builder, settings.max_leases, Builder::max_leases);
    let builder = apply(builder, settings.beacon, Builder::beacon);
    Ok(apply(builder, settings.lease_time, Builder::lease_time))
}

fn set(options: Option<&ProducerOptions>, change: impl FnOnce(&mut Settings) -> Outcome) -> Status {
    call(|| change(&mut *exclusive(&known(options)?.settings, "options")?))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_new() -> Option<Box<ProducerOptions>> {
    value(None, || Ok(Some(Box::new(ProducerOptions { fork_depth: fork::depth(), settings: Mutex::default() }))))
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_free(options: Option<Box<ProducerOptions>>) {
    value((), || {
        drop(options);
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_size(options: Option<&ProducerOptions>, bytes: u64) -> Status {
    set(options, |settings| {
        settings.size = Some(Size::Region(bytes));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_arena(options: Option<&ProducerOptions>, bytes: u64) -> Status {
    set(options, |settings| {
        settings.size = Some(Size::Arena(bytes));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_perms(options: Option<&ProducerOptions>, mode: u32) -> Status {
    set(options, |settings| {
        settings.perms = Some(mode);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_full_policy(
    options: Option<&ProducerOptions>,
    policy: u32,
    timeout_ns: i64,
) -> Status {
    set(options, |settings| {
        let block = FullPolicy::Block { timeout: limit(timeout_ns) };
        settings.policy = Some(chosen(policy, &[FullPolicy::DropOldest, FullPolicy::DropNewest, block], "policy")?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_history(options: Option<&ProducerOptions>, frames: u32) -> Status {
    set(options, |settings| {
        settings.history = Some(frames);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_max_leases(options: Option<&ProducerOptions>, frames: u32) -> Status {
    set(options, |settings| {
        settings.max_leases = Some(frames);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_beacon(options: Option<&ProducerOptions>, interval_ns: u64) -> Status {
    set(options, |settings| {
        settings.beacon = Some(Duration::from_nanos(interval_ns));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_keep_region(options: Option<&ProducerOptions>, keep: bool) -> Status {
    set(options, |settings| {
        settings.keep_region = keep;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_foreign_owner(options: Option<&ProducerOptions>, permit: bool) -> Status {
    set(options, |settings| {
        settings.foreign_owner = permit;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn shm2_producer_options_set_lease_time(options: Option<&ProducerOptions>, time_ns: u64) -> Status {
    set(options, |settings| {
        settings.lease_time = Some(Duration::from_nanos(time_ns));
        Ok(())
    })
}
