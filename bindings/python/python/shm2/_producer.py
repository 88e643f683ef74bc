"""The sending side."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Literal

from . import _caps, _errors, _shm2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction
    from typing import Self

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from ._shm2 import OutFrame, Plane

_RECORDS = "application/x-shm2-struct"


class Producer(_shm2.Producer):
    """The one producer of a region; a context manager.

    Describe the frames in one of four ways:

    * raw video: ``format="NV12", size=(1920, 1080), rate=30``, with the names of GStreamer's formats;
    * raw audio: ``format="S16LE", rate=48000, channels=2``;
    * plain data: ``dtype=numpy.dtype([...])``, with ``shape=`` for frames of one size;
    * anything else: ``caps="image/jpeg"``, GStreamer's text.

    Args:
        path: the region, such as ``"/dev/shm/camera"``.
        format: format of the pixels or samples.
        size: width and height in pixels.
        rate: frames per second (``30``, ``29.97``, ``(30000, 1001)``), or samples per second of audio.
        channels: number of channels of audio.
        dtype: dtype of plain data, without Python objects.
        shape: number of records of a frame in each dimension.
        caps: the description as text.
        on_full: when there is no free space for a new frame: ``"drop-oldest"`` drops old frames, ``"drop-newest"`` the
            new one as long as a consumer has not read the old ones, ``"block"`` waits for the slowest consumer.
        block_timeout: most seconds to wait under ``"block"``; ``None``: no limit.
        arena: bytes for frames; if not set, for eight pictures, and about 59 MiB at least.
        history: frames that are kept for consumers that attach later.
        max_leases: frames that one consumer may hold in place, 1 to 64.
        keep: reuse an existing file and never remove it, such as the memory of a virtual machine.
        perms: permission bits of the file.

    Raises:
        CreateError: when the region cannot be made, for example because another producer has the name.
    """

    def __new__(
        cls,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        size: tuple[int, int] | None = None,
        rate: int | float | Fraction | tuple[int, int] | None = None,
        channels: int | None = None,
        dtype: DTypeLike | None = None,
        shape: int | tuple[int, ...] | None = None,
        caps: str | None = None,
        on_full: Literal["drop-oldest", "drop-newest", "block"] = "drop-oldest",
        block_timeout: float | None = None,
        arena: int | None = None,
        history: int = 1,
        max_leases: int = 16,
        keep: bool = False,
        perms: int = 0o660,
    ) -> Self:
        """Make the region."""
        unit, length = 1, None
        if format is not None and caps is None and dtype is None:
            if size is not None and channels is None:
                caps = _caps.video(format, size, rate)
            elif rate is not None and channels is not None and size is None:
                caps = _caps.audio(format, rate, channels)
            else:
                raise _errors.ArgumentError(
                    f"format={format!r} needs size=(width, height) for video, or rate=48000, channels=2 for audio"
                )
        elif dtype is not None and format is None and caps is None:
            from . import _arrays

            dimensions = (shape,) if isinstance(shape, int) else shape
            caps, kind = _arrays.records_caps(dtype, dimensions)
            unit = kind.itemsize
            if dimensions is not None:
                length = 1
                for count in dimensions:
                    length *= count
        elif format is not None or dtype is not None:
            raise _errors.ArgumentError("give one of format=, dtype= and caps=, not several")
        return super().__new__(
            cls,
            os.fspath(path),
            caps,
            unit=unit,
            length=length,
            on_full=on_full,
            block_timeout=block_timeout,
            arena=arena,
            history=history,
            max_leases=max_leases,
            keep=keep,
            perms=perms,
        )

    def send(
        self, data: ArrayLike | Sequence[ArrayLike] | bytes | memoryview, *, pts: int | None = None, meta: bytes = b""
    ) -> int:
        """Copy an array, or an array for each plane, or bytes, into the region and publish it.

        NV12, NV21, I420 and YV12 of an even size may be one array of ``(height * 3 / 2, width)``, as ``stacked()`` and
        OpenCV make it.

        Returns:
            The sequence number of the frame.

        Raises:
            DataError: when shape or size differ from the frame's.
            DtypeError: when the dtype differs.
        """
        with self.frame(self._length_of(data)) as frame:
            _fill(frame, data)
            frame.pts = pts
            frame.meta = meta
        sequence = frame.sequence
        assert sequence is not None
        return sequence

    def _length_of(self, data: Any) -> int | None:
        """Return the length of a frame for some data: samples, records or bytes."""
        media_type = self.caps.media_type if self.caps is not None else ""
        if media_type == "video/x-raw" or self.is_fixed:
            return None
        if isinstance(data, bytes | bytearray | memoryview):
            given = memoryview(data).nbytes
            count, rest = divmod(given, self.unit)
            if rest:
                what = "sample of all channels" if media_type == "audio/x-raw" else "record"
                raise _errors.DataError(f"{given} bytes are given, no multiple of {self.unit}, the bytes of a {what}")
            return count
        import numpy as np

        array = np.asarray(data)
        self._check_shape(media_type, array.shape)
        if media_type == "audio/x-raw" or self.unit > 1:
            return len(array) if array.ndim else 1
        return array.nbytes // self.unit

    def _check_shape(self, media_type: str, shape: tuple[int, ...]) -> None:
        """Refuse arrays of a frequent wrong shape, with the remedy."""
        if media_type == "audio/x-raw" and self.caps is not None:
            channels = self.caps.get("channels")
            if len(shape) < 2 or shape[1] != channels:
                remedy = f": reshape(-1, {channels}) it" if len(shape) == 1 else ""
                remedy = ": transpose it" if len(shape) == 2 and shape[0] == channels else remedy
                raise _errors.DataError(f"the array has the shape {shape}, (samples, {channels}) is needed{remedy}")
        if media_type == _RECORDS and len(shape) > 1:
            raise _errors.DataError(
                f"the array has the shape {shape}, (records,) is needed: give shape={shape} to the Producer"
            )


def _fill(frame: OutFrame, data: Any) -> None:
    """Copy data into a frame; its shape and dtype must be those of the frame."""
    if isinstance(data, bytes | bytearray | memoryview):
        source = memoryview(data)
        if source.nbytes != len(frame):
            raise _errors.DataError(
                f"{source.nbytes} bytes are given, the frame has {len(frame)}{_padding(frame, source.nbytes)}"
            )
        with memoryview(frame) as target:
            target[:] = source.cast("B") if source.contiguous else source.tobytes()
        return
    import numpy as np

    planes = frame.planes
    if len(planes) > 1 and not isinstance(data, list | tuple):
        data = _unstacked(planes, np.asarray(data)) or data
    if len(planes) == 1 or not isinstance(data, list | tuple):
        _copy(np, frame.array, data, "the frame")
        return
    if len(data) != len(planes):
        raise _errors.DataError(f"{len(data)} arrays are given, the frame has {len(planes)} planes")
    for index, (plane, source) in enumerate(zip(planes, data, strict=True)):
        _copy(np, np.asarray(plane), source, f"plane {index}")


def _unstacked(planes: Sequence[Plane], array: NDArray[Any]) -> list[NDArray[Any]] | None:
    """Return the planes of a 4:2:0 picture whose planes are below each other, as OpenCV makes them; else ``None``."""
    height, width = planes[0].shape[:2]
    items = sum(math.prod(plane.shape) for plane in planes)
    is_stacked = array.shape == (height * 3 // 2, width) and not height % 2 and not width % 2
    if not is_stacked or items != array.size or planes[0].ndim != 2 or {plane.itemsize for plane in planes} != {1}:
        return None
    flat, parts, start = array.reshape(-1), [], 0
    for plane in planes:
        end = start + math.prod(plane.shape)
        parts.append(flat[start:end].reshape(plane.shape))
        start = end
    return parts


def _padding(frame: OutFrame, given: int) -> str:
    """Return the remedy for the bytes of a picture whose rows have no padding, as those of the frame have."""
    planes = frame.planes
    dense = sum(math.prod(plane.shape) * plane.itemsize for plane in planes)
    if given != dense or any(plane.ndim < 2 for plane in planes):
        return ""
    strides = ", ".join(str(plane.strides[0]) for plane in planes)
    return f": its rows have padding, the row stride is {strides} bytes; send an array of each plane instead"


def _copy(np: Any, target: Any, data: Any, what: str) -> None:
    array = np.asarray(data)
    if array.dtype != target.dtype:
        raise _errors.DtypeError(
            f"the array has dtype {array.dtype}, {what} has {target.dtype}: convert it by astype()"
        )
    if array.shape != target.shape:
        raise _errors.DataError(f"the array has the shape {array.shape}, {what} has {target.shape}")
    target[...] = array
