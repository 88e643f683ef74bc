"""Truncated regions, Ctrl-C, restarts and timeouts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import shm2

SECOND = 10.0


def run(code: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own."""
    command = [sys.executable, *options, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


TRUNCATED = """
    import faulthandler, os, sys
    order, region = sys.argv[1:]
    if order == "before":
        faulthandler.enable()
    import numpy as np, shm2
    if order == "after-import":
        faulthandler.enable()
    out = shm2.Producer(region, format="GRAY8", size=(640, 480))
    frames = shm2.Consumer(region, timeout=10, access="lease")
    frames.try_next()
    out.send(np.full((480, 640), 7, np.uint8))
    out.send(np.full((480, 640), 8, np.uint8))
    frame = frames.next()
    if order == "after-attach":
        faulthandler.enable()
    view = frame.array
    assert (view == 7).all()
    os.truncate(region, 4096)
    assert not view.any(), "zeros"
    for use in [lambda: bytes(frame), frame.to_rgb, frame.check, lambda: frame.array, lambda: frame.planes,
                lambda: memoryview(frame), frames.next]:
        try:
            use()
        except shm2.TruncatedError as error:
            assert "truncated" in str(error)
        else:
            raise SystemExit(f"no error: {use}")
    try:
        out.send(np.zeros((480, 640), np.uint8))
    except shm2.TruncatedError as error:
        print("survived:", error)
    out.close()
"""


@pytest.mark.parametrize("order", ["never", "before", "after-import", "after-attach"])
def test_a_truncated_region_is_an_exception_also_under_faulthandler(region: str, order: str) -> None:
    done = run(TRUNCATED, order, region)
    assert done.returncode == 0, done.stderr
    assert "survived: the file of" in done.stdout
    Path(region).unlink(missing_ok=True)


@pytest.mark.parametrize("order", ["before", "after", "twice"])
def test_faulthandler_still_reports_other_faults(region: str, order: str) -> None:
    done = run(
        """
        import faulthandler, mmap, os, sys, tempfile, shm2
        order = sys.argv[2]
        if order != "after":
            faulthandler.enable()
        out = shm2.Producer(sys.argv[1])
        if order != "before":
            if order == "twice":
                faulthandler.disable()
            faulthandler.enable()
            out.send(b"x")
            if order == "twice":
                faulthandler.enable()
                out.send(b"x")
        file = tempfile.TemporaryFile()
        file.truncate(8192)
        memory = mmap.mmap(file.fileno(), 8192)
        file.truncate(0)
        os.unlink(sys.argv[1])
        memory[4096]
        """,
        region,
        order,
    )
    assert done.returncode == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in done.stderr
    assert done.stderr.count("most recent call first") == 1


WAITS = {
    "next": "shm2.Consumer(region).next()",
    "for": "[0 for _ in shm2.Consumer(region)]",
    "attached": "out = shm2.Producer(region); shm2.Consumer(region).next()",
    "snapshot": "shm2.snapshot(region, timeout=None)",
    "block": (
        "out = shm2.Producer(region, on_full='block', arena=65536); c = shm2.Consumer(region); c.try_next()\n"
        "while True: out.send(bytes(40000))"
    ),
    "drain": ("out = shm2.Producer(region); c = shm2.Consumer(region); c.try_next(); out.send(b'x')\nout.drain(60)"),
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_each_wait(region: str, wait: str) -> None:
    code = f"import shm2, sys\nregion = sys.argv[1]\nprint('ready', flush=True)\n{WAITS[wait]}"
    with subprocess.Popen(
        [sys.executable, "-c", code, region], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        try:
            assert child.stdout.readline() == b"ready\n"
            time.sleep(0.3)
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
            child.wait(SECOND)
            assert b"KeyboardInterrupt" in child.stderr.read()
        finally:
            child.kill()


def test_a_wait_says_what_is_missing(region: str) -> None:
    with shm2.Consumer(region, timeout=0.05) as frames:
        with pytest.raises(TimeoutError, match="no producer there"):
            frames.next()
        with shm2.Producer(region):
            with pytest.raises(shm2.TimeoutError, match="published nothing"):
                frames.next()
            assert frames.attached
            with pytest.raises(shm2.TimeoutError, match=r"within 0.01 s"):
                frames.next(timeout=0.01)
    with pytest.raises(shm2.ClosedError):
        frames.next()
    assert frames.closed
    with pytest.raises(shm2.ArgumentError, match="timeout=NaN"):
        shm2.Consumer(region, timeout=float("nan"))
    with pytest.raises(shm2.TimeoutError):
        shm2.snapshot(region, timeout=0)


def test_closing_ends_the_wait_of_another_thread(region: str) -> None:
    frames = shm2.Consumer(region)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            frames.next()
        except shm2.Error as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    frames.close()
    thread.join(SECOND)
    assert isinstance(errors[0], shm2.ClosedError)


PRODUCER = """
import numpy as np, shm2, sys, time
out = shm2.Producer(sys.argv[1], format="GRAY8", size=(64, 64))
while True:
    out.send(np.full((64, 64), int(sys.argv[2]), np.uint8))
    time.sleep(0.005)
"""


def test_a_thread_that_waits_lets_other_calls_in(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(4, 4)), shm2.Consumer(region) as frames:
        ended: list[type[BaseException]] = []

        def wait() -> None:
            try:
                frames.next()
            except shm2.Error as error:
                ended.append(type(error))

        waiting = threading.Thread(target=wait)
        waiting.start()
        for _ in range(300):
            assert frames.stats["received"] == 0
            assert frames.try_next() is None
        frames.close()
        waiting.join(SECOND)
        assert ended == [shm2.ClosedError]


def test_restarts_of_the_producer_are_followed(region: str) -> None:
    def start(value: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PRODUCER, region, str(value)])

    first = start(1)
    try:
        with shm2.Consumer(region, timeout=30) as frames:
            held = frames.next().array
            first.kill()
            first.wait(SECOND)
            second = start(2)
            try:
                for frame in frames:
                    if frame.array[0, 0] == 2:
                        break
                assert frames.stats["attaches"] == 2 and (held == 1).all()
            finally:
                second.terminate()
                second.wait(SECOND)
            ends = shm2.Consumer(region, on_exit="end", timeout=0.1)
            with pytest.raises(shm2.TimeoutError):
                ends.next()
    finally:
        first.kill()
        first.wait()
    Path(region).unlink(missing_ok=True)


def test_the_exit_of_the_producer_ends_or_fails_as_asked(region: str) -> None:
    out = shm2.Producer(region)
    ends = shm2.Consumer(region, on_exit="end", timeout=SECOND)
    fails = shm2.Consumer(region, on_exit="error", timeout=SECOND)
    ends.try_next(), fails.try_next()
    out.send(b"last")
    out.close()
    assert [bytes(frame) for frame in ends] == [b"last"]
    assert bytes(fails.next()) == b"last"
    with pytest.raises(shm2.ProducerGoneError):
        fails.next()


def test_a_hostile_region_is_an_exception(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(64, 64)) as out:
        out.send(np.zeros((64, 64), np.uint8))
        bytes_ = bytearray(Path(region).read_bytes())
    copy = Path(region + "-copy")
    try:
        copy.write_bytes(b"not a region" + bytes(8 << 20))
        with pytest.raises(shm2.AttachError, match="not an shm2 region"):
            shm2.inspect(copy)
        bytes_[16:64] = os.urandom(48)
        copy.write_bytes(bytes_)
        with pytest.raises(shm2.Error):
            shm2.Consumer(copy, timeout=0.1).next()
    finally:
        copy.unlink()
