//! A mutex belongs to a thread and is left behind when that thread ends. So one thread of the process, which lives as long
//! as the process, owns all mutexes that stand for something's life.

use super::objects::{release, try_take};
use std::collections::HashMap;
use std::os::windows::io::OwnedHandle;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

enum Order {
    Take(String, OwnedHandle, Sender<bool>),
    Release(String, Sender<bool>),
}

/// A mutex that this process owns; given up when dropped.
#[derive(Debug)]
pub(super) struct Kept(String);

impl Drop for Kept {
    fn drop(&mut self) {
        ask(|answer| Order::Release(std::mem::take(&mut self.0), answer));
    }
}

/// Takes the mutex if nobody owns it: no other process, and nobody in this one.
pub(super) fn take(name: &str, mutex: OwnedHandle) -> Option<Kept> {
    ask(|answer| Order::Take(name.to_owned(), mutex, answer)).then(|| Kept(name.to_owned()))
}

/// False also when there is no thread to ask.
fn ask(order: impl FnOnce(Sender<bool>) -> Order) -> bool {
    static KEEPER: OnceLock<Option<Sender<Order>>> = OnceLock::new();
    let Some(keeper) = KEEPER.get_or_init(start) else { return false };
    let (answer, answered) = channel();
    keeper.send(order(answer)).is_ok() && answered.recv().unwrap_or(false)
}

fn start() -> Option<Sender<Order>> {
    let (orders, ordered) = channel();
    std::thread::Builder::new().name("shm2-keeper".into()).spawn(move || keep(&ordered)).ok()?;
    Some(orders)
}

fn keep(orders: &Receiver<Order>) {
    let mut kept = HashMap::new();
    for order in orders {
        let (answer, done) = match order {
            // The system would give it to this thread once more.
            Order::Take(name, _, answer) if kept.contains_key(&name) => (answer, false),
            Order::Take(name, mutex, answer) => {
                let taken = try_take(&mutex);
                if taken {
                    kept.insert(name, mutex);
                }
                (answer, taken)
            }
            Order::Release(name, answer) => {
                let mutex = kept.remove(&name);
                mutex.iter().for_each(release);
                (answer, mutex.is_some())
            }
        };
        // Whoever asked may be gone.
        let _ = answer.send(done);
    }
}
