//! Notifications to the service manager: readiness, status line, watchdog. No effect without one.
//!
//! The protocol is that of `sd_notify(3)`: a datagram of lines to the Unix socket that `NOTIFY_SOCKET` names, by a path
//! or, behind an `@`, by an abstract name.

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::io;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use tracing::warn;

    /// Sends lines. A failure is logged once: it repeats itself with each notification.
    fn notify(lines: &str) {
        static HAS_FAILED: AtomicBool = AtomicBool::new(false);
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
        match send(&name, lines) {
            Ok(()) => HAS_FAILED.store(false, Ordering::Relaxed),
            Err(error) if !HAS_FAILED.swap(true, Ordering::Relaxed) => {
                warn!("the service manager was not notified at NOTIFY_SOCKET={}: {error}", name.display());
            }
            Err(_) => {}
        }
    }

    fn send(name: &OsStr, lines: &str) -> io::Result<()> {
        let address = address(name)?;
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not stop the supervisor.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(lines.as_bytes(), &address).map(drop)
    }

    fn address(name: &OsStr) -> io::Result<SocketAddr> {
        match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "only a path, or an abstract name behind an @, can be notified",
            )),
        }
    }

    /// The daemon is ready, and its state.
    pub fn ready(status: &str) {
        notify(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// The state, in one line.
    pub fn status(status: &str) {
        notify(&format!("STATUS={status}\n"));
    }

    /// The daemon begins to end.
    pub fn stopping() {
        notify("STOPPING=1\n");
    }

    /// The daemon works, for the watchdog.
    pub fn alive() {
        notify("WATCHDOG=1\n");
    }

    /// Interval of the watchdog notifications, if the service manager expects them of this process.
    pub fn watchdog() -> Option<Duration> {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>());
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == Ok(std::process::id().into()));
        let limit = number("WATCHDOG_USEC")?;
        if limit.is_err() {
            warn!("WATCHDOG_USEC is not a number of microseconds: no watchdog notifications are sent");
        }
        let limit = limit.ok().filter(|limit| is_ours && *limit > 0)?;
        Some(Duration::from_micros(limit) / 2)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_notification_arrives_at_a_path_and_at_an_abstract_name() {
            let name = format!("shm2-relay-unit-{}", std::process::id());
            let path = std::env::temp_dir().join(&name);
            let at_path = UnixDatagram::bind(&path).unwrap();
            let at_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
            send(path.as_os_str(), "READY=1\n").unwrap();
            send(OsStr::new(&format!("@{name}")), "READY=1\n").unwrap();
            std::fs::remove_file(&path).unwrap();
            for socket in [at_path, at_name] {
                let mut bytes = [0; 100];
                let length = socket.recv(&mut bytes).unwrap();
                assert_eq!(&bytes[..length], b"READY=1\n");
            }
            assert!(send(path.as_os_str(), "READY=1\n").is_err());
            let error = send(OsStr::new("vsock:2:1234"), "READY=1\n").unwrap_err();
            assert!(error.to_string().contains("only a path"), "{error}");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::time::Duration;

    /// No effect here.
    pub fn ready(_: &str) {}
    /// No effect here.
    pub fn status(_: &str) {}
    /// No effect here.
    pub fn stopping() {}
    /// No effect here.
    pub fn alive() {}
    /// None here.
    pub fn watchdog() -> Option<Duration> {
        None
    }
}

#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(not(target_os = "linux"))]
pub use other::*;
