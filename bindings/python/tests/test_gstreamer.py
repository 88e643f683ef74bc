"""Frames from NumPy to GStreamer's elements, and back."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shm2
from conftest import skip

SECOND = 20.0


@pytest.fixture(scope="module", autouse=True)
def elements() -> None:
    """The elements are there, by GST_PLUGIN_PATH."""
    if shutil.which("gst-launch-1.0") is None:
        skip("gst-launch-1.0 is not installed")
    found = subprocess.run(["gst-inspect-1.0", "shm2src"], capture_output=True, check=False)
    if found.returncode != 0:
        skip("GStreamer does not find shm2src: build gst-plugin-shm2 and set GST_PLUGIN_PATH")


@contextlib.contextmanager
def launched(pipeline: str) -> Iterator[subprocess.Popen[str]]:
    """Run a pipeline, and end it."""
    command = ["gst-launch-1.0", "-q", *pipeline.split()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


FORMATS = ["RGB", "BGR", "BGRx", "RGBA", "GRAY8", "I420", "NV12", "YUY2", "P010_10LE"]


@pytest.mark.parametrize("name", FORMATS)
def test_gstreamer_sees_what_numpy_wrote(region: str, tmp_path: Path, name: str) -> None:
    raw = tmp_path / "raw"
    caps = f"video/x-raw,format={name},width=42,height=31"
    with shm2.Producer(region, format=name, size=(42, 31), rate=30) as out:
        with launched(f"shm2src shm-path={region} num-buffers=3 ! {caps} ! filesink location={raw}") as child:
            expected = b""
            stop = threading.Event()
            random = np.random.default_rng(3)
            with out.frame() as f:
                for plane in f.planes:
                    array = np.asarray(plane)
                    array[...] = random.integers(0, 250, array.shape)
                del array
                expected = bytes(memoryview(f))
            while child.poll() is None and not stop.wait(0.02):
                with out.frame() as f:
                    memoryview(f)[:] = expected
            assert child.returncode == 0, child.stderr and child.stderr.read()
        assert raw.read_bytes()[: len(expected)] == expected


def test_numpy_sees_what_gstreamer_wrote(region: str) -> None:
    source = "videotestsrc is-live=true pattern=smpte ! video/x-raw,format=NV12,width=322,height=242,framerate=50/1"
    with launched(f"{source} ! shm2sink shm-path={region}"), shm2.Consumer(region, timeout=SECOND) as frames:
        frame = frames.next()
        luma, chroma = (np.asarray(plane) for plane in frame.planes)
        assert (frame.format, frame.size, frame.rate) == ("NV12", (322, 242), 50)
        assert luma.shape == (242, 322) and luma.strides == (324, 1) and chroma.shape == (121, 161, 2)
        assert frame.stacked().shape == (363, 322)
        np.testing.assert_array_equal(frame.stacked()[:242], luma)
        np.testing.assert_array_equal(frame.stacked()[242:], chroma.reshape(121, 322))
        rgb = frame.to_rgb()
        # The bars of the pattern begin with grey and yellow, and red and blue are the last.
        colours = [tuple(int(value) for value in rgb[20, 322 * (2 * bar + 1) // 14]) for bar in range(7)]
        for colour, expected in zip(colours, [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0)], strict=False):
            assert [value > 128 for value in colour] == [bool(value) for value in expected], colours
        assert frame.pts is not None and frame.duration == 20_000_000 and frame.time is not None
        assert [later.sequence for later, _ in zip(frames, range(2), strict=False)] == [
            frame.sequence + 1,
            frame.sequence + 2,
        ]


def test_sound_of_gstreamer_is_samples_and_channels(region: str) -> None:
    source = "audiotestsrc is-live=true samplesperbuffer=480 ! audio/x-raw,format=S16LE,rate=48000,channels=2"
    with launched(f"{source} ! shm2sink shm-path={region}"), shm2.Consumer(region, timeout=SECOND) as frames:
        frame = frames.next()
        assert frame.array.shape == (480, 2) and frame.array.dtype == np.int16
        np.testing.assert_array_equal(frame.array[:, 0], frame.array[:, 1])
        assert frame.array.any() and frame.rate == 48000
    source = source.replace("S16LE", "F32LE,layout=non-interleaved")
    with launched(f"{source} ! shm2sink shm-path={region}"), shm2.Consumer(region, timeout=SECOND) as frames:
        frame = frames.next()
        assert frame.array.shape == (480, 2) and frame.array.dtype == np.float32
        assert [plane.shape for plane in frame.planes] == [(480,), (480,)]


def test_sound_of_numpy_is_heard_by_gstreamer(region: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    with shm2.Producer(region, format="S16LE", rate=8000, channels=2) as out:
        pipeline = f"shm2src shm-path={region} num-buffers=4 ! audioconvert ! audio/x-raw,format=S16LE"
        with launched(f"{pipeline} ! filesink location={raw}") as child:
            sound = np.arange(160, dtype=np.int16).reshape(80, 2)
            pause = threading.Event()
            while child.poll() is None:
                out.send(sound)
                pause.wait(0.01)
            assert child.returncode == 0, child.stderr and child.stderr.read()
    np.testing.assert_array_equal(np.fromfile(raw, np.int16)[:160], sound.ravel())
