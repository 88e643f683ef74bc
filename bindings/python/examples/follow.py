"""Find the bright ball in the newest picture of a camera, and publish the picture with a frame around it, in gray.

    gst-launch-1.0 videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420 ! shm2sink shm-path=/dev/shm/camera
    python3 follow.py /dev/shm/camera /dev/shm/marked
    gst-launch-1.0 shm2src shm-path=/dev/shm/marked ! videoconvert ! autovideosink

Needs NumPy alone. The page docs/tutorials/detector.md uses it.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

import numpy as np
import shm2
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def brightness(frame: shm2.Frame) -> NDArray[Any]:
    """Return the brightness of a picture, (height, width), in place: the first plane of YUV, the green of RGB."""
    plane = np.asarray(frame.planes[0])
    return plane if plane.ndim == 2 else plane[..., 1]


def find(bright: NDArray[Any]) -> Box | None:
    """Return (left, top, right, bottom) around the bright pixels, or None if there are none."""
    mask = bright > 200
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def mark(picture: NDArray[Any], box: Box) -> None:
    """Draw a gray frame of three pixels on the inside of the box."""
    left, top, right, bottom = box
    inside = picture[top : bottom + 1, left : right + 1]
    for edge in (inside[:3], inside[-3:], inside[:, :3], inside[:, -3:]):
        edge[...] = 128


def publish(out: shm2.Producer, frame: shm2.Frame, work: float) -> bool:
    """Find, draw and publish. Return whether there was a ball."""
    time.sleep(work)
    bright = brightness(frame)
    box = find(bright)
    with out.frame() as f:
        picture = f.array
        picture[...] = bright
        if box is not None:
            mark(picture, box)
        del picture  # no view may be left when the frame is published
        f.pts, f.duration, f.time = frame.pts, frame.duration, frame.time
    return box is not None


def follow(camera: shm2.Consumer, marked: str, work: float) -> tuple[int, int]:
    """Follow the ball until the stream ends. Return the number of pictures, and of those with a ball."""
    first = camera.next()
    height, width = brightness(first).shape
    with shm2.Producer(marked, format="GRAY8", size=(width, height), rate=first.rate) as out:
        pictures, balls = 1, int(publish(out, first, work))
        del first  # its memory goes back to the camera
        for frame in camera:
            if brightness(frame).shape != (height, width):
                raise SystemExit(f"the camera has another size now: start again for {frame.size}")
            balls += publish(out, frame, work)
            pictures += 1
        out.end_of_stream()
        out.drain(1)
    return pictures, balls


def main() -> None:
    """Follow the ball, and print counts."""
    parser = argparse.ArgumentParser(description="Find a bright ball, and publish marked pictures.")
    parser.add_argument("camera")
    parser.add_argument("marked")
    parser.add_argument("--work", type=float, default=0.0, help="further seconds for each picture, as of a network")
    parser.add_argument("--all", action="store_true", help="take every picture, instead of the newest")
    arguments = parser.parse_args()
    with shm2.Consumer(arguments.camera, latest=not arguments.all, timeout=30) as camera:
        pictures, balls = follow(camera, arguments.marked, arguments.work)
        stats = camera.stats
    print(f"{pictures} pictures, {balls} with a ball, {stats['skipped']} skipped, {stats['missed']} missed")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
