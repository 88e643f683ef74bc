//! One published region: what it declares, and its thread.

use super::Settings;
use super::demand::Demand;
use super::encoder::Encoder;
use super::feed::{Described, Feed};
use crate::message::{self, Header, Kind, Stream};
use crate::names::Address;
use crate::session::plain;
use shm2::{Access, Consumer, Overview, ReceiveError};
use shm2_cli::say;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::query::{Query, Queryable};
use zenoh::{Session, Wait};

/// Longest wait for a frame; then the encoder is looked after.
const SLICE: Duration = Duration::from_millis(300);
/// Pause after an error of the region.
const AFTER_ERROR: Duration = Duration::from_millis(500);

/// Longest wait for a message that is being sent when the region ends. Under `--lossless` it may wait for the network for
/// long.
const ENDING: Duration = Duration::from_secs(1);

/// The encoder of a region while somebody reads it.
type Running = Arc<Mutex<Option<Encoder>>>;

/// A region that others see. It ends when it is dropped.
pub struct Published {
    address: Address,
    demand: Arc<Demand>,
    thread: Option<JoinHandle<()>>,
    encoder: Running,
    _token: LivelinessToken,
    _queryable: Queryable<()>,
}

impl Published {
    /// Declares the region and starts its thread, which reads nothing as long as nobody subscribes.
    pub fn begin(session: &Session, address: Address, path: &Path, settings: &Arc<Settings>) -> Result<Self, String> {
        let text = |error: zenoh::Error| plain(&error);
        let (demand, described) = (Arc::new(Demand::default()), Arc::new(Mutex::new(Described::default())));
        let control = if settings.lossless { CongestionControl::Block } else { CongestionControl::Drop };
        let publisher = session.declare_publisher(address.key()).congestion_control(control).express(true);
        let publisher = publisher.wait().map_err(text)?;
        let matching = demand.clone();
        // It also reports a subscriber that is there already. A query of the status beside it could overwrite a newer one.
        let listener = publisher.matching_listener().callback(move |status| matching.set_matching(status.matching()));
        listener.background().wait().map_err(text)?;
        let answer = Answer {
            key: address.key(),
            path: path.into(),
            is_encoded: settings.encode.is_some(),
            demand: demand.clone(),
            described: described.clone(),
        };
        let queryable = session.declare_queryable(address.key()).callback(move |query| answer.to(&query));
        let queryable = queryable.wait().map_err(text)?;
        let token = session.liveliness().declare_token(address.key()).wait().map_err(text)?;
        let encoder = Running::default();
        let reader = Reader {
            address: address.clone(),
            path: path.into(),
            demand: demand.clone(),
            described,
            encoder: encoder.clone(),
            settings: settings.clone(),
        };
        let run = move || reader.run(&publisher);
        let thread = std::thread::Builder::new().name("region".into()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Self { address, demand, thread: Some(thread), encoder, _token: token, _queryable: queryable })
    }

    /// Nothing more is sent; what is being sent may still wait for the network.
    pub fn end(&self) {
        self.demand.end();
    }

    /// Its name for others.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.end();
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() && self.demand.ended().is_some_and(|ended| ended.elapsed() < ENDING) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if thread.is_finished() {
            // One that panicked has said so.
            let _ = thread.join();
        } else {
            // It ends with its message, or with the process. Its encoder must not be left behind.
            drop(lock(&self.encoder).take());
        }
    }
}

/// Answers queries with the description of the stream.
struct Answer {
    key: String,
    path: PathBuf,
    is_encoded: bool,
    demand: Arc<Demand>,
    described: Arc<Mutex<Described>>,
}

impl Answer {
    fn to(&self, query: &Query) {
        if query.parameters().as_str() == "keyframe" {
            self.demand.request_keyframe();
        }
        let Ok(overview) = Overview::of(&self.path.to_string_lossy()) else { return };
        let described = lock(&self.described).clone();
        let is_sent = described.stream != 0;
        // Before anything was sent, the caps are those that the region shows, or what an encoder will make of them.
        let caps = match overview.caps {
            Some(caps) if !is_sent && !self.is_encoded => caps.into(),
            _ => described.caps.clone(),
        };
        let header = Header { size: overview.arena_bytes, ..described.header(Kind::Description) };
        let stream = (is_sent || !caps.is_empty()).then_some(Stream { caps: &caps, blob: &described.blob });
        let attachment = message::encode(&header, stream, &[]);
        // An asker that has gone needs no answer.
        let _ = query.reply(self.key.clone(), Vec::new()).attachment(attachment).wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The region's thread.
struct Reader {
    address: Address,
    path: PathBuf,
    demand: Arc<Demand>,
    described: Arc<Mutex<Described>>,
    encoder: Running,
    settings: Arc<Settings>,
}

impl Reader {
    fn run(&self, publisher: &Publisher<'_>) {
        let mut feed = Feed::new(self.described.clone(), !self.settings.lossless);
        while self.demand.wait() {
            say!("read: {}", self.address);
            let summary = self.serve(&mut feed, publisher);
            lock(&self.encoder).take();
            *lock(&self.described) = Described::default();
            match summary {
                Ok(summary) => say!("not read: {}: {summary}", self.address),
                Err(error) => {
                    self.settings.report.fault(&error, || format!("{}: {error}", self.address));
                    self.demand.pause(AFTER_ERROR);
                }
            }
        }
    }

    /// Sends frames as long as somebody reads; what was sent and lost.
    fn serve(&self, feed: &mut Feed, publisher: &Publisher<'_>) -> Result<String, String> {
        let encode = self.settings.encode.as_deref();
        let encoder = encode.map(|pipeline| Encoder::new(&self.path, &self.settings.folder, pipeline));
        let source = encoder.as_ref().map_or(&self.path, Encoder::region).to_string_lossy().into_owned();
        // Snapshots: a producer neither knows nor waits for such a consumer, whatever its policy for a full region is.
        let builder = Consumer::builder(&source).map_err(|error| error.to_string())?;
        let mut consumer = builder.access(Access::Snapshot).events(true).build();
        self.demand.cancels(consumer.canceller());
        *lock(&self.encoder) = encoder;
        feed.begin();
        while self.demand.is_wanted() {
            if let Some(encoder) = &mut *lock(&self.encoder) {
                encoder.keep_running().unwrap_or_else(|error| self.fault(&error));
            }
            if self.demand.take_keyframe_request() {
                consumer.request_keyframe();
            }
            let sent = match consumer.next(Some(SLICE)) {
                Ok(frame) => feed.frame(&mut consumer, frame, publisher),
                Err(ReceiveError::EndOfStream) => feed.end(publisher),
                Err(ReceiveError::TimedOut | ReceiveError::Cancelled) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = sent
                && self.demand.is_wanted()
            {
                self.fault(&error);
                self.demand.pause(AFTER_ERROR);
            }
        }
        Ok(feed.summary(&consumer))
    }

    fn fault(&self, error: &str) {
        self.settings.report.fault(error, || format!("{}: {error}", self.address));
    }
}
