#!/usr/bin/python3
"""Prints size, format, time and mean brightness of each frame of a region: watch.py [PATH [COUNT]]"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstApp, GstVideo  # noqa: E402

# In all of these formats the first plane is brightness; videoconvert converts other formats to one of them.
DESCRIPTION = (
    "shm2src name=source ! videoconvert ! video/x-raw,format=(string){I420,NV12,GRAY8} ! "
    "appsink name=frames max-buffers=4 sync=false enable-last-sample=false"
)
WAIT_NS = 100 * Gst.MSECOND


def mean_brightness(buffer: Gst.Buffer, info: GstVideo.VideoInfo) -> float:
    """Mean of the first plane, whose rows may be longer than the picture is wide."""
    meta = GstVideo.buffer_get_video_meta(buffer)
    layout = meta or info
    stride, offset = layout.stride[0], layout.offset[0]
    with buffer.map(Gst.MapFlags.READ) as mapped:
        rows = range(offset, offset + stride * info.height, stride)
        total = sum(sum(mapped.data[row : row + info.width]) for row in rows)
    return total / (info.width * info.height)


def show(sample: Gst.Sample) -> None:
    info = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
    buffer = sample.get_buffer()
    pts = "none" if buffer.pts == Gst.CLOCK_TIME_NONE else f"{buffer.pts / Gst.SECOND:.3f} s"
    brightness = mean_brightness(buffer, info)
    print(f"{info.width}x{info.height} {info.finfo.name} pts {pts} brightness {brightness:.1f}", flush=True)


def check_bus(bus: Gst.Bus) -> None:
    """Prints messages of the source; raises its error."""
    while message := bus.pop_filtered(Gst.MessageType.ERROR | Gst.MessageType.ELEMENT):
        if message.type == Gst.MessageType.ERROR:
            raise RuntimeError(message.parse_error()[0].message)
        details = message.get_structure()
        if details.get_name().startswith("shm2-"):
            print(details.to_string(), flush=True)


def watch(path: str, count: int) -> None:
    pipeline = Gst.parse_launch(DESCRIPTION)
    pipeline.get_by_name("source").set_property("shm-path", path)
    frames: GstApp.AppSink = pipeline.get_by_name("frames")
    try:
        pipeline.set_state(Gst.State.PLAYING)
        while count > 0:
            sample = frames.try_pull_sample(WAIT_NS)
            check_bus(pipeline.get_bus())
            if sample is not None:
                show(sample)
                count -= 1
            elif frames.is_eos():
                raise RuntimeError(f"the stream ended, {count} frames were still to come")
    finally:
        pipeline.set_state(Gst.State.NULL)


def number_of_frames(arguments: list[str]) -> int:
    count = arguments[0] if arguments else "100"
    if not count.isdecimal() or int(count) == 0:
        raise ValueError(f"{count!r} is not a number of frames")
    return int(count)


def main(arguments: list[str]) -> int:
    Gst.init(None)
    path = arguments[0] if arguments else "/dev/shm/camera"
    try:
        watch(path, number_of_frames(arguments[1:]))
    except KeyboardInterrupt:
        print("stopped")
    except (RuntimeError, ValueError, GLib.Error) as error:
        print(f"watch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
