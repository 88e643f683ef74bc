"""The tests of the plugin for OBS, in OBS: `cargo xtask obs` runs them.

usage: check.py PLUGIN TARGET [long]     (SHM2_LIBRARY names libshm2)
"""

import sys
import time
import traceback
from pathlib import Path

import checks
import dialog
import filters
import hostile
import hostile_output
import lasting
import programme
import quiet
from stage import Stage

SHORT = [
    checks.colors,
    checks.alpha,
    checks.formats,
    checks.sound,
    checks.sound_goes_on,
    checks.lists,
    checks.only_while_shown,
    checks.gone_modes,
    checks.changed_size,
    checks.still,
    checks.cropped,
    checks.bad_input,
    lasting.restarts,
    lasting.readers_killed,
    programme.both_in_step,
    programme.colors_of_the_programme,
    programme.refusals,
    filters.one_source,
    filters.flat_and_scene,
    filters.sound_alone,
    filters.foreign_clock,
    filters.producer_returns,
    dialog.clicked,
    hostile.hostile_caps,
    hostile.alternating_caps,
    hostile_output.other_resolution,
    hostile_output.room,
    quiet.two_mixes,
]
HOSTILE = [
    hostile.broken_files,
    hostile.hostile_times,
    hostile.many,
    hostile.lifetimes,
    hostile_output.feedback,
    hostile_output.switched_fast,
    hostile_output.folder_vanishes,
    hostile_output.disk_fills,
]
LONG = [*HOSTILE, lasting.obs_killed, lasting.processor]


def main():
    """Runs the tests one after the other in one OBS."""
    plugin, target = Path(sys.argv[1]), Path(sys.argv[2])
    tests = SHORT + (LONG if "long" in sys.argv[3:] else [])
    only = [it for it in sys.argv[3:] if it != "long"]
    if only:
        tests = [it for it in SHORT + LONG if it.__name__ in only]
    failed = []
    with Stage(plugin, target) as stage:
        for test in tests:
            begin = time.monotonic()
            try:
                for line in test(stage):
                    print(f"{test.__name__}: {line}", flush=True)
            except Exception:  # Each test is reported.
                traceback.print_exc()
                failed.append(test.__name__)
            stage.clear()
            print(f"{test.__name__}: {time.monotonic() - begin:.1f} s", flush=True)
        failed += stage.end()
    if failed:
        sys.exit("failed: " + " ".join(failed))


if __name__ == "__main__":
    main()
