"""The output and the filter where what they write to goes away, loops, or is switched fast."""

import contextlib
import shutil
import time

from checks import inspect, is_running, shown, start_output, stop_output
from hostile import alive
from region import Consumer
from studio import Refused, wait_for


def feedback(stage):
    """A source with the region of the programme that shows it, and of its own filter."""
    region = stage.region("loop")
    start_output(stage, region, f"{region}-tone")
    stage.studio.add("loop", video_region=region, audio_region=f"{region}-tone")
    shown(stage, "loop", stage.studio.size)
    stage.studio.filter("loop", f"{region}-own", f"{region}-own-tone")
    stage.studio.set("loop", video_region=f"{region}-own", audio_region=f"{region}-own-tone")
    time.sleep(1)
    alive(stage)
    stage.studio.remove("loop")
    stop_output(stage)
    yield "a source of its own programme and of its own filter: OBS goes on"


def switched_fast(stage):
    """The output is started and stopped fifty times, with a reader that follows it."""
    out = stage.region("fast")
    start_output(stage, out, f"{out}-tone")
    reader = Consumer(out)
    begin = time.monotonic()
    for _ in range(50):
        for request in ("StopOutput", "StartOutput"):
            with contextlib.suppress(Refused):
                stage.studio.call(request, outputName="shm2")
    # The last start may have been refused, as OBS was still at the stop.
    with contextlib.suppress(Refused):
        stage.studio.call("StopOutput", outputName="shm2")
    wait_for("the end of the output", 5, lambda: not is_running(stage))
    start_output(stage, out, f"{out}-tone")
    while reader.next(0):
        pass
    assert reader.next(5), "no frame after the last start"
    reader.close()
    stop_output(stage)
    alive(stage)
    yield f"50 times in {time.monotonic() - begin:.1f} s; a reader follows"


def folder_vanishes(stage):
    """The folder of the running output is removed, and comes back."""
    folder = stage.target / "vanishing"
    folder.mkdir(exist_ok=True)
    since = len(stage.studio.log())
    start_output(stage, f"{folder}/programme", f"{folder}/sound")
    reader = Consumer(f"{folder}/programme")
    assert reader.next(5)
    shutil.rmtree(folder)
    time.sleep(1.5)
    alive(stage)
    runs = is_running(stage)
    if runs:
        stop_output(stage)
    reader.close()
    assert not folder.exists()
    yield f"the output {'goes on' if runs else 'ended'}: {stage.studio.sentences(since)[-1]!r}"


def disk_fills(stage):
    """The file system of a running output is filled up."""
    with stage.small_folder(40) as folder:
        if folder is None:
            yield "skipped: no file system can be mounted here"
            return
        since = len(stage.studio.log())
        start_output(stage, f"{folder}/programme", f"{folder}/sound")
        with contextlib.suppress(OSError), (folder / "rest").open("wb") as rest:
            while True:
                rest.write(bytes(1 << 20))
        reader = Consumer(f"{folder}/programme")
        frames = [reader.next(2) for _ in range(60)]
        reader.close()
        alive(stage)
        assert is_running(stage) and all(frames)
        stop_output(stage)
        assert sorted(it.name for it in folder.iterdir()) == ["rest"], list(folder.iterdir())
        yield f"60 frames from a full file system; {stage.studio.sentences(since)[-1]!r}"


def other_resolution(stage):
    """OBS's resolution is changed while a filter publishes, and between two starts of the output."""
    region, out = stage.region("size"), stage.region("size-out")
    stage.produce("card", region, "NV12", "bt709", 320, 180)
    stage.studio.add("size", video_region=region)
    stage.studio.filter("size", f"{out}-one")
    shown(stage, "size", (320, 180))
    one = Consumer(f"{out}-one")
    seen = []
    for width, height in ((320, 240), (1280, 720), stage.studio.size):
        sizes = dict(zip(("baseWidth", "baseHeight", "outputWidth", "outputHeight"), (width, height) * 2, strict=True))
        stage.studio.call("SetVideoSettings", **sizes)
        start_output(stage, out, "")
        reader = Consumer(out)
        seen.append(wait_for("a picture of the programme", 5, lambda it=reader: it.next(2)).caps.split(",")[2:4])
        with contextlib.suppress(Refused):
            stage.studio.call("SetVideoSettings", **{**sizes, "outputWidth": 64, "outputHeight": 64})
            seen.append("changed while it runs")
        reader.close()
        stop_output(stage)
        while one.next(0):
            pass
        assert one.next(5), "the filter publishes nothing"
    one.close()
    alive(stage)
    yield f"{seen}"


def room(stage):
    """The region has room for eight pictures of a large size, in formats of OBS with more bytes than NV12."""
    out = stage.region("room")
    for kind in ("I444", "P010"):
        set_format(stage, kind, (1920, 1080))
        start_output(stage, out, "")
        reader = Consumer(out)
        frame = wait_for("a picture of the programme", 10, lambda it=reader: it.next(2))
        reader.close()
        pictures = inspect(out)["arena_bytes"] / len(frame.data)
        stop_output(stage)
        yield f"{kind}: {pictures:.1f} pictures; {','.join(frame.caps.split(',')[1:4])}"
        assert pictures >= 8
    set_format(stage, "NV12", stage.studio.size)


def set_format(stage, kind, size):
    """The format and size of OBS's settings."""
    words = {"parameterCategory": "Video", "parameterName": "ColorFormat", "parameterValue": kind}
    stage.studio.call("SetProfileParameter", **words)
    names = ("baseWidth", "baseHeight", "outputWidth", "outputHeight")
    stage.studio.call("SetVideoSettings", **dict(zip(names, size * 2, strict=True)))
