"""The frames of the measurements: 1080p NV12, with a stamp and a number in the first 16 bytes of the luma plane."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

WIDTH, HEIGHT = 1920, 1080
LUMA_BYTES = WIDTH * HEIGHT
FRAME_BYTES = LUMA_BYTES * 3 // 2
CAPS = f"video/x-raw,format=NV12,width={WIDTH},height={HEIGHT},framerate=60/1"
# Every so many rows of both planes are read.
ROW_STEP = 64
# Frames before the measured ones, and the time between two of them.
WARM_UP, WARM_UP_SECONDS = 60, 0.005
# Stamp of the frame after the last.
LAST = 0


def planes(frame: Any) -> tuple[Bytes, Bytes]:
    """Return luma (1080, 1920) and chroma (540, 960, 2) of a frame without gaps, not copied."""
    flat = np.frombuffer(frame, np.uint8, FRAME_BYTES)
    return flat[:LUMA_BYTES].reshape(HEIGHT, WIDTH), flat[LUMA_BYTES:].reshape(HEIGHT // 2, WIDTH // 2, 2)


class Filler:
    """Writes a frame: its stamp and number, and before them a complete picture if frames are to be written."""

    def __init__(self, writes: bool) -> None:
        self.number = 0
        self.is_last = False
        self.memory = ""
        noise = np.random.default_rng(1).integers(0, 256, FRAME_BYTES, np.uint8)
        self.picture = planes(noise) if writes else None

    def __call__(self, luma: Bytes, chroma: Bytes) -> None:
        if self.picture:
            np.copyto(luma, self.picture[0])
            np.copyto(chroma, self.picture[1])
        if not self.memory:
            self.memory = memory_of(luma)
        stamp = LAST if self.is_last else time.monotonic_ns()
        luma[0, :16].view(np.uint64)[:] = stamp, self.number
        self.number += 1


def stamp_of(luma: Bytes) -> tuple[int, int]:
    """Return stamp and number of a frame."""
    stamp, number = luma[0, :16].view(np.uint64).tolist()
    return stamp, number


def read_rows(luma: Bytes, chroma: Bytes) -> int:
    """Sum a few rows of both planes: the work on each frame."""
    return int(luma[::ROW_STEP].sum()) + int(chroma[::ROW_STEP].sum())


def memory_of(array: Bytes) -> str:
    """Return the mapping that holds an array: `shared` and its file, or `private`."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        places, permissions, _, _, _, *name = line.split(maxsplit=5)
        first, end = (int(place, 16) for place in places.split("-"))
        if first <= address < end:
            return f"shared {''.join(name)}" if permissions[3] == "s" else "private"
    return "unmapped"
