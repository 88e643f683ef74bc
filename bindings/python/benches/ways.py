"""The ways that compare.py measures: each sends and receives frames as numpy arrays.

A way is a pair of classes. `Out(place, depth)` has `send(fill)`, which gives both planes of one frame to `fill` and
publishes it. `In(place, depth)` has `frames()`, which yields both planes of each frame; a frame is held until the next
one is asked for.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from frames import CAPS, FRAME_BYTES, HEIGHT, WIDTH, Bytes, planes

Fill = Callable[[Bytes, Bytes], None]
Planes = tuple[Bytes, Bytes]
# Longest time without a frame.
LIMIT_SECONDS = 10.0


class Shm2Out:
    def __init__(self, place: str, depth: int) -> None:
        import shm2

        # As most of the peers do, it waits for the consumer.
        self.producer = shm2.Producer(
            place,
            format="NV12",
            size=(WIDTH, HEIGHT),
            rate=60,
            on_full="block",
            block_timeout=LIMIT_SECONDS,
            arena=(depth + 4) * FRAME_BYTES,
        )

    def send(self, fill: Fill) -> None:
        with self.producer.frame() as frame:
            luma, chroma = frame.planes
            fill(np.asarray(luma), np.asarray(chroma))


class Shm2In:
    def __init__(self, place: str, depth: int, *, wake_ahead: bool = False) -> None:
        import shm2

        self.consumer = shm2.Consumer(place, timeout=LIMIT_SECONDS, wake_ahead=wake_ahead)

    def frames(self) -> Iterator[Planes]:
        for frame in self.consumer:
            luma, chroma = frame.planes
            yield np.asarray(luma), np.asarray(chroma)
            del luma, chroma, frame


def gst() -> Any:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    from gi.repository import Gst, GstApp  # noqa: F401

    Gst.init(None)
    return Gst


class GstOut:
    """`appsrc` and a sink, with reused buffers of a pool. `is_own`: their memory is that of the sink's allocator."""

    def __init__(self, place: str, depth: int, sink: str, is_own: bool) -> None:
        self.gst = gst()
        source = f"appsrc name=src caps={CAPS} format=time block=true max-bytes={FRAME_BYTES}"
        self.pipeline = self.gst.parse_launch(f"{source} ! {sink} name=sink socket-path={place} sync=false")
        self.src, self.sink = self.pipeline.get_by_name("src"), self.pipeline.get_by_name("sink")
        if self.sink.find_property("shm-size"):
            self.sink.set_property("shm-size", (depth + 4) * FRAME_BYTES)
        self.pipeline.set_state(self.gst.State.PLAYING)
        self.pool = self.make_pool(depth, self.allocator() if is_own else None)

    def allocator(self) -> Any:
        """Return the allocator that the sink offers. It has one as soon as its socket exists."""
        query = self.gst.Query.new_allocation(self.gst.Caps.from_string(CAPS), False)
        if not self.sink.get_static_pad("sink").query(query) or not query.get_n_allocation_params():
            raise RuntimeError("the sink offers no allocator")
        allocator, _ = query.parse_nth_allocation_param(0)
        return allocator

    def make_pool(self, depth: int, allocator: Any) -> Any:
        pool = self.gst.BufferPool.new()
        config = pool.get_config()
        self.gst.BufferPool.config_set_params(config, self.gst.Caps.from_string(CAPS), FRAME_BYTES, 0, depth)
        if allocator:
            self.gst.BufferPool.config_set_allocator(config, allocator, None)
        if not pool.set_config(config) or not pool.set_active(True):
            raise RuntimeError("the pool cannot be used")
        return pool

    def send(self, fill: Fill) -> None:
        flow, buffer = self.pool.acquire_buffer(None)
        if flow != self.gst.FlowReturn.OK:
            raise RuntimeError(f"no buffer: {flow}")
        is_mapped, info = buffer.map(self.gst.MapFlags.WRITE)
        if not is_mapped:
            raise RuntimeError("a buffer cannot be written")
        fill(*planes(info.data))
        buffer.unmap(info)
        flow = self.src.push_buffer(buffer)
        if flow != self.gst.FlowReturn.OK:
            raise RuntimeError(f"a buffer was refused: {flow}")

    def close(self) -> None:
        self.pipeline.set_state(self.gst.State.NULL)


class GstIn:
    """A source and `appsink`; the mapped buffer becomes arrays."""

    def __init__(self, place: str, depth: int, source: str) -> None:
        self.gst = gst()
        properties = "is-live=true" if source == "shmsrc" else ""
        text = f"{source} socket-path={place} {properties} ! {CAPS} ! appsink name=sink sync=false"
        self.pipeline = self.gst.parse_launch(text)
        self.sink = self.pipeline.get_by_name("sink")
        self.pipeline.set_state(self.gst.State.PLAYING)

    def frames(self) -> Iterator[Planes]:
        limit, read = int(LIMIT_SECONDS * 1e9), self.gst.MapFlags.READ
        while sample := self.sink.try_pull_sample(limit):
            buffer = sample.get_buffer()
            is_mapped, info = buffer.map(read)
            if not is_mapped:
                raise RuntimeError("a buffer cannot be read")
            yield planes(info.data)
            buffer.unmap(info)
            del sample, buffer, info
        raise RuntimeError("no frame came, or the stream ended")

    def close(self) -> None:
        self.pipeline.set_state(self.gst.State.NULL)


class Iceoryx2:
    """A service of byte slices, and an event beside it for a receiver that sleeps."""

    def __init__(self, place: str, depth: int) -> None:
        import iceoryx2 as iox2

        self.iox2 = iox2
        iox2.set_log_level(iox2.LogLevel.Error)
        self.node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        name = iox2.ServiceName.new(Path(place).name)
        builder = self.node.service_builder(name).publish_subscribe(iox2.Slice[ctypes.c_uint8])
        builder = builder.enable_safe_overflow(False).history_size(0).subscriber_max_buffer_size(depth)
        builder = builder.subscriber_max_borrowed_samples(2).max_publishers(1).max_subscribers(1)
        # The stamp is read and written as 64-bit words.
        builder = builder.payload_alignment(iox2.Alignment.new(64))
        self.service = builder.open_or_create()
        self.event = self.node.service_builder(name).event().open_or_create()


class Iceoryx2Out(Iceoryx2):
    def __init__(self, place: str, depth: int) -> None:
        super().__init__(place, depth)
        publisher = self.service.publisher_builder().initial_max_slice_len(FRAME_BYTES)
        waits = self.iox2.BackpressureStrategy.RetryUntilDelivered
        self.publisher = publisher.backpressure_strategy(waits).create()
        self.notifier = self.event.notifier_builder().create()

    def send(self, fill: Fill) -> None:
        sample = self.publisher.loan_slice_uninit(FRAME_BYTES)
        fill(*planes(sample.payload().as_memory_view()))
        sample.assume_init().send()
        self.notifier.notify()


class Iceoryx2In(Iceoryx2):
    def __init__(self, place: str, depth: int) -> None:
        super().__init__(place, depth)
        self.subscriber = self.service.subscriber_builder().create()
        self.listener = self.event.listener_builder().create()
        # Some events are lost when frames come fast: the wait continues although a frame has arrived.
        self.limit = self.iox2.Duration.from_millis(100)

    def frames(self) -> Iterator[Planes]:
        waits = 0
        while True:
            sample = self.subscriber.receive()
            if sample is None:
                waits = 0 if self.listener.timed_wait(self.limit) else waits + 1
                if waits > 10 * LIMIT_SECONDS:
                    raise RuntimeError("no frame came")
                continue
            waits = 0
            yield planes(sample.payload().as_memory_view())
            sample.delete()


class PyshmemOut:
    """One array, of which each write replaces the one before; `notify` wakes receivers by a futex."""

    def __init__(self, place: str, depth: int) -> None:
        import pyshmem

        name = Path(place).name
        self.stream = pyshmem.create(name, shape=(FRAME_BYTES,), dtype=np.uint8, notify=True)

    def send(self, fill: Fill) -> None:
        with self.stream.write_view() as frame:
            fill(*planes(frame))

    def close(self) -> None:
        self.stream.unlink()


class PyshmemIn:
    """Each frame is copied into one array, which pyshmem repeats if a write came between."""

    def __init__(self, place: str, depth: int) -> None:
        import pyshmem

        self.stream = pyshmem.open(Path(place).name)
        self.frame = np.empty(FRAME_BYTES, np.uint8)

    def frames(self) -> Iterator[Planes]:
        while True:
            self.stream.read_after(self.stream.last_read_count, timeout=LIMIT_SECONDS, out=self.frame)
            yield planes(self.frame)


class PyshmemLockedIn(PyshmemIn):
    """The frame is used in place under the stream's lock, for which the sender waits."""

    def frames(self) -> Iterator[Planes]:
        while True:
            self.stream.wait_for_count(after=self.stream.last_read_count, timeout=LIMIT_SECONDS)
            with self.stream.locked():
                yield planes(self.stream.read(safe=False))


class BareOut:
    """The limit: frames in a mapping, and a byte through a pipe for each. Nothing protects a frame that is read."""

    def __init__(self, place: str, depth: int) -> None:
        os.mkfifo(f"{place}.pipe")
        with Path(place).open("wb") as file:
            file.truncate(depth * FRAME_BYTES)
        self.slots = bare_slots(place, depth)
        self.pipe = os.open(f"{place}.pipe", os.O_RDWR)
        self.next = 0

    def send(self, fill: Fill) -> None:
        fill(*planes(self.slots[self.next]))
        os.write(self.pipe, bytes([self.next]))
        self.next = (self.next + 1) % len(self.slots)


class BareIn:
    def __init__(self, place: str, depth: int) -> None:
        self.slots = bare_slots(place, depth)
        self.pipe = os.open(f"{place}.pipe", os.O_RDONLY)

    def frames(self) -> Iterator[Planes]:
        while slot := os.read(self.pipe, 1):
            yield planes(self.slots[slot[0]])


def bare_slots(place: str, depth: int) -> list[memoryview]:
    with Path(place).open("r+b") as file:
        memory = memoryview(mmap.mmap(file.fileno(), depth * FRAME_BYTES))
    return [memory[at * FRAME_BYTES :][:FRAME_BYTES] for at in range(depth)]


def shm2_ahead(place: str, depth: int) -> Shm2In:
    return Shm2In(place, depth, wake_ahead=True)


def shmsink(place: str, depth: int) -> GstOut:
    return GstOut(place, depth, "shmsink wait-for-connection=true", is_own=True)


def shmsink_heap(place: str, depth: int) -> GstOut:
    return GstOut(place, depth, "shmsink wait-for-connection=true", is_own=False)


def shmsrc(place: str, depth: int) -> GstIn:
    return GstIn(place, depth, "shmsrc")


def unixfdsink(place: str, depth: int) -> GstOut:
    return GstOut(place, depth, "unixfdsink", is_own=True)


def unixfdsrc(place: str, depth: int) -> GstIn:
    return GstIn(place, depth, "unixfdsrc")


# Each way by its name: how to send, how to receive, and the Python modules or GStreamer elements that it needs.
WAYS: dict[str, tuple[Callable[[str, int], Any], Callable[[str, int], Any], tuple[str, ...]]] = {
    "shm2": (Shm2Out, Shm2In, ("shm2",)),
    "shm2-ahead": (Shm2Out, shm2_ahead, ("shm2",)),
    "shmsink": (shmsink, shmsrc, ("gi", "shmsink", "shmsrc", "appsrc", "appsink")),
    "shmsink-heap": (shmsink_heap, shmsrc, ("gi", "shmsink", "shmsrc", "appsrc", "appsink")),
    "unixfdsink": (unixfdsink, unixfdsrc, ("gi", "unixfdsink", "unixfdsrc", "appsrc", "appsink")),
    "iceoryx2": (Iceoryx2Out, Iceoryx2In, ("iceoryx2",)),
    "pyshmem": (PyshmemOut, PyshmemIn, ("pyshmem",)),
    "pyshmem-locked": (PyshmemOut, PyshmemLockedIn, ("pyshmem",)),
    "bare pipe": (BareOut, BareIn, ("mmap",)),
}


def missing(way: str) -> str:
    """Return why a way cannot be measured here; empty if it can."""
    module, *elements = WAYS[way][2]
    if importlib.util.find_spec(module) is None:
        return f"this Python ({sys.executable}) has no module {module}"
    try:
        absent = [name for name in elements if gst().ElementFactory.find(name) is None] if elements else []
    except (ImportError, ValueError) as error:
        return str(error)
    version = gst().version_string() if absent else ""
    return f"{version} has no element {', '.join(absent)}" if absent else ""
