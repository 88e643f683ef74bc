#!/usr/bin/env python3
"""Measures 1080p NV12 frames from one process to another one that gets numpy arrays: shm2 beside its peers.

    python3 -m venv --system-site-packages target/bench-venv
    target/bench-venv/bin/pip install -r bindings/python/benches/requirements.txt
    target/bench-venv/bin/pip install bindings/python
    target/bench-venv/bin/python bindings/python/benches/compare.py

The ways alternate in rounds; each round is a new pair of processes. A figure is the median of the rounds, a ratio the
median of the ratios of the rounds. `--rust PROGRAM` and `--c PROGRAM` add the same measurement in these languages
(`target/release/peer`, `crates/capi/benches/peer.c`), and Rust to Python.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PYTHON = [sys.executable, str(HERE / "role.py")]
# The frames that the processes exchange before and after the measured ones take this long at most.
EXTRA_SECONDS = 30
# No peer, but what Python itself takes to wake and to look at shared memory.
LIMIT = "bare pipe"
Figures = dict[str, Any]


class Case(NamedTuple):
    name: str
    rate: int
    options: tuple[str, ...]
    text: str


CASES = [
    Case("60/s", 60, ("read",), "60 frames a second, a few rows are read"),
    Case("60/s unread", 60, (), "60 frames a second, nothing is read"),
    Case("unthrottled", 0, ("read",), "as fast as possible, a few rows are read"),
    Case("unthrottled unread", 0, (), "as fast as possible, nothing is read"),
    Case("written", 60, ("written", "read"), "60 frames a second, the sender copies a picture into each"),
]


class Way(NamedTuple):
    """The name in the table, and for each side its program and the name of the way there."""

    name: str
    sender: tuple[list[str], str]
    receiver: tuple[list[str], str]
    skipped: str = ""


def python_ways() -> list[Way]:
    peers = ["shmsink", "shmsink-heap", "unixfdsink", "iceoryx2", "pyshmem", "pyshmem-locked"]
    names = ["shm2", "shm2-ahead", *peers, LIMIT]
    return [Way(name, (PYTHON, name), (PYTHON, name), missing(name)) for name in names]


def missing(name: str) -> str:
    """Say why a way cannot be measured. Another process looks, so that this one loads no library of a peer."""
    code = f"import ways; print(ways.missing({name!r}))"
    found = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else (found.stderr.strip().splitlines() or ["failed"])[-1]


def other_ways(arguments: argparse.Namespace, shm2_is_missing: str) -> list[Way]:
    ways = []
    if arguments.rust:
        rust = [arguments.rust]
        ways.append(Way("rust shm2", (rust, "shm2"), (rust, "shm2")))
        ways.append(Way("rust to shm2", (rust, "shm2"), (PYTHON, "shm2"), shm2_is_missing))
    if arguments.c:
        c = [arguments.c]
        ways += [Way(f"c {name}", (c, name), (c, name)) for name in ("shm2", "shmsink", "shmsink-heap")]
    return ways


class Side:
    """One process of a pair. It is killed at the end of the block if it still runs."""

    def __init__(self, command: list[str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        if not line:
            _, errors = self.process.communicate()
            raise RuntimeError((errors.strip().splitlines() or [f"exit code {self.process.returncode}"])[-1])
        return line

    def say(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def place() -> Iterator[str]:
    """Give a path for a region or a socket, and remove the files that are left there."""
    with tempfile.TemporaryDirectory(prefix="shm2-bench-", dir="/dev/shm") as folder:
        yield f"{folder}/{Path(folder).name}"


def measure(way: Way, case: Case, seconds: float) -> Figures:
    with place() as path, Deadline(seconds + EXTRA_SECONDS) as deadline:
        words = [path, str(case.rate), str(seconds), *case.options]
        with Side([*way.sender[0], "send", way.sender[1], *words]) as sender:
            deadline.watch(sender)
            sender.line()
            with Side([*way.receiver[0], "receive", way.receiver[1], *words]) as receiver:
                deadline.watch(receiver)
                receiver.line()
                sender.say()
                sent, received = json.loads(sender.line()), json.loads(receiver.line())
                sender.say()
                sender.process.wait()
    return joined(sent, received)


class Deadline:
    """Kills the processes of a pair that takes too long."""

    def __init__(self, seconds: float) -> None:
        import threading

        self.sides: list[Side] = []
        self.timer = threading.Timer(seconds, self.kill)

    def __enter__(self) -> Deadline:
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()

    def watch(self, side: Side) -> None:
        self.sides.append(side)

    def kill(self) -> None:
        for side in self.sides:
            side.process.kill()


def joined(sent: Figures, received: Figures) -> Figures:
    """Join the figures of a pair. A side whose arrays are not in shared memory counts as a copy."""
    copies = sum(not side["memory"].startswith("shared") for side in (sent, received))
    return {
        "us": received["us"],
        "sender CPU us": sent["CPU us"],
        "receiver CPU us": received["CPU us"],
        "p50 us": received.get("p50 us"),
        "p99 us": received.get("p99 us"),
        "copies": copies,
        "sent": sent["frames"],
        "missed": received["missed"],
        "faults": received["page faults"],
        "waited %": max(sent["waited for a CPU %"], received["waited for a CPU %"]),
        "sender memory": sent["memory"],
        "receiver memory": received["memory"],
    }


def median(runs: list[Figures]) -> Figures:
    """Take the median of each number and the first of each text."""
    middle: Figures = {}
    for name in runs[0]:
        values = [run[name] for run in runs if run[name] is not None]
        is_number = values and not isinstance(values[0], str)
        middle[name] = statistics.median(values) if is_number else (values or [None])[0]
    return middle


def run_rounds(
    ways: list[Way], case: Case, arguments: argparse.Namespace
) -> tuple[dict[str, list[Figures]], dict[str, str]]:
    runs: dict[str, list[Figures]] = {way.name: [] for way in ways}
    failed: dict[str, str] = {}
    for number in range(arguments.rounds):
        for way in ways:
            if sys.stderr.isatty():
                print(
                    f"\r{case.name}: round {number + 1} of {arguments.rounds}, {way.name:<20}\r",
                    end="",
                    file=sys.stderr,
                )
            try:
                runs[way.name].append(measure(way, case, arguments.seconds))
            except (RuntimeError, OSError, ValueError) as error:
                failed[way.name] = str(error)
    return runs, failed


COLUMNS = [
    ("us", "us a frame", "{:.1f}"),
    ("sender CPU us", "CPU sender", "{:.1f}"),
    ("receiver CPU us", "CPU receiver", "{:.1f}"),
    ("p50 us", "p50 us", "{:.1f}"),
    ("p99 us", "p99 us", "{:.1f}"),
    ("copies", "copies", "{:.0f}"),
    ("sent", "sent", "{:.0f}"),
    ("missed", "missed", "{:.0f}"),
    ("waited %", "waited %", "{:.1f}"),
]


def show(case: Case, ways: list[Way], runs: dict[str, list[Figures]], failed: dict[str, str]) -> None:
    print(f"\n{case.name}: {case.text}; medians\n")
    print("| way | " + " | ".join(title for _, title, _ in COLUMNS) + " |")
    print("|---|" + "---|" * len(COLUMNS))
    for way in ways:
        why = f"skipped: {way.skipped}" if way.skipped else f"failed: {failed.get(way.name)}"
        if not runs.get(way.name):
            print(f"| {way.name} | {why} |" + " |" * (len(COLUMNS) - 1))
            continue
        middle = median(runs[way.name])
        cells = [form.format(middle[name]) if middle[name] is not None else "-" for name, _, form in COLUMNS]
        print(f"| {way.name} | " + " | ".join(cells) + " |")


def ratios(case: Case, runs: dict[str, list[Figures]]) -> Figures:
    """Compare with the aims: CPU with the best peer, p50 with Rust. Only ways that completed all rounds count.

    Without a rate the latency is the length of the queue, which is not compared.
    """
    found: Figures = {}
    for prefix in ("", "c "):
        ours = runs.get(f"{prefix}shm2") or []
        names = [
            name for name in runs if name.startswith("c ") == bool(prefix) and "shm2" not in name and name != LIMIT
        ]
        peers = {name: runs[name] for name in names if len(runs[name]) == len(ours) > 0}
        cpu = {name: statistics.median(total_cpu(run) for run in peer) for name, peer in peers.items()}
        for name in sorted(cpu, key=lambda name: cpu[name]):
            ratio = statistics.median(total_cpu(a) / total_cpu(b) for a, b in zip(ours, peers[name], strict=True))
            found[f"{prefix}shm2, CPU of both sides against {name}"] = ratio
        floor = [] if prefix else runs.get(LIMIT) or []
        if len(floor) == len(ours) > 0:
            ratio = statistics.median(total_cpu(a) / total_cpu(b) for a, b in zip(ours, floor, strict=True))
            found[f"shm2, CPU of both sides against {LIMIT}, the limit"] = ratio
    core = (runs.get("rust shm2") or []) if case.rate else []
    for name in ("shm2", "shm2-ahead", "rust to shm2", LIMIT, "c shm2"):
        ours = runs.get(name) or []
        if core and len(core) == len(ours) and core[0]["p50 us"]:
            found[f"{name}, p50 against rust shm2"] = statistics.median(
                a["p50 us"] / b["p50 us"] for a, b in zip(ours, core, strict=True)
            )
    return found


def total_cpu(run: Figures) -> float:
    return float(run["sender CPU us"] + run["receiver CPU us"])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures shm2's Python package beside its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case (default: 5)")
    parser.add_argument("--seconds", type=float, default=2, help="length of one run (default: 2)")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only this case")
    parser.add_argument("--way", action="append", help="only this way")
    parser.add_argument("--rust", metavar="PROGRAM", help="target/release/peer, built from benches/")
    parser.add_argument("--c", metavar="PROGRAM", help="built from crates/capi/benches/peer.c")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all runs there")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    ways = python_ways()
    ways += other_ways(arguments, ways[0].skipped)
    if arguments.way:
        ways = [way for way in ways if way.name in arguments.way]
    usable = [way for way in ways if not way.skipped]
    report: Figures = {"python": platform.python_version(), "kernel": os.uname().release, "cases": {}}
    has_failed = False
    for case in CASES:
        if arguments.case and case.name not in arguments.case:
            continue
        runs, failed = run_rounds(usable, case, arguments)
        has_failed |= bool(failed)
        show(case, ways, runs, failed)
        found = ratios(case, runs)
        print("".join(f"\n{name}: {ratio:.2f}" for name, ratio in found.items()))
        skipped = {way.name: way.skipped for way in ways if way.skipped}
        report["cases"][case.name] = {"runs": runs, "ratios": found, "skipped": skipped, "failed": failed}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
