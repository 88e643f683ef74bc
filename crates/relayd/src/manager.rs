//! The service manager: readiness, a line about the state, and a watchdog. Without one, nothing.

#[cfg(target_os = "linux")]
mod linux {
    use sd_notify::NotifyState;
    use std::time::Duration;

    fn tell(states: &[NotifyState]) {
        // Without a service manager nobody listens.
        let _ = sd_notify::notify(states);
    }

    pub fn ready(status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub fn status(status: &str) {
        tell(&[NotifyState::Status(status)]);
    }

    pub fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    pub fn alive() {
        tell(&[NotifyState::Watchdog]);
    }

    /// How often it wants to hear that the daemon lives, if it does.
    pub fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2)
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::time::Duration;

    pub fn ready(_: &str) {}
    pub fn status(_: &str) {}
    pub fn stopping() {}
    pub fn alive() {}
    pub fn watchdog() -> Option<Duration> {
        None
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::*;
