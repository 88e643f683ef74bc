"""OBS in a home and on a screen of its own, driven by its WebSocket interface."""

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import websocket
from PIL import Image

SCENE = "Scene"
# A process ends with this one, however that ends.
BOUND = ("setpriv", "--pdeathsig", "KILL")


class Refused(Exception):
    """A request that OBS refused."""


def free_port():
    """A port of the loopback that nothing uses now."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def wait_for(what, seconds, test):
    """Returns what `test` returns as soon as that is true."""
    end = time.monotonic() + seconds
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Studio:
    """A running OBS with a plugin and others. `prefix` is put before its command."""

    def __init__(self, home, plugin, video="NV12", size=(640, 360), fps=30, prefix=(), others=()):
        self.home = Path(home)
        self.port = free_port()
        self.size = size
        shutil.rmtree(self.home, ignore_errors=True)
        self._configure(video, fps)
        plugins = self.home / ".config/obs-studio/plugins"
        for it in (plugin, *others):
            folder = plugins / Path(it).stem / "bin/64bit"
            folder.mkdir(parents=True)
            shutil.copy(it, folder)
        shutil.copytree(Path(__file__).parents[2] / "plugins/obs/data", plugins / "obs-shm2/data")
        (self.home / "run").mkdir(mode=0o700)
        self.log_file = self.home / "obs.log"
        self.ids = 0
        self.prefix = prefix
        self._start_screen()
        self._start()

    def _configure(self, video, fps):
        base = self.home / ".config/obs-studio"
        profile = base / "basic/profiles/shm2"
        profile.mkdir(parents=True)
        (base / "basic/scenes").mkdir()
        (base / "global.ini").write_text(
            "[General]\nFirstRun=true\nEnableAutoUpdates=false\nInfoIncrement=100\nLastVersion=486539266\n"
            "[Basic]\nProfile=shm2\nProfileDir=shm2\nSceneCollection=shm2\nSceneCollectionFile=shm2\n"
            "[BasicWindow]\nWarnBeforeStartingStream=false\nHideOBSFromCapture=false\n"
            f"[OBSWebSocket]\nFirstLoad=false\nServerEnabled=true\nServerPort={self.port}\n"
            "AlertsEnabled=false\nAuthRequired=false\n"
        )
        w, h = self.size
        (profile / "basic.ini").write_text(
            "[General]\nName=shm2\n[Audio]\nSampleRate=48000\n[Video]\n"
            f"BaseCX={w}\nBaseCY={h}\nOutputCX={w}\nOutputCY={h}\nFPSType=0\nFPSCommon={fps}\n"
            f"ColorFormat={video}\nColorSpace=709\nColorRange=Partial\n"
        )

    def _environment(self):
        run = str(self.home / "run")
        own = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config"), "XDG_RUNTIME_DIR": run}
        own |= {"TMPDIR": run, "LIBGL_ALWAYS_SOFTWARE": "1", "QT_QPA_PLATFORM": "xcb", "DISPLAY": self.display}
        return {**os.environ, **own}

    def _start_screen(self):
        reader, writer = os.pipe()
        line = [*BOUND, "Xvfb", "-displayfd", str(writer), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
        with (self.home / "screen.log").open("wb") as log:
            self.screen = subprocess.Popen(line, pass_fds=[writer], stdout=log, stderr=log)
        os.close(writer)
        with os.fdopen(reader) as it:
            number = it.readline().strip()
        assert number, "Xvfb does not start: " + (self.home / "screen.log").read_text()
        self.display = ":" + number

    def _start(self):
        line = [*BOUND, *self.prefix, "obs", "--multi", "--disable-updater"]
        line += ["--profile", "shm2", "--collection", "shm2"]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(line, env=self._environment(), cwd=self.home, stdout=log, stderr=log)
        self.socket = wait_for("OBS's WebSocket", 60, self._connect)
        wait_for("OBS's scenes", 30, self._is_ready)

    def restart(self):
        """Kills OBS, and starts it again, without what was in its scene."""
        self.process.kill()
        self.process.wait()
        self.socket.close()
        for it in (self.home / ".config/obs-studio/basic/scenes").iterdir():
            it.unlink()
        self._start()

    def _connect(self):
        assert self.process.poll() is None, "OBS ended: " + self.log()[-3000:]
        try:
            it = websocket.create_connection(f"ws://127.0.0.1:{self.port}", timeout=20)
        except OSError:
            return None
        json.loads(it.recv())
        it.send(json.dumps({"op": 1, "d": {"rpcVersion": 1, "eventSubscriptions": 0}}))
        json.loads(it.recv())
        return it

    def _is_ready(self):
        try:
            return any(it["sceneName"] == SCENE for it in self.call("GetSceneList")["scenes"])
        except Refused:
            return False

    def call(self, request, **data):
        """A request; its answer's data."""
        self.ids += 1
        body = {"requestType": request, "requestId": str(self.ids), "requestData": data}
        self.socket.send(json.dumps({"op": 6, "d": body}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer["op"] == 7 and answer["d"]["requestId"] == str(self.ids):
                break
        status = answer["d"]["requestStatus"]
        if not status["result"]:
            raise Refused(f"{request}: {status}")
        return answer["d"].get("responseData") or {}

    def log(self):
        """What OBS has written."""
        return self.log_file.read_text(errors="replace")

    def sentences(self, since=0):
        """Lines of the plugin in the log."""
        return [line.split("[shm2] ", 1)[1] for line in self.log()[since:].splitlines() if "[shm2] " in line]

    def add(self, name, kind="shm2_source", **settings):
        """Makes a source in the scene."""
        self.call("CreateInput", sceneName=SCENE, inputName=name, inputKind=kind, inputSettings=settings)

    def filter(self, source, video="", audio=""):
        """Puts the plugin's filters on a source: each that has a region."""
        for kind, region in (("video", video), ("audio", audio)):
            words = {"filterName": kind, "filterKind": f"shm2_{kind}_filter"}
            if region:
                settings = {f"{kind}_region": region}
                self.call("CreateSourceFilter", sourceName=source, filterSettings=settings, **words)

    def remove(self, name):
        """Ends a source, and waits until OBS has forgotten its name."""
        self.call("RemoveInput", inputName=name)
        wait_for(
            "the end of a source", 5, lambda: name not in [i["inputName"] for i in self.call("GetInputList")["inputs"]]
        )

    def set(self, name, **settings):
        """Changes settings of a source."""
        self.call("SetInputSettings", inputName=name, inputSettings=settings)

    def screenshot(self, name, file=None):
        """The picture of a source or scene as height, width, RGBA; None if it has none."""
        try:
            data = self.call("GetSourceScreenshot", sourceName=name, imageFormat="png")["imageData"]
        except Refused:
            return None
        image = Image.open(io.BytesIO(base64.b64decode(data.split(",", 1)[1])))
        if file:
            image.save(file)
        return np.asarray(image.convert("RGBA")).astype(int)

    def late(self):
        """How often OBS missed a frame, or waited for sound; it plays sound later from then on."""
        return self.call("GetStats")["renderSkippedFrames"] + self.log().count("milliseconds of audio buffering")

    def processor_seconds(self):
        """Time of the processor that OBS has used."""
        return processor_seconds(self.process.pid)

    def close(self):
        """Ends OBS as a window manager does; the exit code."""
        try:
            self.socket.close()
            self.process.send_signal(signal.SIGINT)
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.screen.terminate()
            self.screen.wait()


def processor_seconds(pid):
    """Time of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
