"""What all tests need: OBS, producers, and the traces that nothing may leave."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from region import Producer
from studio import BOUND, Studio, wait_for

HERE = Path(__file__).parent


class Stage:
    """OBS and the processes of a test."""

    def __init__(self, plugin, target):
        self.plugin = plugin
        self.target = target
        self.pictures = target / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.prefix = f"/dev/shm/shm2-test-obs-{os.getpid()}"
        self.children = []
        self.producers = []
        # Files that stay when their process is killed.
        self.left = set()
        self.studio = None
        self.is_bounded = os.geteuid() == 0

    def __enter__(self):
        begin = time.monotonic()
        # As root may read everything, OBS runs without that capability.
        without = "-dac_override,-dac_read_search"
        prefix = ["setpriv", "--bounding-set", without, "--inh-caps", without] if self.is_bounded else []
        self.studio = Studio(self.target / "home", self.plugin, prefix=prefix)
        print(f"OBS runs after {time.monotonic() - begin:.1f} s", flush=True)
        return self

    def __exit__(self, *_):
        try:
            self.clear()
        finally:
            if self.studio:
                self.studio.close()
            # Of an OBS that crashed; what a good one left was reported by end().
            for it in self.files():
                Path(it).unlink(missing_ok=True)

    def end(self):
        """Ends OBS; what went wrong there."""
        code = self.studio.close()
        log = self.studio.log()
        self.studio = None
        if code == -signal.SIGSEGV and "==== Shutting down" in log:
            # OBS 29 does this now and then when a signal ends it, without the plugin as well: in Qt, while its mixer
            # shows a source with sound. quiet.py has an OBS without one, which may not.
            print("skipped: the leaks that OBS tells of: it crashed when it ended", flush=True)
            return [f"left behind: {it}" for it in self.files()]
        wrong = [] if code == 0 else [f"OBS ended with {code}"]
        if "Number of memory leaks: 0" not in log:
            wrong.append("OBS tells of leaks: " + "".join(it for it in log.splitlines() if "memory leaks" in it))
        return wrong + [f"left behind: {it}" for it in self.files()]

    def region(self, name):
        """The name of a region of this run."""
        return f"{self.prefix}-{name}"

    def produce(self, *words):
        """Starts a producer, and waits until its region is there."""
        line = [*BOUND, sys.executable, HERE / "produce.py", *map(str, words)]
        child = subprocess.Popen(line, stdout=subprocess.PIPE)
        self.children.append(child)
        self.left |= {it for it in map(str, words) if it.startswith(self.prefix)}
        assert child.stdout.readline() == b"ready\n", f"no producer: {words}"
        return child

    def publish(self, region, caps, size=64 << 20):
        """A producer of this process, which ends with the test."""
        self.producers.append(Producer(region, caps, size))
        return self.producers[-1]

    def run(self, line, **options):
        """Starts another program."""
        child = subprocess.Popen([*BOUND, *line], **options)
        self.children.append(child)
        return child

    @staticmethod
    def kill(child):
        """Ends a process by SIGKILL."""
        child.kill()
        child.wait()

    def clear(self):
        """Ends the processes and the sources of a test, and removes the files of what was killed, and no others."""
        for child in self.children:
            self.kill(child)
        self.children = []
        for it in self.producers:
            it.close()
        self.producers = []
        for it in self.studio.call("GetInputList")["inputs"] if self.studio else []:
            self.studio.remove(it["inputName"])
        for path in self.left:
            Path(path).unlink(missing_ok=True)
        self.left = set()
        if self.studio:
            wait_for(f"the end of the plugin's regions: {self.files()}", 5, lambda: not self.files())

    def files(self):
        """Files of this run in /dev/shm."""
        return [str(it) for it in Path("/dev/shm").glob(Path(self.prefix).name + "*")]

    def sentence(self, part, since):
        """Waits for a line of the plugin in the log; exactly one of them may have this part."""
        return self.sentences_once([("", part)], since)[0]

    def sentences_once(self, parts, since):
        """Waits for lines of the plugin in the log: for each beginning and part of one there is exactly one."""

        def found(beginning, part):
            said = self.studio.sentences(since)
            return [it for it in said if it.startswith(beginning) and part in it]

        for it in parts:
            wait_for(f"a sentence with {it} (log: {self.studio.sentences(since)})", 6, lambda it=it: found(*it))
        # In this time it would be said again.
        time.sleep(1.2)
        lines = [found(*it) for it in parts]
        assert all(len(it) == 1 for it in lines), f"a sentence is repeated: {lines}"
        return [it[0] for it in lines]

    def give_away(self, path, mode):
        """Makes a file or folder one of another user."""
        if self.is_bounded:
            os.chown(path, 65534, 65534)
            Path(path).chmod(mode)

    @staticmethod
    def exists(path):
        """Whether there is such a file."""
        return Path(path).exists()

    @contextlib.contextmanager
    def small_folder(self, mebibytes):
        """A folder with a file system of its own; None where it cannot be mounted."""
        folder = self.target / "small"
        folder.mkdir(exist_ok=True)
        line = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
        is_mounted = subprocess.run(line, stderr=subprocess.DEVNULL).returncode == 0
        try:
            yield folder if is_mounted else None
        finally:
            if is_mounted:
                subprocess.run(["umount", str(folder)], check=True)

    def rgb(self, region):
        """A newest frame of a region as red, green and blue, converted by GStreamer."""
        file = self.pictures / "output.png"
        line = f"gst-launch-1.0 -q shm2src shm-path={region} num-buffers=3 ! videoconvert ! video/x-raw,format=RGB"
        line += f" ! pngenc snapshot=true ! filesink location={file}"
        subprocess.run(line.split(), check=True, timeout=20)
        return np.asarray(Image.open(file).convert("RGB")).astype(int)
