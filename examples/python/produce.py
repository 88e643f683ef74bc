#!/usr/bin/python3
"""Publishes a bar that moves across a grey picture: produce.py [PATH [COUNT]]"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import GLib, Gst, GstApp  # noqa: E402

WIDTH, HEIGHT, RATE = 320, 240, 30
BAR = 32
DESCRIPTION = (
    "appsrc name=frames format=time max-buffers=1 max-bytes=0 "
    f"caps=video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate={RATE}/1 ! shm2sink name=sink"
)
WAIT_NS = 100 * Gst.MSECOND


def picture(number: int) -> bytes:
    """Equal rows of GRAY8: a bright bar moves by two pixels a frame. Rows must be a multiple of four bytes."""
    row = bytearray([64]) * WIDTH
    start = number * 2 % (WIDTH - BAR)
    row[start : start + BAR] = bytes([224]) * BAR
    return bytes(row) * HEIGHT


class Frames:
    """Answers each request for data, which comes from a thread of the pipeline, with one frame."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.number = 0

    def feed(self, source: GstApp.AppSrc, _bytes: int) -> None:
        if self.number == self.count:
            source.end_of_stream()
            return
        buffer = Gst.Buffer.new_wrapped(picture(self.number))
        buffer.pts = self.number * Gst.SECOND // RATE
        buffer.duration = Gst.SECOND // RATE
        self.number += 1
        source.push_buffer(buffer)


def produce(path: str, count: int) -> None:
    pipeline = Gst.parse_launch(DESCRIPTION)
    sink = pipeline.get_by_name("sink")
    sink.set_property("shm-path", path)
    pipeline.get_by_name("frames").connect("need-data", Frames(count).feed)
    ends = Gst.MessageType.EOS | Gst.MessageType.ERROR
    try:
        pipeline.set_state(Gst.State.PLAYING)
        # The sink takes each frame when it is due. An endless wait would block Ctrl-C.
        while (message := pipeline.get_bus().timed_pop_filtered(WAIT_NS, ends)) is None:
            pass
        if message.type == Gst.MessageType.ERROR:
            raise RuntimeError(message.parse_error()[0].message)
        print(sink.get_property("stats").to_string())
    finally:
        pipeline.set_state(Gst.State.NULL)


def number_of_frames(arguments: list[str]) -> int:
    count = arguments[0] if arguments else "300"
    if not count.isdecimal() or int(count) == 0:
        raise ValueError(f"{count!r} is not a number of frames")
    return int(count)


def main(arguments: list[str]) -> int:
    Gst.init(None)
    path = arguments[0] if arguments else "/dev/shm/camera"
    try:
        produce(path, number_of_frames(arguments[1:]))
    except KeyboardInterrupt:
        print("stopped")
    except (RuntimeError, ValueError, GLib.Error) as error:
        print(f"produce: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
