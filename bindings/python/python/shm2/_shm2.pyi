"""The compiled part of shm2."""

import os
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any, Self, final

from numpy.typing import DTypeLike, NDArray

from ._caps import Caps

__all__ = [
    "Consumer",
    "Frame",
    "OutFrame",
    "Plane",
    "Producer",
    "describe",
    "formats",
    "inspect",
    "monotonic_ns",
    "regions",
]

def monotonic_ns() -> int:
    """Return the current time of the clock of ``Frame.time``, in nanoseconds."""

def describe(text: str) -> Caps:
    """Return the caps of a text. Raises ``MediaError`` when it is none."""

def formats(kind: str) -> list[str]:
    """Return the names of the formats of raw video (``"video"``) or audio."""

def regions(folder: str | os.PathLike[str]) -> list[dict[str, object]]: ...
def inspect(path: str) -> dict[str, object]: ...

@final
class Plane:
    """Memory of one plane of a frame, N-dimensional, by the buffer protocol and DLPack."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of items of each dimension."""
    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one item to the next, of each dimension."""
    @property
    def offset(self) -> int:
        """Bytes before the first item, from the beginning of the frame."""
    @property
    def itemsize(self) -> int:
        """Bytes of one item."""
    @property
    def format(self) -> str:
        """Type of the items, in the language of the module ``struct``."""
    @property
    def ndim(self) -> int:
        """Number of dimensions."""
    @property
    def readonly(self) -> bool:
        """Whether views may not be written."""
    def __len__(self) -> int: ...
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, view: memoryview, /) -> None: ...
    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return the memory as a DLPack capsule of version 1."""
    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the CPU: ``(1, 0)``."""

@final
class Frame:
    """A received frame: its bytes, times and description. Read-only."""

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes of the picture, or one plane of anything else."""
    @property
    def array(self) -> NDArray[Any]:
        """The one plane as an array, without a copy."""
    def stacked(self) -> NDArray[Any]:
        """Return the planes of NV12, NV21, I420 or YV12 below each other: ``(height * 3 / 2, width)``."""
    def to_rgb(self) -> NDArray[Any]:
        """Return the visible part of the picture as a new RGB array, ``(height, width, 3)`` of ``uint8``."""
    @property
    def format(self) -> str | None:
        """Format of the pixels or samples, or the codec."""
    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels."""
    @property
    def visible(self) -> tuple[int, int, int, int] | None:
        """The visible part of a raw picture: ``(x, y, width, height)``."""
    @property
    def rate(self) -> Fraction | int | None:
        """Pictures per second as a ``Fraction``, or samples per second as an ``int``."""
    @property
    def channels(self) -> int | None:
        """Number of channels of audio."""
    @property
    def media_type(self) -> str | None:
        """The media type, such as ``"video/x-raw"``."""
    @property
    def caps(self) -> Caps | None:
        """The description of the stream."""
    @property
    def pts(self) -> int | None:
        """Presentation time on the producer's timeline, in nanoseconds."""
    @property
    def dts(self) -> int | None:
        """Decoding time on the producer's timeline, in nanoseconds."""
    @property
    def duration(self) -> int | None:
        """How long the frame lasts, in nanoseconds."""
    @property
    def time(self) -> int | None:
        """Absolute time of the frame, in nanoseconds of the producer's monotonic clock."""
    @property
    def published(self) -> int | None:
        """Time of publication, in nanoseconds of the producer's monotonic clock."""
    @property
    def flags(self) -> int:
        """Flags of the application."""
    @property
    def sequence(self) -> int:
        """Number of the frame in its region."""
    @property
    def missed(self) -> int:
        """Frames and events that were lost before this one."""
    @property
    def discontinuity(self) -> bool:
        """Whether the stream is interrupted before this frame."""
    @property
    def is_event(self) -> bool:
        """Whether this is an event."""
    @property
    def is_leased(self) -> bool:
        """Whether the bytes are in the region itself."""
    @property
    def meta(self) -> bytes:
        """The meta blob."""
    @property
    def metas(self) -> list[tuple[int, bytes]]:
        """The items of the meta blob."""
    def check(self) -> None:
        """Raise ``TruncatedError`` if bytes of the frame are lost."""
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __bytes__(self) -> bytes: ...
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, view: memoryview, /) -> None: ...

@final
class OutFrame:
    """Memory of the region for one frame, published at the end of a ``with`` block."""

    pts: int | None
    dts: int | None
    duration: int | None
    time: int | None
    flags: int
    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes to fill."""
    @property
    def array(self) -> NDArray[Any]:
        """The one plane as an array that may be written."""
    def publish(self) -> int:
        """Publish the frame now; return its sequence number."""
    def cancel(self) -> None:
        """Drop the frame."""
    @property
    def meta(self) -> bytes:
        """The meta blob."""
    @meta.setter
    def meta(self, value: bytes) -> None: ...
    @property
    def metas(self) -> list[tuple[int, bytes]]:
        """The items of the meta blob."""
    @metas.setter
    def metas(self, value: Sequence[tuple[int, bytes]]) -> None: ...
    @property
    def sequence(self) -> int | None:
        """Sequence number of the published frame."""
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, class_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, view: memoryview, /) -> None: ...

class Consumer:
    """The compiled base of ``shm2.Consumer``."""

    def __new__(
        cls,
        path: str,
        *,
        latest: bool = False,
        timeout: float | None = None,
        access: str = "auto",
        start: str = "history",
        on_exit: str = "reconnect",
        events: bool = False,
        max_leases: int | None = None,
        lag_limit: float | None = None,
        wake_ahead: bool = False,
    ) -> Self: ...
    def next(self, timeout: float | None = None) -> Frame:
        """Return the next frame. Wait for it up to ``timeout`` seconds."""
    def try_next(self) -> Frame | None:
        """Return the next frame if there is one now, else ``None``."""
    def close(self) -> None:
        """Detach from the region. Frames that are held stay valid."""
    @property
    def closed(self) -> bool:
        """Whether the consumer was closed."""
    @property
    def path(self) -> str:
        """The name of the region."""
    @property
    def timeout(self) -> float | None:
        """Seconds that an iteration waits for a frame."""
    @property
    def attached(self) -> bool:
        """Whether the consumer is attached to a region now."""
    @property
    def stats(self) -> dict[str, int]:
        """Counters since the consumer was made."""
    def request_keyframe(self) -> bool:
        """Ask the producer for a frame that depends on no other."""
    def fileno(self) -> int:
        """Return a descriptor that is readable while there may be something for ``try_next()``."""
    def waiting_for(self) -> str:
        """Return what the consumer waits for now, for people."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> Frame: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, class_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

class Producer:
    """The compiled base of ``shm2.Producer``."""

    def __new__(
        cls,
        path: str,
        caps: str | None,
        *,
        unit: int = 1,
        length: int | None = None,
        on_full: str = "drop-oldest",
        block_timeout: float | None = None,
        arena: int | None = None,
        history: int = 1,
        max_leases: int = 16,
        keep: bool = False,
        perms: int = 0o660,
    ) -> Self: ...
    def frame(self, length: int | None = None) -> OutFrame:
        """Return memory of the region for one frame."""
    def end_of_stream(self) -> int:
        """Publish the end of the stream; return its sequence number."""
    def send_event(self, meta: bytes, *, pts: int | None = None) -> int:
        """Publish an event between two frames; return its sequence number."""
    def drain(self, timeout: float) -> bool:
        """Wait until every attached consumer has taken every frame."""
    def close(self) -> None:
        """Close the region."""
    @property
    def consumers(self) -> int:
        """Number of attached consumers that lease frames."""
    @property
    def stats(self) -> dict[str, int]:
        """Counters."""
    @property
    def keyframe_requests(self) -> int:
        """How often consumers have asked for a keyframe."""
    @property
    def caps(self) -> Caps | None:
        """The description of the stream."""
    @property
    def path(self) -> str:
        """The name of the region."""
    @property
    def closed(self) -> bool:
        """Whether the producer was closed."""
    @property
    def unit(self) -> int:
        """Bytes of one sample of all channels, of one record, or of a byte."""
    @property
    def is_fixed(self) -> bool:
        """Whether all frames have one size."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, class_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
