//! Runs an input pipeline only while there is demand, and a splash pipeline while the input delivers nothing. Both feed
//! an output pipeline that always runs, by reference and on one clock.
//!
//! `shm2_relayd` is this library with a command line. [`daemon`] starts all; [`machine`] decides, [`relay`] executes its
//! commands; [`demand`] counts the connected clients, [`feed`] runs the input and the splash, [`forward`] feeds the output.
//!
//! What any daemon of this project needs is here for the other ones, too: [`command`], [`daemon::start_log`],
//! [`daemon::watch_signals`], [`control`], [`log_limit`], [`manager`], [`secret`] and
//! [`settings::Time`].

#![deny(clippy::unwrap_used)]
#![deny(unsafe_code)]

pub mod command;
pub mod control;
pub mod daemon;
pub mod demand;
pub mod event;
pub mod feed;
pub mod forward;
pub mod listen;
pub mod log_limit;
pub mod machine;
pub mod manager;
pub mod metrics;
pub mod relay;
pub mod secret;
pub mod settings;
pub mod status;
