//! Runs an input pipeline only while there is demand, and a splash pipeline while the input delivers nothing. Both feed
//! an output pipeline that always runs, by reference and on one clock.
//!
//! `shm2_relayd` is this library with a command line. [`daemon`] starts all; [`machine`] decides, [`relay`] executes its
//! commands; [`demand`] counts the connected clients, [`feed`] runs the input and the splash, [`forward`] feeds the output.

#![deny(clippy::unwrap_used)]
#![deny(unsafe_code)]

pub mod control;
pub mod daemon;
pub mod demand;
pub mod event;
pub mod feed;
pub mod forward;
pub mod listen;
mod log_limit;
pub mod machine;
mod manager;
pub mod metrics;
pub mod relay;
pub mod secret;
pub mod settings;
pub mod status;
