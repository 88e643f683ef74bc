//! A stop request by a signal: checked between frames, and it interrupts every pause.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Set at the first signal to stop; a second one ends the process.
#[derive(Clone, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Installs signal handlers. `then` is called at each signal, to interrupt waits elsewhere.
    ///
    /// # Errors
    /// When the thread cannot be started or the handler cannot be installed.
    pub fn on_signal(then: impl Fn() + Send + 'static) -> io::Result<Self> {
        let stop = Self::default();
        let requested = stop.clone();
        listen(move || {
            *requested.lock() = true;
            requested.0.1.notify_all();
            then();
        })?;
        Ok(stop)
    }

    /// Whether a stop was requested.
    pub fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Sleeps for `time`, or until a stop is requested.
    pub fn pause(&self, time: Duration) {
        if !time.is_zero() {
            let _ = self.0.1.wait_timeout_while(self.lock(), time, |is_set| !*is_set);
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SIGINT and SIGTERM.
#[cfg(unix)]
fn listen(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let handle = move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            stop();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(handle).map(drop)
}

/// Ctrl+C, Ctrl+Break and the closing of the console.
#[cfg(windows)]
fn listen(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut count = 0;
    let handle = move || {
        count += 1;
        if count > 1 {
            std::process::exit(130);
        }
        stop();
    };
    ctrlc::set_handler(handle).map_err(io::Error::other)
}
