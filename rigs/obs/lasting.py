"""Restarts, and the time of the processor."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
from checks import consumers, inspect, shown, start_output, stop_output, worst
from region import Consumer
from studio import processor_seconds, wait_for


def restarts(stage):
    """The producer is killed ten times; the next one has another size, and is shown in its colours."""
    region = stage.region("restarts")
    stage.studio.add("restarts", video_region=region)
    times = []
    for round_ in range(11):
        size = (320 + 32 * (round_ % 4), 180 + 18 * (round_ % 3))
        kind, colors = [("NV12", "bt709"), ("I420", "bt601"), ("BGRA", "sRGB")][round_ % 3]
        child = stage.produce("card", region, kind, colors, *size, round_)
        begin = time.monotonic()
        picture = shown(stage, "restarts", size)
        times.append(time.monotonic() - begin)
        time.sleep(0.2)
        picture = stage.studio.screenshot("restarts")
        difference = worst(picture, "NV12", *size, round_)
        assert difference <= 2, (round_, difference)
        stage.kill(child)
    times = sorted(times[1:])
    yield f"10 times SIGKILL, each with another size: shown after {times[5]:.2f} s (median), {times[-1]:.2f} s (most)"


def obs_killed(stage):
    """OBS is killed ten times: the next one reads the camera, and its output takes the names over."""
    region, out = stage.region("camera"), stage.region("programme")
    camera = stage.produce("card", region, "I420", "bt709", 640, 360)
    stage.left.add(out)
    reader = Consumer(out)
    times = []
    for _ in range(10):
        stage.studio.add("camera", video_region=region)
        start_output(stage, out, "")
        shown(stage, "camera", (640, 360))
        while reader.next(0):
            pass
        assert reader.next(10), "the reader of the programme has no frame"
        begin = time.monotonic()
        stage.studio.restart()
        times.append(time.monotonic() - begin)
        assert camera.poll() is None, "the camera ended"
    reader.close()
    yield f"10 times SIGKILL: the camera and the reader of the programme went on; OBS was back after {max(times):.1f} s"


def readers_killed(stage):
    """Ten readers of the programme are killed; OBS goes on, and copies nothing after them."""
    out = stage.region("programme")
    start_output(stage, out, "")
    for _ in range(10):
        reader = stage.run([os.environ["SHM2_TOOL"], "cat", out], stdout=subprocess.DEVNULL)
        wait_for("a reader", 10, lambda: consumers(out) == 1)
        stage.kill(reader)
    reader = Consumer(out)
    assert reader.next(5)
    reader.close()
    wait_for("no reader", 5, lambda: consumers(out) == 0)
    before = inspect(out)["newest"]
    time.sleep(0.5)
    after = inspect(out)["newest"]
    stop_output(stage)
    assert before == after
    assert not stage.exists(out)
    yield f"10 readers killed; {after} frames published, none while nobody reads"


def threads_seconds(pid, name):
    """Time of the processor that the threads of this name have used in a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(processor_seconds(f"{pid}/task/{it.name}") for it in tasks if (it / "comm").read_text().startswith(name))


def used(stage, thread, bridge=None):
    """Per cent of a processor for 5 s: all of OBS, its threads of this name, and another process."""

    def read():
        pid = stage.studio.process.pid
        other = processor_seconds(bridge) if bridge else 0
        return np.array([processor_seconds(pid), threads_seconds(pid, thread), other])

    before, begin = read(), time.monotonic()
    time.sleep(5)
    return (read() - before) / (time.monotonic() - begin) * 100


def by_pipe(stage, region):
    """OBS's media source on a pipe, into which a pipeline of GStreamer writes the region."""
    pipe = stage.target / "pipe.y4m"
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    line = f"gst-launch-1.0 -q shm2src shm-path={region} ! y4menc ! filesink location={pipe}"
    bridge = stage.run(line.split())
    settings = {"is_local_file": False, "input": str(pipe), "input_format": "yuv4mpegpipe", "buffering_mb": 1}
    stage.studio.add("pipe", "ffmpeg_source", **settings)
    shown(stage, "pipe", (1280, 720))
    result = used(stage, "mp_media", bridge.pid)
    stage.studio.remove("pipe")
    stage.kill(bridge)
    pipe.unlink()
    return result


def processor(stage):
    """OBS with the source, beside OBS's media source behind a pipe to a pipeline of GStreamer; medians of three."""
    region = stage.region("load")
    stage.produce("card", region, "I420", "bt709", 1280, 720)
    alone, plugin, pipe = [], [], []
    for _ in range(3):
        alone.append(used(stage, "shm2"))
        stage.studio.add("plugin", video_region=region)
        shown(stage, "plugin", (1280, 720))
        plugin.append(used(stage, "shm2"))
        stage.studio.remove("plugin")
        pipe.append(by_pipe(stage, region))
    alone, plugin, pipe = (np.median(it, axis=0) for it in (alone, plugin, pipe))
    yield "1280x720 I420 at 30 Hz, per cent of a processor, most of it rendering without a graphics card:"
    yield f"OBS {alone[0]:.0f} alone, {plugin[0]:.0f} with the plugin, {pipe[0]:.0f} with a media source on a pipe"
    yield f"of it taking pictures {plugin[1]:.1f}, and {pipe[1]:.1f}; beside OBS the pipeline {pipe[2]:.1f}"
