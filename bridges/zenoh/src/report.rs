//! Messages to the user: each fault once, however often it comes.

use shm2_cli::complain;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time after which a fault that continues is said again.
const AGAIN: Duration = Duration::from_secs(60);
/// Kinds of faults that are remembered.
const KINDS: usize = 256;

/// Says each kind of fault once a minute at most, with the number of those in between.
#[derive(Debug, Default)]
pub struct Report(Mutex<HashMap<String, Said>>);

#[derive(Debug)]
struct Said {
    at: Instant,
    more: u64,
}

impl Report {
    /// Says `text` unless a fault of this `kind` was said within the last minute.
    pub fn fault(&self, kind: &str, text: impl FnOnce() -> String) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= KINDS {
            said.clear();
        }
        let more = match said.get_mut(kind) {
            Some(last) if last.at.elapsed() < AGAIN => {
                last.more += 1;
                return;
            }
            Some(last) => last.more,
            None => 0,
        };
        said.insert(kind.into(), Said { at: Instant::now(), more: 0 });
        let more = if more > 0 { format!(" ({more} more since the last report)") } else { String::new() };
        complain!("shm2_zenoh: {}{more}", text());
    }
}
