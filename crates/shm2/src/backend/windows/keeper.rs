//! A mutex belongs to a thread and is left behind when that thread ends. So one thread of the process, which lives as long
//! as the process, owns all mutexes that stand for something's life.

use super::objects::{pin_module, release, try_take};
use std::collections::HashMap;
use std::os::windows::io::OwnedHandle;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// The thread does nothing that takes time.
const ANSWER: Duration = Duration::from_secs(2);

enum Order {
    Take(String, OwnedHandle, Sender<bool>),
    Release(String),
}

/// A mutex that this process owns; given up when dropped.
#[derive(Debug)]
pub(super) struct Kept(String);

impl Drop for Kept {
    fn drop(&mut self) {
        // Without waiting: this may be a destructor that runs when the process, and that thread, has ended.
        if let Some(keeper) = keeper() {
            let _ = keeper.send(Order::Release(std::mem::take(&mut self.0)));
        }
    }
}

/// Takes the mutex if nobody owns it: no other process, and nobody in this one.
pub(super) fn take(name: &str, mutex: OwnedHandle) -> Option<Kept> {
    ask(|answer| Order::Take(name.to_owned(), mutex, answer)).then(|| Kept(name.to_owned()))
}

/// False also when there is no thread to ask.
fn ask(order: impl FnOnce(Sender<bool>) -> Order) -> bool {
    let Some(keeper) = keeper() else { return false };
    let (answer, answered) = channel();
    keeper.send(order(answer)).is_ok() && answered.recv_timeout(ANSWER).unwrap_or(false)
}

fn keeper() -> Option<&'static Sender<Order>> {
    static KEEPER: OnceLock<Option<Sender<Order>>> = OnceLock::new();
    KEEPER.get_or_init(start).as_ref()
}

fn start() -> Option<Sender<Order>> {
    // Threads of this module outlive whoever loaded it.
    pin_module();
    let (orders, ordered) = channel();
    std::thread::Builder::new().name("shm2-keeper".into()).spawn(move || keep(&ordered)).ok()?;
    Some(orders)
}

fn keep(orders: &Receiver<Order>) {
    let mut kept = HashMap::new();
    for order in orders {
        match order {
            Order::Take(name, mutex, answer) => {
                // The system would give it to this thread once more.
                let taken = !kept.contains_key(&name) && try_take(&mutex);
                if answer.send(taken).is_err() && taken {
                    // Whoever asked has given up.
                    release(&mutex);
                } else if taken {
                    kept.insert(name, mutex);
                }
            }
            Order::Release(name) => kept.remove(&name).iter().for_each(release),
        }
    }
}
