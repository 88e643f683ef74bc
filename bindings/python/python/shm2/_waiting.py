"""Tasks that wait for a consumer's descriptor."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._shm2 import Consumer, Frame


class Waiting:
    """The tasks of one event loop that wait for one consumer.

    A loop has one callback for a descriptor, so the tasks share it. It is a duplicate of the consumer's, so that the
    consumer may be closed while they wait.
    """

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[None]] = set()
        self._descriptor: int | None = None

    async def wait(self, consumer: Consumer) -> Frame | None:
        """Wait until there may be a frame, and take it."""
        loop = asyncio.get_running_loop()
        self._forget_closed_loops()
        future: asyncio.Future[None] = loop.create_future()
        if self._descriptor is None:
            descriptor = os.dup(consumer.fileno())
            loop.add_reader(descriptor, self._wake)
            self._descriptor = descriptor
        elif any(other.get_loop() is not loop for other in self._futures):
            raise RuntimeError("tasks of another event loop wait for this consumer: make one for each loop")
        self._futures.add(future)
        try:
            # What came before the callback was set is found here, and a closed consumer is an error.
            frame = consumer.try_next()
            if frame is not None:
                return frame
            await future
        finally:
            self._futures.discard(future)
            if not self._futures and self._descriptor is not None:
                loop.remove_reader(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = None
        return consumer.try_next()

    def _forget_closed_loops(self) -> None:
        """Drop what tasks left behind whose loop was closed while they waited."""
        self._futures = {future for future in self._futures if not future.get_loop().is_closed()}
        if not self._futures and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def wake_all(self) -> None:
        """Wake all tasks; may be called by any thread."""
        for future in list(self._futures):
            loop = future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_finish, future)

    def _wake(self) -> None:
        for future in self._futures:
            _finish(future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
