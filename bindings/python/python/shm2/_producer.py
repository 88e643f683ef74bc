"""The sending side."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from . import _caps, _errors, _shm2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction
    from typing import Self

    from numpy.typing import ArrayLike, DTypeLike

    from ._shm2 import OutFrame


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
            elif isinstance(rate, int) and channels is not None and size is None:
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
            return memoryview(data).nbytes // self.unit
        import numpy as np

        array = np.asarray(data)
        if media_type == "audio/x-raw" or self.unit > 1:
            return len(array) if array.ndim else 1
        return array.nbytes // self.unit


def _fill(frame: OutFrame, data: Any) -> None:
    """Copy data into a frame; its shape and dtype must be those of the frame."""
    if isinstance(data, bytes | bytearray | memoryview):
        source = memoryview(data)
        if source.nbytes != len(frame):
            raise _errors.DataError(f"{source.nbytes} bytes are given, the frame has {len(frame)}")
        with memoryview(frame) as target:
            target[:] = source.cast("B") if source.contiguous else source.tobytes()
        return
    import numpy as np

    if len(frame.planes) == 1 or not isinstance(data, list | tuple):
        _copy(np, frame.array, data, "the frame")
        return
    if len(data) != len(frame.planes):
        raise _errors.DataError(f"{len(data)} arrays are given, the frame has {len(frame.planes)} planes")
    for index, (plane, source) in enumerate(zip(frame.planes, data, strict=True)):
        _copy(np, np.asarray(plane), source, f"plane {index}")


def _copy(np: Any, target: Any, data: Any, what: str) -> None:
    array = np.asarray(data)
    if array.dtype != target.dtype:
        raise _errors.DtypeError(
            f"the array has dtype {array.dtype}, {what} has {target.dtype}: convert it by astype()"
        )
    if array.shape != target.shape:
        raise _errors.DataError(f"the array has the shape {array.shape}, {what} has {target.shape}")
    target[...] = array
