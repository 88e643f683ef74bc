//! The extension module `shm2._shm2` of the Python package `shm2`.
//!
//! [`consumer`] and [`producer`] wrap the two sides of the crate `shm2`. A [`frame::Frame`] and an
//! [`outgoing::OutFrame`] hand out [`plane::Plane`]s, which export their memory by the buffer protocol and DLPack.
//! [`memory`] keeps the memory alive while it is exported, [`shape`] says how a plane of the media description is
//! indexed. [`fork`] makes views that a forked child inherited harmless.
//!
//! All classes are frozen and have locks of their own, so that interpreters without a global lock can use them. No lock
//! is taken before [`fork::Origin::check`] has passed, because another thread may have held it during the fork.
//!
//! `unsafe` is in `fork`, `sigbus`, `memory` (private copies that Python may write), `plane` (the buffer protocol),
//! `dlpack`, and where `frame` and `outgoing` pass a buffer on to `plane`.

#![deny(clippy::unwrap_used)]

mod consumer;
mod dlpack;
mod error;
mod fork;
mod frame;
mod memory;
mod outgoing;
mod overview;
mod plane;
mod producer;
mod shape;
mod sigbus;
mod stream;
mod wait;

/// Video, audio and data frames between processes through shared memory: the compiled part of the package `shm2`.
#[pyo3::pymodule(gil_used = false)]
mod _shm2 {
    #[pymodule_export]
    use super::consumer::Consumer;
    #[pymodule_export]
    use super::frame::Frame;
    #[pymodule_export]
    use super::outgoing::OutFrame;
    #[pymodule_export]
    use super::overview::{inspect, regions};
    #[pymodule_export]
    use super::plane::Plane;
    #[pymodule_export]
    use super::producer::Producer;
    #[pymodule_export]
    use super::stream::{describe, formats, monotonic_ns};
}
