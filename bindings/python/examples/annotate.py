"""Draw the boxes of detect.py into the pictures of a camera, in a region of its own.

    python3 annotate.py /dev/shm/camera /dev/shm/boxes /dev/shm/annotated
    gst-launch-1.0 shm2src shm-path=/dev/shm/annotated ! videoconvert ! autovideosink

The picture is copied once, into the new region, and drawn into there.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

import cv2
import shm2
from boxes import to_bgr
from numpy.typing import NDArray


def main() -> None:
    """Annotate until the stream ends, or until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Draw boxes into the pictures of a camera.")
    parser.add_argument("camera")
    parser.add_argument("boxes")
    parser.add_argument("annotated")
    parser.add_argument("--frames", type=int, default=0, help="end after so many frames")
    arguments = parser.parse_args()
    newest: NDArray[Any] | None = None
    with (
        shm2.Consumer(arguments.camera, latest=True, timeout=30) as camera,
        shm2.Consumer(arguments.boxes) as detector,
    ):
        first = camera.next()
        assert first.size is not None
        with shm2.Producer(arguments.annotated, format="BGR", size=first.size, rate=30) as out:
            for number, frame in enumerate(camera, 1):
                while (boxes := detector.try_next()) is not None:
                    newest = boxes.array.copy()
                with out.frame() as f:
                    picture = f.array
                    picture[...] = to_bgr(frame)
                    for box in newest if newest is not None else ():
                        x, y, width, height = (int(box[name]) for name in ("x", "y", "width", "height"))
                        cv2.rectangle(picture, (x, y), (x + width, y + height), (0, 0, 255), 2)
                        cv2.putText(picture, "object", (x, y - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 255), 1)
                    del picture  # no view may be left when the frame is published
                    f.pts, f.duration = frame.pts, frame.duration
                if number == arguments.frames:
                    break
            out.end_of_stream()
            out.drain(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
