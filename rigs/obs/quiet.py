"""An OBS of its own: two mixes of video, and an end without any source with sound."""

import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

from checks import start_output
from region import Consumer
from studio import Studio


def built(source, folder):
    """Builds a plugin for OBS from one file."""
    plugin = folder / f"{Path(source).stem}.so"
    flags = subprocess.run(["pkg-config", "--cflags", "libobs"], capture_output=True, text=True, check=True).stdout
    line = ["gcc", "-shared", "-fPIC", *flags.split(), "-o", plugin, Path(__file__).parent / source]
    subprocess.run(line, check=True)
    return plugin


def two_mixes(stage):
    """A filter publishes each picture once; this OBS ends with 0, also with a filter and the output at work.

    It has no source with sound, so that the crash of OBS that stage.py tells of is none of its reasons.
    """
    out = stage.region("mixes")
    studio = Studio(stage.target / "home-mixes", stage.plugin, others=[built("second_mix.c", stage.target)])
    try:
        studio.add("flat", "color_source_v3", color=0xFF2878C8, width=64, height=48)
        studio.filter("flat", out)
        consumer, times, end = Consumer(out), [], time.monotonic() + 2
        while time.monotonic() < end:
            frame = consumer.next(5)
            assert frame, "the filter publishes nothing"
            times.append(frame.time)
        consumer.close()
        # It runs when OBS ends.
        start_output(SimpleNamespace(studio=studio), out + "-programme", "")
    finally:
        code = studio.close()
    log = studio.log()
    assert "no second mix" not in log
    yield f"{len(times)} pictures in 2 s at {len(set(times))} times; OBS ended with {code}"
    assert len(times) == len(set(times)) >= 30, times
    assert code == 0 and "Number of memory leaks: 0" in log
