//! Figures of all regions as server-sent events.
//!
//! One sampler serves all pages, and looks only while there is one. A page that is slow gets the newest figures when it
//! is ready for them: nothing is queued.

use super::card::Card;
use crate::rates::Sampler;
use crate::web::parts;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

pub struct Live {
    sampler: Mutex<Sampler>,
    /// The newest event, empty before the first.
    event: watch::Sender<Bytes>,
    /// A page came.
    came: Notify,
}

impl Live {
    pub fn new(sampler: Sampler) -> Self {
        Self { sampler: Mutex::new(sampler), event: watch::Sender::default(), came: Notify::new() }
    }

    /// Samples in each `interval` while there are pages.
    pub async fn run(self: Arc<Self>, interval: Duration) {
        loop {
            let _ = timeout(interval, self.came.notified()).await;
            if self.event.receiver_count() == 0 {
                self.came.notified().await;
            }
            let live = self.clone();
            if let Ok(event) = spawn_blocking(move || live.sample()).await {
                self.event.send_replace(event);
            }
        }
    }

    /// The events as the answer to a page.
    pub fn events(&self) -> impl IntoResponse + use<> {
        let mut receiver = self.event.subscribe();
        // What there is may be old.
        receiver.mark_unchanged();
        self.came.notify_one();
        let next = |mut receiver: watch::Receiver<Bytes>| async {
            receiver.changed().await.ok()?;
            let event = receiver.borrow_and_update().clone();
            Some((event, receiver))
        };
        ([(header::CONTENT_TYPE, "text/event-stream")], parts(receiver, next))
    }

    fn sample(&self) -> Bytes {
        let samples = self.sampler.lock().unwrap_or_else(PoisonError::into_inner).sample();
        let cards: Vec<_> = samples.iter().map(Card::from).collect();
        // Figures and texts have a form in JSON.
        let json = serde_json::to_string(&cards).unwrap_or_else(|_| "[]".into());
        format!("data: {json}\n\n").into()
    }
}
