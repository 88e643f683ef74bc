"""Video, audio and data frames between processes through shared memory, without copies.

One producer publishes frames into a region, usually a file in ``/dev/shm``. Any number of consumers read them in place,
each at its own speed. Either side may exit or restart at any time. GStreamer's elements ``shm2sink`` and ``shm2src``
use the same regions.

>>> import shm2
>>> with shm2.Producer("/dev/shm/camera", format="BGR", size=(640, 480), rate=30) as out:
...     with out.frame() as f:
...         f.array[...] = picture
>>> for frame in shm2.Consumer("/dev/shm/camera", latest=True, timeout=5):
...     print(frame.format, frame.size, frame.pts, frame.array.mean())
"""

from __future__ import annotations

from ._caps import Caps
from ._consumer import Consumer
from ._errors import (
    ArgumentError,
    AttachError,
    ClosedError,
    CreateError,
    DataError,
    DtypeError,
    EndOfStream,
    Error,
    ForkedError,
    FullError,
    MediaError,
    ProducerGoneError,
    ProtocolError,
    SendError,
    TruncatedError,
    ViewsError,
)
from ._errors import TimeoutError as TimeoutError
from ._producer import Producer
from ._regions import Attached, Region, inspect, snapshot
from ._regions import list as list
from ._shm2 import Frame, OutFrame, Plane, describe, monotonic_ns

__version__ = "0.1.0"

# Without `TimeoutError` and `list`, whose names are those of builtins: `from shm2 import *` replaces none.
__all__ = [
    "ArgumentError",
    "AttachError",
    "Attached",
    "Caps",
    "ClosedError",
    "Consumer",
    "CreateError",
    "DataError",
    "DtypeError",
    "EndOfStream",
    "Error",
    "ForkedError",
    "Frame",
    "FullError",
    "MediaError",
    "OutFrame",
    "Plane",
    "Producer",
    "ProducerGoneError",
    "ProtocolError",
    "Region",
    "SendError",
    "TruncatedError",
    "ViewsError",
    "describe",
    "inspect",
    "monotonic_ns",
    "snapshot",
]
