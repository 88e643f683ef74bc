//! Events for the supervisor.

use crate::settings::{Settings, SettingsError};
use crate::status::Status;
use std::sync::mpsc;

/// Which of the two pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs while there is demand.
    Input,
    /// Runs while the input delivers nothing.
    Splash,
}

/// An event.
#[derive(Debug)]
pub enum Event {
    /// Number of accepted clients changed.
    Clients(usize),
    /// Number of consumers of the output's region changed.
    ConsumersChanged,
    /// Whether the video device of this number is read, of those that are demand.
    VideoDevice(usize, bool),
    /// The first buffer of this run of the input passed.
    Delivers(u64),
    /// A run failed or ended without a stop command.
    Failed(Role, u64, String),
    /// A run was stopped, and all its devices are closed.
    Stopped(Role),
    /// The output warns.
    OutputWarns(String),
    /// The output failed.
    OutputFailed(String),
    /// The output reached its end of stream.
    OutputEnded,
    /// A part of the daemon failed.
    Broken(String),
    /// A signal was received.
    Signal(i32),
    /// The configuration file was read again; `None` without a file.
    Settings(Result<Option<Box<Settings>>, SettingsError>),
    /// Request for the status.
    Status(mpsc::Sender<Status>),
}

/// Sender of events to the supervisor.
#[derive(Debug, Clone)]
pub struct Events(mpsc::Sender<Event>);

impl Events {
    /// The sender and the receiver.
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    /// Sends an event. It is dropped after the supervisor ended.
    pub fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }
}
