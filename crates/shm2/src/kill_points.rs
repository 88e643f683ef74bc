//! Named points in the protocol at which a test kills or stops this process. Without the feature `kill-points`, which
//! no product enables, [`point!`] expands to nothing.
//!
//! Environment variables choose the point, the pass and the signal: `SHM2_POINT=publish.cell`, `SHM2_POINT_PASS=3` (1
//! if not set), `SHM2_POINT_SIGNAL=stop` (`kill` if not set). With `SHM2_POINT_WAITS=1` passes count only after
//! [`arm`].

/// Marks a named point; [`ALL`] lists the names.
macro_rules! point {
    ($name:literal) => {
        #[cfg(feature = "kill-points")]
        crate::kill_points::reached($name);
    };
}
pub(crate) use point;

#[cfg(feature = "kill-points")]
pub(crate) use armed::reached;
#[cfg(feature = "kill-points")]
pub use armed::{ALL, arm};

#[cfg(feature = "kill-points")]
mod armed {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Every point, in the order in which a generation reaches them.
    pub const ALL: &[&str] = &[
        "create.reserved",
        "create.filled",
        "create.takeover-locked",
        "create.cleared",
        "create.linked",
        "reserve.taken",
        "publish.cell",
        "publish.sequence",
        "publish.head",
        "publish.time",
        "publish.woken",
        "recycle.retired",
        "recycle.scanned",
        "reap.locked",
        "reap.cleared",
        "expel.taken",
        "close.state",
        "close.unlinked",
        "close.unlocked",
        "attach.opened",
        "attach.claimed",
        "attach.entered",
        "lease.slot",
        "lease.held",
        "lease.cursor",
        "release.cleared",
        "detach.stopped",
        "detach.freed",
        "snapshot.shown",
        "snapshot.cell",
        "snapshot.copied",
    ];

    struct Armed {
        name: String,
        pass: usize,
        signal: Signal,
        counts: AtomicBool,
        passes: AtomicUsize,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED.get_or_init(from_environment).as_ref()
    }

    fn from_environment() -> Option<Armed> {
        let name = std::env::var("SHM2_POINT").ok()?;
        assert!(ALL.contains(&name.as_str()), "there is no kill point {name:?}");
        let pass = std::env::var("SHM2_POINT_PASS").ok().and_then(|p| p.parse().ok()).unwrap_or(1);
        let stops = std::env::var("SHM2_POINT_SIGNAL").is_ok_and(|s| s == "stop");
        let signal = if stops { Signal::STOP } else { Signal::KILL };
        let waits = std::env::var("SHM2_POINT_WAITS").is_ok_and(|w| w == "1");
        Some(Armed { name, pass, signal, counts: AtomicBool::new(!waits), passes: AtomicUsize::new(0) })
    }

    /// Starts to count passes.
    pub fn arm() {
        if let Some(armed) = armed() {
            armed.counts.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn reached(name: &'static str) {
        debug_assert!(ALL.contains(&name), "{name} is not in the list");
        let Some(armed) = armed().filter(|armed| armed.name == name) else { return };
        if !armed.counts.load(Ordering::Relaxed) {
            return;
        }
        if armed.passes.fetch_add(1, Ordering::Relaxed) + 1 == armed.pass {
            // Sending a signal that cannot be caught to the own process cannot fail.
            let _ = kill_process(getpid(), armed.signal);
        }
    }
}
