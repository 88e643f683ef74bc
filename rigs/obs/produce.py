"""A producer for the tests of the plugin for OBS, as a process that can be killed.

usage: produce.py card REGION FORMAT COLORIMETRY WIDTH HEIGHT [SHIFT]
       produce.py flash VIDEO-REGION AUDIO-REGION [LATE-MS]
       produce.py tone REGION FORMAT LAYOUT
"""

import sys
import time

import numpy as np
from cards import card, planes_of
from region import Error, Producer, now

FPS = 30


def caps_of(kind, width, height, colorimetry):
    """The caps of a picture."""
    return (
        f"video/x-raw,format={kind},width={width},height={height},framerate={FPS}/1,"
        f"interlace-mode=progressive,colorimetry={colorimetry}"
    )


def produce_card(region, kind, colorimetry, width, height, shift="0"):
    """Shows the card until the end of the process. With `shift` its patches are in another order."""
    width, height = int(width), int(height)
    picture = planes_of(card(width, height, int(shift)), kind, colorimetry)
    producer = Producer(region, caps_of(kind, width, height, colorimetry))
    begin = now()
    print("ready", flush=True)
    for number in range(1 << 40):
        due = begin + number * 1_000_000_000 // FPS
        time.sleep(max(0, due - now()) / 1e9)
        producer.send_planes(picture, due)


def tone(rate, begin, count, audible):
    """Samples of 1 kHz in two channels, silent where `audible` is false."""
    at = (begin + np.arange(count)) / rate
    wave = 0.5 * np.sin(2 * np.pi * 1000 * at) * audible
    return np.stack([wave, wave], axis=1).astype(np.float32)


def encode(samples, kind, layout):
    """Bytes of samples between -1 and 1."""
    if layout == "non-interleaved":
        samples = samples.T
    if kind == "F32LE":
        return samples.astype("<f4").tobytes()
    if kind == "U8":
        return np.rint(samples * 127 + 128).astype(np.uint8).tobytes()
    bits = {"S16LE": 15, "S32LE": 31, "S24_32LE": 23}[kind]
    whole = samples.astype(np.float64) * ((1 << bits) - 1)
    return whole.astype("<i2" if bits == 15 else "<i4").tobytes()


def audio_caps(kind, layout, channels=2):
    """The caps of sound at 48 kHz."""
    return f"audio/x-raw,format={kind},layout={layout},rate=48000,channels={channels},channel-mask=(bitmask)0x3"


def produce_flash(video, audio, late_ms="0"):
    """White for 100 ms and a tone of the same time, once a second; else black and silent. All is late by `late_ms`."""
    late = int(late_ms) * 1_000_000
    pictures = Producer(video, caps_of("I420", 320, 180, "bt709"))
    sounds = Producer(audio, audio_caps("S16LE", "interleaved"), 16 << 20)
    white, black = (planes_of(np.full((180, 320, 4), v, np.float64), "I420", "bt709") for v in (255, 0))
    begin = now()
    print("ready", flush=True)
    block = 48000 // FPS
    for number in range(1 << 40):
        due = begin + number * 1_000_000_000 // FPS
        time.sleep(max(0, due - now()) / 1e9)
        flashes = number % FPS < 3
        pictures.send_planes(white if flashes else black, due - late)
        sounds.send(encode(tone(48000, number * block, block, flashes), "S16LE", "interleaved"), due - late)


def produce_tone(region, kind, layout):
    """A tone without end."""
    sounds = Producer(region, audio_caps(kind, layout), 16 << 20)
    begin = now()
    print("ready", flush=True)
    for number in range(1 << 40):
        due = begin + number * 20_000_000
        time.sleep(max(0, due - now()) / 1e9)
        sounds.send(encode(tone(48000, number * 960, 960, True), kind, layout), due)


if __name__ == "__main__":
    try:
        {"card": produce_card, "flash": produce_flash, "tone": produce_tone}[sys.argv[1]](*sys.argv[2:])
    except Error as error:
        sys.exit(f"produce.py: {error}")
