//! Pictures of regions, made while a page shows them.
//!
//! A region that a page shows has one thread with a snapshot consumer, which has no effect on the producer. The thread
//! makes the next picture at most five times a second, and the newest one is shared by all viewers: a slow one leaves
//! pictures out. The thread ends with its last viewer, or with the producer.

use crate::Failure;
use crate::picture::{self, Picture};
use crate::web::parts;
use axum::body::{Body, Bytes};
use shm2::{Access, Consumer, OnProducerExit, ReceiveError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// Regions that are previewed at a time.
pub const MOST: usize = 16;
/// Type of a stream of pictures.
pub const CONTENT_TYPE: &str = "multipart/x-mixed-replace; boundary=frame";
/// Shortest time between two pictures.
const STEP: Duration = Duration::from_millis(200);
/// Time without a new picture after which the last one is sent again: it shows whether the viewer is still there.
const REPEAT: Duration = Duration::from_secs(10);
/// The same for the first repetition: Chromium shows a picture when the next one begins.
const FIRST_REPEAT: Duration = Duration::from_millis(400);
/// Time to wait for a frame before the viewers are counted again.
const WAIT: Duration = Duration::from_millis(500);
/// Time that a request waits for its first picture.
const FIRST: Duration = Duration::from_secs(5);
const MOST_WIDTH: u32 = 640;
const MOST_HEIGHT: u32 = 1280;
const QUALITY: u8 = 75;

/// The newest picture of a region.
#[derive(Clone, Default)]
enum Shown {
    #[default]
    Nothing,
    Jpeg(Bytes),
    Ended,
}

/// The regions that are looked at.
#[derive(Default)]
pub struct Previews {
    regions: Mutex<HashMap<String, watch::Sender<Shown>>>,
}

impl Previews {
    /// Begins to look at a region. `None` when as many are looked at as may be.
    pub fn watch(self: &Arc<Self>, region: &str) -> Option<Viewer> {
        let mut regions = self.lock();
        if let Some(shown) = regions.get(region) {
            return Some(Viewer(shown.subscribe()));
        }
        if regions.len() >= MOST {
            return None;
        }
        let (previews, name, shown) = (self.clone(), region.to_owned(), watch::Sender::default());
        let (viewer, sender) = (Viewer(shown.subscribe()), shown.clone());
        let work = move || previews.make(&name, &sender);
        std::thread::Builder::new().name("preview".into()).spawn(work).ok()?;
        regions.insert(region.into(), shown);
        Some(viewer)
    }

    fn make(&self, region: &str, shown: &watch::Sender<Shown>) {
        // Why there is no picture is not shown: the page has the state of the region.
        let _ = self.make_all(region, shown);
        // A next viewer may have begun anew.
        self.lock().retain(|_, other| !other.same_channel(shown));
        shown.send_replace(Shown::Ended);
    }

    fn make_all(&self, region: &str, shown: &watch::Sender<Shown>) -> Result<(), Failure> {
        let builder = Consumer::builder(region)?.access(Access::Snapshot).latest_only(true);
        let mut consumer = builder.on_producer_exit(OnProducerExit::Error).attach(Some(WAIT))?;
        while self.is_watched(region, shown) {
            let frame = match consumer.next(Some(WAIT)) {
                Err(ReceiveError::TimedOut) => continue,
                frame => frame?,
            };
            let begun = Instant::now();
            shown.send_replace(Shown::Jpeg(jpeg(&frame)?));
            // Large pictures use at most a quarter of a processor.
            std::thread::sleep(STEP.max(4 * begun.elapsed()).saturating_sub(begun.elapsed()));
        }
        Ok(())
    }

    /// Whether there are viewers. Without one the region is taken out under the lock, so that no viewer comes after it.
    fn is_watched(&self, region: &str, shown: &watch::Sender<Shown>) -> bool {
        let mut regions = self.lock();
        if shown.receiver_count() == 0 {
            regions.remove(region);
        }
        shown.receiver_count() > 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Shown>>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn jpeg(frame: &shm2::Frame) -> Result<Bytes, Failure> {
    let rgb = match picture::of_frame(frame, &frame.to_vec(), "")? {
        Picture::Rgb(rgb) => rgb,
        Picture::NeedsDecoder(why) => return Err(why.into()),
    };
    let mut jpeg = Vec::new();
    picture::write_jpeg(&picture::downscale(rgb, MOST_WIDTH, MOST_HEIGHT), QUALITY, &mut jpeg)?;
    Ok(jpeg.into())
}

/// A view of a region's pictures.
pub struct Viewer(watch::Receiver<Shown>);

impl Viewer {
    /// The next picture; `None` when there is none.
    pub async fn first(mut self) -> Option<Bytes> {
        let wait = self.0.wait_for(|shown| !matches!(shown, Shown::Nothing));
        match &*timeout(FIRST, wait).await.ok()?.ok()? {
            Shown::Jpeg(jpeg) => Some(jpeg.clone()),
            _ => None,
        }
    }

    /// A body of all pictures, each as soon as the client is ready for it. It ends with the producer.
    pub fn stream(mut self) -> Body {
        self.0.mark_changed();
        parts((self, Sent::default()), |(mut viewer, mut sent)| async move {
            let jpeg = viewer.next(&mut sent).await?;
            let begin = if sent.pictures == 1 { "--frame\r\n" } else { "" };
            let head = format!("{begin}Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
            // The boundary after it: browsers show a picture when they have seen its end.
            let part = [head.as_bytes(), &jpeg, b"\r\n--frame\r\n"].concat();
            Some((part.into(), (viewer, sent)))
        })
    }

    async fn next(&mut self, sent: &mut Sent) -> Option<Bytes> {
        loop {
            let wait = if sent.is_repeated { REPEAT } else { FIRST_REPEAT };
            let is_new = match timeout(wait, self.0.changed()).await {
                Ok(Err(_)) => return None,
                Ok(Ok(())) => true,
                Err(_) => false,
            };
            match &*self.0.borrow_and_update() {
                Shown::Jpeg(jpeg) => {
                    *sent = Sent { pictures: sent.pictures.saturating_add(1), is_repeated: !is_new };
                    return Some(jpeg.clone());
                }
                Shown::Ended => return None,
                Shown::Nothing => {}
            }
        }
    }
}

/// What a stream has sent.
#[derive(Default)]
struct Sent {
    pictures: u64,
    /// The last one was no new picture.
    is_repeated: bool,
}
