//! A received frame.

use crate::error::{Class, no_pickle};
use crate::memory::{HeldFrame, Memory, Picture};
use crate::plane::{self, Plane};
use crate::shape::{self, Shape, U8};
use crate::sigbus;
use crate::stream::{self, RECORDS, Stream};
use pyo3::exceptions::PyImportError;
use pyo3::ffi::Py_buffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use shm2_media::Media;
use std::ffi::c_int;
use std::sync::{Arc, OnceLock};

/// A received frame: its bytes, times and description. Read-only.
///
/// A frame, and each array or memoryview of it, holds the frame's memory in the region (a lease). A consumer holds up to
/// 16 frames in place, if the producer sets no other number; further frames arrive as private copies.
#[pyclass(frozen, module = "shm2")]
#[derive(Debug)]
pub struct Frame {
    held: Arc<HeldFrame>,
    memory: Memory,
    stream: Arc<Stream>,
    /// The description of this very frame, once it was asked for.
    media: OnceLock<Result<Option<Media>, String>>,
    /// All bytes, for `memoryview(frame)`.
    whole: Shape,
}

impl Frame {
    /// Wraps a frame with the description of its stream.
    pub fn new(frame: shm2::Frame, stream: Arc<Stream>) -> Self {
        let whole = Shape::bytes(0, frame.len());
        let held = Arc::new(HeldFrame::new(frame));
        Self { memory: Memory::Frame(held.clone()), held, stream, media: OnceLock::new(), whole }
    }

    fn media(&self) -> PyResult<Option<&Media>> {
        let frame = self.held.get()?;
        let Some(stream) = self.stream.media()? else { return Ok(None) };
        let describe = || stream.for_frame(frame.meta(), frame.len() as u64).map(Some).map_err(|e| e.to_string());
        self.media.get_or_init(describe).as_ref().map(Option::as_ref).map_err(|e| Class::Media.error(e.clone()))
    }
}

#[pymethods]
impl Frame {
    /// The planes of the picture, as ``Plane`` objects for ``numpy.asarray``, in their order in the format.
    ///
    /// NV12 has ``(height, width)`` and ``(height / 2, width / 2, 2)``, I420 three planes, RGB one of
    /// ``(height, width, 3)``, YUY2 one of ``(height, width, 2)``, GRAY8 one of ``(height, width)``; P010 and other
    /// formats of 9 to 16 bits have items of 16 bits. Interleaved audio has one of ``(samples, channels)``, planar audio
    /// one of ``(samples,)`` for each channel. Formats that pack several pixels into words (v210), tiles and samples of
    /// three bytes (S24LE) are bytes. Anything else is one plane of ``(bytes,)``.
    ///
    /// Raises:
    ///     MediaError: when the frame does not belong to its caps.
    #[getter]
    fn planes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.held.check_intact()?;
        planes(py, &self.memory, self.media()?, self.whole.dims[0])
    }

    /// The one plane as a NumPy array, without a copy: of packed video, audio as ``(samples, channels)``, records with
    /// their dtype, or the bytes ``(bytes,)`` of anything else.
    ///
    /// Rows may have padding: see ``array.strides``.
    ///
    /// Raises:
    ///     MediaError: for formats of several planes, such as NV12: use ``planes`` or ``stacked()``.
    #[getter]
    fn array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.held.check_intact()?;
        array(py, &self.memory, self.media()?, self.whole.dims[0], "use planes, stacked() or to_rgb()")
    }

    /// All planes of a planar 4:2:0 format below each other, ``(height * 3 / 2, width)``, as OpenCV's ``cvtColor``
    /// takes NV12, NV21, I420 and YV12. A view where the memory allows it, else a copy.
    ///
    /// Raises:
    ///     MediaError: for other formats, and for pictures of an odd size.
    fn stacked<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("shm2._arrays")?.getattr("stacked")?.call1((slf,))
    }

    /// The visible part of the picture as a new RGB array, ``(height, width, 3)`` of ``uint8``, which may be written.
    ///
    /// Raises:
    ///     MediaError: when the frame is no raw video, or of a format that packs several pixels into words.
    fn to_rgb<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Some(Media::Video(video)) = self.media()? else {
            let found = self.media_type()?.unwrap_or_else(|| "a stream without caps".into());
            return Err(Class::Media.error(format!("{found} is no raw video: decode it, or use bytes(frame)")));
        };
        let convert = || {
            let bytes = self.held.to_vec()?;
            video.to_rgb(&bytes).map_err(|error| Class::Media.error(error.to_string()))
        };
        let picture = py.detach(convert)?;
        let (height, width) = (picture.height as isize, picture.width as isize);
        let shape = Shape { item: &U8, offset: 0, dims: vec![height, width, 3], strides: vec![3 * width, 3, 1] };
        let memory = Memory::Picture(Arc::new(Picture::new(picture.bytes)));
        as_array(py, Plane { memory, shape })
    }

    /// Format of the pixels or samples, such as ``"NV12"`` or ``"S16LE"``; the codec of encoded streams, such as
    /// ``"H.264"``; ``None`` for anything else.
    #[getter]
    fn format(&self) -> PyResult<Option<String>> {
        Ok(match self.media()? {
            Some(Media::Video(video)) => Some(video.format.name().into()),
            Some(Media::Audio(audio)) => Some(audio.format.name().into()),
            Some(Media::Encoded(encoded)) => Some(encoded.codec.clone()),
            _ => None,
        })
    }

    /// Width and height in pixels, for video whose caps have them.
    #[getter]
    fn size(&self) -> PyResult<Option<(u32, u32)>> {
        Ok(match self.media()? {
            Some(Media::Video(video)) => Some((video.width, video.height)),
            Some(Media::Encoded(encoded)) => encoded.width.zip(encoded.height),
            _ => None,
        })
    }

    /// The visible part of a raw picture: ``(x, y, width, height)`` in pixels of the planes.
    #[getter]
    fn visible(&self) -> PyResult<Option<(u32, u32, u32, u32)>> {
        let Some(Media::Video(video)) = self.media()? else { return Ok(None) };
        let area = video.visible();
        Ok(Some((area.x, area.y, area.width, area.height)))
    }

    /// Pictures per second as a ``Fraction`` (0 for a variable rate), or samples per second of audio.
    #[getter]
    fn rate<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match self.media()? {
            Some(Media::Video(video)) => Some(stream::fraction(py, video.frame_rate)?),
            Some(Media::Audio(audio)) => Some(audio.rate.into_pyobject(py)?.into_any()),
            Some(Media::Encoded(encoded)) => match (encoded.frame_rate, encoded.rate) {
                (Some(rate), _) => Some(stream::fraction(py, rate)?),
                (None, Some(rate)) => Some(rate.into_pyobject(py)?.into_any()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Number of channels of audio.
    #[getter]
    fn channels(&self) -> PyResult<Option<u32>> {
        Ok(match self.media()? {
            Some(Media::Audio(audio)) => Some(audio.channels),
            Some(Media::Encoded(encoded)) => encoded.channels,
            _ => None,
        })
    }

    /// The media type, such as ``"video/x-raw"``; ``None`` without caps.
    #[getter]
    fn media_type(&self) -> PyResult<Option<String>> {
        self.held.get()?;
        Ok(self.stream.media()?.map(|media| media.media_type().into()))
    }

    /// The caps as a ``Caps`` mapping; ``str(frame.caps)`` is GStreamer's text. ``None`` if the producer has set none.
    #[getter]
    fn caps<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.held.get()?;
        self.stream.object(py)
    }

    /// Presentation time on the producer's timeline, in nanoseconds.
    #[getter]
    fn pts(&self) -> PyResult<Option<u64>> {
        Ok(self.held.get()?.info().pts)
    }

    /// Decoding time on the producer's timeline, in nanoseconds.
    #[getter]
    fn dts(&self) -> PyResult<Option<i64>> {
        Ok(self.held.get()?.info().dts)
    }

    /// How long the frame lasts, in nanoseconds.
    #[getter]
    fn duration(&self) -> PyResult<Option<u64>> {
        Ok(self.held.get()?.info().duration)
    }

    /// Absolute time of the frame in nanoseconds of the producer's monotonic clock: ``shm2.monotonic_ns()`` on the same
    /// machine.
    #[getter]
    fn time(&self) -> PyResult<Option<u64>> {
        Ok(self.held.get()?.info().time)
    }

    /// Time of publication in nanoseconds of the producer's monotonic clock.
    #[getter]
    fn published(&self) -> PyResult<Option<u64>> {
        Ok(self.held.get()?.published_ns())
    }

    /// Flags of the application; GStreamer's buffer flags from its elements.
    #[getter]
    fn flags(&self) -> PyResult<u32> {
        Ok(self.held.get()?.info().flags)
    }

    /// Number of the frame in its region; frames, events and ends of stream have one each.
    #[getter]
    fn sequence(&self) -> PyResult<u64> {
        Ok(self.held.get()?.sequence())
    }

    /// Frames and events that were lost between the previous frame and this one, because this consumer was too slow.
    #[getter]
    fn missed(&self) -> PyResult<u64> {
        Ok(self.held.get()?.missed())
    }

    /// Whether the stream is interrupted before this frame.
    #[getter]
    fn discontinuity(&self) -> PyResult<bool> {
        Ok(self.held.get()?.is_discontinuity())
    }

    /// Whether this is an event: it has no bytes, only ``meta``.
    #[getter]
    fn is_event(&self) -> PyResult<bool> {
        Ok(self.held.get()?.is_event())
    }

    /// Whether the bytes are in the region itself, not a private copy.
    #[getter]
    fn is_leased(&self) -> PyResult<bool> {
        Ok(self.held.get()?.is_leased())
    }

    /// The meta blob of this frame, empty if there is none.
    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.held.get()?.meta()))
    }

    /// The items of the meta blob, as ``(kind, bytes)``; ``docs/protocol.md``, section 24, lists the kinds. Empty for a
    /// blob that is no list of items.
    #[getter]
    fn metas<'py>(&self, py: Python<'py>) -> PyResult<Vec<(u16, Bound<'py, PyBytes>)>> {
        Ok(metas(py, self.held.get()?.meta()))
    }

    /// Raises ``TruncatedError`` if the region's file was truncated while the frame was held: bytes that were read of
    /// it since may be zeros. The methods of this class check that themselves, views cannot.
    fn check(&self) -> PyResult<()> {
        self.held.check_intact()
    }

    /// Number of bytes.
    fn __len__(&self) -> PyResult<usize> {
        Ok(self.held.get()?.len())
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let frame = self.held.get()?;
        sigbus::ensure();
        let copy = |to: &mut [u8]| {
            // False after a truncation, which is checked below.
            let _ = frame.read_at(0, to);
            Ok(())
        };
        let bytes = PyBytes::new_with(py, frame.len(), copy)?;
        self.held.check_intact()?;
        Ok(bytes)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_pickle())
    }

    fn __repr__(&self) -> PyResult<String> {
        let frame = self.held.get()?;
        let what = match self.media() {
            Ok(Some(Media::Video(v))) => format!("{} {}x{}", v.format.name(), v.width, v.height),
            Ok(Some(Media::Audio(a))) => format!("{} {} Hz, {} channels", a.format.name(), a.rate, a.channels),
            Ok(Some(media)) => media.media_type().into(),
            Ok(None) => "no caps".into(),
            Err(_) => "invalid caps".into(),
        };
        let pts = frame.info().pts.map_or("None".into(), |pts| pts.to_string());
        Ok(format!("<shm2.Frame {} {what}, {} bytes, pts={pts}>", frame.sequence(), frame.len()))
    }

    /// As ``Plane.__array__``.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        plane::array_of_view(slf.into_any(), dtype, copy)
    }

    #[expect(unsafe_code, reason = "the buffer protocol")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut Py_buffer, flags: c_int) -> PyResult<()> {
        let frame = slf.get();
        // SAFETY: the interpreter passes a valid view; the frame owns the shape, and the view will own the frame.
        unsafe { plane::fill(view, flags, &frame.memory, &frame.whole)? };
        // SAFETY: as above.
        unsafe { (*view).obj = slf.into_any().into_ptr() };
        Ok(())
    }

    #[expect(unsafe_code, reason = "the buffer protocol")]
    unsafe fn __releasebuffer__(&self, _view: *mut Py_buffer) {
        self.memory.end_export();
    }
}

/// The planes of a memory of `bytes` bytes.
pub fn planes<'py>(
    py: Python<'py>,
    memory: &Memory,
    media: Option<&Media>,
    bytes: isize,
) -> PyResult<Bound<'py, PyTuple>> {
    let planes = shape::planes(media, bytes.unsigned_abs()).into_iter();
    let planes = planes.map(|shape| Bound::new(py, Plane { memory: memory.clone(), shape }));
    PyTuple::new(py, planes.collect::<PyResult<Vec<_>>>()?)
}

/// The only plane of a memory of `bytes` bytes as an array. `remedy` is for pictures of several planes.
pub fn array<'py>(
    py: Python<'py>,
    memory: &Memory,
    media: Option<&Media>,
    bytes: isize,
    remedy: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let mut shapes = shape::planes(media, bytes.unsigned_abs());
    let shape = match media {
        Some(Media::Audio(audio)) if shapes.len() > 1 => shape::channels(&shapes).ok_or_else(|| {
            let channels = audio.channels;
            Class::Media.error(format!("the {channels} channels are not at equal distances in memory: use planes"))
        })?,
        Some(Media::Video(video)) if shapes.len() > 1 => {
            let (name, count) = (video.format.name(), shapes.len());
            return Err(Class::Media.error(format!("{name} has {count} planes: {remedy}")));
        }
        _ => shapes.swap_remove(0),
    };
    let plane = Plane { memory: memory.clone(), shape };
    match media {
        Some(Media::Other(other)) if other.media_type == RECORDS => {
            let structure = other.caps().structures().first();
            let field = |name| structure.and_then(|structure| structure.text(name));
            py.import("shm2._arrays")?.getattr("records")?.call1((plane, field("dtype"), field("shape")))
        }
        _ => as_array(py, plane),
    }
}

fn as_array(py: Python<'_>, plane: Plane) -> PyResult<Bound<'_, PyAny>> {
    let needed = "arrays need NumPy (pip install numpy); without it use memoryview(frame) or memoryview(plane)";
    let numpy = py.import("numpy").map_err(|_| PyImportError::new_err(needed))?;
    numpy.getattr("asarray")?.call1((plane,))
}

/// The items of a meta blob; none if it is no list of items.
pub fn metas<'py>(py: Python<'py>, meta: &[u8]) -> Vec<(u16, Bound<'py, PyBytes>)> {
    let items = items(meta).unwrap_or_default().into_iter();
    items.map(|(kind, bytes)| (kind, PyBytes::new(py, bytes))).collect()
}

/// Items of a meta blob: kind u16, zero u16, length u32, then that many bytes.
fn items(mut meta: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    while !meta.is_empty() {
        let (head, rest) = meta.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (item, rest) = rest.split_at_checked(length)?;
        all.push((u16::from_le_bytes([head[0], head[1]]), item));
        meta = rest;
    }
    Some(all)
}
