"""The exceptions of shm2: all are subclasses of ``shm2.Error``."""

import builtins


class Error(Exception):
    """Anything that shm2 cannot do; the text names the value and the remedy."""


class ArgumentError(Error, ValueError):
    """An argument has a value that is not possible, such as the name of a region or its size."""


class DataError(Error, ValueError):
    """An array has another shape than the frame, or cannot be a frame at all."""


class DtypeError(DataError, TypeError):
    """An array has another dtype than the frame."""


class TimeoutError(Error, builtins.TimeoutError):
    """No frame, no producer or no free space came in time."""


class EndOfStream(Error):
    """The stream ended. An iteration ends without this exception."""


class ClosedError(Error):
    """The consumer, producer or frame was closed, published or dropped before."""


class ForkedError(Error):
    """The object was made before ``os.fork()``, and is used in the child."""


class TruncatedError(Error):
    """The file of the region was truncated while it was used: bytes are lost."""


class ProtocolError(Error):
    """The content of the region contradicts the protocol: the program that wrote it is broken or hostile."""


class AttachError(Error):
    """A consumer cannot use what is at the name: no permission, no region, another version."""


class CreateError(Error):
    """A producer cannot make its region: another producer, no memory, no permission."""


class ProducerGoneError(Error):
    """The producer exited, and the consumer was made with ``on_exit="error"``."""


class SendError(Error):
    """A frame was not sent."""


class FullError(SendError):
    """The region has no free space and keeps its frames. The frame was counted as dropped; the next one may be sent."""


class ViewsError(Error, BufferError):
    """A frame was not published, because arrays or memoryviews could still write to it."""


class MediaError(Error, ValueError):
    """The caps, or a frame, have no description that allows this, such as one array of several planes."""


for _class in [Error, *Error.__subclasses__(), DtypeError, FullError]:
    # Where programs find them, for texts of exceptions.
    _class.__module__ = "shm2"
