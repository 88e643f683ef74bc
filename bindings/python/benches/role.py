"""One process of a measurement: `role.py send|receive WAY PLACE RATE SECONDS [written] [read]`.

Both roles print `ready`. The sender waits for a line on stdin, publishes frames at RATE per second (0: no limit) for
SECONDS, and ends at the next line on stdin, because some ways lose frames when it ends early. The receiver takes frames
until the last. Each prints its figures as one line of JSON. `written`: each frame is written completely. `read`: a few
rows of each frame are read. The programs in Rust and C that compare.py starts have the same arguments and output.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from frames import LAST, WARM_UP, WARM_UP_SECONDS, Filler, memory_of, read_rows, stamp_of
from ways import WAYS

# Frames in flight at most, where a way lets it be chosen.
DEPTH = 16
# Time between the last measured frame and the one that ends the run.
LAST_SECONDS = 0.1


class Usage:
    """What the process used up to now, all its threads together."""

    def __init__(self) -> None:
        self.time_ns, self.cpu_ns = time.monotonic_ns(), time.process_time_ns()
        self.faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self.delay_ns = sum(delay_ns(thread) for thread in Path("/proc/self/task").iterdir())

    def per_frame(self, begun: Usage, frames: int) -> dict[str, float]:
        took = max(1, self.time_ns - begun.time_ns)
        frames = max(1, frames)
        return {
            "frames": frames,
            "us": took / frames / 1e3,
            "CPU us": (self.cpu_ns - begun.cpu_ns) / frames / 1e3,
            "page faults": (self.faults - begun.faults) / frames,
            "waited for a CPU %": 100 * max(0, self.delay_ns - begun.delay_ns) / took,
        }


def delay_ns(thread: Path) -> int:
    """Return the time for which a thread was ready to run but another one ran."""
    try:
        return int((thread / "schedstat").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended, or the kernel does not count
        return 0


def wait_for_line() -> None:
    if not sys.stdin.readline():
        sys.exit("role.py: the program that started this process has ended")


def show(figures: dict[str, Any]) -> None:
    print(json.dumps(figures), flush=True)


def sleep_until(due_ns: int) -> None:
    left = due_ns - time.monotonic_ns()
    if left > 0:
        time.sleep(left / 1e9)


def send(out: Any, rate: float, seconds: float, writes: bool) -> None:
    fill = Filler(writes)
    for _ in range(WARM_UP):
        out.send(fill)
        time.sleep(WARM_UP_SECONDS)
    begun = Usage()
    end_ns = begun.time_ns + int(seconds * 1e9)
    sent = 0
    while time.monotonic_ns() < end_ns:
        if rate:
            sleep_until(begun.time_ns + int((sent + 1) * 1e9 / rate))
        out.send(fill)
        sent += 1
    figures = Usage().per_frame(begun, sent)
    fill.is_last = True
    # A way that keeps only the newest frame would lose the one before.
    time.sleep(LAST_SECONDS)
    out.send(fill)
    show({**figures, "memory": fill.memory})


def receive(frames: Any, reads: bool) -> None:
    latencies: list[int] = []
    begun, memory, expected, missed, received, last_ns = Usage(), "", WARM_UP, 0, 0, 0
    for luma, chroma in frames:
        now = time.monotonic_ns()
        stamp, number = stamp_of(luma)
        if number >= WARM_UP or stamp == LAST:
            missed += number - expected
            expected = number + 1
            if stamp == LAST:
                break
            if not received:
                begun = Usage()
            received += 1
            last_ns = now
            latencies.append(now - stamp)
        memory = memory or memory_of(luma)
        if reads:
            read_rows(luma, chroma)
        del luma, chroma
    # The first frame began the measurement.
    figures = Usage().per_frame(begun, received - 1)
    figures["us"] = (last_ns - begun.time_ns) / max(1, received - 1) / 1e3
    show({**figures, **quantiles(latencies), "missed": missed, "memory": memory})


def quantiles(latencies_ns: list[int]) -> dict[str, float]:
    ordered = sorted(latencies_ns)
    at = {"p50 us": 0.5, "p99 us": 0.99}
    return {
        name: ordered[min(int(share * len(ordered)), len(ordered) - 1)] / 1e3 for name, share in at.items() if ordered
    }


def main() -> None:
    role, way, place, rate, seconds, *options = sys.argv[1:]
    make_out, make_in, _ = WAYS[way]
    end = make_out(place, DEPTH) if role == "send" else make_in(place, DEPTH)
    try:
        print("ready", flush=True)
        if role == "send":
            wait_for_line()
            send(end, float(rate), float(seconds), "written" in options)
            wait_for_line()
        else:
            receive(end.frames(), "read" in options)
    finally:
        if hasattr(end, "close"):
            end.close()


if __name__ == "__main__":
    main()
