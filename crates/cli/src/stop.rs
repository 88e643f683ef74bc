//! The wish of a user that a tool ends: it is seen between frames, and ends every pause.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Set at the first signal to stop; a second one ends the process.
#[derive(Clone, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Hears signals from now on; `then` is called at the first, for what waits elsewhere.
    ///
    /// # Errors
    /// When the system has no thread, or no handler, for it.
    pub fn on_signal(then: impl Fn() + Send + 'static) -> io::Result<Self> {
        let stop = Self::default();
        let heard = stop.clone();
        listen(move || {
            *heard.lock() = true;
            heard.0.1.notify_all();
            then();
        })?;
        Ok(stop)
    }

    /// Whether it came.
    pub fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Sleeps for `time`, or until it comes.
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
    let hear = move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            stop();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(hear).map(drop)
}

/// Ctrl+C, Ctrl+Break and the closing of the console.
#[cfg(windows)]
fn listen(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut count = 0;
    let hear = move || {
        count += 1;
        if count > 1 {
            std::process::exit(130);
        }
        stop();
    };
    ctrlc::set_handler(hear).map_err(io::Error::other)
}
