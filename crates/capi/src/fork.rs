//! Detects handles that were inherited from a parent process: each forked child counts one more fork than its parent,
//! and a handle remembers the number at which it was made.

#[cfg(unix)]
#[expect(unsafe_code, reason = "pthread_atfork")]
mod count {
    use std::sync::Once;
    use std::sync::atomic::{AtomicU32, Ordering};

    static FORKS: AtomicU32 = AtomicU32::new(0);

    extern "C" fn in_child() {
        // Relaxed: the child has one thread, and is ordered after the fork.
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn depth() -> u32 {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            // SAFETY: the handler touches an atomic only, so it may run in the child of any process. It fails only
            // without memory; then inherited handles are not detected.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        FORKS.load(Ordering::Relaxed)
    }
}

#[cfg(not(unix))]
mod count {
    pub(crate) fn depth() -> u32 {
        0
    }
}

pub(crate) use count::depth;
