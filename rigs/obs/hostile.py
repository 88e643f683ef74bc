"""Regions that are wrong or hostile, below a source of OBS: OBS goes on, and shows the next good producer."""

import mmap
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
from cards import card, planes_of
from checks import SCENE, inspect, shown
from region import Error, now
from studio import wait_for

CAPS = "video/x-raw,format={},width={},height={},framerate={},colorimetry={}"
SOUND = "audio/x-raw,format=S16LE,layout=interleaved,rate={},channels={},channel-mask=(bitmask)0x0"
HUGE = (1 << 63) + 5
RANDOM = random.Random(22)


def alive(stage):
    """OBS answers, and renders."""
    assert stage.studio.process.poll() is None, "OBS ended: " + stage.studio.log()[-3000:]
    before = frames(stage)
    wait_for("OBS renders nothing", 15, lambda: frames(stage) > before + 1)


def frames(stage):
    """What OBS has rendered."""
    return stage.studio.call("GetStats")["renderTotalFrames"]


def recovers(stage, name, region):
    """A good producer takes the region's name: it is shown. In another size each time, so that it is no old picture."""
    alive(stage)
    size = (RANDOM.randrange(16, 200) * 2, RANDOM.randrange(16, 120) * 2)
    child = stage.produce("card", region, "NV12", "bt709", *size)
    shown(stage, name, size)
    return child


def random_bytes(path, at, count):
    """Writes random bytes into a file that processes have mapped."""
    with Path(path).open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        end = min(len(memory), at + count)
        memory[at:end] = RANDOM.randbytes(end - at)


def remove(path):
    """Removes a file, or a folder."""
    if Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)


def truncated(length):
    """Cuts the file below its readers."""
    return lambda path: os.truncate(path, length)


def replaced(make):
    """Puts something else at the name."""

    def attack(path):
        remove(path)
        make(path)

    return attack


def a_link_to_itself(path):
    """A chain of links without an end."""
    Path(path).symlink_to(path)


def a_hole(path):
    """A terabyte of zeros that takes no memory."""
    with Path(path).open("wb") as file:
        file.truncate(1 << 40)


ATTACKS = {
    "truncated to 0": truncated(0),
    "truncated to 100 bytes": truncated(100),
    "truncated to a page": truncated(4096),
    "truncated to a megabyte": truncated(1 << 20),
    "a directory": replaced(os.mkdir),
    "a link to itself": replaced(a_link_to_itself),
    "a link to a device": replaced(lambda path: Path(path).symlink_to("/dev/zero")),
    "a fifo": replaced(os.mkfifo),
    "an empty file": replaced(lambda path: Path(path).write_bytes(b"")),
    "a terabyte of zeros": replaced(a_hole),
    "its header random": lambda path: random_bytes(path, 0, 4096),
    "its fields random": lambda path: [random_bytes(path, RANDOM.randrange(64, 1 << 16), 8) for _ in range(200)],
    "all of it random": lambda path: random_bytes(path, 0, 1 << 30),
}


def broken_files(stage):
    """The file is changed below the source while its producer runs; then the producer is killed."""
    region = stage.region("broken")
    stage.studio.add("broken", video_region=region, audio_region=region)
    for name, attack in ATTACKS.items():
        child = recovers(stage, "broken", region)
        since = len(stage.studio.log())
        attack(region)
        time.sleep(0.7)
        alive(stage)
        stage.kill(child)
        time.sleep(0.6)
        said = [it for it in stage.studio.sentences(since) if not it.startswith("broken: shows")]
        remove(region)
        yield f"{name}: {said[0] if said else 'nothing to tell'} ({len(said)})"
        assert len(said) <= 8, said
    recovers(stage, "broken", region)


def caps_of_all_sizes():
    """Sizes, formats and rates at the edges of what caps can say."""
    for kind in ("I420", "NV12", "YUY2", "BGR", "GRAY8", "A420", "P010_10LE", "I422_10LE", "VUYA"):
        for size in ((1, 1), (2, 1), (1, 2), (3, 3), (17, 5), (641, 3), (4, 16384), (16384, 1)):
            yield CAPS.format(kind, *size, RANDOM.choice(("0/1", "30/1", "2147483647/1")), "bt709")
    yield CAPS.format("I420", 16386, 2, "30/1", "bt709")
    yield CAPS.format("I420", 64, 64, "30/1", "bt601") + ",interlace-mode=alternate"
    yield CAPS.format("I420", 64, 64, "30/1", "bt601") + ",pixel-aspect-ratio=1/1000000"
    yield CAPS.format("BGRA", 64, 64, "30/1", "9:9:9:9")
    yield from ("image/jpeg", "text/x-raw,format=utf8", "video/x-h264,width=64", "x" * 900)


def caps_of_sound():
    """Numbers of channels and rates."""
    for rate in (1, 7, 8000, 1_000_000, 2_147_483_647):
        for channels in (1, 2, 5, 7, 8, 64):
            yield SOUND.format(rate, channels)


def frame_of(producer):
    """Publishes a frame for the producer's caps; the library's refusal otherwise."""
    try:
        return producer.send_empty()
    except Error as error:
        return str(error)


def hostile_caps(stage):
    """Caps that change with each frame: what OBS cannot show is refused by sentences, the rest is shown."""
    picture, tone = stage.region("caps"), stage.region("caps-tone")
    stage.studio.add("caps", video_region=picture, audio_region=tone)
    pictures = stage.publish(picture, CAPS.format("I420", 2, 2, "30/1", "bt709"), 700 << 20)
    sounds = stage.publish(tone, "a/b")
    since, sent = len(stage.studio.log()), 0
    for producer, all_caps in ((pictures, caps_of_all_sizes()), (sounds, caps_of_sound())):
        for caps in all_caps:
            try:
                producer.set_caps(caps)
            except Error as error:
                yield f"not sent: {error}"
                continue
            for _ in range(2):
                sent += frame_of(producer) is None
            # Of pictures the source takes the newest alone.
            time.sleep(0.02 if caps.startswith("video/x-raw") else 0.1)
            assert stage.studio.process.poll() is None, caps
    alive(stage)
    said = stage.studio.sentences(since)
    refused = sorted({it.split(": ", 1)[1][:90] for it in said if "shows" not in it and "plays" not in it})
    yield f"{sent} frames of {len(said)} kinds; refused: " + "; ".join(refused)
    for part in ("64 channels", "cannot play 7 samples", "cannot play 1000000 samples", "not raw video"):
        assert any(part in it for it in refused), part
    sounds.set_caps(SOUND.format(8000, 1))
    sounds.send(bytes(200_000))
    yield stage.sentence("cannot play a frame of 12 s", since)
    pictures.close()
    sounds.close()
    recovers(stage, "caps", picture)


def alternating_caps(stage):
    """Caps that OBS can and cannot show in turn: each sentence is in the log once in a second, not for each frame."""
    region = stage.region("turns")
    stage.studio.add("turns", video_region=region)
    good, bad = (CAPS.format(kind, 64, 48, "30/1", "bt709") for kind in ("I420", "RGBx"))
    producer = stage.publish(region, good)
    since, end, sent = len(stage.studio.log()), time.monotonic() + 3, 0
    while time.monotonic() < end:
        producer.set_caps(good if sent % 2 else bad)
        producer.send_empty()
        sent += 1
        time.sleep(0.02)
    said = stage.studio.sentences(since)
    yield f"{sent} frames, {len(said)} lines: {sorted(set(said))}"
    assert len(set(said)) == 2 and len(said) <= 8


def hostile_times(stage):
    """Times that are absent, go backwards, or are of another clock."""
    picture, tone = stage.region("times"), stage.region("times-tone")
    stage.studio.add("times", video_region=picture, audio_region=tone)
    pictures = stage.publish(picture, CAPS.format("I420", 64, 48, "30/1", "bt709"))
    sounds = stage.publish(tone, SOUND.format(48000, 2))
    rows = planes_of(card(64, 48), "I420", "bt709")
    for time_of in (
        lambda i: None,
        lambda i: 0,
        lambda i: HUGE + i,
        lambda i: (1 << 64) - 2,
        lambda i: now() - i * 40_000_000,
        lambda i: now() + (-1) ** i * 1_400_000_000,
        lambda i: RANDOM.getrandbits(64) - 1,
    ):
        for i in range(25):
            pictures.send_planes(rows, time_of(i))
            sounds.send(np.full(960, 1000, np.int16).tobytes(), time_of(i))
            time.sleep(0.01)
        alive(stage)
    shown(stage, "times", (64, 48))
    pictures.close()
    sounds.close()
    recovers(stage, "times", picture)
    yield "7 kinds of times: OBS goes on"


def many(stage):
    """Fifty sources of one region, which is also given as sound: one reader each, none after them."""
    region = stage.region("many")
    child = stage.produce("card", region, "NV12", "bt709", 64, 48)
    for i in range(50):
        stage.studio.add(f"many {i}", video_region=region, audio_region=region if i < 5 else "")
    shown(stage, "many 49", (64, 48))
    alive(stage)
    readers = len(inspect(region)["consumers"])
    stage.kill(child)
    child = stage.produce("card", region, "NV12", "bt709", 80, 48)
    for i in range(50):
        shown(stage, f"many {i}", (80, 48))
    yield f"{readers} readers; all of them show the next producer"
    assert readers >= 50, readers


def lifetimes(stage):
    """Sources are renamed, doubled, hidden and removed, with a filter on them, while their producers are killed."""
    region, out = stage.region("life"), stage.region("life-out")
    stage.studio.call("CreateScene", sceneName="other")
    end, rounds = time.monotonic() + 12, 0
    while time.monotonic() < end:
        rounds += 1
        child = stage.produce("card", region, "NV12", "bt709", 64, 48)
        stage.studio.add("life", video_region=region, audio_region=region)
        stage.studio.filter("life", out, f"{out}-tone")
        item = stage.studio.call("GetSceneItemId", sceneName=SCENE, sourceName="life")["sceneItemId"]
        stage.studio.call("DuplicateSceneItem", sceneName=SCENE, sceneItemId=item)
        for scene in ("other", SCENE, "other", SCENE):
            stage.studio.call("SetCurrentProgramScene", sceneName=scene)
            time.sleep(0.05)
        stage.studio.call("SetInputName", inputName="life", newInputName="renamed")
        os.kill(child.pid, RANDOM.choice((9, 15, 19)))
        stage.studio.set("renamed", video_region=RANDOM.choice((region, "/dev/shm", "", "/dev/null")))
        stage.studio.remove("renamed")
        stage.kill(child)
    stage.studio.call("RemoveScene", sceneName="other")
    alive(stage)
    yield f"{rounds} rounds"
