//! RTSP server for regions: a mount for each region, or for video and sound together. A region has a consumer, and its
//! frames are encoded, only while somebody plays; all clients of a mount share one encoder. Encoded regions are passed
//! through.
//!
//! `shm2_rtspd` is this library with a command line. [`settings`] reads and checks the configuration, [`pipeline`] writes
//! the pipeline of a mount from the caps of its regions, [`mounts`] offers mounts to the server, [`server`] runs it.

#![deny(clippy::unwrap_used)]

pub mod mounts;
pub mod pattern;
pub mod pipeline;
pub mod request;
pub mod server;
pub mod settings;
pub mod status;
pub mod users;
