"""The dialog of the output, in OBS's menu Tools, with keys and clicks of a user."""

import contextlib
import os
import subprocess
import time

import numpy as np
from checks import is_running, start_output
from hostile import alive
from PIL import ImageGrab
from studio import wait_for

# Of the button below the fields and the box, and of OK, from the dialog's corner.
BUTTON, OK = (141, 202), (571, 550)
# Left, top, right and bottom of the button and of the sentence below it.
STATE = (20, 185, 620, 245)


def press(stage, *words):
    """Runs xdotool on OBS's screen; what it prints."""
    environment = {**os.environ, "DISPLAY": stage.studio.display}
    line = ["xdotool", *map(str, words)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=10).stdout.split()


def windows(stage, name):
    """Visible windows of a name."""
    return press(stage, "search", "--onlyvisible", "--name", name)


def open_dialog(stage):
    """The last entry of the menu Tools is the plugin's. A window that has just come may lose keys."""
    for _ in range(3):
        press(stage, "windowfocus", windows(stage, "^OBS ")[0])
        time.sleep(0.3)
        press(stage, "key", "alt+t")
        time.sleep(0.3)
        press(stage, "key", "Up", "Return")
        with contextlib.suppress(AssertionError):
            return wait_for("the dialog of the output", 3, lambda: windows(stage, "shm2 output"))[0]
        press(stage, "key", "Escape", "Escape")
    raise AssertionError("the dialog of the output does not open")


def click(stage, dialog, runs):
    """Clicks Start or Stop; waits until the output does so."""
    press(stage, "mousemove", "--window", dialog, *BUTTON, "click", 1)
    wait_for(f"the output {'runs' if runs else 'stops'} after the click", 5, lambda: is_running(stage) == runs)


def seen(stage, dialog):
    """What the button and the sentence say, as a picture, without the pointer over them."""
    press(stage, "mousemove", "--window", dialog, 5, 5)
    place = press(stage, "getwindowgeometry", "--shell", dialog)
    x, y = (int(it.split("=")[1]) for it in place if it[:2] in ("X=", "Y="))
    # The dialog is drawn again after the click.
    time.sleep(0.4)
    box = (x + STATE[0], y + STATE[1], x + STATE[2], y + STATE[3])
    return np.asarray(ImageGrab.grab(box, xdisplay=stage.studio.display))


def clicked(stage):
    """Start and Stop are clicked five times; then the output is started and stopped by others below the dialog."""
    out = stage.region("clicked")
    settings = {"video_region": out, "audio_region": f"{out}-tone", "format": "obs"}
    stage.studio.call("SetOutputSettings", outputName="shm2", outputSettings=settings)
    dialog = open_dialog(stage)
    click(stage, dialog, True)
    click(stage, dialog, False)
    # Before that it may say why an earlier start was refused.
    stopped = seen(stage, dialog)
    for number in range(4):
        click(stage, dialog, True)
        assert (seen(stage, dialog) != stopped).any(), f"Start {number}: the dialog says that nothing runs"
        click(stage, dialog, False)
        assert (seen(stage, dialog) == stopped).all(), f"Stop {number}: the dialog says that it runs"
    start_output(stage, out, "")
    assert (seen(stage, dialog) != stopped).any(), "the dialog says that nothing runs"
    click(stage, dialog, False)
    assert (seen(stage, dialog) == stopped).all(), "the dialog says that it runs"
    # What cannot start says so in the dialog, which stays.
    stage.studio.call("SetOutputSettings", outputName="shm2", outputSettings={"video_region": "/nonexistent/a"})
    since = len(stage.studio.log())
    press(stage, "mousemove", "--window", dialog, *BUTTON, "click", 1)
    said = wait_for("a sentence", 5, lambda: stage.studio.sentences(since))
    assert not is_running(stage) and windows(stage, "shm2 output")
    press(stage, "mousemove", "--window", dialog, *OK, "click", 1)
    wait_for("the end of the dialog", 5, lambda: not windows(stage, "shm2 output"))
    alive(stage)
    yield f"5 times Start and Stop, of which the dialog tells, and a refused Start: {said[0]!r}"
