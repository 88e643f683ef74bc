"""Which regions there are, and their state."""

from __future__ import annotations

import builtins
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _shm2
from ._consumer import Consumer

if TYPE_CHECKING:
    from ._caps import Caps
    from ._shm2 import Frame


@dataclass(frozen=True)
class Attached:
    """A consumer that is attached to a region and leases frames."""

    #: Process id, in its own namespace.
    pid: int
    #: Items that it has not taken yet.
    lag: int
    #: Frames that it holds in place.
    held: int
    #: Bytes of those frames.
    held_bytes: int
    #: Frames taken.
    received: int
    #: Items that were gone before it took them.
    missed: int
    #: Frames that it skipped on purpose.
    skipped: int
    #: Frames that it copied because it held as many as it may.
    copied: int


@dataclass(frozen=True)
class Region:
    """The state of a region, as its producer wrote it."""

    #: Path of its file.
    path: str
    #: Its name, such as ``shm:///dev/shm/camera``.
    uri: str
    #: Size in bytes.
    bytes: int
    #: The part of it that is for frames.
    arena_bytes: int
    #: Random number of the producer's generation.
    generation: int
    #: Process id of the producer, in its own namespace.
    producer_pid: int
    #: Whether the next producer reuses the memory.
    kept: bool
    #: ``"drop-oldest"``, ``"drop-newest"`` or ``"block"``.
    on_full: str | None
    #: Frames kept for consumers that attach later.
    history: int
    #: Frames that one consumer may hold in place.
    max_leases: int
    #: Sequence of the newest frame; 0 before the first.
    newest: int
    #: Seconds since the newest frame.
    age: float | None
    #: Size of the newest frame in bytes.
    frame_bytes: int | None
    #: Description of the stream.
    caps: Caps | None
    #: Frames that were dropped before every consumer had read them.
    dropped_oldest: int
    #: New frames that found no free space.
    dropped_newest: int
    #: Frames that were larger than the arena.
    dropped_too_large: int
    #: The consumers that lease frames.
    consumers: builtins.list[Attached]


def _region(values: dict[str, object]) -> Region:
    consumers = [Attached(**consumer) for consumer in values.pop("consumers")]  # type: ignore[attr-defined]
    return Region(**values, consumers=consumers)  # type: ignore[arg-type]


def list(folder: str | os.PathLike[str] = "/dev/shm") -> builtins.list[Region]:
    """Return the regions with a live producer in a folder and the folders in it."""
    return [_region(values) for values in _shm2.regions(os.fspath(folder))]


def inspect(path: str | os.PathLike[str]) -> Region:
    """Return the state of a region with a live producer, without attaching to it.

    Raises:
        AttachError: when there is no region, or no live producer.
    """
    return _region(_shm2.inspect(os.fspath(path)))


def snapshot(path: str | os.PathLike[str], *, timeout: float | None = 5) -> Frame:
    """Return a private copy of the newest frame. Waits for one up to ``timeout`` seconds.

    It needs permission to read the region, not to write it.

    Raises:
        TimeoutError: when there is no producer or no frame.
    """
    with Consumer(path, latest=True, timeout=timeout, access="snapshot") as consumer:
        return consumer.next()
