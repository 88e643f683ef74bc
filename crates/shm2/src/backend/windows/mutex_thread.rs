//! The thread that owns this process's mutexes. Windows gives a mutex to a thread, not to a process, and abandons it
//! when that thread ends. A mutex that shows that a producer or consumer is alive must last until it is unlocked or the
//! process ends, so one thread, which never ends, owns all of them.

use super::kernel_objects::{pin_module, try_lock, unlock};
use std::collections::HashMap;
use std::os::windows::io::OwnedHandle;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Longest wait for the thread's answer. No request takes it longer than a system call.
const ANSWER: Duration = Duration::from_secs(2);

enum Request {
    Lock(String, OwnedHandle, Sender<bool>),
    Unlock(String),
}

/// A named mutex that this process has locked; unlocked when dropped.
#[derive(Debug)]
pub(super) struct OwnedMutex(String);

impl OwnedMutex {
    /// Locks the mutex. `None` if another process, or another value in this one, has locked it.
    pub(super) fn try_lock(name: &str, mutex: OwnedHandle) -> Option<Self> {
        // Without the thread no mutex can be locked.
        let thread = thread()?;
        let (answer, answered) = channel();
        thread.send(Request::Lock(name.to_owned(), mutex, answer)).ok()?;
        answered.recv_timeout(ANSWER).unwrap_or(false).then(|| Self(name.to_owned()))
    }
}

impl Drop for OwnedMutex {
    fn drop(&mut self) {
        // Without waiting for an answer: this may run in a destructor at the end of the process, after the thread's
        // end.
        if let Some(thread) = thread() {
            let _ = thread.send(Request::Unlock(std::mem::take(&mut self.0)));
        }
    }
}

fn thread() -> Option<&'static Sender<Request>> {
    static THREAD: OnceLock<Option<Sender<Request>>> = OnceLock::new();
    THREAD.get_or_init(start).as_ref()
}

fn start() -> Option<Sender<Request>> {
    // The thread runs code of this module, which must not be unloaded.
    pin_module();
    let (sender, requests) = channel();
    std::thread::Builder::new().name("shm2-keeper".into()).spawn(move || serve(&requests)).ok()?;
    Some(sender)
}

fn serve(requests: &Receiver<Request>) {
    let mut owned = HashMap::new();
    for request in requests {
        match request {
            Request::Lock(name, mutex, answer) => {
                // A mutex is recursive: the system would let this thread lock it again.
                let locked = !owned.contains_key(&name) && try_lock(&mutex);
                if answer.send(locked).is_err() && locked {
                    // The caller no longer waits for the answer.
                    unlock(&mutex);
                } else if locked {
                    owned.insert(name, mutex);
                }
            }
            Request::Unlock(name) => owned.remove(&name).iter().for_each(unlock),
        }
    }
}
