#!/usr/bin/env python3
"""Reads frames of a region: a snapshot consumer in plain Python, without GStreamer and without a library.

It is written from docs/protocol.md alone; a section in the comments is one of that page. It needs only permission to
read, polls every 5 ms, and follows a producer's restart. A region whose producer is known by heartbeats only (`kept` 2,
virtual machines) is refused.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import math
import os
import platform
import re
import signal
import stat
import struct
import sys
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

POLL_SECONDS = 0.005
RING, PAGES, ARENA = 65_536, 589_824, 4_784_128  # offsets of the sections, section 1
GENERATION, HEAD, OLDEST, STATE = 24, 128, 256, 512  # offsets in the header, section 2
MAGIC, MAJOR_VERSION, LIVE, BY_HEARTBEAT = b"SHM2RGN\0", 3, 1, 2
CELLS, CELL_BYTES, CELL = 4_096, 128, struct.Struct("<16Q")  # section 3
FRAME, END, EVENT, DETAILS = 0, 1, 2, 1 << 31  # the highest bit of a kind only helps to read less
MAX_SEQUENCE, MAX_CAPS, MAX_META, NONE = 1 << 62, 65_536, 1_048_576, (1 << 64) - 1
LIVENESS, PRESENCE, FLOCK = 1 << 62, (1 << 62) + 2, struct.Struct("@hhqqi4x")  # section 7
HEADER = struct.Struct("<8sII6Q6I16xQ4xI8x")  # the fields of section 2 that a reader uses
Place = tuple[tuple[int, int], int, int]  # where a reader stopped: device and inode, generation, next sequence


class RegionError(Exception):
    """The region cannot be used; the text says why."""


class Absent(Exception):
    """There is no region yet, or it has no producer, or another generation has begun: the reader attaches later."""


class Item(NamedTuple):
    """One item of the ring, with copies of its bytes."""

    sequence: int
    kind: int
    flags: int
    pts: int | None
    caps: bytes
    meta: bytes
    payload: bytes


def make_fence() -> Callable[[], None]:
    """A full fence, section 12: nothing on x86-64, which keeps reads in order; elsewhere the call membarrier."""
    machine = platform.machine()
    if machine == "x86_64":
        return lambda: None
    number = {"aarch64": 283, "riscv64": 283}.get(machine)
    if number is None:
        raise RegionError(f"this reader does not know the number of membarrier on {machine}")
    call = ctypes.CDLL(None, use_errno=True).syscall

    def membarrier() -> None:
        if call(ctypes.c_long(number), 2, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "membarrier: " + os.strerror(ctypes.get_errno()))

    return membarrier


def path_of(name: str) -> str:
    """The path that the name of a region stands for, section 25."""
    scheme, separator, path = name.partition("://")
    if not separator:
        path = name
    elif scheme != "shm":
        raise RegionError("it is not a file: write /dev/shm/NAME or shm:///dev/shm/NAME")
    else:
        if re.search("%(?![0-9a-fA-F]{2})", path):
            raise RegionError("it has an invalid escape: write %25 for a percent sign")
        # The functions of the system turn what is not UTF-8 back into its bytes.
        path = urllib.parse.unquote(path, errors="surrogateescape")
        if "/" in path and not path.startswith("/"):
            path = "/" + path
    if not path.startswith("/") or not path.strip("/") or "\0" in path:
        raise RegionError("it is not an absolute path: write /dev/shm/NAME or shm:///dev/shm/NAME")
    return path


def cell(sequence: int) -> int:
    """Offset of an item's cell, section 3."""
    return RING + sequence % CELLS * CELL_BYTES


class Attachment:
    """One generation of a region. Closing the file ends the presence lock."""

    def __init__(self, path: str, fence: Callable[[], None], last: Place | None) -> None:
        """Attaches, section 9. Raises Absent when there is no producer."""
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (FileNotFoundError, NotADirectoryError):
            raise Absent from None
        self.fence = fence
        self.missed = 0
        self.generation = 0
        self.caps: tuple[int, bytes] = (0, b"")
        try:
            self._attach(last)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self.fd)

    def place(self) -> Place:
        return self.file, self.generation, self.next

    def take(self) -> Item | None:
        """The next item, section 15; None if it is not published yet, or the generation has ended."""
        for lap in range(64):
            sequence = self.next
            found = self._u64(cell(sequence))
            self._demand(sequence <= MAX_SEQUENCE, sequence)
            if found < sequence:
                return None
            if found == sequence:
                self.fence()
                words = CELL.unpack(self._read(cell(sequence), CELL_BYTES))
                item = self._copy(sequence, words) if self._is_still(sequence) else None
                if item and self._is_still(sequence):
                    if os.fstat(self.fd).st_size < self.size:
                        raise RegionError("the file was truncated")
                    self.next += 1
                    return item
                self.caps = (0, b"")
            if self._is_other_generation():
                return None
            self._skip_lapped(to_newest=lap > 0)
        return None

    def is_over(self) -> bool:
        """Whether the generation has ended, section 16."""
        self.fence()
        return self._u32(STATE) != LIVE or self._is_other_generation() or not self._has_producer()

    def check_idle(self) -> None:
        """Section 11, "Find": a reader would wait without end for a cell that is older than `head` says."""
        if self._u64(HEAD) >= self.next:
            self.fence()
            self._demand(self._u64(cell(self.next)) >= self.next, self.next)

    def _attach(self, last: Place | None) -> None:
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode):
            raise RegionError("it is not a regular file")
        self.size, self.backed, self.file = status.st_size, status.st_blocks * 512, (status.st_dev, status.st_ino)
        for _ in range(2):  # step 6: the first copy may be of the previous generation, or a mix of two
            self._read_header()
            self.fence()
            if self._u32(STATE) != LIVE:
                raise Absent
        self.fence()
        if self._is_other_generation():
            raise Absent
        self.next = self._first()
        with suppress(BlockingIOError, PermissionError):  # step 9: a refused lock is no error
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, PRESENCE, 1, 0))
        self.fence()
        self.next = max(self.next, self._u64(OLDEST))
        self._resume(last)
        with suppress(OSError):  # step 10: notifies the watchers
            os.close(os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))

    def _read_header(self) -> None:
        """Steps 2 to 4 of section 9."""
        magic = os.pread(self.fd, 8, 0).ljust(8, b"\0")
        if magic == bytes(8):
            raise Absent
        if magic != MAGIC:
            raise RegionError("it is not a region: it begins with other bytes")
        self.fence()
        fields = HEADER.unpack(os.pread(self.fd, HEADER.size, 0).ljust(HEADER.size, b"\0"))
        magic, version, header_bytes, size, self.generation, *layout = fields[:13]
        max_leases, self.history, self.first_sequence, kept = fields[13:]
        if magic != MAGIC:
            raise Absent
        if kept == BY_HEARTBEAT:
            raise RegionError("only heartbeats show that its producer is alive, which this reader does not support")
        if not self._has_producer():
            raise Absent
        if version >> 16 != MAJOR_VERSION:
            raise RegionError(f"it has protocol version {version >> 16}, this reader knows {MAJOR_VERSION}")
        self.arena_bytes = (self.size - ARENA) // 64 * 64
        wanted = [RING, PAGES, ARENA, self.arena_bytes, CELLS, CELL_BYTES, 64, 65_536]
        if (header_bytes, size, layout) != (1_024, self.size, wanted) or not 1 <= max_leases <= 64:
            raise RegionError(f"its header does not agree with its size and the protocol: {fields[1:]}")
        if not ARENA + 65_536 <= self.size <= 1 << 40 or self.backed < self.arena_bytes:
            raise RegionError(f"its size of {self.size} bytes is out of range, or only {self.backed} have memory")

    def _first(self) -> int:
        """The first sequence for the start `history`, step 8 of section 9."""
        oldest = self._u64(OLDEST)
        self.fence()
        head, count = self._u64(HEAD), self.history
        if count == 0:
            return head + 1
        low = max(oldest, 1, head + 1 - CELLS)
        for sequence in range(head, low - 1, -1):
            count -= self._u32(cell(sequence) + 28) & ~DETAILS == FRAME
            if count == 0:
                return sequence
        return low

    def _resume(self, last: Place | None) -> None:
        """In the same file sequences continue: section 21, "Missed frames"."""
        if last is None or last[0] != self.file:
            return
        _, generation, sequence = last
        if generation != self.generation:
            self.missed = max(0, max(1, self.first_sequence) - sequence)
        elif sequence <= self.next + CELLS:
            self.missed = max(0, self.next - sequence)
            self.next = max(self.next, sequence)

    def _copy(self, sequence: int, words: tuple[int, ...]) -> Item:
        """Checks the words of an item and copies its bytes, section 3."""
        low, high = [word & 0xFFFF_FFFF for word in words], [word >> 32 for word in words]
        kind, caps_id, caps_length = high[3] & ~DETAILS, high[7], low[7]
        meta_length, blob_length = low[14], high[14]
        ranges = [(words[1], words[2]), (words[13], meta_length), (words[12], caps_length + blob_length)]
        end = ARENA + self.arena_bytes
        are_inside = all(not length or ARENA <= offset <= end - length for offset, length in ranges)
        are_short = caps_length <= MAX_CAPS and max(meta_length, blob_length) <= MAX_META
        self._demand(kind in (FRAME, END, EVENT) and are_inside and are_short, sequence)
        payload, meta = (self._read(*place) for place in ranges[:2])
        if caps_id not in (0, self.caps[0]):
            self.caps = (caps_id, self._read(words[12], caps_length))
        caps, pts = self.caps[1] if caps_id else b"", None if words[4] == NONE else words[4]
        return Item(sequence, kind, low[3], pts, caps, meta, payload)

    def _skip_lapped(self, to_newest: bool) -> None:
        """Continues with the oldest item that is left, section 11, "Lapped"."""
        oldest = self._u64(OLDEST)
        self.fence()
        head = self._u64(HEAD)
        self._demand(self.next < oldest <= head + 1, self.next)
        to = max(oldest, head) if to_newest else oldest
        self.missed += to - self.next
        self.next = to

    def _is_still(self, sequence: int) -> bool:
        """Whether all that was read before belongs to this item: steps 3 and 5 of section 15."""
        self.fence()
        span = OLDEST - GENERATION
        generation, oldest = struct.unpack(f"<Q{span - 8}xQ", self._read(GENERATION, span + 8))
        return bool(generation == self.generation and oldest <= sequence)

    def _is_other_generation(self) -> bool:
        return self._u64(GENERATION) != self.generation

    def _has_producer(self) -> bool:
        request = FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, LIVENESS, 1, 0)
        kind, *_ = FLOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_OFD_GETLK, request))
        return bool(kind != fcntl.F_UNLCK)

    def _demand(self, is_right: bool, sequence: int) -> None:
        if is_right:
            return
        if self._is_other_generation():  # it only looks like a violation, section 21
            raise Absent
        raise RegionError(f"its producer broke the protocol at item {sequence}")

    def _u32(self, offset: int) -> int:
        return int.from_bytes(self._read(offset, 4), "little")

    def _u64(self, offset: int) -> int:
        return int.from_bytes(self._read(offset, 8), "little")

    def _read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes: section 15, "Short reads"."""
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(self.fd, length, offset)
            if not part:
                raise RegionError("the file was truncated")
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)


class Reader:
    """Reads the items at one path, from one producer after the other."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.fence = make_fence()
        self.attachment: Attachment | None = None
        self.last: Place | None = None
        self.producers = 0
        self.missed_before = 0

    @property
    def missed(self) -> int:
        """Items that were retired before they could be read."""
        return self.missed_before + (self.attachment.missed if self.attachment else 0)

    def items(self) -> Iterator[Item]:
        """Frames and ends of stream, in order. Raises TimeoutError when none comes in time."""
        deadline = time.monotonic() + self.timeout
        while True:
            item = self._poll()
            if item and item.kind != EVENT:
                yield item
                deadline = time.monotonic() + self.timeout
            elif time.monotonic() >= deadline:
                state = "its producer sends nothing" if self.attachment else "it has no producer"
                raise TimeoutError(f"no frame within {self.timeout:g} s: {state}")
            elif not item:
                time.sleep(POLL_SECONDS)

    def _poll(self) -> Item | None:
        """Section 23, `next_item`, without the wait."""
        try:
            if self.attachment is None:
                self.attachment = Attachment(self.path, self.fence, self.last)
                self.producers += 1
                say(f"attached: generation {self.attachment.generation:016x}, {self.attachment.size} bytes")
            item = self.attachment.take()
            if item is None and not self.attachment.is_over():
                self.attachment.check_idle()
            elif item is None:
                item = self.attachment.take()  # what was published before the end
                if item is None:
                    self._detach()
            return item
        except Absent:
            self._detach()
            return None

    def _detach(self) -> None:
        if self.attachment:
            self.missed_before, self.last = self.missed, self.attachment.place()
            self.attachment.close()
            self.attachment = None


def say(line: str) -> None:
    print(line, flush=True)


def read(name: str, count: int, timeout: float, checksums: bool) -> None:
    """Prints frames until there were `count`, or the stream ends."""
    reader = Reader(path_of(name), timeout)
    frames, missed, caps = 0, 0, b""
    for item in reader.items():
        if item.kind == END:
            say("end of stream")
            break
        if reader.missed > missed:
            say(f"missed {reader.missed - missed}")
            missed = reader.missed
        if item.caps != caps:
            caps = item.caps
            say(f"caps {caps.decode(errors='backslashreplace')!a}")
        checksum = f", crc32 {zlib.crc32(item.payload):08x}" if checksums else ""
        say(f"frame {item.sequence}: {len(item.payload)} bytes, pts {item.pts}, flags {item.flags:#x}{checksum}")
        frames += 1
        if frames == count:
            break
    say(f"{frames} frames, {reader.missed} missed, {reader.producers} producers")


def frame_count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames")
    return int(text)


def seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) < 1e9:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")


def main() -> int:
    parser = argparse.ArgumentParser(description="Reads frames of an shm2 region, as docs/protocol.md describes it.")
    parser.add_argument("path", help="the region: /dev/shm/NAME or shm:///dev/shm/NAME")
    parser.add_argument("count", nargs="?", type=frame_count, default=100, help="frames to read (default: 100)")
    parser.add_argument("--checksums", action="store_true", help="print the CRC-32 of each frame")
    parser.add_argument("--timeout", type=seconds, default=math.inf, help="longest time without a frame, in seconds")
    arguments = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the program that reads the output may end first
    try:
        read(arguments.path, arguments.count, arguments.timeout, arguments.checksums)
    except KeyboardInterrupt:
        say("stopped")
    except (RegionError, OSError) as error:
        text = (isinstance(error, OSError) and error.strerror) or error
        print(f"shm2_reader: {arguments.path}: {text}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
