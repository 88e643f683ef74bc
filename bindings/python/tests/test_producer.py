"""What a producer refuses, and that nothing is published then."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shm2

SECOND = 10.0


def picture(value: int = 1) -> np.ndarray:
    return np.full((4, 6), value, np.uint8)


def test_a_frame_with_views_is_not_published(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(6, 4)) as out:
        with pytest.raises(BufferError, match=r"nothing was published: 1 view .*del array"), out.frame() as f:
            view = f.array
        view[...] = 9  # still memory of its own
        with pytest.raises(shm2.ViewsError, match="2 views"), out.frame() as f:
            views = [memoryview(f), np.asarray(f.planes[0])]
        assert out.stats["published"] == 0
        used = out.stats["used_bytes"]
        del view, views
        assert out.stats["used_bytes"] < used
        out.send(picture(3))
        assert (shm2.snapshot(region).array == 3).all()


def test_an_exception_in_the_block_publishes_nothing(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(6, 4)) as out:
        with contextlib.suppress(ZeroDivisionError), out.frame() as f:
            f.array[...] = 1
            _ = 1 / 0
        assert out.stats["published"] == 0
        with pytest.raises(shm2.ClosedError, match="was dropped"):
            f.publish()
        with pytest.raises(ValueError, match="broadcast"), out.frame() as f:
            f.array[...] = np.zeros((5, 6), np.uint8)
        assert out.stats["published"] == 0
        with pytest.warns(ResourceWarning, match=r"was never published: .*with block"):
            out.frame().array[...] = 1  # its memory is free again
        assert out.stats["used_bytes"] <= 4096


def test_late_frames_and_closed_producers_say_so(region: str) -> None:
    out = shm2.Producer(region, format="GRAY8", size=(6, 4))
    with out.frame() as f:
        f.array[...] = 1
        plane = f.planes[0]
    assert f.sequence == 1
    with pytest.raises(shm2.ClosedError, match="was published"):
        _ = f.array
    with pytest.raises(shm2.ClosedError, match="was published"):
        np.asarray(plane).fill(2)
    with pytest.raises(shm2.ClosedError, match="was published"):
        memoryview(f)
    with pytest.raises(shm2.ClosedError, match="was published"):
        f.publish()
    f.cancel()
    late = out.frame()
    out.close()
    out.close()
    assert out.closed
    late.array[...] = 3
    with pytest.raises(shm2.ClosedError, match="is closed"):
        late.publish()
    uses: list[Callable[[], object]] = [
        out.frame,
        lambda: out.send(picture()),
        out.end_of_stream,
        lambda: out.send_event(b"x"),
    ]
    for use in uses:
        with pytest.raises(shm2.ClosedError, match="is closed"):
            use()


def test_a_frame_is_published_once_inside_its_block(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(6, 4)) as out:
        with out.frame() as f:
            f.array[...] = 1
            assert f.publish() == 1
        with out.frame() as f:
            f.cancel()
        assert out.stats["published"] == 1


def test_wrong_arrays_are_named(region: str) -> None:
    with shm2.Producer(region, format="NV12", size=(6, 4)) as out:
        luma: Any = picture()
        chroma: Any = np.zeros((2, 3, 2), np.uint8)
        with pytest.raises(shm2.DataError, match=r"plane 1 has \(2, 3, 2\)"):
            out.send([luma, chroma[0]])
        with pytest.raises(shm2.DtypeError, match="dtype float32, plane 0 has uint8"):
            out.send([luma.astype(np.float32), chroma])
        with pytest.raises(shm2.DataError, match="1 arrays are given, the frame has 2 planes"):
            out.send([luma])
        with pytest.raises(shm2.MediaError, match="NV12 has 2 planes"):
            out.send(luma)
        with pytest.raises(shm2.DataError, match="5 bytes are given, the frame has"):
            out.send(b"bytes")
        with pytest.raises(shm2.ArgumentError, match="length=3"):
            out.frame(3)
        assert out.stats["published"] == 0
        assert out.send([luma, chroma]) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"format": "NV12"}, "needs size="),
        ({"format": "S16LE", "rate": 48000}, "channels=2"),
        ({"format": "GRAY8", "size": (4, 4), "dtype": "u1"}, "not several"),
        ({"format": "NV99", "size": (4, 4)}, "NV99"),
        ({"format": "GRAY8", "size": (0, 4)}, "width"),
        ({"caps": "video/x-raw, format=NV12"}, "width"),
        ({"on_full": "wait"}, "'?\"?drop-oldest"),
        ({"perms": 0o7777}, "perms"),
        ({"arena": 1 << 60}, "out of range"),
        ({"max_leases": 65}, "max-leases"),
        ({"block_timeout": -1.0}, "block_timeout=-1"),
    ],
)
def test_wrong_arguments_are_named(region: str, arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text) as raised:
        shm2.Producer(region, **arguments)  # type: ignore[arg-type]
    assert isinstance(raised.value, shm2.Error)


def test_names_that_cannot_be_used_are_errors(region: str) -> None:
    with shm2.Producer(region), pytest.raises(shm2.CreateError, match="live producer"):
        shm2.Producer(region)
    with pytest.raises(shm2.CreateError, match="directory"):
        shm2.Producer("/dev/shm/no/such/folder/x")
    with pytest.raises(shm2.ArgumentError):
        shm2.Producer("shm:")
    with pytest.raises(shm2.ArgumentError):
        shm2.Consumer("")
    with pytest.raises(shm2.AttachError, match="does not exist"):
        shm2.inspect(region)
    with pytest.raises(shm2.ArgumentError, match="access"):
        shm2.Consumer(region, access="rw")  # type: ignore[arg-type]


def test_a_full_region_says_which_frame_was_dropped(region: str) -> None:
    with (
        shm2.Producer(region, on_full="drop-newest", arena=65536) as out,
        shm2.Consumer(region, timeout=SECOND) as frames,
    ):
        frames.try_next()
        out.send(bytes(40000))
        with pytest.raises(shm2.FullError, match="dropped and counted"):
            out.send(bytes(40000))
        assert out.stats["dropped_newest"] == 1
        frames.next()
        out.send(bytes(40000))
        with pytest.raises(shm2.ArgumentError, match="does not fit"):
            out.send(bytes(80000))


def test_block_waits_for_the_consumer_and_times_out(region: str) -> None:
    out = shm2.Producer(region, on_full="block", block_timeout=0.3, arena=65536)
    frames = shm2.Consumer(region, timeout=SECOND)
    frames.try_next()
    out.send(bytes(40000))
    with pytest.raises(TimeoutError, match="no consumer freed space"):
        out.send(bytes(40000))
    assert out.stats["dropped_newest"] == 1
    out.close()
    frames.close()
    out = shm2.Producer(region, on_full="block", arena=65536)
    frames = shm2.Consumer(region, timeout=SECOND)
    frames.try_next()

    def read() -> None:
        time.sleep(0.25)
        for number in range(20):
            assert bytes(frames.next())[0] == number

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        out.send(bytes([number]) * 40000)
    reader.join(SECOND)
    assert out.stats["dropped_oldest"] == out.stats["dropped_newest"] == 0
    out.close()
    frames.close()


def test_many_threads_use_one_producer_and_one_consumer(region: str) -> None:
    with (
        shm2.Producer(region, dtype=np.int64, shape=4, on_full="block") as out,
        shm2.Consumer(region, timeout=SECOND, start="oldest") as frames,
    ):
        frames.try_next()
        received: list[int] = []

        def send(base: int) -> None:
            for number in range(100):
                with out.frame() as f:
                    f.array[...] = base + number

        def receive() -> None:
            for frame in frames:
                values = frame.array
                assert (values == values[0]).all()
                received.append(int(values[0]))

        senders = [threading.Thread(target=send, args=(base,)) for base in (0, 1000, 2000)]
        receivers = [threading.Thread(target=receive) for _ in range(2)]
        for thread in senders + receivers:
            thread.start()
        for thread in senders:
            thread.join(30)
        # An end for each receiver; a second end in a row would be none.
        out.end_of_stream()
        receivers[0].join(1)
        out.send(np.full(4, -1))
        out.end_of_stream()
        for thread in receivers:
            thread.join(30)
        assert sorted(number for number in received if number >= 0) == sorted(
            base + number for base in (0, 1000, 2000) for number in range(100)
        )
