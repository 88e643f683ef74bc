#!/usr/bin/env python3
"""A long run of the Python package: producers and consumers are killed with SIGKILL and started again.

    target/bench-venv/bin/python bindings/python/benches/soak.py --minutes 10

There are two regions of 1080p NV12 frames at 60/s. The producer of `killed` is killed again and again, that of `steady`
runs all the time. Each region has a consumer that runs all the time and pauses now and then, so that it misses frames,
and one that is killed. Checked are the bytes of each frame, also of frames that are held; that received and missed
frames of each producer add up to the published ones; memory and descriptors of the processes that run all the time;
that no process ends by itself; and that no file is left. The summary is a line of JSON; a fault makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from frames import FRAME_BYTES, HEIGHT, WIDTH, Bytes, planes

RATE = 60
# The arena has memory for so many frames: a consumer that pauses for longer misses some.
ARENA_FRAMES = 24
# Each picture is a part of the noise, which begins at a place of its own.
PLACES = 4099
# Frames that a consumer holds, and reads again before it gives them back.
HELD = 3
# Longest time without a frame; a producer is away for a second at most.
LIMIT_SECONDS = 30
SETTLE_SECONDS = 3.0
# Growth of private memory, and of shared memory, that is no leak.
GROWTH_BYTES = 8 << 20
Figures = dict[str, Any]


class Picture:
    """The picture of each number, without a copy."""

    def __init__(self) -> None:
        self.noise = np.random.default_rng(7).integers(0, 256, FRAME_BYTES + PLACES, np.uint8)

    def planes(self, number: int) -> tuple[Bytes, Bytes]:
        luma, chroma = planes(self.noise[number * 97 % PLACES :][:FRAME_BYTES])
        return luma, chroma

    def write(self, frame: Any, producer: int, number: int) -> None:
        for plane, picture in zip(frame.planes, self.planes(number), strict=True):
            np.asarray(plane)[...] = picture
        np.asarray(frame.planes[0])[0, :16].view(np.uint64)[:] = producer, number

    def check(self, frame: Any) -> tuple[int, int]:
        """Return the number of the producer and of the frame. Raises ValueError for wrong bytes."""
        luma, chroma = (np.asarray(plane) for plane in frame.planes)
        producer, number = luma[0, :16].view(np.uint64).tolist()
        right_luma, right_chroma = self.planes(number)
        is_right = np.array_equal(luma[0, 16:], right_luma[0, 16:]) and np.array_equal(luma[1:], right_luma[1:])
        if not is_right or not np.array_equal(chroma, right_chroma):
            raise ValueError(f"frame {number} of producer {producer} has wrong bytes")
        return producer, number


def produce(path: str, count: str, number_of_producer: int) -> None:
    """Publish until a signal. `count` is a file in which the number of published frames stands after each."""
    import shm2

    published = np.memmap(count, np.uint64, "w+", shape=(1,))
    picture, number = Picture(), 0
    arena = ARENA_FRAMES * FRAME_BYTES
    with shm2.Producer(path, format="NV12", size=(WIDTH, HEIGHT), rate=RATE, arena=arena) as out:
        begun = time.monotonic()
        while True:
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            with out.frame() as frame:
                picture.write(frame, number_of_producer, number)
                frame.pts = number * 1_000_000_000 // RATE
            number += 1
            published[0] = number


class Book:
    """What a consumer received of each producer: the first frame, the next, received and missed frames."""

    def __init__(self) -> None:
        self.producers: dict[int, dict[str, int]] = {}

    def enter(self, producer: int, number: int, missed: int) -> None:
        entry = self.producers.get(producer)
        if entry is None:
            self.producers[producer] = {"first": number, "next": number + 1, "received": 1, "missed": 0}
            return
        lost = number - entry["next"]
        if lost != missed:
            raise ValueError(
                f"frame {number} of producer {producer} says that {missed} frames were missed before it: it were {lost}"
            )
        entry["next"] = number + 1
        entry["received"] += 1
        entry["missed"] += missed


def consume(path: str, mode: str, seed: int) -> None:
    """Check frames until a signal; `mode` is steady, killed, latest or snapshot."""
    import shm2

    chance, picture, book, held = random.Random(seed), Picture(), Book(), list[tuple[Any, tuple[int, int]]]()
    access = "snapshot" if mode == "snapshot" else "auto"
    consumer = shm2.Consumer(path, timeout=LIMIT_SECONDS, latest=mode == "latest", access=access)
    try:
        for frame in consumer:
            found = picture.check(frame)
            if mode != "latest":
                book.enter(*found, frame.missed)
            held.append((frame, found))
            if len(held) > HELD:
                old, before = held.pop(0)
                if picture.check(old) != before:
                    raise ValueError(f"frame {before} became another one while it was held")
                del old
            del frame
            if mode == "steady" and chance.random() < 1 / (20 * RATE):
                time.sleep(chance.uniform(0.1, 1.0))
    except KeyboardInterrupt:
        print(json.dumps({"producers": book.producers, "stats": consumer.stats}), flush=True)


class Child:
    """A process of the run, with a file for its output and one for its errors."""

    def __init__(self, folder: Path, name: str, words: list[str]) -> None:
        self.name, self.output, self.errors = name, folder / f"{name}.out", folder / f"{name}.err"
        command = [sys.executable, __file__, *words]
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stdout=output, stderr=errors)

    def fault(self) -> str | None:
        """Return why the process ended by itself, if it did."""
        if self.process.poll() is None:
            return None
        text = self.errors.read_text(errors="replace").strip()
        return f"{self.name} ended with {self.process.returncode}: {text[-1500:]}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> str | None:
        """Ask the process to end, as Ctrl-C does. Return its fault, if there is one."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"{self.name} did not end within {LIMIT_SECONDS} s after SIGINT"
        if b"KeyboardInterrupt" in self.errors.read_bytes() or self.process.returncode == 0:
            return None
        return self.fault()

    def usage(self) -> dict[str, int]:
        """Return private and shared memory in bytes, and the number of descriptors."""
        folder = Path(f"/proc/{self.process.pid}")
        fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        size = {name: int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem")}
        return {
            "private": size["RssAnon"],
            "shared": size["RssShmem"],
            "descriptors": len(list((folder / "fd").iterdir())),
        }


class Killed:
    """A process that is killed and started again, each time after a random time."""

    def __init__(self, start: Any, chance: random.Random, longest: float) -> None:
        self.start, self.chance, self.longest = start, chance, longest
        self.kills = 0
        self.child: Child | None = start()
        self.due = time.monotonic() + 2

    def step(self) -> str | None:
        """Kill or start if it is time. Return a fault of the process."""
        fault = self.child.fault() if self.child else None
        if fault or time.monotonic() < self.due:
            return fault
        if self.child:
            self.child.kill()
            self.kills += 1
            self.child = None
            self.due = time.monotonic() + self.chance.uniform(0, 1)
        else:
            self.child = self.start()
            self.due = time.monotonic() + self.chance.uniform(0.3, self.longest)
        return None

    def end(self) -> str | None:
        """End as a process does that is not killed: a producer removes its region's file."""
        if self.child is None:
            self.child = self.start()
            time.sleep(SETTLE_SECONDS)
        return self.child.end()


class Run:
    """All processes of the run, and what was found."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.faults: list[str] = []
        self.samples: dict[str, list[dict[str, int]]] = {}
        self.producers = self.consumers = 0
        self.steady = [self.producer("steady"), self.consumer("steady", "steady"), self.consumer("killed", "steady")]
        self.killed_producer = Killed(lambda: self.producer("killed"), self.chance, 8)
        self.killed_consumers = [
            Killed(
                lambda region=region: self.consumer(region, self.chance.choice(["killed", "latest", "snapshot"])),
                self.chance,
                5,
            )
            for region in ("steady", "killed")
        ]

    def region(self, name: str) -> str:
        return f"/dev/shm/{self.folder.name}-{name}"

    def producer(self, region: str) -> Child:
        self.producers += 1
        count = self.folder / f"{self.producers}.published"
        return Child(
            self.folder,
            f"producer {self.producers} of {region}",
            ["produce", self.region(region), str(count), str(self.producers)],
        )

    def consumer(self, region: str, mode: str) -> Child:
        self.consumers += 1
        name = f"{mode} consumer {self.consumers} of {region}"
        return Child(self.folder, name, ["consume", self.region(region), mode, str(self.chance.getrandbits(32))])

    def go_on(self, seconds: float) -> None:
        end, sample = time.monotonic() + seconds, time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end and not self.faults:
            steps = [killed.step() for killed in (self.killed_producer, *self.killed_consumers)]
            self.faults += [fault for fault in (*steps, *(child.fault() for child in self.steady)) if fault]
            if time.monotonic() > sample and not self.faults:
                sample += 1
                for child in self.steady:
                    self.samples.setdefault(child.name, []).append(child.usage())
            time.sleep(0.02)

    def end(self) -> None:
        """End the producers, then, when the consumers have all frames, those."""
        producer, *consumers = self.steady
        ends = [self.killed_producer.end(), producer.end()]
        time.sleep(SETTLE_SECONDS)
        ends += [killed.end() for killed in self.killed_consumers] + [consumer.end() for consumer in consumers]
        self.faults += [fault for fault in ends if fault]
        self.faults += [f"{path} is left" for path in Path("/dev/shm").glob(f"{self.folder.name}-*")]

    def stop(self) -> None:
        for child in (*self.steady, self.killed_producer.child, *(killed.child for killed in self.killed_consumers)):
            if child:
                child.kill()
        for path in Path("/dev/shm").glob(f"{self.folder.name}-*"):
            path.unlink()

    def published(self, producer: int) -> int:
        count = self.folder / f"{producer}.published"
        return int.from_bytes(count.read_bytes(), "little") if count.exists() else 0

    def sums(self) -> Figures:
        """Add up what the consumers that were not killed received of each producer."""
        sums = {"received": 0, "missed": 0, "before the attach": 0, "after the last": 0, "producers seen": 0}
        for child in self.steady[1:]:
            lines = child.output.read_text().splitlines()
            if not lines:
                self.faults.append(f"{child.name} printed no counts")
                continue
            for number, entry in json.loads(lines[-1])["producers"].items():
                # A producer that is killed between a frame and its count has published one more.
                after = self.published(int(number)) - entry["next"]
                if after > 0 or after < -1:
                    self.faults.append(f"{child.name}: {after} frames of producer {number} neither received nor missed")
                if entry["received"] + entry["missed"] != entry["next"] - entry["first"]:
                    self.faults.append(f"{child.name}: the counts of producer {number} do not add up: {entry}")
                sums["received"] += entry["received"]
                sums["missed"] += entry["missed"]
                sums["before the attach"] += entry["first"]
                sums["after the last"] += max(0, after)
                sums["producers seen"] += 1
        return sums

    def growth(self) -> Figures:
        """Compare the second quarter of the run with the last, for the processes that run all the time."""
        figures: Figures = {}
        for name, samples in self.samples.items():
            quarter = len(samples) // 4
            if quarter < 2:
                continue
            found = {}
            for what in samples[0]:
                early = max(sample[what] for sample in samples[quarter : 2 * quarter])
                late = max(sample[what] for sample in samples[-quarter:])
                found[what] = [early, late]
                allowed = 4 if what == "descriptors" else GROWTH_BYTES
                if late > early + allowed:
                    self.faults.append(f"{name}: {what} grew from {early} to {late}")
            figures[name] = found
        return figures


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A long run of shm2's Python package, with kills on both sides.")
    parser.add_argument("--minutes", type=float, default=10, help="length of the run (default: 10)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32), help="of the random times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary there as well")
    return parser.parse_args()


def soak() -> int:
    import tempfile

    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="shm2-soak-") as name:
        run = Run(Path(name), arguments.seed)
        try:
            run.go_on(arguments.minutes * 60)
            if not run.faults:
                run.end()
        finally:
            run.stop()
        summary: Figures = {"minutes": arguments.minutes, "seed": arguments.seed}
        summary["producers killed"] = run.killed_producer.kills
        summary["consumers killed"] = sum(killed.kills for killed in run.killed_consumers)
        summary["published"] = sum(run.published(number + 1) for number in range(run.producers))
        if not run.faults:
            summary |= run.sums()
            summary["second and last quarter"] = run.growth()
        summary["faults"] = run.faults
    text = json.dumps(summary)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 1 if run.faults else 0


def main() -> int:
    # A truncated region or a crash in native code prints where it was.
    import faulthandler

    faulthandler.enable()
    # A shell starts programs in the background with this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    match sys.argv[1:]:
        case ["produce", path, count, number]:
            produce(path, count, int(number))
        case ["consume", path, mode, seed]:
            consume(path, mode, int(seed))
        case _:
            return soak()
    return 0


if __name__ == "__main__":
    sys.exit(main())
