//! Notifications to the service manager: readiness, status line, watchdog. No effect without one.

#[cfg(target_os = "linux")]
mod linux {
    use sd_notify::NotifyState;
    use std::time::Duration;

    fn notify(states: &[NotifyState]) {
        // Fails without a service manager.
        let _ = sd_notify::notify(states);
    }

    pub fn ready(status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub fn status(status: &str) {
        notify(&[NotifyState::Status(status)]);
    }

    pub fn stopping() {
        notify(&[NotifyState::Stopping]);
    }

    pub fn alive() {
        notify(&[NotifyState::Watchdog]);
    }

    /// Interval of the watchdog notifications, if the service manager expects them.
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
