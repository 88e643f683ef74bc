"""The code of docs/python.md and of the readmes runs."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest
import shm2

ROOT = Path(__file__).parent.parent.parent.parent
PAGES = [ROOT / "docs/python.md", ROOT / "README.md", ROOT / "bindings/python/README.md"]


def blocks() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        code = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        found += [(f"{page.relative_to(ROOT)}-{number}", block) for number, block in enumerate(code, 1)]
    return found


@pytest.mark.parametrize("code", [code for _, code in blocks()], ids=[name for name, _ in blocks()])
def test_the_code_of_the_pages_runs(region: str, code: str) -> None:
    stop = threading.Event()

    def feed() -> None:
        """Send pictures in streams of three."""
        picture = [np.full((36, 64), 80, np.uint8), np.full((18, 32, 2), 128, np.uint8)]
        while not stop.wait(0.2):
            for _ in range(3):
                camera.send(picture)
            camera.end_of_stream()

    with shm2.Producer(f"{region}-camera", format="NV12", size=(64, 36), rate=30) as camera:
        thread = threading.Thread(target=feed)
        thread.start()
        try:
            exec(compile(code.replace("/dev/shm/", f"{region}-"), "page", "exec"), {"__name__": "page"})
        finally:
            stop.set()
            thread.join(10)
