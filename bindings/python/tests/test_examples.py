"""Each example does what its head says."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shm2
from conftest import skip
from numpy.typing import NDArray

SECOND = 30.0
EXAMPLES = Path(__file__).parent.parent / "examples"
#: Where pictures are kept that a person may look at.
KEPT = os.environ.get("SHM2_PICTURES")


def python_with_opencv(folder: Path) -> list[str]:
    """Return the command of a Python that has OpenCV and finds this package: this one, or that of the system."""
    package = Path(shm2.__file__).parent
    (folder / "site").mkdir()
    (folder / "site" / "shm2").symlink_to(package)
    for python in (sys.executable, "/usr/bin/python3"):
        command = ["env", f"PYTHONPATH={folder / 'site'}", python]
        if shutil.which(python) is None:
            continue
        code = "import sys, cv2, numpy, shm2; sys.exit(sys.version_info < (3, 11))"
        if subprocess.run([*command, "-c", code], capture_output=True, check=False).returncode == 0:
            return command
    return skip("neither this Python nor that of the system has OpenCV: install python3-opencv")


@contextlib.contextmanager
def started(*command: str, python: list[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run an example, and end it."""
    words = [*(python or [sys.executable]), str(EXAMPLES / command[0]), *command[1:]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def read_png(path: Path) -> NDArray[np.uint8]:
    """Read an RGB picture that grab.py wrote."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
    start = data.index(b"IDAT") + 4
    length = int.from_bytes(data[start - 8 : start - 4])
    rows = np.frombuffer(zlib.decompress(data[start : start + length]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def keep(path: Path) -> None:
    if KEPT:
        Path(KEPT).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, KEPT)


def white_centre(rgb: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the middle of the white disc."""
    y, x = np.nonzero((rgb > 250).all(axis=2))
    assert len(y) > 100
    return float(x.mean()), float(y.mean())


def test_a_produced_picture_is_grabbed(region: str, tmp_path: Path) -> None:
    picture = tmp_path / "produced.png"
    with started("produce.py", region, "--size", "322", "240"):
        with shm2.Consumer(region, timeout=SECOND) as frames:
            assert frames.next().size == (322, 240)
        grab = subprocess.run(
            [sys.executable, str(EXAMPLES / "grab.py"), region, str(picture)],
            capture_output=True,
            text=True,
            timeout=SECOND,
            check=False,
        )
    assert grab.returncode == 0, grab.stderr
    assert "BGR (322, 240)" in grab.stdout
    rgb = read_png(picture)
    assert rgb.shape == (240, 322, 3) and rgb[0, 0, 0] == 60
    assert rgb[0, -1, 2] > 250 and rgb[-1, 0, 1] > 250 and rgb[0, 0, 2] < 5
    x, y = white_centre(rgb)
    assert abs(np.hypot((x - 161) / 80.5, (y - 120) / 60) - 1) < 0.1
    keep(picture)


def test_grab_says_what_is_missing(region: str, tmp_path: Path) -> None:
    words = [sys.executable, str(EXAMPLES / "grab.py"), region, str(tmp_path / "x.png"), "--timeout", "0.1"]
    grab = subprocess.run(words, capture_output=True, text=True, timeout=SECOND, check=False)
    assert grab.returncode == 1 and grab.stderr.startswith("grab: no frame came within 0.1 s") and not grab.stdout
    assert not (tmp_path / "x.png").exists()


def test_produced_pictures_are_shown_by_gstreamer(region: str, tmp_path: Path) -> None:
    if shutil.which("gst-launch-1.0") is None:
        skip("gst-launch-1.0 is not installed")
    if subprocess.run(["gst-inspect-1.0", "shm2src"], capture_output=True, check=False).returncode != 0:
        skip("GStreamer does not find shm2src: build gst-plugin-shm2 and set GST_PLUGIN_PATH")
    raw = tmp_path / "raw"
    pipeline = (
        f"shm2src shm-path={region} num-buffers=5 ! videoconvert ! video/x-raw,format=RGB "
        f"! multifilesink location={raw} post-messages=false"
    )
    with started("produce.py", region, "--size", "320", "240"):
        shown = subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], timeout=SECOND, check=False)
    assert shown.returncode == 0
    rgb = np.fromfile(raw, np.uint8).reshape(240, 320, 3)
    white_centre(rgb)
    assert rgb[0, 0, 0] == 60


def test_one_process_detects_and_another_annotates(region: str, tmp_path: Path) -> None:
    """They follow a camera that is restarted with another format, too."""
    python = python_with_opencv(tmp_path)
    boxes, annotated = f"{region}-boxes", f"{region}-annotated"
    with (
        started("detect.py", region, boxes, python=python) as detector,
        started("annotate.py", region, boxes, annotated, python=python) as annotator,
        shm2.Consumer(annotated) as frames,
    ):
        for left, name in [(100, "NV12"), (130, "YUY2"), (70, "BGR")]:
            with shm2.Producer(region, format=name, size=(320, 240), rate=30) as camera:
                await_box(camera, frames, left, (detector, annotator))
                picture = tmp_path / f"annotated-{name}.png"
                words = [sys.executable, str(EXAMPLES / "grab.py"), annotated, str(picture)]
                subprocess.run(words, timeout=SECOND, check=True)
                keep(picture)
                if name == "BGR":
                    camera.end_of_stream()
                    assert detector.wait(SECOND) == 0 and annotator.wait(SECOND) == 0


def await_box(
    camera: shm2.Producer, frames: shm2.Consumer, left: int, children: tuple[subprocess.Popen[str], ...]
) -> None:
    """Send pictures of a square until a red box is around it."""
    for _ in range(600):
        with camera.frame() as f:
            draw_square(f, left)
        for child in children:
            assert child.poll() is None, child.stdout and child.stdout.read()
        with contextlib.suppress(shm2.TimeoutError):
            rgb = frames.next(timeout=0.05).to_rgb()
            red = (rgb[..., 0] > 200) & (rgb[..., 1] < 60) & (rgb[..., 2] < 60)
            columns = np.nonzero(red[60:110].any(axis=0))[0]
            # The square is 80 pixels wide, and 50 high from row 60 on.
            if len(columns) and abs(int(columns.min()) - left) <= 3 and abs(int(columns.max()) - left - 80) <= 3:
                return
    raise AssertionError("no box was drawn")


def draw_square(frame: shm2.OutFrame, left: int) -> None:
    """Draw a white square on black."""
    planes = [np.asarray(plane) for plane in frame.planes]
    if len(planes) == 1 and planes[0].shape[2] == 3:
        planes[0][...] = 20
        planes[0][60:110, left : left + 80] = 255
        return
    luma = planes[0] if len(planes) == 2 else planes[0][..., 0]
    chroma = planes[1] if len(planes) == 2 else planes[0][..., 1]
    luma[...], chroma[...] = 30, 128
    luma[60:110, left : left + 80] = 235


def test_a_ball_is_followed_over_a_restart_of_the_camera(region: str) -> None:
    marked = f"{region}-marked"
    with started("follow.py", region, marked) as follower, shm2.Consumer(marked, timeout=SECOND) as frames:
        for left, name in [(100, "NV12"), (130, "BGR")]:
            with shm2.Producer(region, format=name, size=(320, 240), rate=30) as camera:
                with camera.frame() as f:
                    draw_square(f, left)
                picture = frames.next().array
                # The square, with a gray frame on its inside.
                assert (picture[63:107, left + 3 : left + 77] > 200).all() and picture[59, left] < 60
                assert (picture[60, left : left + 80] == 128).all() and (picture[60:110, left + 79] == 128).all()
                if name == "BGR":
                    camera.end_of_stream()
                    assert follower.wait(SECOND) == 0 and follower.stdout is not None
                    assert follower.stdout.read() == "2 pictures, 2 with a ball, 0 skipped, 0 missed\n"


def test_the_meter_shows_the_level_of_each_channel(region: str) -> None:
    with (
        shm2.Producer(region, format="S16LE", rate=8000, channels=2) as out,
        started("meter.py", region, "--frames", "3") as meter,
    ):
        tone = np.sin(np.arange(800) / 4) * 32767
        sound = np.stack([tone, tone / 10], axis=1).astype(np.int16)
        while meter.poll() is None:
            out.send(sound)
            with contextlib.suppress(subprocess.TimeoutExpired):
                meter.wait(0.05)
        assert meter.stdout is not None
        lines = meter.stdout.read().splitlines()
    assert meter.returncode == 0 and len(lines) == 3, lines
    levels = [
        float(word) for word in lines[-1].replace("dB", "").split() if word.lstrip("-").replace(".", "").isdigit()
    ]
    assert abs(levels[0] + 3) < 0.2 and abs(levels[1] + 23) < 0.2, lines
