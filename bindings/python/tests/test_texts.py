"""Frequent mistakes get a text with the remedy, and packages' habits are kept."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import shm2

SECOND = 10.0


@pytest.mark.parametrize("format", ["NV12", "NV21", "I420", "YV12"])
def test_stacked_planes_are_sent_as_they_are_received(region: str, format: str) -> None:
    picture = np.arange(12 * 6, dtype=np.uint8).reshape(12, 6)  # rows with padding
    with shm2.Producer(region, format=format, size=(6, 8)) as out:
        out.send(picture)
        frame = shm2.snapshot(region)
        assert (frame.stacked() == picture).all()
        out.send(frame.stacked())
        with pytest.raises(shm2.MediaError, match=r"send\(\[luma, chroma\]\).*numpy.asarray\(plane\)"):
            out.send(picture[:8])
        with pytest.raises(shm2.MediaError, match="send"), out.frame() as f:
            _ = f.array
        assert out.stats["published"] == 2


def test_shapes_of_sound_and_records_name_the_remedy(region: str) -> None:
    with shm2.Producer(region, format="S16LE", rate=48000.0, channels=2) as out:
        with pytest.raises(shm2.DataError, match=r"\(samples, 2\) is needed: transpose it"):
            out.send(np.zeros((2, 480), np.int16))
        with pytest.raises(shm2.DataError, match=r"\(samples, 2\) is needed: reshape\(-1, 2\) it"):
            out.send(np.zeros(480, np.int16))
        with pytest.raises(shm2.DataError, match=r"7 bytes are given, no multiple of 4, .* sample"):
            out.send(bytes(7))
        out.send(np.zeros((480, 2), np.int16))
    with shm2.Producer(region, dtype="<f4") as out:
        with pytest.raises(shm2.DataError, match=r"give shape=\(3, 4\) to the Producer"):
            out.send(np.zeros((3, 4), np.float32))
        with pytest.raises(shm2.DataError, match=r"no multiple of 4, .* record"):
            out.send(bytes(7))
        assert out.stats["published"] == 0


def test_bytes_without_padding_name_the_row_stride(region: str) -> None:
    with (
        shm2.Producer(region, format="BGR", size=(3, 2)) as out,
        pytest.raises(shm2.DataError, match=r"18 bytes are given, the frame has 24: .*row stride is 12 bytes"),
    ):
        out.send(bytes(18))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"format": "GRAY8", "size": (4, 4), "rate": -1}, "rate=-1 is no number"),
        ({"format": "GRAY8", "size": (4, 4), "rate": float("nan")}, "rate=nan"),
        ({"format": "GRAY8", "size": (4.5, 4)}, r"size=\(4.5, 4\) is wrong: width and height are whole numbers"),
        ({"format": "GRAY8", "size": (4, 4, 3)}, r"give size=\(width, height\)"),
        ({"format": "GRAY8", "size": 4}, r"give size=\(width, height\)"),
        ({"format": "S16LE", "rate": 44100.5, "channels": 2}, "rate=44100.5 is wrong: samples per second"),
        ({"format": "S16LE", "rate": 48000, "channels": 0}, "channels=0"),
        ({"format": "rgb", "size": (4, 4)}, "did you mean RGB"),
        ({"format": "S16LE", "size": (4, 4)}, "is a format of raw audio: it needs rate=48000, channels=2"),
        ({"format": "S16_LE", "rate": 48000, "channels": 2}, "did you mean S16LE"),
        ({"format": "RGB", "size": (64, 64), "arena": 100}, "arena=100 is smaller than one frame of 12288 bytes"),
    ],
)
def test_arguments_of_a_producer_are_checked(region: str, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(shm2.ArgumentError, match=text):
        shm2.Producer(region, **arguments)


def test_times_and_meta_of_a_frame_are_checked(region: str) -> None:
    picture: Any = np.zeros((4, 6), np.uint8)
    with shm2.Producer(region, format="GRAY8", size=(6, 4)) as out:
        wrong: list[Any] = [-1, 0.5, "now"]
        for pts in wrong:
            with pytest.raises(shm2.ArgumentError, match=f"pts={pts!r} is not a time in nanoseconds"):
                out.send(picture, pts=pts)
            with pytest.raises(shm2.ArgumentError, match=f"pts={pts!r}"):
                out.send_event(b"x", pts=pts)
        text: Any = "x"
        with pytest.raises(shm2.ArgumentError, match=r"meta='x' is not bytes; .* set metas = "):
            out.send(picture, meta=text)
        with pytest.raises(shm2.MediaError, match=r"is a list of items: set metas = "):
            out.send(picture, meta=b"x")
        with out.frame() as f:
            values: list[tuple[str, Any]] = [("flags", -1), ("metas", [("x", b"")]), ("duration", 1.5), ("dts", "a")]
            for name, value in values:
                with pytest.raises(shm2.ArgumentError, match=f"{name}="):
                    setattr(f, name, value)
            f.cancel()
        assert out.stats["published"] == 0
        out.send(picture, pts=np.int64(5))  # type: ignore[arg-type]
        assert shm2.snapshot(region).pts == 5


def test_frames_cannot_be_pickled(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(6, 4)) as out, out.frame() as f:
        f.publish()
        frame = shm2.snapshot(region)
        for what in (frame, frame.planes[0], f):
            with pytest.raises(TypeError, match=r"cannot be pickled: send array.copy\(\)"):
                pickle.dumps(what)


def test_a_star_import_replaces_no_builtins() -> None:
    code = "from shm2 import *; import builtins; assert list is builtins.list and TimeoutError is builtins.TimeoutError"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {shm2.Error.__module__, shm2.DtypeError.__module__, shm2.ViewsError.__module__} == {"shm2"}
    assert issubclass(shm2.TimeoutError, TimeoutError) and shm2.TimeoutError.__module__ == "shm2"


def test_a_frame_that_is_dropped_warns_unless_it_ended(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(6, 4)) as out:
        f = out.frame()
        with pytest.warns(ResourceWarning, match="never published"):
            del f
        for end in ("cancel", "publish"):
            f = out.frame()
            getattr(f, end)()
            del f
        assert out.stats["published"] == 1
