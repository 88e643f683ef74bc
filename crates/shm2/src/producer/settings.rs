//! Settings of a producer.

use super::lifecycle::Exclusion;
use crate::backend::Keep;
use crate::error::CreateError;
use crate::header::{LEAST_LEASE_TIME, MOST_LEASE_TIME};
use crate::layout;
use std::time::Duration;

/// What happens to a new frame when there is too little free space for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullPolicy {
    /// Drops the oldest frames that no consumer holds, if that frees enough space; else drops the new frame.
    DropOldest,
    /// Drops the new frame as long as an attached consumer has not read the old ones.
    DropNewest,
    /// Waits for the slowest consumer. A dead consumer never blocks the producer, nor does a region without consumers.
    Block {
        /// Longest wait for one frame; `None` for no limit.
        timeout: Option<Duration>,
    },
}

impl FullPolicy {
    /// The value of `Header::full_policy`.
    pub(super) fn code(self) -> u32 {
        match self {
            Self::DropOldest => 0,
            Self::DropNewest => 1,
            Self::Block { .. } => 2,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) bytes: u64,
    pub(super) perms: u32,
    pub(super) policy: FullPolicy,
    pub(super) history: u32,
    pub(super) max_leases: u32,
    pub(super) beacon: Duration,
    pub(super) keep_region: bool,
    pub(super) foreign_owner: bool,
    pub(super) lease_time: Duration,
    /// The region is a device's memory.
    pub(super) shared_by_kernels: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            perms: 0o660,
            policy: FullPolicy::DropOldest,
            history: 1,
            max_leases: 16,
            beacon: Duration::from_millis(250),
            keep_region: false,
            foreign_owner: false,
            lease_time: Duration::from_secs(2),
            shared_by_kernels: false,
        }
    }
}

impl Settings {
    /// What excludes another producer from the same memory.
    pub(super) fn exclusion(&self) -> Exclusion {
        match (self.keep_region, self.shared_by_kernels) {
            (false, _) => Exclusion::Exclusive,
            (true, false) => Exclusion::Lock,
            (true, true) => Exclusion::Heartbeat,
        }
    }

    /// What happens to an existing file.
    pub(super) fn keep(&self) -> Keep {
        match (self.keep_region, self.foreign_owner) {
            (false, _) => Keep::No,
            (true, false) => Keep::Own,
            (true, true) => Keep::AnyOwner,
        }
    }

    /// The value of `Header::kept`.
    pub(super) fn kept(&self) -> u32 {
        match self.exclusion() {
            Exclusion::Exclusive => 0,
            Exclusion::Lock => layout::KEPT_BY_LOCK,
            Exclusion::Heartbeat => layout::KEPT_BY_HEARTBEAT,
        }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), CreateError> {
        layout::arena_bytes(self.bytes).ok_or(CreateError::Size { bytes: self.bytes })?;
        if !(1..=layout::LEASES as u32).contains(&self.max_leases) {
            return Err(setting("max-leases", self.max_leases.into(), "1 to 64"));
        }
        if self.perms > 0o777 {
            return Err(setting("perms", self.perms.into(), "permission bits up to 0777"));
        }
        if !(LEAST_LEASE_TIME..=MOST_LEASE_TIME).contains(&self.lease_time) {
            let ms = self.lease_time.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX);
            return Err(setting("lease time in ms", ms, "100 to 3600000"));
        }
        Ok(())
    }
}

fn setting(name: &'static str, value: u64, allowed: &'static str) -> CreateError {
    CreateError::Setting { name, value, allowed }
}
