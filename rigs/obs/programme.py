"""Tests of the output."""

import contextlib
import os
import threading
import time

import numpy as np
from cards import PATCHES, middles
from checks import is_running, shown, start_output, stop_output
from region import Consumer, Producer
from studio import Refused, wait_for


def record(region, seconds, frames):
    """Reads a region into `frames`."""
    consumer, end = Consumer(region), time.monotonic() + seconds
    while time.monotonic() < end:
        frame = consumer.next(2)
        if frame:
            frames.append(frame)
    consumer.close()


def onsets(values, times, least):
    """Times at which a value rises above a limit after at least 0.3 s below it."""
    found, last = [], None
    for value, at in zip(values, times, strict=True):
        if value > least:
            if last is not None and at - last > 0.3e9:
                found.append(at)
            last = at
    return found


def rises(video, audio):
    """Onsets of the flash and of the tone."""
    lumas = [np.frombuffer(f.data, np.uint8)[: f.planes[0][1] * f.planes[0][3]].mean() for f in video]
    flashes = onsets(lumas, [f.time for f in video], 40)
    samples = np.concatenate([np.abs(np.frombuffer(f.data, "<f4")[::2]) for f in audio])
    sizes = [len(f.data) // 8 for f in audio]
    times = np.concatenate([f.time + np.arange(n) * 1e9 / 48000 for f, n in zip(audio, sizes, strict=True)])
    return flashes, onsets(samples, times, 0.1)


def both_in_step(stage):
    """Flash and tone have the same times in two regions; they leave OBS in step, within one frame of 33 ms."""
    for late_ms in (0, 200):
        yield f"published {late_ms} ms after their times:"
        yield from in_step(stage, late_ms)
        stage.clear()


def in_step(stage, late_ms):
    """The same for a producer that is late."""
    video, audio = stage.region("flash"), stage.region("beep")
    out, sound = stage.region("out"), stage.region("out-sound")
    stage.produce("flash", video, audio, late_ms)
    stage.studio.add("flash", video_region=video, audio_region=audio)
    item = stage.studio.call("GetSceneItemId", sceneName="Scene", sourceName="flash")["sceneItemId"]
    transform = {"boundsType": "OBS_BOUNDS_STRETCH", "boundsWidth": 640, "boundsHeight": 360}
    stage.studio.call("SetSceneItemTransform", sceneName="Scene", sceneItemId=item, sceneItemTransform=transform)
    start_output(stage, out, sound)
    # OBS buffers all sound as long as the first block of a source is late: that comes now.
    time.sleep(1)
    late = stage.studio.late()
    pictures, sounds = [], []
    threads = [threading.Thread(target=record, args=it) for it in [(out, 6, pictures), (sound, 6, sounds)]]
    for it in threads:
        it.start()
    for it in threads:
        it.join()
    stop_output(stage)
    late = stage.studio.late() - late
    flashes, tones = rises(pictures, sounds)
    # One that began before the record of the other has no partner.
    begin, end = max(pictures[0].time, sounds[0].time) + 2e8, min(pictures[-1].time, sounds[-1].time) - 2e8
    flashes = [it for it in flashes if begin < it < end]
    assert len(flashes) >= 4 and tones, (flashes, tones)
    apart = sorted(min(((t - it) / 1e6 for t in tones), key=abs) for it in flashes)
    middle = apart[len(apart) // 2]
    yield f"{len(apart)} flashes: sound after picture by {middle:.1f} ms (median), {apart[0]:.1f} to {apart[-1]:.1f}"
    # What OBS misses shifts it by some frames, and not by the lateness of the producer.
    if late and 33.4 < abs(middle) < 150:
        yield f"skipped: whether that is within one frame: OBS was late {late} times, the machine is too slow for it"
    else:
        assert abs(middle) <= 33.4
    again = sum(f.missed for f in pictures + sounds)
    yield f"{len(pictures)} pictures in 6 s, {again} missed; {pictures[0].caps.split(',pixel')[0]}"


def colors_of_the_programme(stage):
    """The card through OBS into the region and back: in each format of the output."""
    for kind in ("obs", "BGRA", "NV12", "I420"):
        region, out = stage.region("card"), stage.region("card-out")
        stage.produce("card", region, "I420", "bt709", 640, 360)
        stage.studio.add("card", video_region=region)
        shown(stage, "card", (640, 360))
        start_output(stage, out, "", kind)
        picture = stage.rgb(out)
        stop_output(stage)
        spots = zip(middles(640, 360)[:10], PATCHES[:10], strict=True)
        difference = max(np.abs(picture[y, x] - np.array(want[:3])).max() for (x, y), want in spots)
        yield f"{kind}: off by {difference:.0f} of 255 at most"
        # Two conversions, each of which rounds.
        assert difference <= 4
        stage.clear()


def try_output(stage, video, audio=""):
    """Starts the output where it has to fail; its sentence."""
    since = len(stage.studio.log())
    settings = {"video_region": video, "audio_region": audio, "format": "obs"}
    stage.studio.call("SetOutputSettings", outputName="shm2", outputSettings=settings)
    with contextlib.suppress(Refused):
        stage.studio.call("StartOutput", outputName="shm2")
    lines = wait_for("a sentence", 5, lambda: stage.studio.sentences(since))
    assert not is_running(stage) and len(lines) == 1, lines
    return lines[0]


def lost_region(stage):
    """Another program truncates the region: the output ends, with one sentence."""
    out = stage.region("lost")
    start_output(stage, out, "")
    since = len(stage.studio.log())
    os.truncate(out, 4096)
    wait_for("the end of the output", 5, lambda: not is_running(stage))
    lines = stage.studio.sentences(since)
    assert len(lines) == 1, lines
    return lines[0]


def refusals(stage):
    """What the output cannot do: one sentence, and it does not run."""
    taken = stage.region("taken")
    other = Producer(taken, "video/x-raw,format=NV12,width=64,height=64,framerate=30/1", 8 << 20)
    yield try_output(stage, taken)
    yield try_output(stage, "")
    yield try_output(stage, "/nonexistent/programme")
    # The region of video is not left behind when that of audio is refused.
    video = stage.region("half")
    yield try_output(stage, video, taken)
    assert not stage.exists(video)
    other.close()
    closed = stage.target / "closed"
    closed.mkdir(exist_ok=True)
    stage.give_away(closed, 0o555)
    yield (
        try_output(stage, f"{closed}/programme")
        if stage.is_bounded
        else "skipped: a closed folder: only root can make one"
    )
    closed.rmdir()
    yield lost_region(stage)
    with stage.small_folder(4) as folder:
        if folder is None:
            yield "skipped: a full disk: no file system can be mounted here"
        else:
            yield try_output(stage, f"{folder}/programme")
            assert not stage.exists(f"{folder}/programme")
