//! Models of the procedures of shm2's protocol that take several steps of several processes: a search visits every
//! state that they can reach, or many of them at random.
//!
//! A model has the steps of the code, in the code's order, and not the code itself. The head of each file names the
//! items that it models; a change of one of them changes the model as well. Every test runs a model twice: unchanged it
//! must hold, and with each *mutation*, a deliberate error, it must fail. So no property holds merely because the model
//! cannot reach the situation.
//!
//! Steps happen one at a time and are seen at once by all (sequential consistency). What the order of memory accesses
//! on real processors adds is the subject of the loom models (`crates/shm2/src/models.rs`).
//!
//! `cargo xtask models` runs them, `cargo xtask models long` with larger bounds.

#![cfg(test)]

mod block;
mod generations;
mod owners;
#[path = "../../crates/shm2/src/protocol.rs"]
#[expect(dead_code, reason = "the models use a part of it")]
mod protocol;
mod takeover;

/// What `protocol.rs` uses of its crate.
mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
}

/// As the crate's module, with one lease a page.
mod layout {
    use crate::sync::{AtomicU32, AtomicU64};

    pub(crate) const NEVER_CLAIMED: u32 = 0;
    pub(crate) const READING: u32 = 1;
    pub(crate) const FREE: u32 = 2;
    pub(crate) const HOLDING: u32 = 3;
    pub(crate) const CLAIMING: u32 = 4;
    pub(crate) const BY_HEARTBEAT: u32 = 0x100;
    pub(crate) const STATE_CLOSED: u32 = 2;
    pub(crate) const NONE: u64 = u64::MAX;

    pub(crate) struct Lease {
        pub(crate) sequence: AtomicU64,
    }

    pub(crate) struct Page {
        pub(crate) claimed: AtomicU32,
        pub(crate) lease_count: AtomicU32,
        pub(crate) generation: AtomicU64,
        pub(crate) leases: [Lease; 1],
    }
}

mod kill_points {
    macro_rules! point {
        ($name:literal) => {};
    }
    pub(crate) use point;
}

use stateright::{Checker, HasDiscoveries, Model};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

/// Whether the larger bounds are asked for.
fn is_long() -> bool {
    std::env::var("SHM2_MODELS").is_ok_and(|form| form == "long")
}

/// Visits every state of a model, in which each property must hold.
fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let begun = Instant::now();
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.assert_properties();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} states, depth {depth}, {:.1} s", begun.elapsed().as_secs_f32());
}

/// Visits the states of a model with a deliberate error until `property` fails.
fn fails<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let wanted = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().threads(2).finish_when(wanted).spawn_bfs().join();
    let states = checker.unique_state_count();
    let found = checker.discoveries().remove(property);
    let path = found.unwrap_or_else(|| panic!("{name}: {property:?} holds in all {states} states: it proves nothing"));
    println!("{name}: {property:?} fails after {} steps, {states} states", path.into_actions().len());
}
