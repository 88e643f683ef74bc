"""Objects that a forked child inherited raise ForkedError, and their views read zeros: nothing crashes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
import shm2

SECOND = 10.0
# Forks of a process with threads are what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def in_child(work: Callable[[], None]) -> None:
    """Run work in a forked child; fail when it fails or dies."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"


def raises_forked(use: Callable[[], Any]) -> None:
    with pytest.raises(shm2.ForkedError, match=r"made before os.fork\(\)"):
        use()


def test_everything_that_a_child_inherits_says_so(region: str) -> None:
    out = shm2.Producer(region, format="NV12", size=(640, 480))
    frames = shm2.Consumer(region, timeout=SECOND)
    frames.try_next()
    out.send([np.full((480, 640), 7, np.uint8), np.full((240, 320, 2), 8, np.uint8)])
    frame = frames.next()
    slot = out.frame()
    planes = frame.planes
    view, raw = np.asarray(planes[1]), memoryview(frame)
    tensor = np.from_dlpack(planes[0])
    writable = np.asarray(slot.planes[0])

    def child() -> None:
        assert not view.any() and not tensor.any() and raw[0] == 0
        writable[...] = 3
        assert (writable == 3).all()
        for use in [
            lambda: bytes(frame),
            lambda: len(frame),
            lambda: frame.planes,
            lambda: frame.pts,
            lambda: repr(frame),
            frame.to_rgb,
            frame.check,
            lambda: np.asarray(planes[0]),
            lambda: np.asarray(frame),
            lambda: memoryview(planes[0]),
            lambda: np.from_dlpack(planes[0]),
            frames.next,
            frames.try_next,
            lambda: frames.stats,
            lambda: next(iter(frames)),
            out.frame,
            out.end_of_stream,
            lambda: out.stats,
            slot.publish,
            lambda: slot.planes,
            lambda: slot.pts,
            lambda: setattr(slot, "flags", 1),
        ]:
            raises_forked(use)
        # The ends of blocks of the parent have no effect.
        frames.close()
        out.close()
        frames.__exit__(None, None, None)
        out.__exit__(None, None, None)
        slot.__exit__(None, None, None)
        # Objects of its own work.
        with shm2.Consumer(region, timeout=SECOND) as own:
            assert (np.asarray(own.next().planes[0]) == 7).all()
        assert shm2.inspect(region).newest == 1

    in_child(child)
    assert (view == 8).all() and (tensor == 7).all() and raw[0] == 7 and not (writable == 3).any()
    with pytest.raises(shm2.ViewsError):
        slot.publish()
    out.close()
    frames.close()


def test_a_child_may_drop_what_it_inherited(region: str) -> None:
    objects: list[Any] = [shm2.Producer(region, format="GRAY8", size=(64, 64))]
    objects.append(shm2.Consumer(region, timeout=SECOND))
    objects[0].send(np.full((64, 64), 7, np.uint8))
    objects.append(objects[1].next())
    objects.append(objects[2].array)
    objects.append(objects[0].frame())
    objects.append(objects[4].array)

    def child() -> None:
        while objects:
            objects.pop()

    in_child(child)
    assert (objects[3] == 7).all()
    objects.pop()
    objects[4].publish()
    objects[0].send(np.full((64, 64), 9, np.uint8))
    assert int(objects[1].next().sequence) == 2
    objects[0].close()


def test_a_view_of_a_copy_stays_as_it_is_in_a_child(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(64, 64)) as out:
        out.send(np.full((64, 64), 7, np.uint8))
        frame = shm2.snapshot(region)
        view = frame.array

        def child() -> None:
            assert (view == 7).all()
            raises_forked(lambda: frame.array)

        in_child(child)


def worker(region: str, inherited: Any, results: Connection) -> None:
    """Attach in a worker process, whichever way it was started."""
    zeros = inherited is None or not inherited.any()
    with shm2.Consumer(region, timeout=SECOND) as frames:
        results.send((zeros, int(frames.next().array[0, 0])))


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_of_each_start_method_attach(region: str, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with shm2.Producer(region, format="GRAY8", size=(64, 64)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        frames.try_next()
        out.send(np.full((64, 64), 7, np.uint8))
        view = frames.next().array
        parent, child = context.Pipe()
        inherited = view if method == "fork" else None
        process = context.Process(target=worker, args=(region, inherited, child))
        process.start()
        assert parent.poll(30), "the worker sent nothing"
        assert parent.recv() == (True, 7)
        process.join(30)
        assert process.exitcode == 0 and (view == 7).all()


class RegionDataset:
    """A dataset as loaders of training frameworks take it: made in the parent, used in workers."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.frames: shm2.Consumer | None = None

    def __getitem__(self, index: int) -> int:
        if self.frames is None:
            self.frames = shm2.Consumer(self.region, timeout=SECOND)
        return index + int(self.frames.next().array[0, 0])


def load(dataset: RegionDataset, indices: list[int], results: Connection) -> None:
    """What a worker of such a loader does."""
    try:
        results.send([dataset[index] for index in indices])
    except shm2.Error as error:
        results.send(type(error).__name__)


@pytest.mark.parametrize("is_opened_before", [False, True])
def test_workers_of_a_loader_fork_after_the_parent_has_read(region: str, is_opened_before: bool) -> None:
    context = multiprocessing.get_context("fork")
    with shm2.Producer(region, format="GRAY8", size=(64, 64), history=4) as out:
        for _ in range(4):
            out.send(np.full((64, 64), 7, np.uint8))
        dataset = RegionDataset(region)
        kept = shm2.Consumer(region, timeout=SECOND).next().array
        if is_opened_before:
            assert dataset[0] == 7
        workers = []
        for base in (0, 10):
            parent, child = context.Pipe()
            process = context.Process(target=load, args=(dataset, [base, base + 1], child))
            process.start()
            workers.append((base, parent, process))
        for base, parent, process in workers:
            assert parent.poll(30)
            expected = "ForkedError" if is_opened_before else [base + 7, base + 8]
            assert parent.recv() == expected
            process.join(30)
            assert process.exitcode == 0
        assert (kept == 7).all()
        if dataset.frames is not None:
            dataset.frames.close()


def test_grandchildren_and_forks_beside_threads(region: str) -> None:
    import threading

    with shm2.Producer(region, format="GRAY8", size=(64, 64)) as out, shm2.Consumer(region, timeout=SECOND) as frames:
        out.send(np.full((64, 64), 7, np.uint8))
        view = frames.next().array
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                out.send(np.full((64, 64), 9, np.uint8))
                frames.next()

        def grandchild() -> None:
            assert not view.any()
            raises_forked(frames.next)

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(5):
                in_child(lambda: in_child(grandchild))
        finally:
            stop.set()
            thread.join(SECOND)
        assert (view == 7).all()
