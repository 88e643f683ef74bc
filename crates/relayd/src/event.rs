//! What the supervisor is told.

use crate::settings::{Settings, SettingsError};
use crate::status::Status;
use std::sync::mpsc;

/// Which of the two pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What is wanted.
    Input,
    /// What is shown otherwise.
    Splash,
}

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// So many clients are connected, and may be.
    Clients(usize),
    /// Consumers of the output's region came or went.
    ConsumersChanged,
    /// The first buffer of this run of the input went through.
    Delivers(u64),
    /// A run failed or ended by itself.
    Failed(Role, u64, String),
    /// A run is over, and all its devices are closed.
    Stopped(Role),
    /// The output failed.
    OutputFailed(String),
    /// The output is at its end.
    OutputEnded,
    /// A part of the daemon cannot go on.
    Broken(String),
    /// A signal of the system.
    Signal(i32),
    /// The configuration was read anew; `None` if there is none.
    Settings(Result<Option<Box<Settings>>, SettingsError>),
    /// Somebody asks how it goes.
    Status(mpsc::Sender<Status>),
}

/// The way to the supervisor.
#[derive(Debug, Clone)]
pub struct Events(mpsc::Sender<Event>);

impl Events {
    /// The way, and its other end.
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    /// Tells. After the supervisor's end nobody listens, and nothing is lost.
    pub fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }
}
