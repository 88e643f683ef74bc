"""The receiving side."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Literal

from . import _errors, _shm2
from ._waiting import Waiting

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ._shm2 import Frame


class Consumer(_shm2.Consumer):
    """A receiver of a region's frames: an iterator, and a context manager.

    It waits for its producer, which may start later, and goes over to the next one when that one exits. A frame that is
    held does not change, whatever its producer does.

    In a program with ``asyncio``, use ``async for frame in consumer`` or ``await consumer.receive()``. Several tasks
    may wait; each frame goes to one of them.

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
        wake_ahead: of a stream with a steady rate, wake shortly before the next frame is due, and look for it without
            sleeping: less delay, for up to 2.5 % of a processor. Without effect in ``asyncio``.
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
        wake_ahead: bool = False,
    ) -> Self:
        """Make a consumer. It attaches when the first frame is asked for."""
        self = super().__new__(
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
            wake_ahead=wake_ahead,
        )
        self._waiting = Waiting()
        return self

    _waiting: Waiting

    async def receive(self, timeout: float | None = None) -> Frame:
        """Return the next frame. Wait for it up to ``timeout`` seconds, without ``timeout`` as the consumer's own says.

        Other tasks of the loop run at each call, also when a frame is there already. A wait that is cancelled loses no
        frame.

        Raises:
            TimeoutError: when no frame came in time. The text says what is missing.
            EndOfStream: when the stream ended. A further call waits for frames after the end.
        """
        # Before a frame is taken, so that a task that is cancelled here loses none.
        await asyncio.sleep(0)
        frame = self.try_next()
        if frame is not None:
            return frame
        limit = self.timeout if timeout is None else timeout
        if limit is not None and not limit >= 0:
            raise _errors.ArgumentError(f"timeout={limit} is not a time in seconds: give 0 or more, or None")
        try:
            async with asyncio.timeout(limit):
                while frame is None:
                    frame = await self._waiting.wait(self)
                return frame
        except TimeoutError as error:
            if isinstance(error, _errors.Error):
                raise
            # Another task may have kept the loop busy for longer than the limit, while a frame came.
            if (frame := self.try_next()) is not None:
                return frame
            raise _errors.TimeoutError(f"no frame came within {limit} s: {self.waiting_for()}") from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        """Return the next frame; the iteration ends with the stream."""
        try:
            return await self.receive()
        except _errors.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, class_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Detach from the region, as the end of a ``with`` block does."""
        self.close()

    def close(self) -> None:
        """Detach from the region, and end waits of other threads and tasks. Frames that are held stay valid.

        No effect in a forked child.
        """
        super().close()
        # False in a forked child, whose inherited loops are those of the parent.
        if self.closed:
            self._waiting.wake_all()

    def __exit__(
        self, class_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()
