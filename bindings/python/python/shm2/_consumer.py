"""The receiving side."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from . import _shm2

if TYPE_CHECKING:
    from typing import Self


class Consumer(_shm2.Consumer):
    """A receiver of a region's frames: an iterator, and a context manager.

    It waits for its producer, which may start later, and goes over to the next one when that one exits. A frame that is
    held does not change, whatever its producer does.

    Args:
        path: the region, such as ``"/dev/shm/camera"`` or ``"shm:///dev/shm/camera"``.
        latest: skip to the newest frame, instead of all frames in order.
        timeout: seconds that an iteration waits for a frame, then it raises ``TimeoutError``. ``None``: no limit.
        access: ``"lease"`` reads frames in place and needs permission to write the region's file; ``"snapshot"`` gets
            private copies and needs permission to read; ``"auto"`` leases where it may.
        start: the first frame: ``"history"`` (the newest one), ``"oldest"`` or ``"next"`` (the next that is published).
        on_exit: when the producer exits without an end of stream: ``"reconnect"`` waits for the next one, ``"end"``
            ends the iteration, ``"error"`` raises ``ProducerGoneError``.
        events: receive events as well, as frames without bytes.
        max_leases: most frames to hold in place; further ones are private copies. The producer's limit counts, too.
        lag_limit: skip frames that are older than these seconds.
    """

    def __new__(
        cls,
        path: str | os.PathLike[str],
        *,
        latest: bool = False,
        timeout: float | None = None,
        access: Literal["auto", "lease", "snapshot"] = "auto",
        start: Literal["history", "oldest", "next"] = "history",
        on_exit: Literal["reconnect", "end", "error"] = "reconnect",
        events: bool = False,
        max_leases: int | None = None,
        lag_limit: float | None = None,
    ) -> Self:
        """Make a consumer. It attaches when the first frame is asked for."""
        return super().__new__(
            cls,
            os.fspath(path),
            latest=latest,
            timeout=timeout,
            access=access,
            start=start,
            on_exit=on_exit,
            events=events,
            max_leases=max_leases,
            lag_limit=lag_limit,
        )
