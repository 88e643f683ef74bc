//! Runs an input pipeline only while somebody wants it, and a splash pipeline only while it does not; both feed an output
//! pipeline that always runs, by reference and on one clock.
//!
//! `shm2_relayd` is this library with a command line. [`machine`] decides, [`relay`] carries out; [`demand`] knows who is
//! connected, [`feed`] runs the input and the splash, [`forward`] is the way into the output.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod control;
pub mod demand;
pub mod event;
pub mod feed;
pub mod forward;
pub mod listen;
pub mod machine;
mod manager;
pub mod relay;
pub mod settings;
#[cfg(unix)]
pub mod socket;
pub mod status;
