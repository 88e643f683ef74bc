//! `shm2_zenoh open`: a region of another host as a local region, received only while it has consumers.

mod gaps;
mod local;
mod queue;

use crate::names::Address;
use crate::report::Report;
use crate::session::{self, Options, plain};
use local::{Local, Then};
use queue::{Full, Queue};
use shm2::Producer;
use shm2_cli::stop::Stop;
use shm2_cli::{bytes, complain, octal, say, seconds};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zenoh::pubsub::Subscriber;
use zenoh::sample::{Sample, SampleKind};
use zenoh::{Session, Wait};

/// Longest wait for a sample; then the demand is looked at.
const SLICE: Duration = Duration::from_millis(100);
/// Time between two looks for consumers where the system reports none.
const IDLE_SLICE: Duration = Duration::from_secs(1);
/// Time without a consumer after which the subscription ends.
const LINGER: Duration = Duration::from_secs(1);
/// Time between two requests to the publisher.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// Time without a frame after which the user is told.
const SILENCE: Duration = Duration::from_secs(5);

/// Bytes of a file's name on Linux.
const LONGEST_FILE_NAME: usize = 255;

#[derive(clap::Args)]
pub struct Arguments {
    /// Region of another host, as `list` prints it
    #[arg(value_name = "HOST/REGION")]
    source: String,
    /// Path of the local region; /dev/shm/HOST.REGION if not given
    #[arg(long = "as", value_name = "PATH")]
    path: Option<String>,
    /// Receive also while the local region has no consumer
    #[arg(long)]
    always: bool,
    /// Wait for slow local consumers, two seconds for each frame at most, instead of overwriting. The publisher should be
    /// lossless, too
    #[arg(long)]
    lossless: bool,
    /// Most messages between the network and the region
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    queue: u16,
    /// Bytes of the local region's arena; as many as the source has if not given
    #[arg(long, value_parser = bytes)]
    size: Option<u64>,
    /// Most bytes of one frame, of the queue and of an arena whose size the source gives
    #[arg(long, value_parser = bytes, default_value = "256M")]
    size_limit: u64,
    /// Frames kept for local consumers that attach later
    #[arg(long, default_value_t = 0)]
    history: u32,
    /// Permission bits of the local region
    #[arg(long, value_parser = octal, default_value = "660")]
    perms: u32,
    /// Time to wait for the region to be published; without it for ever
    #[arg(long, value_parser = seconds)]
    timeout: Option<Duration>,
}

/// Serves the local region until a signal.
///
/// # Errors
/// A sentence with the value that does not work.
pub fn run(arguments: &Arguments, options: &Options) -> Result<(), String> {
    let address = Address::parse(&arguments.source)?;
    let path = local_path(arguments, &address)?;
    let stop = Stop::on_signal(|| {}).map_err(|error| format!("cannot handle signals: {error}"))?;
    let session = options.open(None)?;
    let full = if arguments.lossless { Full::Wait } else { Full::DropOldest };
    let queue = Arc::new(Queue::new(full, usize::from(arguments.queue), arguments.size_limit as usize));
    queue.set_open(true);
    let tokens = Arc::new(AtomicU64::new(0));
    let counted = tokens.clone();
    let follow = move |token: Sample| {
        let is_there = token.kind() == SampleKind::Put;
        let next = |count: u64| Some(count + if (count % 2 == 1) == is_there { 2 } else { 1 });
        let _ = tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    };
    let liveliness = session.liveliness().declare_subscriber(address.key()).history(true).callback(follow);
    let _liveliness = liveliness.wait().map_err(|error| format!("cannot look for {address}: {}", plain(&error)))?;
    let mut opened = Opened {
        arguments,
        session: &session,
        address,
        path,
        queue,
        tokens: counted,
        asked: None,
        report: Report::default(),
    };
    let served = match opened.wait_for_source(&stop) {
        Ok(Some(mut local)) => opened.serve(&mut local, &stop),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    session::close(session);
    served
}

/// Path of the local region, checked before anybody waits for its source.
fn local_path(arguments: &Arguments, address: &Address) -> Result<PathBuf, String> {
    let default = || address.local_path(Path::new("/dev/shm"));
    let path = arguments.path.as_ref().map_or_else(default, PathBuf::from);
    Producer::builder(&path.to_string_lossy()).map_err(|error| error.to_string())?;
    match path.file_name() {
        Some(name) if name.len() > LONGEST_FILE_NAME => Err(format!(
            "the name of {path:?} is longer than {LONGEST_FILE_NAME} bytes: choose a shorter one with --as"
        )),
        _ => Ok(path),
    }
}

/// An address, and how its samples come here.
struct Opened<'a> {
    arguments: &'a Arguments,
    session: &'a Session,
    address: Address,
    /// Of the local region.
    path: PathBuf,
    queue: Arc<Queue>,
    /// Odd while a host publishes the region; changes with each restart.
    tokens: Arc<AtomicU64>,
    asked: Option<Instant>,
    report: Report,
}

impl Opened<'_> {
    fn is_published(&self) -> bool {
        self.tokens.load(Ordering::Relaxed) % 2 == 1
    }

    /// Waits for the description of the region, then makes the local one; `None` at a signal.
    fn wait_for_source(&mut self, stop: &Stop) -> Result<Option<Local>, String> {
        let begun = Instant::now();
        let mut has_said = false;
        while !stop.is_set() {
            if self.is_published() {
                self.ask("");
            }
            if let Some(arena) = self.queue.pop(SLICE).and_then(|sample| self.arena_of(&sample)) {
                return self.create(arena).map(Some);
            }
            let waited = begun.elapsed();
            let nobody = || format!("no host publishes {}: `shm2_zenoh list` shows what is there", self.address);
            if self.arguments.timeout.is_some_and(|timeout| waited >= timeout) {
                return Err(nobody());
            }
            if waited > Duration::from_secs(2) && !std::mem::replace(&mut has_said, true) {
                complain!("shm2_zenoh: waiting: {}", nobody());
            }
        }
        Ok(None)
    }

    /// The source's arena in an answer to a query.
    fn arena_of(&self, sample: &Sample) -> Option<u64> {
        let attachment = sample.attachment().map(|bytes| bytes.to_bytes()).unwrap_or_default();
        let decoded = crate::message::decode(&attachment, sample.payload().len() as u64, self.arguments.size_limit);
        match decoded {
            Ok(message) => (message.header.kind == crate::message::Kind::Description).then_some(message.header.size),
            Err(error) => {
                self.report.fault("description", || format!("the description of {} is refused: {error}", self.address));
                None
            }
        }
    }

    fn create(&self, source_arena: u64) -> Result<Local, String> {
        let arguments = self.arguments;
        let settings = local::Settings {
            path: self.path.clone(),
            source: self.address.to_string(),
            limit: arguments.size_limit,
            arena: arguments.size,
            history: arguments.history,
            lossless: arguments.lossless,
            perms: arguments.perms,
        };
        let local = Local::create(settings, source_arena)?;
        say!("opened {} as {}", self.address, self.path.display());
        Ok(local)
    }

    /// Asks the publisher for its description, and with `keyframe` for a keyframe. The answer comes through the queue.
    fn ask(&mut self, parameters: &str) {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return;
        }
        self.asked = Some(Instant::now());
        let queue = self.queue.clone();
        let answered = move |reply: zenoh::query::Reply| {
            if let Ok(sample) = reply.into_result() {
                queue.push(sample);
            }
        };
        let selector = format!("{}?{parameters}", self.address.key());
        let asked = self.session.get(selector).timeout(Duration::from_secs(2)).callback(answered).wait();
        if let Err(error) = asked {
            self.report.fault("ask", || format!("cannot ask the publisher of {}: {}", self.address, plain(&error)));
        }
    }

    /// Receives while there are consumers.
    fn serve(&mut self, local: &mut Local, stop: &Stop) -> Result<(), String> {
        let mut reception: Option<Reception> = None;
        while !stop.is_set() {
            local.keep_name(&self.report)?;
            let Some(handle) = local.handle() else { return Err("the local region is closed".into()) };
            let seen = handle.changes();
            let has_consumers = self.arguments.always || handle.consumers() > 0 || handle.has_snapshot_consumers();
            let Some(mut current) = reception.take() else {
                match has_consumers {
                    true => reception = Some(self.begin(handle.keyframe_requests())?),
                    false => drop(handle.wait_change(seen, Some(IDLE_SLICE))),
                }
                continue;
            };
            if has_consumers {
                current.last_consumer = Instant::now();
            } else if current.last_consumer.elapsed() >= LINGER {
                self.end(current, local);
                continue;
            }
            self.receive(&mut current, local, handle.keyframe_requests())?;
            reception = Some(current);
        }
        say!("{}: {}", self.address, local.summary(self.queue.dropped()));
        Ok(())
    }

    fn begin(&mut self, keyframes: u64) -> Result<Reception, String> {
        self.queue.set_open(true);
        let queue = self.queue.clone();
        let subscriber = self.session.declare_subscriber(self.address.key()).callback(move |sample| queue.push(sample));
        let subscriber =
            subscriber.wait().map_err(|error| format!("cannot subscribe to {}: {}", self.address, plain(&error)))?;
        say!("receiving {}", self.address);
        let (tokens, now) = (self.tokens.load(Ordering::Relaxed), Instant::now());
        self.asked = None;
        self.ask("keyframe");
        Ok(Reception { subscriber, tokens, keyframes, last_consumer: now, last_sample: now })
    }

    fn end(&self, reception: Reception, local: &mut Local) {
        // Nobody waits in the queue of a subscriber that ends.
        self.queue.set_open(false);
        drop(reception.subscriber);
        local.interrupt();
        say!("idle: {}: {}", self.address, local.summary(self.queue.dropped()));
    }

    /// Takes one sample, if one comes, and asks for what is missing.
    fn receive(&mut self, reception: &mut Reception, local: &mut Local, keyframes: u64) -> Result<(), String> {
        let tokens = self.tokens.load(Ordering::Relaxed);
        if std::mem::replace(&mut reception.tokens, tokens) != tokens {
            say!("{}: {}", if tokens % 2 == 1 { "published again" } else { "not published" }, self.address);
        }
        if std::mem::replace(&mut reception.keyframes, keyframes) != keyframes {
            self.ask("keyframe");
        }
        if let Some(sample) = self.queue.pop(SLICE) {
            reception.last_sample = Instant::now();
            if local.take(&sample, &self.report)? == Then::Ask {
                self.ask("keyframe");
            }
        } else if self.is_published() && reception.last_sample.elapsed() >= SILENCE {
            let source = &self.address;
            self.report.fault("silence", || {
                format!(
                    "{source} is published, but nothing came for 5 s: its producer pauses, or the access control of a \
                     router does not permit this host to subscribe"
                )
            });
        }
        Ok(())
    }
}

/// A subscription.
struct Reception {
    subscriber: Subscriber<()>,
    /// Value of the tokens that was reported.
    tokens: u64,
    /// Requests of local consumers so far.
    keyframes: u64,
    last_consumer: Instant,
    last_sample: Instant,
}
