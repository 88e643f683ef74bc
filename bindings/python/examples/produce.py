"""Publish a moving picture from NumPy, for GStreamer, OBS or any other reader.

    python3 produce.py /dev/shm/picture
    gst-launch-1.0 shm2src shm-path=/dev/shm/picture ! videoconvert ! autovideosink

In OBS, use a source of the plugin obs-gstreamer with: shm2src shm-path=/dev/shm/picture ! videoconvert ! video.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

import numpy as np
import shm2
from numpy.typing import NDArray


def draw(picture: NDArray[Any], number: int) -> None:
    """Draw a disc over a gradient, straight into the memory of the region: ``picture`` is (height, width, 3) of BGR."""
    height, width = picture.shape[:2]
    y, x = np.ogrid[:height, :width]
    picture[..., 0] = x * 255 // width
    picture[..., 1] = y * 255 // height
    picture[..., 2] = 60
    angle = number / 15
    centre = (height / 2 + height / 4 * np.sin(angle), width / 2 + width / 4 * np.cos(angle))
    picture[np.hypot(y - centre[0], x - centre[1]) < height / 8] = (255, 255, 255)


def main() -> None:
    """Publish until Ctrl-C, or for a number of frames."""
    parser = argparse.ArgumentParser(description="Publish a moving picture from NumPy.")
    parser.add_argument("region", nargs="?", default="/dev/shm/picture")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--frames", type=int, default=0, help="end after so many frames")
    arguments = parser.parse_args()
    width, height = arguments.size
    with shm2.Producer(arguments.region, format="BGR", size=(width, height), rate=arguments.rate) as out:
        begun = time.monotonic()
        number = 0
        while number < (arguments.frames or number + 1):
            with out.frame() as frame:
                draw(frame.array, number)
                frame.duration = round(1e9 / arguments.rate)
            number += 1
            time.sleep(max(0.0, begun + number / arguments.rate - time.monotonic()))
        out.end_of_stream()
        out.drain(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
