"""The code of docs/python.md and of the readmes runs."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shm2
from test_examples import python_with_opencv

ROOT = Path(__file__).parent.parent.parent.parent
PAGES = [ROOT / "docs/python.md", ROOT / "README.md", ROOT / "bindings/python/README.md"]
NV12 = [np.full((36, 64), 80, np.uint8), np.full((18, 32, 2), 128, np.uint8)]
BGR = np.full((36, 64, 3), 80, np.uint8)


def blocks() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        code = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        found += [(f"{page.relative_to(ROOT)}-{number}", block) for number, block in enumerate(code, 1)]
    return found


def run(code: str, folder: Path) -> None:
    """Run a block here, or in the Python that has OpenCV if it needs that."""
    if "import cv2" in code:
        subprocess.run([*python_with_opencv(folder), "-c", code], check=True, timeout=30)
    else:
        exec(compile(code, "page", "exec"), {"__name__": "page"})


@pytest.mark.parametrize(("name", "code"), blocks(), ids=[name for name, _ in blocks()])
def test_the_code_of_the_pages_runs(region: str, tmp_path: Path, name: str, code: str) -> None:
    stop = threading.Event()
    # The README makes its camera send BGR; docs/python.md has NV12 and BGR.
    sent: dict[str, Any] = {"camera": BGR} if name.startswith("README.md") else {"camera": NV12, "bgr": BGR}

    def feed() -> None:
        """Send pictures in streams of three."""
        while not stop.wait(0.2):
            for source, producer in producers.items():
                for _ in range(3):
                    producer.send(sent[source])
                producer.end_of_stream()

    with contextlib.ExitStack() as stack:
        producers = {
            source: stack.enter_context(
                shm2.Producer(f"{region}-{source}", format="BGR" if picture is BGR else "NV12", size=(64, 36), rate=30)
            )
            for source, picture in sent.items()
        }
        thread = threading.Thread(target=feed)
        thread.start()
        try:
            run(code.replace("/dev/shm/", f"{region}-"), tmp_path)
        finally:
            stop.set()
            thread.join(10)
