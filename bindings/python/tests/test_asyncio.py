"""Consumers in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import select
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import shm2

SECOND = 10.0


def picture(value: int) -> np.ndarray:
    return np.full((8, 8), value, np.uint8)


def test_frames_are_iterated_beside_other_tasks(region: str) -> None:
    async def main() -> None:
        with (
            shm2.Producer(region, format="GRAY8", size=(8, 8)) as out,
            shm2.Consumer(region, timeout=SECOND) as frames,
        ):
            ticks = 0

            async def send() -> None:
                nonlocal ticks
                for value in range(20):
                    out.send(picture(value))
                    ticks += 1
                    await asyncio.sleep(0.002)
                out.end_of_stream()

            frames.try_next()
            task = asyncio.create_task(send())
            received = [int(frame.array[0, 0]) async for frame in frames]
            await task
            assert received == list(range(20)) and ticks == 20

    asyncio.run(main())


def test_a_stream_that_is_always_ready_lets_other_tasks_run(region: str) -> None:
    async def main() -> None:
        with (
            shm2.Producer(region, format="GRAY8", size=(8, 8)) as out,
            shm2.Consumer(region, timeout=SECOND) as frames,
        ):
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(tick())
            for _ in range(200):
                out.send(picture(1))
                await frames.receive()
            assert ticks > 5
            task.cancel()

    asyncio.run(main())


def test_a_cancelled_wait_loses_no_frame(region: str) -> None:
    async def main() -> None:
        with (
            shm2.Producer(region, format="GRAY8", size=(8, 8), on_full="block") as out,
            shm2.Consumer(region) as frames,
        ):
            frames.try_next()
            received: list[int] = []
            sent = 0
            while sent < 60:
                waiting = asyncio.create_task(frames.receive())
                await asyncio.sleep(0)
                if sent % 3:
                    out.send(picture(sent))
                    sent += 1
                if sent % 2:
                    await asyncio.sleep(0.001)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    received.append(int((await waiting).array[0, 0]))
                if not sent % 3:
                    out.send(picture(sent))
                    sent += 1
            while (frame := frames.try_next()) is not None:
                received.append(int(frame.array[0, 0]))
            assert received == list(range(sent))

    asyncio.run(main())


def test_many_tasks_share_one_consumer(region: str) -> None:
    async def main() -> None:
        with (
            shm2.Producer(region, format="GRAY8", size=(8, 8), on_full="block") as out,
            shm2.Consumer(region, timeout=SECOND) as frames,
        ):
            frames.try_next()
            tasks = [asyncio.create_task(frames.receive()) for _ in range(8)]
            await asyncio.sleep(0.01)
            for value in range(8):
                out.send(picture(value))
                await asyncio.sleep(0.001)
            received = await asyncio.gather(*tasks)
            assert sorted(int(frame.array[0, 0]) for frame in received) == list(range(8))

    asyncio.run(main())


def test_timeouts_and_closing_end_a_wait(region: str) -> None:
    async def main() -> None:
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        with shm2.Consumer(region, timeout=0.02) as frames:
            with pytest.raises(shm2.TimeoutError, match=r"no frame came within 0.02 s: .*no producer there"):
                await frames.receive()
            with pytest.raises(TimeoutError):
                async for _ in frames:
                    pass
            with pytest.raises(shm2.ArgumentError):
                await frames.receive(timeout=-1)
        for close_from in ("task", "thread"):
            frames = shm2.Consumer(region)
            waiting = [asyncio.create_task(frames.receive()) for _ in range(3)]
            await asyncio.sleep(0.02)
            if close_from == "task":
                frames.close()
            else:
                await asyncio.to_thread(frames.close)
            for task in waiting:
                with pytest.raises(shm2.ClosedError):
                    await asyncio.wait_for(task, SECOND)
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 8

    asyncio.run(main())


def test_a_restart_is_followed_and_an_end_ends_the_iteration(region: str) -> None:
    async def main() -> None:
        frames = shm2.Consumer(region, timeout=SECOND)
        for value in (1, 2, 3):
            waiting = asyncio.create_task(frames.receive())
            await asyncio.sleep(0.01)
            with shm2.Producer(region, format="GRAY8", size=(8, 8)) as out:
                out.send(picture(value))
                assert int((await waiting).array[0, 0]) == value
        assert frames.stats["attaches"] == 3
        frames.close()

    asyncio.run(main())


def test_many_regions_in_one_loop(region: str) -> None:
    count = 20

    async def main() -> None:
        outs = [shm2.Producer(f"{region}-{i}", format="GRAY8", size=(8, 8), arena=65536) for i in range(count)]
        consumers = [shm2.Consumer(f"{region}-{i}", timeout=SECOND) for i in range(count)]
        try:
            for consumer in consumers:
                consumer.try_next()
            waiting = [asyncio.create_task(consumer.receive()) for consumer in consumers]
            await asyncio.sleep(0.01)
            threads = threading.active_count()
            for value, out in enumerate(outs):
                out.send(picture(value))
            received = await asyncio.gather(*waiting)
            assert [int(frame.array[0, 0]) for frame in received] == list(range(count))
            assert threads <= 2
        finally:
            for out in outs:
                out.close()
            for consumer in consumers:
                consumer.close()

    asyncio.run(main())


def test_the_descriptor_works_with_select(region: str) -> None:
    with shm2.Producer(region, format="GRAY8", size=(8, 8)) as out, shm2.Consumer(region) as frames:
        while frames.try_next() is not None:
            pass
        assert select.select([frames], [], [], SECOND)[0], "readable at first"
        looks = 0
        while select.select([frames], [], [], 0.1)[0]:
            assert frames.try_next() is None
            looks += 1
        assert looks < 1000, "it becomes quiet"
        timer = threading.Timer(0.05, lambda: out.send(picture(3)))
        timer.start()
        # A look at the producer may make it readable before the frame does.
        frame = None
        while frame is None:
            assert select.select([frames], [], [], SECOND)[0]
            frame = frames.try_next()
        assert int(frame.array[0, 0]) == 3
        timer.join()


def test_tasks_that_handle_frames_slowly_take_turns(region: str) -> None:
    count, rounds = 4, 12
    is_over = threading.Event()
    turns: list[int] = []

    def produce(outs: list[shm2.Producer], slow: shm2.Producer) -> None:
        next_slow = 0.0
        while not is_over.wait(0.004):
            for out in outs:
                out.send(picture(1))
            if time.monotonic() >= next_slow:
                slow.send(picture(2))
                next_slow = time.monotonic() + 0.3

    async def handle(index: int, frames: shm2.Consumer) -> None:
        taken = 0
        async for _ in frames:
            turns.append(index)
            time.sleep(0.02)
            taken += 1
            if taken == rounds:
                return

    async def watch(frames: shm2.Consumer) -> int:
        received = 0
        async for _ in frames:
            received += 1
            if received == 3:
                return received
        return received

    async def main() -> None:
        with contextlib.ExitStack() as stack:
            paths = [f"{region}-{index}" for index in range(count)]
            outs = [
                stack.enter_context(shm2.Producer(path, format="GRAY8", size=(8, 8), arena=65536)) for path in paths
            ]
            slow = stack.enter_context(shm2.Producer(region, format="GRAY8", size=(8, 8), arena=65536))
            consumers = [stack.enter_context(shm2.Consumer(path, latest=True, timeout=SECOND)) for path in paths]
            # The loop is busy for 80 ms at a time, longer than this limit may say.
            watched = stack.enter_context(shm2.Consumer(region, latest=True, timeout=1))
            thread = threading.Thread(target=produce, args=(outs, slow))
            thread.start()
            try:
                tasks = [handle(index, frames) for index, frames in enumerate(consumers)]
                *_, received = await asyncio.gather(*tasks, watch(watched))
            finally:
                is_over.set()
                thread.join()
            assert received == 3

    asyncio.run(main())
    longest = max(len(list(group)) for _, group in itertools.groupby(turns[: count * rounds // 2]))
    assert longest <= 4, turns


def test_a_frame_that_came_while_the_loop_was_busy_is_no_timeout(region: str) -> None:
    async def main() -> None:
        with shm2.Producer(region, format="GRAY8", size=(8, 8)) as out:
            async with shm2.Consumer(region, timeout=0.05) as frames:
                waiting = asyncio.create_task(frames.receive())
                await asyncio.sleep(0.01)
                out.send(picture(7))
                time.sleep(0.2)
                assert int((await waiting).array[0, 0]) == 7
            assert frames.closed

    asyncio.run(main())
