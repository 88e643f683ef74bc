//! The sending side.

use crate::consumer::choice;
use crate::error::{Class, IntoException};
use crate::fork::Origin;
use crate::memory::Slot;
use crate::outgoing::{OutFrame, nanoseconds};
use crate::sigbus;
use crate::stream::Stream;
use crate::wait::{Deadline, seconds};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shm2::producer::Handle;
use shm2::{FrameInfo, FullPolicy, Reservation, SendError};
use shm2_media::Media;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Size of a region for which no other is asked, as of the crate `shm2`.
const DEFAULT_REGION: u64 = 64 << 20;
/// Frames for which the arena has memory at least.
const FRAMES: u64 = 8;
/// Items of the ring above which a producer that blocks waits before it publishes.
const BACKLOG: u64 = 4000;
const NAP: Duration = Duration::from_millis(2);

const ON_FULL: &[(&str, FullPolicy)] = &[
    ("drop-oldest", FullPolicy::DropOldest),
    ("drop-newest", FullPolicy::DropNewest),
    ("block", FullPolicy::Block { timeout: None }),
];

/// The compiled base of ``shm2.Producer``.
#[pyclass(frozen, subclass, module = "shm2._shm2")]
#[derive(Debug)]
pub struct Producer(Arc<Core>);

/// What a producer and its frames share.
#[derive(Debug)]
pub struct Core {
    path: String,
    origin: Origin,
    handle: Handle,
    /// `None` when closed.
    inner: Mutex<Option<shm2::Producer>>,
    stream: Arc<Stream>,
    /// Bytes of one unit of a frame that is no video, and the number of units where it is fixed.
    unit: (usize, Option<usize>),
    /// Time limit of the policy `block`; `None` for other policies.
    block: Option<Option<Duration>>,
    /// Monotonic time at which the producer began, for frames without a time of their own.
    began_ns: u64,
}

#[pymethods]
impl Producer {
    #[new]
    #[pyo3(signature = (path, caps, *, unit=1, length=None, on_full="drop-oldest", block_timeout=None, arena=None,
        history=1, max_leases=16, keep=false, perms=0o660))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        path: String,
        caps: Option<&str>,
        unit: usize,
        length: Option<usize>,
        on_full: &str,
        block_timeout: Option<f64>,
        arena: Option<u64>,
        history: u32,
        max_leases: u32,
        keep: bool,
        perms: u32,
    ) -> PyResult<Self> {
        let block_timeout = seconds("block_timeout", block_timeout)?;
        let policy = choice("on_full", on_full, ON_FULL)?;
        let stream = Stream::new(caps.map(str::as_bytes));
        let unit = match stream.media()? {
            Some(Media::Video(video)) => (usize::try_from(video.size()).unwrap_or(usize::MAX), Some(1)),
            Some(Media::Audio(audio)) => (audio.bytes_per_frame() as usize, None),
            _ => (unit, length),
        };
        check_arena(arena, unit)?;
        let builder = shm2::Producer::builder(&path).map_err(|error| Class::Argument.error(error.to_string()))?;
        let builder =
            builder.full_policy(policy).history(history).max_leases(max_leases).keep_region(keep).perms(perms);
        let builder = match arena.or_else(|| large_arena(unit)) {
            Some(bytes) => builder.arena(bytes),
            None => builder,
        };
        let mut producer = py.detach(|| builder.create()).map_err(IntoException::exception)?;
        sigbus::remember();
        if let Some(caps) = caps {
            producer.set_caps(caps.as_bytes()).map_err(IntoException::exception)?;
        }
        Ok(Self(Arc::new(Core {
            path,
            origin: Origin::here(),
            handle: producer.handle(),
            inner: Mutex::new(Some(producer)),
            stream,
            unit,
            block: matches!(policy, FullPolicy::Block { .. }).then_some(block_timeout),
            began_ns: shm2::monotonic_ns(),
        })))
    }

    /// Memory of the region for one frame, to be filled in a ``with`` block and published at its end.
    ///
    /// ``length`` is the number of samples of audio, of records of a dtype, or of bytes of anything else. Video, and a
    /// dtype with a shape, have none.
    ///
    /// Raises:
    ///     FullError: when there is no free space and the policy keeps the old frames. The frame was counted as dropped;
    ///         the next one may be sent.
    ///     TimeoutError: under ``on_full="block"``, when no consumer freed space within ``block_timeout``.
    ///     ClosedError: when the producer is closed.
    #[pyo3(signature = (length=None))]
    fn frame(&self, py: Python<'_>, length: Option<usize>) -> PyResult<OutFrame> {
        let bytes = self.0.bytes_of(length)?;
        let reservation = self.0.reserve(py, bytes)?;
        Ok(OutFrame::new(self.0.clone(), Arc::new(Slot::new(reservation))))
    }

    /// Publishes the end of the stream, at which consumers end their iteration. More frames may follow.
    fn end_of_stream(&self, py: Python<'_>) -> PyResult<u64> {
        self.0.with(py, shm2::Producer::end_of_stream)?.map_err(IntoException::exception)
    }

    /// Publishes an event between two frames, for consumers with ``events=True``: ``meta`` is its content.
    #[pyo3(signature = (meta, *, pts=None))]
    fn send_event(&self, py: Python<'_>, meta: &[u8], pts: Option<Bound<'_, PyAny>>) -> PyResult<u64> {
        let mut info = FrameInfo::new();
        info.pts = pts.map(|pts| nanoseconds("pts", &pts)).transpose()?.flatten();
        self.0.with(py, |producer| producer.send_event(&info, meta))?.map_err(IntoException::exception)
    }

    /// Bytes of one sample of all channels, of one record, or of a byte.
    #[getter]
    fn unit(&self) -> usize {
        self.0.unit.0
    }

    /// Whether all frames have one size: video, and records with a shape.
    #[getter]
    fn is_fixed(&self) -> bool {
        self.0.unit.1.is_some()
    }

    /// Waits until every attached consumer that leases frames has taken all of them, for ``timeout`` seconds at most.
    /// True if they have.
    fn drain(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let deadline = Deadline::after(seconds("timeout", Some(timeout))?);
        loop {
            let slice = deadline.slice();
            if self.0.with(py, |producer| producer.drain(slice))? {
                return Ok(true);
            }
            py.check_signals()?;
            if deadline.is_over() {
                return Ok(false);
            }
        }
    }

    /// Number of consumers that are attached now and lease frames.
    #[getter]
    fn consumers(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.with(py, |producer| producer.consumers())
    }

    /// Counters: ``published`` items, ``dropped_oldest``, ``dropped_newest`` and ``dropped_too_large`` frames, and the
    /// bytes ``arena_bytes``, ``free_bytes`` and ``used_bytes``.
    #[getter]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.0.origin.check("producer")?;
        let stats = py.detach(|| self.0.handle.stats());
        let counters = [
            ("published", stats.published),
            ("dropped_oldest", stats.dropped_oldest),
            ("dropped_newest", stats.dropped_newest),
            ("dropped_too_large", stats.dropped_too_large),
            ("arena_bytes", stats.arena_bytes),
            ("free_bytes", stats.free_bytes),
            ("used_bytes", stats.used_bytes),
        ];
        let dict = PyDict::new(py);
        counters.into_iter().try_for_each(|(name, value)| dict.set_item(name, value))?;
        Ok(dict)
    }

    /// How often consumers have asked for a keyframe.
    #[getter]
    fn keyframe_requests(&self, py: Python<'_>) -> PyResult<u64> {
        self.0.origin.check("producer")?;
        Ok(py.detach(|| self.0.handle.keyframe_requests()))
    }

    /// The caps as a ``Caps`` mapping; ``None`` if there are none.
    #[getter]
    fn caps<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.stream.object(py)
    }

    /// The name of the region, as it was given.
    #[getter]
    fn path(&self) -> &str {
        &self.0.path
    }

    /// Whether ``close()`` was called.
    #[getter(closed)]
    fn is_closed(&self) -> PyResult<bool> {
        self.0.origin.check("producer")?;
        Ok(self.0.handle.is_closed())
    }

    /// Closes the region. Frames that consumers hold stay readable; frames that are not published yet are dropped.
    /// No effect in a forked child.
    fn close(&self, py: Python<'_>) {
        if !self.0.origin.is_here() {
            return;
        }
        py.detach(|| {
            self.0.handle.set_cancelled(true);
            drop(self.0.lock().take());
        });
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _class: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.close(py);
    }

    fn __repr__(&self) -> String {
        format!("<shm2.Producer {:?}>", self.0.path)
    }
}

impl Core {
    /// What the caps mean.
    pub fn media(&self) -> PyResult<Option<&Media>> {
        self.stream.media()
    }

    /// Time since the producer began, for frames without a time of their own.
    pub fn running_ns(&self) -> u64 {
        shm2::monotonic_ns().saturating_sub(self.began_ns)
    }

    /// Publishes a filled reservation.
    pub fn publish(&self, py: Python<'_>, reservation: Reservation, info: &FrameInfo, meta: &[u8]) -> PyResult<u64> {
        let deadline = Deadline::after(self.block.flatten());
        // Only a ring that is full of unread items makes a publication wait.
        while self.block.is_some() && self.handle.stats().ready > BACKLOG && !deadline.is_over() {
            py.detach(|| {
                std::thread::sleep(NAP);
                self.handle.consumers();
            });
            py.check_signals()?;
        }
        let publish = |producer: &mut shm2::Producer| producer.publish_with_meta(reservation, info, meta);
        self.with(py, publish)?.map_err(IntoException::exception)
    }

    /// The name of the region, as it was given.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn bytes_of(&self, length: Option<usize>) -> PyResult<usize> {
        let (unit, fixed) = self.unit;
        let count = match (length, fixed) {
            (Some(length), Some(fixed)) if length != fixed => {
                return Err(
                    Class::Argument.error(format!("length={length}: the caps say the size of a frame, give none"))
                );
            }
            (_, Some(fixed)) => fixed,
            (Some(length), None) => length,
            (None, None) => {
                let text = "give the length of the frame: samples of audio, records of a dtype, or else bytes";
                return Err(Class::Argument.error(text));
            }
        };
        unit.checked_mul(count).ok_or_else(|| Class::Argument.error(format!("length={count} is too large")))
    }

    /// Reserves memory, and waits for it under `block`.
    fn reserve(&self, py: Python<'_>, bytes: usize) -> PyResult<Reservation> {
        let reserve = |producer: &mut shm2::Producer| producer.reserve(bytes);
        let Some(timeout) = self.block else {
            return self.with(py, reserve)?.map_err(IntoException::exception);
        };
        let deadline = Deadline::after(timeout);
        // Neither the attempt nor a cancelled wait counts a dropped frame.
        let mut attempt = self.with(py, |_| self.handle.try_reserve(bytes))?;
        loop {
            match attempt {
                Err(SendError::Full { .. } | SendError::Recovering | SendError::Cancelled) => {}
                result => return result.map_err(IntoException::exception),
            }
            py.check_signals()?;
            if deadline.is_over() {
                self.handle.count_dropped();
                return Err(SendError::TimedOut { bytes: bytes as u64 }.exception());
            }
            let wait = |producer: &mut _| cancelled_after(&self.handle, deadline.slice(), || reserve(producer));
            attempt = self.with(py, wait)?;
        }
    }

    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut shm2::Producer) -> T + Send) -> PyResult<T> {
        self.origin.check("producer")?;
        sigbus::ensure();
        let closed = || Class::Closed.error(format!("the producer of {:?} is closed", self.path));
        py.detach(|| self.lock().as_mut().map(work)).ok_or_else(closed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<shm2::Producer>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // Locks that its drop takes may have been held by another thread during the fork.
            std::mem::forget(self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// Bytes of an arena for frames of one size, if the default one is too small.
fn large_arena((unit, count): (usize, Option<usize>)) -> Option<u64> {
    let frame = count.and_then(|count| unit.checked_mul(count))? as u64;
    let needed = frame.saturating_mul(FRAMES);
    (needed > DEFAULT_REGION - shm2::layout::ARENA_OFFSET).then_some(needed)
}

/// Fails when the arena that was asked for cannot hold one frame of a known size.
fn check_arena(arena: Option<u64>, (unit, count): (usize, Option<usize>)) -> PyResult<()> {
    let frame = count.map_or(0, |count| unit.saturating_mul(count)) as u64;
    match arena {
        Some(bytes) if bytes < frame => Err(Class::Argument.error(format!(
            "arena={bytes} is smaller than one frame of {frame} bytes: give bytes for several frames, or no arena"
        ))),
        _ => Ok(()),
    }
}

/// Does something that waits, and cancels the wait after a time.
fn cancelled_after<T>(handle: &Handle, time: Duration, work: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let timer = scope.spawn(|| {
            std::thread::park_timeout(time);
            handle.set_cancelled(!is_done.load(Ordering::Acquire));
        });
        let result = work();
        is_done.store(true, Ordering::Release);
        timer.thread().unpark();
        result
    });
    handle.set_cancelled(false);
    result
}
