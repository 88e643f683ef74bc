"""Detect bright objects in the pictures of a region with OpenCV, and publish their boxes as records.

python3 detect.py /dev/shm/camera /dev/shm/boxes
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

import cv2
import numpy as np
import shm2
from boxes import BOX, to_bgr
from numpy.typing import NDArray


def detect(picture: NDArray[Any], pts: int) -> NDArray[Any]:
    """Return the boxes of objects that are brighter than their surroundings, the largest first."""
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    _, mask = cv2.threshold(gray, 220, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    large = sorted((c for c in contours if cv2.contourArea(c) > 50), key=cv2.contourArea, reverse=True)
    return np.array([(pts, *cv2.boundingRect(contour)) for contour in large], BOX)


def main() -> None:
    """Detect until the stream ends, or until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Detect bright objects, and publish their boxes.")
    parser.add_argument("camera")
    parser.add_argument("boxes")
    parser.add_argument("--frames", type=int, default=0, help="end after so many frames")
    arguments = parser.parse_args()
    with (
        shm2.Consumer(arguments.camera, latest=True, timeout=30) as camera,
        shm2.Producer(arguments.boxes, dtype=BOX, history=64) as out,
    ):
        for number, frame in enumerate(camera, 1):
            found = detect(to_bgr(frame), frame.pts or 0)
            out.send(found, pts=frame.pts)
            if number == arguments.frames:
                break
        out.end_of_stream()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
