//! The receiving side.

use crate::error::{Class, IntoException};
use crate::fork::Origin;
use crate::frame::Frame;
use crate::sigbus;
use crate::stream::Stream;
use crate::wait::{Deadline, seconds};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shm2::consumer::Canceller;
use shm2::{Access, AttachError, OnProducerExit, ReceiveError, Start};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// The compiled base of ``shm2.Consumer``.
#[pyclass(frozen, subclass, module = "shm2._shm2")]
#[derive(Debug)]
pub struct Consumer {
    path: String,
    timeout: Option<Duration>,
    origin: Origin,
    /// Ends a wait of another thread.
    canceller: Canceller,
    is_closing: AtomicBool,
    /// Calls that interrupt a thread that waits for frames.
    others: AtomicUsize,
    /// `None` when closed.
    inner: Mutex<Option<shm2::Consumer>>,
    /// Of the last frame.
    stream: Mutex<Option<Arc<Stream>>>,
}

const ACCESS: &[(&str, Access)] = &[("auto", Access::Auto), ("lease", Access::Lease), ("snapshot", Access::Snapshot)];
const START: &[(&str, Start)] = &[("history", Start::History), ("oldest", Start::Oldest), ("next", Start::Next)];
const ON_EXIT: &[(&str, OnProducerExit)] =
    &[("reconnect", OnProducerExit::Reconnect), ("end", OnProducerExit::EndOfStream), ("error", OnProducerExit::Error)];

type Taken = Result<Option<shm2::Frame>, ReceiveError>;

#[pymethods]
impl Consumer {
    #[new]
    #[pyo3(signature = (path, *, latest=false, timeout=None, access="auto", start="history", on_exit="reconnect",
        events=false, max_leases=None, lag_limit=None, wake_ahead=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        path: String,
        latest: bool,
        timeout: Option<f64>,
        access: &str,
        start: &str,
        on_exit: &str,
        events: bool,
        max_leases: Option<usize>,
        lag_limit: Option<f64>,
        wake_ahead: bool,
    ) -> PyResult<Self> {
        let (access, start) = (choice("access", access, ACCESS)?, choice("start", start, START)?);
        let on_exit = choice("on_exit", on_exit, ON_EXIT)?;
        let timeout = seconds("timeout", timeout)?;
        let builder = shm2::Consumer::builder(&path).map_err(|error| Class::Argument.error(error.to_string()))?;
        let mut builder = builder.latest_only(latest).access(access).start(start).on_producer_exit(on_exit);
        builder = builder.events(events).wake_ahead(wake_ahead);
        if let Some(frames) = max_leases {
            builder = builder.max_leases(frames);
        }
        if let Some(age) = seconds("lag_limit", lag_limit)? {
            builder = builder.lag_limit(age);
        }
        let consumer = builder.build();
        Ok(Self {
            path,
            timeout,
            origin: Origin::here(),
            canceller: consumer.canceller(),
            is_closing: AtomicBool::new(false),
            others: AtomicUsize::new(0),
            inner: Mutex::new(Some(consumer)),
            stream: Mutex::default(),
        })
    }

    /// Returns the next frame. Waits for it, and for a producer, up to ``timeout`` seconds; without ``timeout`` as long
    /// as the consumer's own ``timeout`` says. Ctrl-C ends the wait.
    ///
    /// Raises:
    ///     TimeoutError: when no frame came in time. The text says what is missing.
    ///     EndOfStream: when the stream ended. A further call waits for frames after the end.
    ///     TruncatedError, ProtocolError, AttachError: when the region cannot be used. A further call attaches again.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Frame> {
        let timeout = seconds("timeout", timeout)?.or(self.timeout);
        self.wait(py, timeout)?.ok_or_else(|| Class::EndOfStream.error("end of stream"))
    }

    /// Returns the next frame if there is one now, else ``None``. Never waits.
    ///
    /// Raises:
    ///     EndOfStream: when the stream ended.
    fn try_next(&self, py: Python<'_>) -> PyResult<Option<Frame>> {
        self.origin.check("consumer")?;
        sigbus::ensure();
        let taken = py.detach(|| self.lock_soon().as_mut().map(shm2::Consumer::try_next));
        sigbus::remember();
        let frame = taken.ok_or_else(|| self.closed())?.map_err(IntoException::exception)?;
        Ok(frame.map(|frame| self.frame(frame)))
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next frame; the iteration ends with the stream.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Frame>> {
        self.wait(py, self.timeout)
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

    /// Detaches from the region, and ends waits of other threads. Frames that are held stay valid. No effect in a
    /// forked child.
    fn close(&self, py: Python<'_>) {
        if !self.origin.is_here() {
            return;
        }
        self.is_closing.store(true, Ordering::Release);
        self.canceller.set(true);
        py.detach(|| drop(self.lock().take()));
    }

    /// Whether ``close()`` was called.
    #[getter(closed)]
    fn is_closed(&self, py: Python<'_>) -> bool {
        self.origin.is_here() && py.detach(|| self.lock().is_none())
    }

    /// The name of the region, as it was given.
    #[getter]
    fn path(&self) -> &str {
        &self.path
    }

    /// Seconds that an iteration waits for a frame; ``None`` for no limit.
    #[getter]
    fn timeout(&self) -> Option<f64> {
        self.timeout.map(|timeout| timeout.as_secs_f64())
    }

    /// Whether the consumer is attached to a region now.
    #[getter]
    fn attached(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |consumer| consumer.is_attached())
    }

    /// Counters since the consumer was made: ``received`` frames, ``missed`` items (too slow), ``skipped`` frames (on
    /// purpose), ``copied`` frames and ``attaches``.
    #[getter]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.with(py, |consumer| consumer.stats())?;
        let counters = [
            ("received", stats.received),
            ("missed", stats.missed),
            ("skipped", stats.skipped),
            ("copied", stats.copied),
            ("attaches", stats.attaches),
        ];
        let dict = PyDict::new(py);
        counters.into_iter().try_for_each(|(name, value)| dict.set_item(name, value))?;
        Ok(dict)
    }

    /// Asks the producer for a frame that depends on no other, so that a decoder can begin. False if it cannot be told.
    fn request_keyframe(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, shm2::Consumer::request_keyframe)
    }

    /// A descriptor for ``select``, ``asyncio`` and other loops: readable while there may be something for
    /// ``try_next()``. Call that until it returns ``None``. Never read from the descriptor. It is closed by ``close()``.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let descriptor = |consumer: &mut shm2::Consumer| consumer.poll_fd().map(|fd| fd.as_raw_fd());
        let found = self.with(py, descriptor)?;
        found.map_err(|error| Class::Error.error(format!("cannot make a descriptor for {:?}: {error}", self.path)))
    }

    /// What the consumer waits for now, as a line for people.
    fn waiting_for(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |consumer| consumer.waiting_for().to_string())
    }

    fn __repr__(&self) -> String {
        format!("<shm2.Consumer {:?}>", self.path)
    }
}

impl Consumer {
    /// Waits for a frame; `None` at the end of the stream.
    fn wait(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Option<Frame>> {
        self.origin.check("consumer")?;
        sigbus::ensure();
        match self.waiting_frame() {
            Ok(None) => {}
            Ok(Some(frame)) => return Ok(Some(self.frame(frame))),
            Err(ReceiveError::EndOfStream) => return Ok(None),
            Err(error) => return Err(error.exception()),
        }
        let deadline = Deadline::after(timeout);
        loop {
            let slice = deadline.slice();
            let next = |consumer: &mut shm2::Consumer| consumer.next(Some(slice)).map(Some);
            let taken: Taken = py.detach(|| self.lock().as_mut().map(next)).ok_or_else(|| self.closed())?;
            sigbus::remember();
            match taken {
                Ok(frame) => return Ok(frame.map(|frame| self.frame(frame))),
                Err(ReceiveError::EndOfStream) => return Ok(None),
                Err(ReceiveError::TimedOut | ReceiveError::Attach(AttachError::TimedOut { .. })) => {}
                Err(ReceiveError::Cancelled) if self.is_closing.load(Ordering::Acquire) => return Err(self.closed()),
                Err(ReceiveError::Cancelled) => py.detach(|| self.let_others_in(slice)),
                Err(error) => return Err(error.exception()),
            }
            py.check_signals()?;
            if deadline.is_over() {
                return Err(self.timed_out(py, timeout));
            }
        }
    }

    /// A frame that is there already, taken in place: cheaper than to give up the interpreter's lock.
    fn waiting_frame(&self) -> Taken {
        let mut inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let consumer = inner.as_mut().filter(|consumer| consumer.access() == Some(Access::Lease));
        consumer.map_or(Ok(None), shm2::Consumer::try_next)
    }

    fn frame(&self, frame: shm2::Frame) -> Frame {
        let caps = frame.caps().map(|(_, text)| text);
        let mut last = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = match &*last {
            Some(stream) if stream.is_of(caps) => stream.clone(),
            _ => last.insert(Stream::new(caps)).clone(),
        };
        Frame::new(frame, stream)
    }

    fn timed_out(&self, py: Python<'_>, timeout: Option<Duration>) -> PyErr {
        let seconds = timeout.unwrap_or_default().as_secs_f64();
        let why = self.with(py, |consumer| consumer.waiting_for().to_string()).unwrap_or_default();
        Class::Timeout.error(format!("no frame came within {seconds} s: {why}"))
    }

    fn closed(&self) -> PyErr {
        Class::Closed.error(format!("the consumer of {:?} is closed", self.path))
    }

    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut shm2::Consumer) -> T + Send) -> PyResult<T> {
        self.origin.check("consumer")?;
        sigbus::ensure();
        py.detach(|| self.lock_soon().as_mut().map(work)).ok_or_else(|| self.closed())
    }

    /// The lock, for a call that does not wait for frames: a thread that does gives it up.
    fn lock_soon(&self) -> MutexGuard<'_, Option<shm2::Consumer>> {
        if let Ok(inner) = self.inner.try_lock() {
            return inner;
        }
        self.others.fetch_add(1, Ordering::AcqRel);
        self.canceller.set(true);
        let inner = self.lock();
        let is_last = self.others.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && !self.is_closing.load(Ordering::Acquire) {
            self.canceller.set(false);
        }
        inner
    }

    /// Waits until the calls that interrupted this thread have the lock, or for a slice.
    fn let_others_in(&self, slice: Duration) {
        let begun = Instant::now();
        while self.others.load(Ordering::Acquire) > 0 && begun.elapsed() < slice {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// The lock is held for up to a slice: the caller must not be attached to the interpreter.
    fn lock(&self) -> MutexGuard<'_, Option<shm2::Consumer>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // Locks that its drop takes may have been held by another thread during the fork.
            std::mem::forget(self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// The value with this name.
pub fn choice<T: Copy>(argument: &str, name: &str, choices: &[(&str, T)]) -> PyResult<T> {
    let found = choices.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        Class::Argument.error(format!("{argument}={name:?} is not one of {}", names.join(", ")))
    })
}
