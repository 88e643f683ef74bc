"""What the detector and the annotator share: the records that go from one to the other, and pictures as BGR."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import shm2
from numpy.typing import NDArray

#: One object in a picture: the time of its frame in nanoseconds, and its box in pixels.
BOX = np.dtype([("pts", "<u8"), ("x", "<i4"), ("y", "<i4"), ("width", "<i4"), ("height", "<i4")])

_STACKED = {
    "NV12": cv2.COLOR_YUV2BGR_NV12,
    "NV21": cv2.COLOR_YUV2BGR_NV21,
    "I420": cv2.COLOR_YUV2BGR_I420,
    "YV12": cv2.COLOR_YUV2BGR_YV12,
}
_PACKED = {
    "RGB": cv2.COLOR_RGB2BGR,
    "RGBA": cv2.COLOR_RGBA2BGR,
    "RGBx": cv2.COLOR_RGBA2BGR,
    "BGRA": cv2.COLOR_BGRA2BGR,
    "BGRx": cv2.COLOR_BGRA2BGR,
    "GRAY8": cv2.COLOR_GRAY2BGR,
    "YUY2": cv2.COLOR_YUV2BGR_YUY2,
    "UYVY": cv2.COLOR_YUV2BGR_UYVY,
}


def to_bgr(frame: shm2.Frame) -> NDArray[Any]:
    """Return a frame as (height, width, 3) of BGR: without a copy if it is BGR, else converted by OpenCV."""
    if frame.format == "BGR":
        return frame.array
    if frame.format in _STACKED:
        return np.asarray(cv2.cvtColor(frame.stacked(), _STACKED[frame.format]))
    if frame.format in _PACKED:
        return np.asarray(cv2.cvtColor(frame.array, _PACKED[frame.format]))
    return frame.to_rgb()[:, :, ::-1]
