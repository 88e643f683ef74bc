"""Regions with names of their own, which leave nothing behind."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

_number = itertools.count()


@pytest.fixture
def region() -> Iterator[str]:
    """Name of a region that no other test uses."""
    path = Path(f"/dev/shm/shm2-test-python-{os.getpid()}-{next(_number)}")
    owner = os.getpid()
    yield str(path)
    if os.getpid() == owner:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def skip(why: str) -> NoReturn:
    """Skip a test that cannot run here, and add a line to the list of such tests."""
    if listed := os.environ.get("SHM2_SKIPPED"):
        test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]
        with Path(listed).open("a") as file:
            file.write(f"skipped: {test}: {why}\n")
    pytest.skip(why)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a file in /dev/shm."""
    yield
    assert not list(Path("/dev/shm").glob(f"shm2-test-python-{os.getpid()}-*"))
