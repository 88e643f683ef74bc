"""Tests of the filters."""

import contextlib
import os
import threading
import time
import wave

import numpy as np
from cards import PATCHES, middles
from checks import HEIGHT, SCENE, WIDTH, shown
from produce import encode, tone
from region import Consumer, now


def settled(region, width):
    """A frame of this width, half a second after the first one."""
    consumer, begin, since = Consumer(region), time.monotonic(), None
    while time.monotonic() < begin + 10:
        frame = consumer.next(2)
        if frame and f"width={width}" in frame.caps.replace("(int)", ""):
            since = since or time.monotonic()
            if time.monotonic() > since + 0.5:
                consumer.close()
                return frame
    raise AssertionError(f"no frames of width {width}")


def one_source(stage):
    """The filter of video publishes its source with alpha, and follows its size."""
    region, out = stage.region("one"), stage.region("one-out")
    child = stage.produce("card", region, "RGBA", "sRGB", WIDTH, HEIGHT)
    stage.studio.add("one", video_region=region, when_gone="keep")
    stage.studio.filter("one", out)
    shown(stage, "one", (WIDTH, HEIGHT))
    for size in ((WIDTH, HEIGHT), (400, 200)):
        frame = settled(out, size[0])
        off = off_card(pixels(frame), len(PATCHES), 4)
        yield f"{size[0]}x{size[1]} BGRA: off by {off} of 255 at most, alpha included"
        assert off <= 2
        stage.kill(child)
        child = stage.produce("card", region, "RGBA", "sRGB", 400, 200)
        shown(stage, "one", (400, 200))


def pixels(frame):
    """A BGRA picture as height, width, RGBA."""
    offset, stride, row_bytes, rows = frame.planes[0]
    picture = np.frombuffer(frame.data, np.uint8)[offset:].reshape(rows, stride)[:, :row_bytes]
    return picture.reshape(rows, row_bytes // 4, 4)[..., [2, 1, 0, 3]].astype(int)


def off_card(picture, patches, channels, shift=0):
    """The largest difference of a channel from the card."""
    spots = enumerate(middles(picture.shape[1], picture.shape[0])[:patches])
    wanted = [(at, PATCHES[(i + shift) % len(PATCHES)][:channels]) for i, at in spots]
    return max(np.abs(picture[y, x, :channels] - np.array(want)).max() for (x, y), want in wanted)


def flat_and_scene(stage):
    """Sources without sound: a flat colour, and a scene."""
    flat, scene = stage.region("flat"), stage.region("scene-out")
    # Alpha, blue, green, red.
    settings = {"color": 0xFF2878C8, "width": 64, "height": 48}
    stage.studio.add("flat", "color_source_v3", **settings)
    stage.studio.filter("flat", flat)
    picture = pixels(settled(flat, 64))
    off = np.abs(picture - np.array([0xC8, 0x78, 0x28, 0xFF])).max()
    yield f"a flat colour: off by {off} of 255 at most"
    assert picture.shape == (48, 64, 4) and off <= 2
    stage.studio.remove("flat")
    region = stage.region("in-scene")
    stage.produce("card", region, "I420", "bt709", *stage.studio.size)
    stage.studio.add("in scene", video_region=region)
    shown(stage, "in scene", stage.studio.size)
    stage.studio.filter(SCENE, scene)
    off = off_card(pixels(settled(scene, stage.studio.size[0])), 10, 3)
    stage.studio.call("RemoveSourceFilter", sourceName=SCENE, filterName="video")
    yield f"a scene: off by {off} of 255 at most"
    assert off <= 2


def microphone(fifo):
    """Writes a tone in real time, as ALSA's plugin `file` reads it, until that ends."""
    with contextlib.suppress(BrokenPipeError), fifo.open("wb", buffering=0) as file:
        begin = time.monotonic()
        for number in range(1 << 40):
            file.write(encode(tone(48000, number * 480, 480, True), "S16LE", "interleaved"))
            time.sleep(max(0, begin + number / 100 - time.monotonic()))


def heard(region, seconds):
    """Sound of a region: its level, and its times before the clock, both of each frame."""
    consumer, end, levels, ages = Consumer(region), time.monotonic() + seconds, [], []
    while time.monotonic() < end:
        frame = consumer.next(5)
        assert frame, f"no sound in {region}"
        levels.append(np.sqrt(np.mean(np.frombuffer(frame.data, "<f4").astype(np.float64) ** 2)))
        ages.append((now() - frame.time) / 1e9)
    consumer.close()
    return np.median(levels), ages


def sound_alone(stage):
    """A source without video: a microphone of ALSA, whose device is a pipe with a tone."""
    fifo, out = stage.target / "microphone", stage.region("microphone")
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    device = f"pcm.tone {{ type file slave.pcm null file /dev/null infile {fifo} format raw }}\n"
    (stage.studio.home / ".asoundrc").write_text(device)
    # ALSA waits for it when it opens the device.
    threading.Thread(target=microphone, args=[fifo], daemon=True).start()
    settings = {"device_id": "__custom__", "custom_pcm": "tone", "rate": 48000}
    stage.studio.add("microphone", "alsa_input_capture", **settings)
    stage.studio.filter("microphone", audio=out)
    value, ages = heard(out, 1)
    stage.studio.remove("microphone")
    fifo.unlink()
    yield f"a microphone: {value:.3f} of 0.354, {min(ages):.2f} to {max(ages):.2f} s after its times"
    assert 0.34 < value < 0.36


def foreign_clock(stage):
    """Sound whose times are of another clock: OBS's media source counts from its first file."""
    file, out = stage.target / "tone.wav", stage.region("foreign")
    with wave.open(str(file), "wb") as it:
        it.setparams((2, 2, 48000, 0, "NONE", ""))
        it.writeframes(encode(tone(48000, 0, 96000, True), "S16LE", "interleaved"))
    stage.studio.add("media", "ffmpeg_source", local_file=str(file), looping=True)
    stage.studio.filter("media", audio=out)
    value, ages = heard(out, 3)
    yield f"a media source: {value:.3f} of 0.354, {min(ages):.2f} to {max(ages):.2f} s after its times"
    assert 0.34 < value < 0.36 and max(map(abs, ages)) < 0.6


def producer_returns(stage):
    """The source's producer is killed, and the next one has the same size: its picture is the first one then."""
    region, out = stage.region("returns"), stage.region("returns-out")
    child = stage.produce("card", region, "BGRA", "sRGB", 64, 48)
    stage.studio.add("returns", video_region=region, when_gone="nothing")
    stage.studio.filter("returns", out)
    consumer = Consumer(out)
    assert consumer.next(10), "no picture of the first producer"
    since = len(stage.studio.log())
    stage.kill(child)
    stage.sentence("the producer is gone", since)
    while consumer.next(0):
        pass
    shift = 4
    stage.produce("card", region, "BGRA", "sRGB", 64, 48, shift)
    frame = consumer.next(10)
    age = (now() - frame.time) / 1e9
    consumer.close()
    off = off_card(pixels(frame), 10 - shift, 4, shift)
    yield f"first picture after a kill: {age:.2f} s old, off by {off} of 255 at most from the next card"
    assert age < 1 and off <= 2
