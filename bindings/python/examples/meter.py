"""Show the level of each channel of a sound, in decibels below full scale.

gst-launch-1.0 audiotestsrc ! audio/x-raw,format=S16LE,channels=2 ! shm2sink shm-path=/dev/shm/sound
python3 meter.py /dev/shm/sound
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any

import numpy as np
import shm2
from numpy.typing import NDArray


def levels(samples: NDArray[Any]) -> list[float]:
    """Return the root mean square of each channel of (samples, channels), in decibels below full scale."""
    scale = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
    power = np.square(samples.astype(np.float64) / scale).mean(axis=0)
    return [float(level) for level in 10 * np.log10(np.maximum(power, 1e-10))]


def bar(level: float) -> str:
    """Return a bar of 30 characters for -60 to 0 decibels."""
    length = max(0, min(30, round(30 + level / 2)))
    return "#" * length + "." * (30 - length)


async def main() -> None:
    """Measure until the stream ends, or until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Show the level of each channel of a sound.")
    parser.add_argument("region")
    parser.add_argument("--frames", type=int, default=0, help="end after so many frames")
    arguments = parser.parse_args()
    with shm2.Consumer(arguments.region, timeout=30) as sound:
        number = 0
        async for frame in sound:
            if len(frame):
                print("  ".join(f"{bar(level)} {level:6.1f} dB" for level in levels(frame.array)), flush=True)
            number += 1
            if number == arguments.frames:
                break


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
