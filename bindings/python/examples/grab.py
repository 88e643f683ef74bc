"""Write one frame of a region as a PNG. Needs no library but shm2.

python3 grab.py /dev/shm/camera frame.png
"""

from __future__ import annotations

import argparse
import struct
import zlib
from pathlib import Path

import shm2


def png(frame: shm2.Frame) -> bytes:
    """Return the visible part of a frame as the bytes of a PNG."""
    picture = frame.to_rgb()
    height, width, _ = picture.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in picture)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def main() -> None:
    """Grab the newest frame."""
    parser = argparse.ArgumentParser(description="Write one frame of a region as a PNG.")
    parser.add_argument("region")
    parser.add_argument("file", type=Path)
    parser.add_argument("--timeout", type=float, default=5, help="seconds to wait for a frame")
    arguments = parser.parse_args()
    try:
        frame = shm2.snapshot(arguments.region, timeout=arguments.timeout)
        arguments.file.write_bytes(png(frame))
    except shm2.Error as error:
        raise SystemExit(f"grab: {error}") from None
    print(f"{arguments.file}: frame {frame.sequence}, {frame.format} {frame.size}")


if __name__ == "__main__":
    main()
